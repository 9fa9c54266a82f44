"""What a dual-stack cluster decides without a kernel: addresses, subnets, plans, families of Services."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import SERVICES, Harness, harness, service

from netlab import topology
from netlab.apiserver.allocation.families import fill_families
from netlab.apiserver.allocation.records import keep_records
from netlab.apiserver.bootstrap import keep
from netlab.dataplane import iptables
from netlab.dataplane.masquerade import masquerade_rules
from netlab.dataplane.nodes import NodeNet, PodNet, link_local
from netlab.dataplane.overlay import node_network
from netlab.dataplane.pods import host_side, pod_side
from netlab.dataplane.services import Endpoint, NodeView, ServicePort, ServicePortName, choose
from netlab.dataplane.underlay import underlay
from netlab.node.config import NodeConfig
from netlab.node.kubelet.ipam import ExhaustedError, Ranges
from netlab.node.overlay import flannel_annotations, node_net
from netlab.topology import TopologyError

Obj = dict[str, Any]
HEAD = "nodes: {cp: {role: control-plane}, w: }\n"
BOTH = "cluster: {podCIDR: '10.244.0.0/16,fd00:10:244::/56', serviceCIDR: '10.96.0.0/12,fd00:10:96::/112'}\n"
SIX = "cluster: {podCIDR: 'fd00:10:244::/56', serviceCIDR: 'fd00:10:96::/112'}\n"
SWITCHED = "switches: {s: {subnet: %s}}\nlinks: [{ends: [cp, s]}, {ends: [%s, s]}]\n"


# topologies


def test_addresses_end_alike_in_both_families() -> None:
    lab = topology.loads(
        HEAD + BOTH + SWITCHED % ("'192.168.77.0/24,fd00:77::/64'", "{node: w, address: 192.168.77.10}")
    )
    assert lab.node_ips("cp") == ("192.168.77.2", "fd00:77::2")
    assert lab.node_ips("w") == ("192.168.77.10", "fd00:77::10")
    assert lab.segments[0].subnet6 == "fd00:77::/64"
    assert topology.loads(topology.dump(lab)) == lab


def test_a_list_says_the_same_as_commas() -> None:
    listed = BOTH.replace("'10.244.0.0/16,fd00:10:244::/56'", "[10.244.0.0/16, 'fd00:10:244::/56']")
    assert topology.loads(HEAD + listed) == topology.loads(HEAD + BOTH)


def test_segments_without_a_subnet_get_one_of_each_family() -> None:
    wired = "routers: {r: }\nlinks: [{ends: [cp, r]}, {ends: [w, r]}]\n"
    lab = topology.loads(HEAD + BOTH + wired)
    assert [segment.subnet6 for segment in lab.segments] == ["fd00:c0a8::/64", "fd00:c0a8:0:1::/64"]
    routes = [str(route) for route in underlay(lab)["w"].routes]
    assert routes == [
        "ip route add default via 192.168.0.5 dev eth0",
        "ip route add ::/0 via fd00:c0a8:0:1::1 dev eth0",
    ]


def test_a_cluster_of_ipv6_only() -> None:
    lab = topology.loads(HEAD + SIX)
    assert lab.cluster.families == ("IPv6",)
    assert lab.cluster.dns_ip == "fd00:10:96::a"
    assert lab.node_ip("cp") == "fd00:c0a8::2"
    assert topology.loads(topology.dump(lab)) == lab


def test_an_ipv4_cluster_has_no_ipv6_at_all() -> None:
    lab = topology.loads(HEAD)
    text = topology.dump(lab)
    assert "V6" not in text and "fd00" not in text
    states = underlay(lab).values()
    assert not any("ipv6.conf.all" in str(state) or "inet6" in str(state) for state in states)
    assert all(end.address6 is None for link in lab.links for end in link.ends)


ERRORS = {
    "two of one family": ("podCIDR: '10.1.0.0/16,10.2.0.0/16'", "cluster.podCIDR", "are both IPv4"),
    "three": ("podCIDR: '10.1.0.0/16,fd00::/56,fd01::/56'", "cluster.podCIDR", "expected one podCIDR, or two"),
    "families differ": ("podCIDR: 'fd00::/56'", "cluster.podCIDR", "the pod CIDRs are IPv6, the service CIDRs IPv4"),
    "order differs": (
        "podCIDR: 'fd00::/56,10.1.0.0/16', serviceCIDR: '10.96.0.0/12,fd01::/112'",
        "cluster.serviceCIDR",
        "the pod CIDRs are IPv6 and IPv4",
    ),
    "overlap": (
        "podCIDR: '10.1.0.0/16,fd00::/56', serviceCIDR: '10.96.0.0/12,fd00::/112'",
        "cluster.serviceCIDR",
        "pod CIDR fd00::/56 and service CIDR fd00::/112 overlap",
    ),
    "services too many": (
        "podCIDR: '10.1.0.0/16,fd00::/56', serviceCIDR: '10.96.0.0/12,fd01::/48'",
        "cluster.serviceCIDR",
        "is too large",
    ),
    "host bits": ("podCIDR: '10.1.0.0/16,fd00::1/56'", "cluster.podCIDR", "has host bits set"),
    "no CIDR": ("podCIDR: '10.1.0.0/16,fd00:/56'", "cluster.podCIDR", "is no pod CIDR"),
    "node subnets": (
        "podCIDR: '10.1.0.0/16,fd00::/32', serviceCIDR: '10.96.0.0/12,fd01::/112'",
        "cluster.nodePrefixV6",
        "a node's /64 does not fit",
    ),
    "too few": (
        "podCIDR: '10.1.0.0/16,fd00::/64', serviceCIDR: '10.96.0.0/12,fd01::/112'",
        "cluster.podCIDR",
        "holds 1 subnets of /64, the topology has 2 nodes",
    ),
    "DNS of the other family": (
        "podCIDR: 'fd00::/56', serviceCIDR: 'fd01::/112', dnsIP: 10.96.0.10",
        "cluster.dnsIP",
        "is not free in the service CIDR fd01::/112",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_wrong_cluster_is_refused_with_file_line_and_key(name: str) -> None:
    entries, key, words = ERRORS[name]
    with pytest.raises(TopologyError) as refused:
        topology.loads(HEAD + f"cluster: {{{entries}}}\n", "lab.yaml")
    assert words in str(refused.value)
    assert refused.value.key == key and refused.value.file == "lab.yaml"
    assert refused.value.line == (2 if key != "cluster.nodePrefixV6" else 1)


@pytest.mark.parametrize(
    "text, words",
    [
        (HEAD + SWITCHED % ("fd00:77::/64", "w"), "but the cluster has no IPv6"),
        (HEAD + BOTH + SWITCHED % ("fd00:10:244:7::/64", "w"), "overlaps the pod CIDR fd00:10:244::/56"),
        (
            HEAD + BOTH + SWITCHED % ("fd00:77::/64", "{node: w, address: 'fd00:78::2'}"),
            "is not a machine's address in",
        ),
        (HEAD + BOTH + SWITCHED % ("fd00:77::/64", "{node: w, address: 'fd00:77::g'}"), "is no address"),
    ],
)
def test_a_wrong_underlay_is_refused(text: str, words: str) -> None:
    with pytest.raises(TopologyError, match=words):
        topology.loads(text)


# plans


def _node(number: int, backend: Any = "vxlan") -> NodeNet:
    second = NodeNet(f"n{number}", f"fd10:0:0:{number}::/64", f"fd77::{number}", backend=backend)
    first = NodeNet(f"n{number}", f"10.244.{number}.0/24", f"192.168.77.{number}", backend=backend)
    return NodeNet(**{**{name: getattr(first, name) for name in first.__dataclass_fields__}, "second": second})


def test_the_overlay_of_a_dual_stack_node_is_two_devices() -> None:
    lines = str(node_network(_node(1), [_node(1), _node(2)])).splitlines()
    mac, peer = _node(1).second, _node(2).second
    assert mac is not None and peer is not None
    assert [line for line in lines if "flannel-v6" in line or ("docker0" in line and "nodad" in line)] == [
        f"ip link add flannel-v6.1 address {mac.mac} mtu 1430 "
        "type vxlan id 1 local fd77::1 dev eth0 dstport 8472 nolearning",
        "ip link set flannel-v6.1 up",
        "ip addr add fd10:0:0:1::1/64 dev docker0 nodad",
        f"ip addr add {link_local(_node(1).bridge_mac)} dev docker0 nodad",
        "ip addr add fd10:0:0:1::/128 dev flannel-v6.1 nodad",
        "ip route add fd10:0:0:2::/64 via fd10:0:0:2:: dev flannel-v6.1 onlink",
        f"ip neigh add fd10:0:0:2:: lladdr {peer.mac} dev flannel-v6.1 nud permanent",
        f"bridge fdb add {peer.mac} dev flannel-v6.1 dst fd77::2 self permanent",
    ]
    alone = NodeNet("n1", "10.244.1.0/24", "192.168.77.1")
    four = str(node_network(alone, [NodeNet("n2", "10.244.2.0/24", "192.168.77.2")])).splitlines()
    assert [line for line in lines if line in four] == four, "the IPv4 half is what an IPv4 cluster has"


def test_a_peer_without_the_second_family_is_a_peer_of_the_first() -> None:
    state = node_network(_node(1), [NodeNet("n2", "10.244.2.0/24", "192.168.77.2")])
    assert [route.dst for route in state.routes] == ["10.244.2.0/24"]


def test_host_gw_routes_each_family_by_the_nodes_own_addresses() -> None:
    state = node_network(_node(1, "host-gw"), [_node(2, "host-gw")])
    assert [str(route) for route in state.routes] == [
        "ip route add 10.244.2.0/24 via 192.168.77.2 dev eth0",
        "ip route add fd10:0:0:2::/64 via fd77::2 dev eth0",
    ]


def test_a_pod_has_both_addresses_and_routes() -> None:
    pod = PodNet.of("0b1f7f0e-uid", ["10.244.1.7", "fd10:0:0:1::7"], _node(1))
    inside = str(pod_side(pod))
    for line in (
        "ip addr add 10.244.1.7/24 dev eth0",
        "ip addr add fd10:0:0:1::7/64 dev eth0 nodad",
        "ip route add default via 10.244.1.1 dev eth0",
        "ip route add ::/0 via fd10:0:0:1::1 dev eth0",
    ):
        assert line in inside
    assert [entry.ip for entry in host_side(pod).neighbours] == ["10.244.1.7", "fd10:0:0:1::7"]
    assert {entry.mac for entry in pod_side(pod).neighbours} == {_node(1).bridge_mac}


def test_flannel_masquerades_ipv6_but_not_multicast() -> None:
    rules = [str(rule) for rule in masquerade_rules("fd10:0:0:1::/64", "fd10::/56")]
    assert any("-s fd10::/56 ! -d ff00::/8" in rule for rule in rules)


def test_a_node_publishes_and_reads_flannels_annotations_of_both_families() -> None:
    config = NodeConfig("n1", "192.168.77.1", "n1", "", "", "", "", second_ip="fd77::1")
    spec = {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd10:0:0:1::/64"]}
    node = {"metadata": {"name": "n1", "annotations": flannel_annotations(config, "vxlan")}, "spec": spec}
    net = node_net(node, "vxlan")
    assert net is not None and net.second is not None
    assert (net.node_ip, net.second.node_ip, net.second.device) == ("192.168.77.1", "fd77::1", "flannel-v6.1")
    assert net.mac != net.second.mac
    del node["metadata"]["annotations"]["flannel.alpha.coreos.com/backend-v6-data"]  # type: ignore[index]
    assert node_net(node, "vxlan") is None, "half a lease is none"


def test_a_pod_gets_an_address_of_every_range_or_none() -> None:
    ranges = Ranges(["10.244.1.0/30", "fd10::/64"])
    assert ranges.allocate("a") == ("10.244.1.2", "fd10::2")
    with pytest.raises(ExhaustedError):
        ranges.allocate("b")
    ranges.release("a")
    assert ranges.allocate("c") == ("10.244.1.2", "fd10::3")
    fresh = Ranges(["10.244.1.0/24", "fd10::/64"])
    assert fresh.reserve(("10.244.1.2", "fd10::2"), "a") and not fresh.reserve(("10.244.1.2", "fd10::2"), "b")


@pytest.mark.parametrize("family, ips", [("IPv4", ("10.96.0.9", "10.244.1.7")), ("IPv6", ("fd96::9", "fd10::7"))])
@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_rules_name_the_protocol(family: Any, protocol: Any, ips: tuple[str, str]) -> None:
    port = ServicePort(ServicePortName("ns", "s", "p", protocol), ips[0], 80, node_port=30080, family=family)
    endpoint = Endpoint(ips[1], 8080)
    config = iptables.IptablesConfig("", "fd10::/56" if family == "IPv6" else "10.244.0.0/16", family)
    rules = iptables.service_rules(port, choose(port, [endpoint], NodeView("n")), config)
    low = protocol.lower()
    texts = [str(rule) for rule in (*rules.nat, *rules.own)]
    assert any(f"-p {low}" in text and f"-m {low} --dport 80" in text for text in texts)
    assert any(f"-m {low} --dport 30080" in text for text in texts)
    assert any(f"-p {low}" in text and text.endswith(f"--to-destination {endpoint}") for text in texts)


# families of Services

SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
FOUR, FOUR_SIX, SIX_FOUR = ("IPv4",), ("IPv4", "IPv6"), ("IPv6", "IPv4")
FILLED = [
    # cluster, given, (policy, families)
    (FOUR, {}, (SINGLE, ["IPv4"])),
    (FOUR, {"ipFamilyPolicy": PREFER}, (PREFER, ["IPv4"])),
    (FOUR_SIX, {}, (SINGLE, ["IPv4"])),
    (SIX_FOUR, {}, (SINGLE, ["IPv6"])),
    (FOUR_SIX, {"ipFamilies": ["IPv6"]}, (SINGLE, ["IPv6"])),
    (FOUR_SIX, {"ipFamilyPolicy": PREFER}, (PREFER, ["IPv4", "IPv6"])),
    (FOUR_SIX, {"ipFamilyPolicy": REQUIRE, "ipFamilies": ["IPv6"]}, (REQUIRE, ["IPv6", "IPv4"])),
    (SIX_FOUR, {"ipFamilyPolicy": PREFER}, (PREFER, ["IPv6", "IPv4"])),
    (FOUR_SIX, {"clusterIP": "fd96::9"}, (SINGLE, ["IPv6"])),
    (FOUR_SIX, {"clusterIP": "fd96::9", "ipFamilyPolicy": PREFER}, (PREFER, ["IPv6", "IPv4"])),
    (FOUR_SIX, {"clusterIP": "None"}, (SINGLE, ["IPv4"])),
    (FOUR, {"clusterIP": "None", "selector": None}, (REQUIRE, ["IPv4", "IPv6"])),
    (FOUR, {"clusterIP": "None", "selector": None, "ipFamilyPolicy": SINGLE}, (SINGLE, ["IPv4"])),
    (FOUR, {"clusterIP": "None", "selector": None, "ipFamilies": ["IPv6"]}, (REQUIRE, ["IPv6", "IPv4"])),
]  # fmt: skip


@pytest.mark.parametrize("cluster, given, wanted", FILLED)
def test_families_are_filled_in(cluster: tuple[str, ...], given: Obj, wanted: Any) -> None:
    spec = {"type": "ClusterIP", "selector": {"app": "a"}, **given}
    assert fill_families({"spec": spec}, None, cluster) == []
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == wanted


REFUSED = [
    (FOUR, {"ipFamilyPolicy": REQUIRE}, "this cluster is not configured for dual-stack services"),
    (FOUR, {"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
    (FOUR, {"clusterIP": "fd96::9"}, "IPv6 is not configured on this cluster"),
    (FOUR_SIX, {"ipFamilies": ["IPv4", "IPv6"]}, "PreferDualStack when multiple ipFamilies are"),
    (FOUR_SIX, {"ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": PREFER}, "Duplicate value"),
    (FOUR_SIX, {"ipFamilies": ["IPv6"], "clusterIP": "10.96.0.9"}, "expected an IPv6 value as indicated by"),
]  # fmt: skip


@pytest.mark.parametrize("cluster, given, words", REFUSED)
def test_what_the_cluster_has_not_is_refused(cluster: tuple[str, ...], given: Obj, words: str) -> None:
    spec = {"type": "ClusterIP", "selector": {"app": "a"}, **given}
    found = fill_families({"spec": spec}, None, cluster)
    assert found and words in found[0].message


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path, service_cidr="10.96.0.0/12,fd96::/112") as made:
        yield made


MERGE = {"content-type": "application/merge-patch+json"}


async def _patched(server: Harness, name: str, spec: Obj) -> Obj:
    made: Obj = await server.ok("PATCH", f"{SERVICES}/{name}", {"spec": spec}, headers=MERGE)
    changed: Obj = made["spec"]
    return changed


async def test_a_dual_stack_service_gets_two_addresses_and_gives_both_back(server: Harness) -> None:
    made = await server.ok("POST", SERVICES, service("a", ipFamilyPolicy=PREFER))
    four, six = made["spec"]["clusterIPs"]
    assert (ip_address(four).version, ip_address(six).version) == (4, 6)
    asked = service("b", ipFamilyPolicy=REQUIRE, clusterIPs=[four, "fd96::9"], clusterIP=four)
    assert "provided IP is already allocated" in (await server.refused("POST", SERVICES, asked))[2]
    await server.ok("DELETE", f"{SERVICES}/a")
    assert (await server.ok("POST", SERVICES, asked))["spec"]["clusterIPs"] == [four, "fd96::9"]
    outside = service("c", clusterIP="fd97::1")
    message = (await server.refused("POST", SERVICES, outside))[2]
    assert message.endswith("failed to allocate IP fd97::1: the provided network does not match the current range")


async def test_a_service_is_upgraded_and_downgraded(server: Harness) -> None:
    made = await server.ok("POST", SERVICES, service("a"))
    first = made["spec"]["clusterIP"]
    spec = await _patched(server, "a", {"ipFamilyPolicy": PREFER})
    assert spec["clusterIPs"][0] == first and spec["ipFamilies"] == ["IPv4", "IPv6"]
    second = spec["clusterIPs"][1]
    kept = await _patched(server, "a", {"sessionAffinity": "ClientIP"})
    assert kept["clusterIPs"] == [first, second]
    for field in ("ipFamilies", "clusterIPs"):
        body = {"spec": {field: copy.deepcopy(spec[field])[:1]}}
        code, _, message = await server.refused("PATCH", f"{SERVICES}/a", body, headers=MERGE)
        assert code == 422 and "must be SingleStack to release the secondary" in message
    swapped = {"spec": {"ipFamilies": ["IPv6", "IPv4"], "clusterIPs": [second, first], "clusterIP": second}}
    assert "may not change once set" in (await server.refused("PATCH", f"{SERVICES}/a", swapped, headers=MERGE))[2]
    spec = await _patched(server, "a", {"ipFamilyPolicy": SINGLE})
    assert (spec["clusterIPs"], spec["ipFamilies"]) == ([first], ["IPv4"])
    await server.ok("POST", SERVICES, service("b", clusterIP=second))


async def test_a_prefer_dual_stack_service_is_not_upgraded_by_another_change(tmp_path: Path) -> None:
    async with harness(tmp_path) as server:
        await server.ok("POST", SERVICES, service("a", ipFamilyPolicy=PREFER))
    async with harness(tmp_path, service_cidr="10.96.0.0/12,fd96::/112") as server:
        spec = await _patched(server, "a", {"sessionAffinity": "ClientIP"})
        assert spec["ipFamilies"] == ["IPv4"] and len(spec["clusterIPs"]) == 1
        spec = await _patched(server, "a", {"ipFamilies": ["IPv4", "IPv6"]})
        assert len(spec["clusterIPs"]) == 2


async def test_a_dry_run_shows_and_takes_nothing(server: Harness) -> None:
    made = await server.ok("POST", f"{SERVICES}?dryRun=All", service("a", ipFamilyPolicy=REQUIRE))
    assert made["spec"]["clusterIPs"] == ["10.96.0.0", "fd96::"]


NETWORKING = "/apis/networking.k8s.io/v1"


async def test_the_service_cidr_is_there_from_the_first_answer_on_and_comes_back(server: Harness) -> None:
    path = f"{NETWORKING}/servicecidrs/kubernetes"
    cidr = await server.ok("GET", path)
    assert cidr["spec"]["cidrs"] == ["10.96.0.0/12", "fd96::/112"]
    (ready,) = cidr["status"]["conditions"]
    assert (ready["type"], ready["status"]) == ("Ready", "True")
    server.tasks.append(asyncio.create_task(keep(server.api)))
    await asyncio.sleep(0)
    await server.ok("DELETE", path)
    for _ in range(1000):
        if (await server.call("GET", path))[0] == 200:
            break
        await asyncio.sleep(0.01)
    assert (await server.ok("GET", path))["metadata"]["uid"] != cidr["metadata"]["uid"]


async def test_every_address_has_its_record_while_a_service_has_it(server: Harness) -> None:
    both = ["10.96.0.9", "fd96::9"]
    await server.ok("POST", SERVICES, service("a", clusterIP=both[0], clusterIPs=both, ipFamilyPolicy=REQUIRE))
    server.tasks.append(asyncio.create_task(keep_records(server.api)))

    async def names() -> set[str]:
        items = (await server.ok("GET", f"{NETWORKING}/ipaddresses"))["items"]
        return {item["metadata"]["name"] for item in items}

    async def become(wanted: set[str]) -> None:
        for _ in range(1000):
            if await names() == wanted:
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"after 10 s there are {await names()}, not {wanted}")

    await become({"10.96.0.1", "10.96.0.9", "fd96::9"})
    record = await server.ok("GET", f"{NETWORKING}/ipaddresses/fd96::9")
    assert record["spec"]["parentRef"] == {"resource": "services", "namespace": "default", "name": "a"}
    labels = record["metadata"]["labels"]
    assert labels["ipaddress.kubernetes.io/ip-family"] == "IPv6"
    assert labels["ipaddress.kubernetes.io/managed-by"] == "ipallocator.k8s.io"
    await _patched(server, "a", {"ipFamilyPolicy": SINGLE})
    await become({"10.96.0.1", "10.96.0.9"})
    await server.ok("DELETE", f"{SERVICES}/a")
    await server.ok("POST", SERVICES, service("b", clusterIP="fd96::9"))
    await become({"10.96.0.1", "fd96::9"})
