"""LoadBalancer addresses: who gets which, who answers for them, the packets that say so, and the controller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import pytest

from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi
from netlab.client.kinds import EVENTS, SERVICES
from netlab.controllers import ControllersConfig
from netlab.controllers.context import Context
from netlab.controllers.loadbalancer import LoadBalancerController
from netlab.controllers.loadbalancer_plan import CLASS, FINALIZER, Decision, assigned, decide, holders, ingress
from netlab.dataplane.loadbalancers import EXCLUDE, announced_by, candidates, leader
from netlab.kernel import arp, ndp
from netlab.topology import TopologyError, dump, loads
from netlab.topology.pool import AddressRange

POOL = (AddressRange.parse("192.168.77.200-192.168.77.202"), AddressRange.parse("fd00:77::200-fd00:77::201"))


def service(name: str = "web", *ips: str, **more: Any) -> Obj:
    meta: Obj = {"name": name, "namespace": "default", "creationTimestamp": more.pop("created", "2024-01-01T00:00:00Z")}
    for key in ("annotations", "finalizers", "deletionTimestamp"):
        if key in more:
            meta[key] = more.pop(key)
    spec = {"type": "LoadBalancer", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", **more}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": spec,
        "status": {"loadBalancer": {"ingress": ingress(ips)} if ips else {}},
    }


DUAL: dict[str, Any] = {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}
OURS: dict[str, Any] = {"finalizers": [FINALIZER]}
OTHER = service("other", "192.168.77.200")


def got(*ips: str, finalizer: bool | None = True) -> Decision:
    listed = " ".join(f'"{ip}"' for ip in ips)
    return Decision(finalizer, ips, ("Normal", "IPAllocated", f"Assigned IP [{listed}]"))


def refused(text: str, *, addresses: tuple[str, ...] | None = None, finalizer: bool | None = True) -> Decision:
    event = ("Warning", "AllocationFailed", f'Failed to allocate IP for "default/web": {text}')
    return Decision(finalizer, addresses, event)


FULL = [service(f"s{n}", f"192.168.77.{n}") for n in (200, 201, 202)]
CASES: list[tuple[str, Obj, list[Obj], Decision]] = [
    ("first free", service(), [], got("192.168.77.200")),
    ("next free", service(), [OTHER], got("192.168.77.201")),
    ("keeps what it has", service("web", "192.168.77.201", **OURS), [OTHER], Decision()),
    ("finalizer lost", service("web", "192.168.77.201"), [], Decision(True)),
    ("two families", service(**DUAL), [], got("192.168.77.200", "fd00:77::200")),
    ("a family more", service("web", "192.168.77.202", **DUAL), [], got("192.168.77.202", "fd00:77::200")),
    ("a family less", service("web", "192.168.77.200", "fd00:77::200"), [], got("192.168.77.200")),
    ("none left", service(), FULL, refused("no available IPs")),
    ("asks by spec", service(loadBalancerIP="192.168.77.202"), [], got("192.168.77.202")),
    ("asks by note", service(annotations={"metallb.io/loadBalancerIPs": "192.168.77.201"}), [], got("192.168.77.201")),
    ("asks anew", service("web", "192.168.77.200", loadBalancerIP="192.168.77.202"), [], got("192.168.77.202")),
    (
        "asks for both",
        service(annotations={"metallb.io/loadBalancerIPs": "fd00:77::201,192.168.77.201"}, **DUAL),
        [],
        got("fd00:77::201", "192.168.77.201"),
    ),
    ("asks outside", service(loadBalancerIP="10.0.0.1"), [], refused('["10.0.0.1"] is not allowed in config')),
    (
        "asks for a taken one",
        service(loadBalancerIP="192.168.77.200"),
        [OTHER],
        refused('can\'t change sharing key for "default/web", address also in use by default/other'),
    ),
    (
        "asks for the wrong family",
        service(loadBalancerIP="fd00:77::200"),
        [],
        refused('requested loadBalancer IP(s) ["fd00:77::200"] does not match the ipFamily of the service'),
    ),
    ("asks nonsense", service(loadBalancerIP="x"), [], refused("invalid spec.LoadBalancerIP 'x'")),
    (
        "asks twice",
        service(loadBalancerIP="192.168.77.200", annotations={"metallb.io/loadBalancerIPs": "192.168.77.200"}),
        [],
        refused("service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP"),
    ),
    ("loses to an older one", service("web", "192.168.77.200", created="2025"), [OTHER], got("192.168.77.201")),
    ("outside of a new pool", service("web", "192.168.77.9", **OURS), [], got("192.168.77.200", finalizer=None)),
    ("our class", service(loadBalancerClass=CLASS), [], got("192.168.77.200")),
    ("another class", service("web", "9.9.9.9", loadBalancerClass="example.com/lb"), [], Decision()),
    ("deleted", service("web", "192.168.77.200", deletionTimestamp="now", **OURS), [], Decision(False, ())),
    ("deleted, released", service(deletionTimestamp="now", **OURS), [], Decision(False)),
    ("deleted, none of ours", service("web", "192.168.77.200", deletionTimestamp="now"), [], Decision()),
    ("another type", service("web", "192.168.77.200", type="ClusterIP", **OURS), [], Decision(False, ())),
    ("never was one", service(type="NodePort"), [], Decision()),
]


@pytest.mark.parametrize(("one", "others", "decision"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_a_service_gets(one: Obj, others: list[Obj], decision: Decision) -> None:
    assert decide(one, holders([one, *others]), POOL) == decision


def test_without_a_pool_nothing_is_touched() -> None:
    for one in (service(), service("web", "9.9.9.9")):
        assert decide(one, holders([one]), ()) == Decision()
    assert decide(service(deletionTimestamp="now", **OURS), {}, ()) == Decision(False)


def test_prefer_dual_stack_takes_what_the_pool_has() -> None:
    one = service(ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="PreferDualStack")
    assert decide(one, {}, POOL[:1]) == got("192.168.77.200")
    assert decide(one, {}, POOL) == got("192.168.77.200", "fd00:77::200")


def node(name: str, ready: str = "True", **labels: str) -> Obj:
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def slices(**nodes: tuple[bool, bool, bool]) -> list[Obj]:
    """Endpoints by node: (ready, serving, terminating)."""
    names = ("ready", "serving", "terminating")
    return [
        {
            "endpoints": [
                {"nodeName": name, "conditions": dict(zip(names, flags, strict=True))} for name, flags in nodes.items()
            ]
        }
    ]


UP, DOWN, ENDING = (True, True, False), (False, False, False), (False, True, True)
NODES = [node("a"), node("b"), node("c", "Unknown"), node("d", **{EXCLUDE: ""})]


@pytest.mark.parametrize(
    ("policy", "endpoints", "expected"),
    [
        ("Cluster", slices(a=UP), ["a", "b"]),
        ("Cluster", slices(c=UP), ["a", "b"]),
        ("Cluster", slices(a=DOWN), []),
        ("Cluster", [], []),
        ("Cluster", slices(a=ENDING), ["a", "b"]),
        ("Local", slices(a=UP), ["a"]),
        ("Local", slices(a=UP, b=UP), ["a", "b"]),
        ("Local", slices(c=UP, d=UP), []),
        ("Local", slices(a=DOWN, b=UP), ["b"]),
        ("Local", slices(a=ENDING, b=UP), ["b"]),
        ("Local", slices(a=ENDING, b=DOWN), ["a"]),
    ],
)
def test_who_may_answer(policy: str, endpoints: list[Obj], expected: list[str]) -> None:
    assert candidates(service(externalTrafficPolicy=policy), endpoints, NODES) == expected


def test_the_leader_moves_only_what_a_lost_node_had() -> None:
    names = [f"node{n}" for n in range(5)]
    addresses = [f"192.168.77.{n}" for n in range(1, 251)]
    before = {address: leader(address, names) for address in addresses}
    shares = [list(before.values()).count(name) for name in names]
    assert min(shares) > 25 and leader("192.168.77.1", []) is None
    after = {address: leader(address, names[1:]) for address in addresses}
    assert all(after[one] == was for one, was in before.items() if was != names[0])
    assert leader("192.168.77.9", reversed(names)) == before["192.168.77.9"]


def test_all_nodes_agree_on_one_announcer() -> None:
    one = service("web", "192.168.77.200", "192.168.77.9")
    near = {"192.168.77.200": NODES}  # the other address is on no segment of the nodes
    found = [announced_by(name, [one], {"default/web": slices(a=UP)}, near) for name in "abcd"]
    assert sorted(map(len, found)) == [0, 0, 0, 1]
    assert {"192.168.77.200": "default/web"} in found
    hostname_only = {**one, "status": {"loadBalancer": {"ingress": [{"ip": "192.168.77.200", "ipMode": "Proxy"}]}}}
    assert all(not announced_by(name, [hostname_only], {"default/web": slices(a=UP)}, near) for name in "abcd")


MAC, ASKER = bytes.fromhex("026ec0a84d03"), bytes.fromhex("026ec0a84d01")


def test_an_arp_request_is_answered_by_who_has_the_address() -> None:
    asked = arp.Arp(arp.BROADCAST, arp.REQUEST, ASKER, "192.168.77.1", bytes(6), "192.168.77.200")
    assert arp.parse(asked.pack()) == asked and len(asked.pack()) == 42
    reply = arp.answer(asked, {"192.168.77.200"}, MAC)
    assert reply == arp.Arp(ASKER, arp.REPLY, MAC, "192.168.77.200", ASKER, "192.168.77.1")
    assert arp.answer(asked, {"192.168.77.201"}, MAC) is None
    assert reply is not None and arp.answer(reply, {"192.168.77.1"}, MAC) is None
    request, again = arp.gratuitous("192.168.77.200", MAC)
    assert request.sender == request.target and (request.operation, again.operation) == (1, 2)
    assert arp.answer(request, {"192.168.77.200"}, ASKER) is None
    assert arp.parse(asked.pack()[:41]) is None and arp.parse(b"\0" * 42) is None


def test_a_neighbour_solicitation_is_answered_by_who_has_the_address() -> None:
    from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
    from scapy.layers.l2 import Ether

    target = "fd00:77::200"
    group = ndp.solicited_node(target)
    assert group == "ff02::1:ff00:200"
    frame = bytes(
        Ether(src="02:6e:c0:a8:4d:01", dst="33:33:ff:00:02:00")
        / IPv6(src="fd00:77::1", dst=group, hlim=255)
        / ICMPv6ND_NS(tgt=target)
    )
    asked = ndp.parse(frame)
    assert asked == ndp.Solicitation(ASKER, "fd00:77::1", target)
    reply = ndp.answer(asked, {target}, MAC)
    assert reply is not None and ndp.answer(asked, {"fd00:77::201"}, MAC) is None
    packet = Ether(reply)
    said = packet[ICMPv6ND_NA]
    assert (packet[IPv6].dst, packet[IPv6].hlim, said.tgt, said.S, said.O) == ("fd00:77::1", 255, target, 1, 1)
    assert packet[ICMPv6NDOptDstLLAddr].lladdr == "02:6e:c0:a8:4d:03"
    checksum = said.cksum
    del packet[ICMPv6ND_NA].cksum
    assert Ether(bytes(packet))[ICMPv6ND_NA].cksum == checksum
    news = Ether(ndp.unsolicited(target, MAC))
    assert (news.dst, news[IPv6].dst, news[ICMPv6ND_NA].S) == ("33:33:00:00:00:01", "ff02::1", 0)
    far = frame[:21] + b"\x40" + frame[22:]
    assert ndp.parse(far) is None


COURSE = """
nodes: {master: {role: control-plane}, node1: }
routers: {router: }
switches: {lan: {subnet: SUBNET}}
links:
  - {ends: [router, lan]}
  - {ends: [master, lan]}
  - {ends: [node1, lan]}
"""


@pytest.mark.parametrize(
    ("subnet", "key", "pool"),
    [
        ("192.168.77.0/24", "", ("192.168.77.200-192.168.77.250",)),
        ("192.168.77.0/26", "", ()),
        ("192.168.77.0/24", "none", ()),
        ("192.168.77.0/24", "192.168.77.240/28", ("192.168.77.240-192.168.77.254",)),
        (
            "192.168.77.0/24",
            "[192.168.77.9, 192.168.77.20-192.168.77.30]",
            ("192.168.77.9", "192.168.77.20-192.168.77.30"),
        ),
    ],
)
def test_the_pool_of_a_topology(subnet: str, key: str, pool: tuple[str, ...]) -> None:
    text = (f"cluster: {{loadBalancerPool: {key}}}\n" if key else "") + COURSE.replace("SUBNET", subnet)
    topology = loads(text, "lab.yaml")
    assert topology.cluster.load_balancer_pool == pool
    assert loads(dump(topology), "lab.yaml") == topology


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "192.168.77.9-192.168.77.3",
            "lab.yaml:1:29: cluster.loadBalancerPool: '192.168.77.9-192.168.77.3' is no range",
        ),
        ("192.168.77.0/24", "192.168.77.1 of the pool 192.168.77.0-192.168.77.255 is the address of 'router'"),
        ("10.0.0.0/24", "is on no subnet of the cluster's nodes (use addresses of 192.168.77.0/24)"),
        ("fd00::/120", "is IPv6, the cluster has IPv4"),
        ("[192.168.77.9, 192.168.77.9]", "overlap (write each address once)"),
    ],
)
def test_a_wrong_pool_names_the_place(key: str, message: str) -> None:
    text = f"cluster: {{loadBalancerPool: {key}}}\n" + COURSE.replace("SUBNET", "192.168.77.0/24")
    with pytest.raises(TopologyError) as caught:
        loads(text, "lab.yaml")
    assert message in str(caught.value)


def test_a_range_knows_its_addresses() -> None:
    entry = AddressRange.parse("10.0.0.4/31")
    assert list(map(str, entry)) == ["10.0.0.4", "10.0.0.5"]
    assert ip_address("10.0.0.5") in entry and ip_address("10.0.0.6") not in entry and ip_address("::1") not in entry


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client(FakeApi())
    config = ControllersConfig(load_balancer_pool=("192.168.77.200-192.168.77.201",))
    context = Context(client, config)
    controller = LoadBalancerController(context)
    task = asyncio.create_task(controller.run())
    yield client
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await controller.services.stop()
    await controller.events.close()


async def test_the_controller_assigns_and_releases(client: Client) -> None:
    for name in ("one", "two", "three"):
        await client.create(SERVICES, service(name, created=f"2024-01-01T00:00:0{len(name)}Z"), "default")
    found: dict[str, Obj] = {}

    async def wait(what: str, *expected: tuple[str, tuple[str, ...]]) -> None:
        async with asyncio.timeout(20):
            while True:
                listed = await client.list(SERVICES)
                found.update({one["metadata"]["name"]: one for one in listed["items"]})
                if all(name in found and assigned(found[name]) == ips for name, ips in expected):
                    return
                await asyncio.sleep(0.01)

    await wait("two of three", ("one", ("192.168.77.200",)), ("two", ("192.168.77.201",)), ("three", ()))
    assert found["one"]["metadata"]["finalizers"] == [FINALIZER]
    await client.delete(SERVICES, "one", "default")
    await wait("the freed one goes to the third", ("three", ("192.168.77.200",)))
    names = [one["metadata"]["name"] for one in (await client.list(SERVICES))["items"]]
    assert sorted(names) == ["three", "two"]
    await client.patch(SERVICES, "two", {"spec": {"type": "ClusterIP"}}, "default", patch_type="merge")
    await wait("released by the type", ("two", ()))
    reasons: set[str] = set()
    async with asyncio.timeout(20):
        while (await client.get(SERVICES, "two", "default"))["metadata"].get("finalizers") or len(reasons) < 2:
            reasons = {one["reason"] for one in (await client.list(EVENTS))["items"]}
            await asyncio.sleep(0.01)
    assert reasons == {"IPAllocated", "AllocationFailed"}
