"""What captures decide without a kernel: pcapng, following a connection, what is waited for, what a reset has to do."""

from __future__ import annotations

import io
from ipaddress import ip_network
from typing import Any

import pytest
from scapy.utils import PcapNgReader, RawPcapNgReader

from netlab.kernel.conntrack import Entry, Tuple
from netlab.lab.facade import differences, waiting
from netlab.lab.facade.differences import Base, Steps, steps
from netlab.lab.facade.remains import Ranges, addresses_of, mentioned
from netlab.lab.facade.resolvconf import parse
from netlab.lab.facade.speaking import candidates
from netlab.trace import pcapng
from netlab.trace.follow import Flow, Follower, reverse
from netlab.trace.packet import Packet

FRAME = bytes.fromhex("ffffffffffff020000000001") + b"\x88\xb5" + b"netlab"


def test_a_pcapng_file_has_an_interface_for_each_place() -> None:
    file = b"".join(
        (
            pcapng.section("netlab", "Linux 6", "a comment"),
            pcapng.name_resolution({"10.0.0.1": "web.default.svc", "fd00::1": "node1"}),
            pcapng.interface("node1:eth0", "node1", expression="icmp"),
            pcapng.packet(0, 1_700_000_000_123_456_789, FRAME, 1500, 4, "a comment"),
            pcapng.interface("pod/default/web:eth0", comment="pod default/web"),
            pcapng.packet(1, 1_700_000_000_123_456_790, FRAME[:-1], len(FRAME)),
            pcapng.statistics(0, 1_700_000_000_000_000_000, 7, 3),
        )
    )
    with RawPcapNgReader(io.BytesIO(file)) as reader:
        (one, meta), (two, other) = list(reader)
    assert (one, two) == (FRAME, FRAME[:-1])
    assert (meta.wirelen, meta.tsresol, meta.ifname) == (1500, 10**9, b"node1:eth0")
    assert (meta.tshigh << 32) + meta.tslow == 1_700_000_000_123_456_789
    assert other.ifname == b"pod/default/web:eth0"
    with PcapNgReader(io.BytesIO(file)) as packets:
        assert [packet.direction for packet in packets] == [2, 1]


@pytest.mark.parametrize("size", range(5))
def test_blocks_are_padded_and_say_their_length_twice(size: int) -> None:
    block = pcapng.packet(0, 0, bytes(size), size, 0, "x" * size)
    assert len(block) % 4 == 0 and block[4:8] == block[-4:] == len(block).to_bytes(4, "little")


CLIENT, SERVICE = ("10.244.1.9", 40000), ("10.96.0.50", 80)
NODE, ENDPOINT = ("192.168.77.3", 51000), ("10.244.2.3", 8080)
SENT = (6, *CLIENT, *SERVICE)
TRANSLATED = (6, *NODE, *ENDPOINT)
OTHER = (6, *CLIENT, "10.244.2.3", 8080)


def packet(key: tuple[int, str, int, str, int]) -> Packet:
    protocol, src, sport, dst, dport = key
    return Packet("", "", 0x0800, 60, src=src, dst=dst, protocol=protocol, sport=sport, dport=dport)


def follower(protocol: int = 0) -> Follower:
    return Follower(Flow((("10.244.1.9", 0),), ((SERVICE[0], 80),), protocol))


def test_a_connection_is_followed_through_translation() -> None:
    one = follower()
    assert not one.has(packet(TRANSLATED))
    one.learn(SENT, reverse(TRANSLATED))
    assert all(one.has(packet(key)) for key in (SENT, reverse(SENT), TRANSLATED, reverse(TRANSLATED)))
    assert not one.has(packet(OTHER))


def test_entries_of_later_nodes_may_be_heard_first() -> None:
    further = (6, *NODE, "10.244.2.4", 8081)
    one = follower()
    one.learn(TRANSLATED, reverse(further))
    assert not one.has(packet(further))
    one.learn(SENT, reverse(TRANSLATED))
    assert one.has(packet(further))


def test_what_ended_before_it_was_of_the_flow_is_forgotten() -> None:
    one = follower()
    one.learn(OTHER, reverse(OTHER))
    one.forget(OTHER, reverse(OTHER))
    one.learn(SENT, reverse(OTHER))
    assert one._waiting == {}


def test_a_flow_is_of_a_protocol_and_from_its_clients() -> None:
    assert not follower(17).has(packet(SENT))
    assert not follower().has(packet((6, "10.244.1.8", 40000, *SERVICE)))
    assert Follower(Flow((), ((SERVICE[0], 0),))).has(packet(reverse(SENT)))


def test_a_vxlan_packet_is_its_inner_one() -> None:
    outer = Packet("", "", 0x0800, 110, src="1.1.1.1", dst="2.2.2.2", protocol=17, vni=1, inner=packet(SENT))
    assert follower().has(outer)


@pytest.mark.parametrize(
    ("name", "ndots", "first"),
    [("web", 5, "web.default.svc.cluster.local."), ("a.b", 1, "a.b."), ("a.b.", 5, "a.b.")],
)
def test_names_are_tried_in_the_order_of_resolv_conf(name: str, ndots: int, first: str) -> None:
    text = f"search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:{ndots} edns0\n"
    servers, searches, number = parse(text)
    assert servers == ["10.96.0.10"]
    found = candidates(name, searches, number)
    assert found[0] == first and len(found) == (1 if name.endswith(".") else 3)


def obj(kind: str, name: str, uid: str = "", owner: str = "", **more: Any) -> dict[str, Any]:
    owners = [{"uid": owner, "controller": True}] if owner else []
    metadata = {"name": name, "namespace": "default", "uid": uid or name, "ownerReferences": owners}
    return {"kind": kind, "metadata": metadata, **more}


DEPLOYMENT = obj("Deployment", "dns", spec={"replicas": 2}, status={"replicas": 2})
BASE = {"deployments.apps": {"default/dns": DEPLOYMENT}, "pods": {"default/p": obj("Pod", "p", owner="rs")}}


def todo(**now: list[dict[str, Any]]) -> list[Steps]:
    base = Base({name: dict(objects) for name, objects in BASE.items()})
    return steps(base, {name.replace("_", "."): objects for name, objects in now.items()})


def test_a_reset_leaves_what_has_not_changed() -> None:
    scaled = obj("Deployment", "dns", spec={"replicas": 2}, status={"replicas": 1})
    assert todo(deployments_apps=[scaled]) == []


def test_a_reset_deletes_what_is_new_and_restores_what_is_changed() -> None:
    changed, new = obj("Deployment", "dns", spec={"replicas": 1}), obj("Deployment", "web", spec={})
    assert todo(deployments_apps=[changed, new]) == [Steps("deployments.apps", (new,), ((changed, DEPLOYMENT),))]


def test_a_reset_makes_again_what_is_lost_but_not_what_a_controller_makes() -> None:
    assert todo(deployments_apps=[], pods=[]) == [Steps("deployments.apps", create=(DEPLOYMENT,))]


def test_a_reset_leaves_what_descends_from_the_base() -> None:
    replicas, pod = obj("ReplicaSet", "dns-2", owner="dns"), obj("Pod", "dns-2-x", owner="dns-2")
    mine = obj("Pod", "mine")
    assert todo(replicasets_apps=[replicas], pods=[obj("Pod", "p", owner="rs"), pod, mine]) == [Steps("pods", (mine,))]


def test_what_the_api_server_makes_late_is_of_the_base() -> None:
    base = Base({}, late={"configmaps": {"default/info"}})
    info, mine = obj("ConfigMap", "info", data={}), obj("ConfigMap", "mine")
    assert steps(base, {"configmaps": [info, mine]}) == [Steps("configmaps", (mine,))]
    changed = {**info, "data": {"a": "b"}}
    assert steps(base, {"configmaps": [changed]}) == [Steps("configmaps", restore=((changed, info),))]


def test_endpoints_follow_the_pods_and_not_the_base() -> None:
    label = {differences.ENDPOINTS_MANAGED_BY: "endpoint-controller"}
    before, own = obj("Endpoints", "web"), obj("Endpoints", "own")
    before["metadata"]["labels"] = label
    base = Base({"endpoints": {"default/web": before, "default/own": own}})
    ready = {**before, "subsets": [{"addresses": [{"ip": "10.244.0.5"}]}]}
    changed = {**own, "subsets": []}
    assert steps(base, {"endpoints": [ready, changed]}) == [Steps("endpoints", restore=((changed, own),))]
    assert steps(base, {"endpoints": [own]}) == []


def test_connections_are_old_where_an_address_is_nobodys() -> None:
    ranges = Ranges(tuple(ip_network(cidr) for cidr in ("10.244.0.0/16", "10.96.0.0/12")))
    there, gone = "10.244.1.2", "10.244.1.3"

    def entry(src: str, dst: str, answers: str) -> Entry:
        return Entry(6, Tuple(src, dst, 1, 2), Tuple(answers, src, 2, 1), "TIME_WAIT", 0, 0, 9, 1)

    held = {there, "10.96.0.1"}
    assert not ranges.stale(entry("192.168.0.1", "10.96.0.1", there), held)
    assert not ranges.stale(entry("192.168.0.1", "203.0.113.9", "203.0.113.9"), held)
    assert ranges.stale(entry(there, "10.96.0.1", gone), held)
    assert ranges.stale(entry(there, "10.96.0.2", there), held)


def test_addresses_of_pods_and_services_as_programs_print_them() -> None:
    pod = {"spec": {}, "status": {"podIPs": [{"ip": "10.244.1.3"}, {"ip": "fd00::3"}]}}
    host = {"spec": {"hostNetwork": True}, "status": {"podIPs": [{"ip": "192.168.0.1"}]}}
    balanced = {"ingress": [{"ip": "192.168.0.200"}]}
    service = {"spec": {"clusterIPs": ["10.96.0.7"]}, "status": {"loadBalancer": balanced}}
    found = addresses_of([pod, host, service, {"spec": {"clusterIPs": ["None"]}}])
    assert found == {"10.244.1.3", "fd00::3", "10.96.0.7", "192.168.0.200"}
    printed = "-A KUBE-SERVICES -d 10.96.0.7/32 -j X\n-A S -j DNAT --to-destination 10.244.1.33:80\n{ fd00::3 . tcp }"
    assert mentioned(printed, found) == {"10.96.0.7", "fd00::3"}


def test_webhooks_and_namespaces_end_before_workloads_and_definitions_last() -> None:
    names = ["pods", "customresourcedefinitions_apiextensions_k8s_io", "services", "namespaces"]
    ordered = [one.collection for one in todo(**{name: [obj("X", f"n-{name}")] for name in names})]
    assert ordered[:2] == ["namespaces", "services"] and ordered[-1].startswith("customresourcedefinitions")
    assert differences.FIRST[-1] == "namespaces"


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}, True),
        ({"observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}, False),
        ({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 1, "replicas": 2}, False),
        ({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 2, "replicas": 3}, False),
    ],
)
def test_a_deployment_is_available_when_it_is_rolled_out(status: dict[str, int], wanted: bool) -> None:
    one = {"kind": "Deployment", "metadata": {"name": "w", "generation": 2}, "spec": {"replicas": 2}, "status": status}
    assert waiting.reached(one, "Available") is wanted


def test_a_wait_tells_why_a_pod_is_not_ready() -> None:
    waits = {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ErrImagePull", "message": "no x"}}}]}
    assert waiting.how_far({"kind": "Pod", "metadata": {"name": "p"}, "status": waits}) == (
        "pod p waits: c ErrImagePull (no x)"
    )
    assert waiting.how_far(None) == "there is none"
