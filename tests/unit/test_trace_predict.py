"""What is computed of a packet's way, on machines made of data: every kind of step and of ending, and what is
random."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from netlab.dataplane.fib import FibRoute, PolicyRule
from netlab.dataplane.model import Hop as NextHop
from netlab.dataplane.model import Vxlan
from netlab.trace.model import Flow, Trace, from_obj, to_obj
from netlab.trace.predict import Interface, Machine, Uninterpretable, World, predict
from netlab.trace.predict.state import Forward, Listener, Neighbour
from netlab.trace.predict.tables import parse_nft, parse_xtables

NAT = """*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:SEP-A - [0:0]
:SEP-B - [0:0]
:KUBE-SERVICES - [0:0]
:SVC-WEB - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
[7:420] -A KUBE-SERVICES -d 10.96.0.7/32 -p tcp -m comment --comment "default/web" -m tcp --dport 80 -j SVC-WEB
-A SVC-WEB -m comment --comment "default/web" -m statistic --mode random --probability 0.25000000000 -j SEP-A
-A SVC-WEB -m comment --comment "default/web" -j SEP-B
-A SEP-A -s 10.1.0.2/32 -m comment --comment "default/web" -j MASQ
-A SEP-A -p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination 10.1.0.2:8080
-A SEP-B -s 10.2.0.2/32 -m comment --comment "default/web" -j MASQ
-A SEP-B -p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination 10.2.0.2:8080
COMMIT
"""
MACS = {
    "a": "02:00:00:00:01:02",
    "b": "02:00:00:00:02:02",
    "bridge1": "02:00:00:00:01:01",
    "vtep1": "02:00:00:00:0a:01",
    "bridge2": "02:00:00:00:02:01",
    "vtep2": "02:00:00:00:0a:02",
    "one": "02:00:00:00:ff:01",
    "two": "02:00:00:00:ff:02",
    "port": "06:00:00:00:00:00",
}


def route(dst: str, dev: str, via: str = "", kind: str = "unicast", table: int = 254, **more: Any) -> FibRoute:
    return FibRoute(table, dst, kind, dev, via, **more)


def local(address: str, dev: str) -> FibRoute:
    return route(f"{address}/32", dev, kind="local", table=255, src=address)


def pod(name: str, address: str, gateway: str, gateway_mac: str, node: str, port: str) -> Machine:
    eth0 = Interface("eth0", 2, "veth", MACS[name], 1450, peer=(node, port), addresses=((address, 24, 0),))
    return Machine(
        name,
        "pod",
        {"eth0": eth0},
        (
            local(address, "eth0"),
            route("0.0.0.0/0", "eth0", gateway),
            route(address.rsplit(".", 1)[0] + ".0/24", "eth0", src=address),
        ),
        neighbours=(Neighbour("eth0", gateway, gateway_mac, "permanent"),),
        listeners=(Listener("tcp", "", 8080),),
    )


def node(number: int, other: int) -> Machine:
    name, there = {1: "one", 2: "two"}[number], {1: "one", 2: "two"}[other]
    owned, bridge, vtep = {1: "a", 2: "b"}[number], MACS[f"bridge{number}"], MACS[f"vtep{number}"]
    interfaces = {
        "eth0": Interface(
            "eth0", 2, "veth", MACS[name], 1500, peer=("lan", f"p{number}"), addresses=((f"192.168.0.{number}", 24, 0),)
        ),
        "docker0": Interface("docker0", 3, "bridge", bridge, 1450, addresses=((f"10.{number}.0.1", 24, 0),)),
        "flannel.1": Interface(
            "flannel.1",
            4,
            "vxlan",
            vtep,
            1450,
            vxlan=Vxlan(1, f"192.168.0.{number}", "eth0"),
            addresses=((f"10.{number}.0.0", 32, 0),),
        ),
        "vpod": Interface("vpod", 5, "veth", MACS["port"], 1450, master="docker0", hairpin=True, peer=(owned, "eth0")),
    }
    return Machine(
        name,
        "node",
        interfaces,
        (
            local(f"192.168.0.{number}", "eth0"),
            local(f"10.{number}.0.1", "docker0"),
            local(f"10.{number}.0.0", "flannel.1"),
            route("192.168.0.0/24", "eth0", src=f"192.168.0.{number}"),
            route(f"10.{number}.0.0/24", "docker0", src=f"10.{number}.0.1"),
            route(f"10.{other}.0.0/24", "flannel.1", f"10.{other}.0.0", onlink=True),
        ),
        neighbours=(
            Neighbour("docker0", f"10.{number}.0.2", MACS[owned], "permanent"),
            Neighbour("flannel.1", f"10.{other}.0.0", MACS[f"vtep{other}"], "permanent"),
            Neighbour("eth0", f"192.168.0.{other}", MACS[there], "reachable"),
        ),
        fdb=(Forward("flannel.1", MACS[f"vtep{other}"], f"192.168.0.{other}"), Forward("vpod", MACS[owned])),
        sysctls={"net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": "1"},
        xtables=parse_xtables(NAT, "legacy"),
    )


def lan() -> Machine:
    ports = {
        f"p{n}": Interface(f"p{n}", n + 1, "veth", MACS["port"], 1500, master="br", peer=(name, "eth0"))
        for n, name in ((1, "one"), (2, "two"))
    }
    bridge = Interface("br", 9, "bridge", "06:00:00:00:00:09", 1500)
    fdb = (Forward("p1", MACS["one"]), Forward("p2", MACS["two"]))
    return Machine("lan", "switches", {"br": bridge, **ports}, fdb=fdb)


def world(**changed: Machine) -> World:
    machines = [
        pod("a", "10.1.0.2", "10.1.0.1", MACS["bridge1"], "one", "vpod"),
        pod("b", "10.2.0.2", "10.2.0.1", MACS["bridge2"], "two", "vpod"),
        node(1, 2),
        node(2, 1),
        lan(),
    ]
    return World(
        {one.name: changed.get(one.name, one) for one in machines},
        lambda address: {"10.2.0.2": "default/b"}.get(address, ""),
    )


def flow(dst: str = "10.2.0.2", protocol: str = "tcp", dport: int = 8080, **more: Any) -> Flow:
    return Flow(more.pop("source", "a"), more.pop("src", "10.1.0.2"), dst, protocol, 40000, dport, **more)


def only(found: tuple[Trace, ...]) -> Trace:
    (trace,) = found
    return trace


OVERLAY = [
    "a eth0",
    "one vpod",
    "one docker0",
    "one flannel.1",
    "one eth0",
    "lan p1",
    "lan p2",
    "two eth0",
    "two flannel.1",
    "two docker0",
    "two vpod",
    "b eth0",
]


def test_a_pod_of_another_node() -> None:
    trace = only(predict(world(), flow()))
    assert [f"{hop.place} {hop.interface}" for hop in trace.hops] == OVERLAY
    assert [hop.packet.ttl for hop in trace.hops] == [64, 64, 64, *[63] * 6, 62, 62, 62]
    outer = [hop.packet.outer for hop in trace.hops]
    assert [bool(one) for one in outer] == [name in OVERLAY[4:8] for name in OVERLAY]
    assert (outer[4].src, outer[4].dst, outer[4].vni) == ("192.168.0.1", "192.168.0.2", 1)  # type: ignore[union-attr]
    assert trace.verdict.kind == "delivered"
    assert trace.reply is not None
    back = [*OVERLAY[:6:-1], "lan p2", "lan p1", *OVERLAY[4::-1]]
    assert [f"{hop.place} {hop.interface}" for hop in trace.reply.hops] == back
    assert trace.reply.verdict.kind == "delivered"


def test_a_service_has_a_way_for_each_endpoint() -> None:
    far, near = predict(world(), flow("10.96.0.7", dport=80))
    assert (round(far.share, 6), round(near.share, 6)) == (0.75, 0.25)
    assert (far.choices, near.choices) == ((), ("10.1.0.2:8080",)), "the last rule is no choice"
    assert far.hops[-1].packet.destination == "10.2.0.2:8080"
    assert far.hops[2].changes == ("DNAT 10.96.0.7:80 → 10.2.0.2:8080",)
    rule = next(step for step in far.hops[2].steps if "KUBE-SERVICES 1" in step.where)
    assert (rule.counter, rule.owner) == ((7, 420), "default/web")
    assert any(step.owner == "default/b" and step.deciding for step in far.hops[2].steps), "the endpoint has a name"
    assert far.reply is not None
    assert far.reply.hops[-1].packet.source == "10.96.0.7:80", "the answer's translation is undone"


def test_a_pod_that_calls_itself_is_masqueraded_on_the_bridge() -> None:
    near = predict(world(), flow("10.96.0.7", dport=80), wanted=frozenset({"10.1.0.2:8080"}))
    trace = only(near)
    assert [hop.key for hop in trace.hops] == [
        ("a", "eth0", "out"),
        ("one", "vpod", "in"),
        ("one", "docker0", "out"),
        ("one", "vpod", "out"),
        ("a", "eth0", "in"),
    ]
    assert [hop.optional for hop in trace.hops] == [False, False, True, False, False]
    last = trace.hops[-1].packet
    assert (last.src, last.sport, last.ttl) == ("10.1.0.1", None, 64), "switched, not routed; a port nobody can know"
    assert trace.reply is not None
    assert trace.reply.verdict.kind == "delivered"


def edited(machine: Machine, **fields: Any) -> Machine:
    return replace(machine, **fields)


def device(machine: Machine, name: str, **fields: Any) -> Machine:
    return edited(machine, interfaces={**machine.interfaces, name: replace(machine.interfaces[name], **fields)})


def filtered(number: int, rules: str, policy: str = "ACCEPT") -> Machine:
    text = f"*filter\n:INPUT ACCEPT [0:0]\n:FORWARD {policy} [0:0]\n:OUTPUT ACCEPT [0:0]\n{rules}\nCOMMIT\n"
    machine = node(number, 3 - number)
    return edited(machine, xtables=(*machine.xtables, *parse_xtables(text, "legacy")))


def guarded(text: str) -> Machine:
    listing = "table inet guard { # handle 1\n\tchain f { # handle 2\n"
    listing += "\t\ttype filter hook forward priority filter; policy accept;\n"
    return edited(node(1, 2), nft=parse_nft(f"{listing}\t\t{text} # handle 5\n\t}}\n}}\n"))


ENDINGS: list[tuple[str, dict[str, Machine], dict[str, Any], str, str]] = [
    ("nobody listens", {}, {"dport": 9}, "refused b", "listens on tcp port 9"),
    (
        "a filter rule",
        {"one": filtered(1, "-A FORWARD -d 10.2.0.0/16 -j DROP")},
        {},
        "dropped one",
        "iptables filter FORWARD 1",
    ),
    ("a policy", {"two": filtered(2, "", "DROP")}, {}, "dropped two", "policy of FORWARD"),
    (
        "a rejecting rule",
        {"one": filtered(1, "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset")},
        {},
        "rejected one",
        "tcp-reset",
    ),
    (
        "an established connection only",
        {"one": filtered(1, "-A FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP")},
        {},
        "dropped one",
        "FORWARD 1",
    ),
    ("by interfaces", {"one": filtered(1, "-A FORWARD -i docker0 -o flannel+ -j DROP")}, {}, "dropped one", "flannel+"),
    (
        "an nftables rule",
        {"one": guarded("ip daddr 10.2.0.2 tcp dport 8080 counter packets 3 bytes 180 drop")},
        {},
        "dropped one",
        "nft inet guard f handle 5",
    ),
    ("no forwarding entry", {"one": edited(node(1, 2), fdb=())}, {}, "dropped one", "no forwarding entry"),
    (
        "no neighbour entry",
        {"one": edited(node(1, 2), neighbours=())},
        {},
        "dropped one",
        "no neighbour entry for 10.2.0.0",
    ),
    (
        "a wrong MAC",
        {
            "one": edited(
                node(1, 2),
                neighbours=(
                    *node(1, 2).neighbours[:2],
                    Neighbour("eth0", "192.168.0.2", "02:00:00:00:ff:99", "permanent"),
                ),
            )
        },
        {},
        "dropped lan",
        "nobody behind br",
    ),
    (
        "a frame for somebody else",
        {
            "lan": edited(lan(), fdb=(Forward("p2", "02:00:00:00:ff:99"),)),
            "one": edited(
                node(1, 2),
                neighbours=(*node(1, 2).neighbours[:2], Neighbour("eth0", "192.168.0.2", "02:00:00:00:ff:99", "stale")),
            ),
        },
        {},
        "dropped two",
        "the frame is for",
    ),
    ("a cut cable", {"one": device(node(1, 2), "eth0", carrier=False)}, {}, "dropped one", "no carrier"),
    ("a switch port that is down", {"lan": device(lan(), "p2", up=False)}, {}, "dropped lan", "nobody behind br"),
    (
        "an interface that is down",
        {"two": device(node(2, 1), "docker0", up=False)},
        {},
        "dropped two",
        "docker0 of two is down",
    ),
    (
        "no route",
        {"two": edited(node(2, 1), routes=node(2, 1).routes[:3])},
        {},
        "rejected two",
        "has no way to 10.2.0.2",
    ),
    (
        "a black hole",
        {"one": edited(node(1, 2), routes=(*node(1, 2).routes, route("10.2.0.2/32", "", kind="blackhole")))},
        {},
        "dropped one",
        "blackhole",
    ),
    (
        "a policy rule",
        {
            "one": edited(
                node(1, 2),
                rules=(
                    PolicyRule(0, "table", 255),
                    PolicyRule(5, "prohibit", src="10.1.0.0/16"),
                    PolicyRule(10, "table", 254),
                ),
            )
        },
        {},
        "rejected one",
        "prohibit",
    ),
    (
        "no forwarding",
        {"one": edited(node(1, 2), sysctls={"net.bridge.bridge-nf-call-iptables": "1"})},
        {},
        "dropped one",
        "net.ipv4.ip_forward is 0",
    ),
    (
        "reverse path filter",
        {
            "two": edited(
                node(2, 1),
                sysctls={**node(2, 1).sysctls, "net.ipv4.conf.all.rp_filter": "1"},
                routes=(*node(2, 1).routes, route("10.1.0.2/32", "eth0")),
            )
        },
        {},
        "dropped two",
        "rp_filter",
    ),
    (
        "too big, and may not be fragmented",
        {"two": device(node(2, 1), "docker0", mtu=900)},
        {"protocol": "icmp", "dport": 0, "size": 1000},
        "rejected two",
        "MTU 900",
    ),
    ("too big for the sender", {}, {"protocol": "icmp", "dport": 0, "size": 2000}, "dropped a", "message too long"),
    (
        "an MTU black hole",
        {"lan": device(lan(), "p2", mtu=1000)},
        {"protocol": "icmp", "dport": 0, "size": 1100},
        "dropped lan",
        "bridge's port p2",
    ),
    (
        "hairpin mode off",
        {"one": device(node(1, 2), "vpod", hairpin=False)},
        {"dst": "10.1.0.2", "source": "b", "src": "10.2.0.2"},
        "delivered a",
        "a socket of a",
    ),
]


@pytest.mark.parametrize(
    ("changed", "fields", "end", "words"), [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS]
)
def test_how_it_ends(changed: dict[str, Machine], fields: dict[str, Any], end: str, words: str) -> None:
    trace = only(predict(world(**changed), flow(**fields)))
    assert f"{trace.verdict.kind} {trace.verdict.place}" == end
    assert words in f"{trace.verdict.text} {trace.verdict.cause}"
    if trace.verdict.kind != "delivered":
        assert trace.verdict.cause
        assert trace.verdict.remedy
        assert trace.reply is None or trace.verdict.kind == "refused"


def test_hairpin_needs_the_port_s_mode() -> None:
    changed = device(node(1, 2), "vpod", hairpin=False)
    trace = only(predict(world(one=changed), flow("10.96.0.7", dport=80), wanted=frozenset({"10.1.0.2:8080"})))
    assert "hairpin mode is off" in trace.verdict.text
    assert trace.verdict.remedy == "bridge link set dev vpod hairpin on"


def test_fragments_go_on_where_that_is_allowed() -> None:
    changed = {"two": device(node(2, 1), "docker0", mtu=900)}
    trace = only(predict(world(**changed), flow(protocol="icmp", dport=0, size=1000, df=False)))
    assert trace.verdict.kind == "delivered"
    assert any(step.kind == "mtu" and "fragments" in step.text for hop in trace.hops for step in hop.steps)


def test_without_br_netfilter_bridged_frames_meet_no_rule() -> None:
    off = {**node(1, 2).sysctls, "net.bridge.bridge-nf-call-iptables": "0"}
    found = predict(world(one=edited(node(1, 2), sysctls=off)), flow("10.96.0.7", dport=80))
    assert {trace.hops[2].key for trace in found} == {("one", "docker0", "in")}, "up to IP, and only there translated"
    assert all(not step.where for trace in found for step in trace.hops[2].steps)


def test_equal_routes_are_ways_of_their_own() -> None:
    hops = (NextHop("192.168.0.2", "eth0", 3), NextHop("192.168.0.9", "eth0", 1))
    machine = edited(node(1, 2), routes=(*node(1, 2).routes[:5], route("10.2.0.0/24", "", hops=hops)))
    two = edited(node(2, 1), routes=(*node(2, 1).routes[:5], route("10.1.0.0/24", "eth0", "192.168.0.1")))
    best, other = predict(world(one=machine, two=two), flow())
    assert (best.share, best.verdict.kind) == (0.75, "delivered")
    assert (other.share, other.verdict.text) == (0.25, "no neighbour entry for 192.168.0.9 on eth0")


@pytest.mark.parametrize(
    "rule",
    [
        "-A FORWARD -m length --length 1:2 -j DROP",
        "-A FORWARD -j NFQUEUE --queue-num 3",
        "-A FORWARD -m set --match-set mine src -j DROP",
    ],
)
def test_a_rule_that_is_not_understood_is_named(rule: str) -> None:
    with pytest.raises(Uninterpretable) as refused:
        predict(world(one=filtered(1, rule)), flow())
    assert rule.split(" -j")[0].rsplit(" ", 1)[-1] in str(refused.value)


def test_a_rule_that_no_packet_reaches_may_be_anything() -> None:
    found = only(predict(world(one=filtered(1, "-A OTHER -m length --length 1:2 -j DROP")), flow()))
    assert found.verdict.kind == "delivered"


def test_nftables_that_are_not_understood() -> None:
    with pytest.raises(Uninterpretable, match="iifgroup"):
        predict(world(one=guarded("iifgroup 7 drop")), flow())


def test_loops_end() -> None:
    one = edited(node(1, 2), routes=(*node(1, 2).routes[:4], route("10.9.0.0/24", "eth0", "192.168.0.2")))
    two = edited(node(2, 1), routes=(*node(2, 1).routes[:4], route("10.9.0.0/24", "eth0", "192.168.0.1")))
    trace = only(predict(world(one=one, two=two), flow("10.9.0.1")))
    assert trace.verdict.text in ("its TTL has run out", "it goes round in a circle")


def test_json_and_back() -> None:
    for trace in predict(world(), flow("10.96.0.7", dport=80)):
        assert from_obj(to_obj(trace)) == trace
