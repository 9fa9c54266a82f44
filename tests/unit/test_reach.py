"""Reachability, the deciding part: pairs, patience, tiles, verdicts, differences, pictures, packets."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from netlab.trace.model import Flow, Trace, Verdict
from netlab.trace.reach import matrix as m
from netlab.trace.reach import pace, plan, render, wire
from netlab.trace.reach.matrix import Matrix, Source, Target
from netlab.trace.reach.predicted import worst


def pod(
    name: str, ip: str, node: str = "node1", ports: tuple[tuple[str, int], ...] = (), **spec: Any
) -> dict[str, Any]:
    container = {"name": "c", "ports": [{"protocol": proto, "containerPort": port} for proto, port in ports]}
    return {
        "metadata": {"namespace": "default", "name": name, "uid": f"{name}-1234-5678-9abc"},
        "spec": {"nodeName": node, "containers": [container], **spec},
        "status": {"phase": "Running", "podIPs": [{"ip": one} for one in ip.split()]},
    }


def service(name: str, ip: str, *ports: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"clusterIPs": [ip], "ports": list(ports)}}


WORLD = plan.World(
    machines=(
        plan.Machine("node1", ("192.168.0.1",), True, "lan"),
        plan.Machine("node2", ("192.168.0.2",), True, "lan"),
        plan.Machine("client", ("203.0.113.10",), False, "internet"),
    ),
    pods=(
        pod("web", "10.244.1.2", ports=(("TCP", 8080),)),
        pod("dual", "10.244.1.3 fd00::3"),
        pod("host", "192.168.0.1", hostNetwork=True),
        {**pod("done", "10.244.1.9"), "status": {"phase": "Succeeded", "podIPs": [{"ip": "10.244.1.9"}]}},
    ),
    services=(
        service("kubernetes", "10.96.0.1", {"name": "https", "port": 443, "protocol": "TCP"}),
        service("web", "10.96.1.1", {"port": 80, "nodePort": 30080}),
        service("headless", "None", {"port": 80}),
        service("kube-dns", "10.96.0.10", {"name": "dns", "port": 53, "protocol": "UDP"}, namespace="kube-system"),
    ),
)

ASKED = [
    ("icmp", "pods", ["default/web", "default/dual", "default/dual (fd00::3)"]),
    ("icmp", "services", []),
    ("icmp", "nodes", ["node1", "node2"]),
    ("icmp", "hosts", ["client"]),
    ("tcp", "services", ["svc/default/kubernetes:https", "svc/default/web:80"]),
    ("tcp", "nodeports", ["node1:30080 (svc/default/web:80)", "node2:30080 (svc/default/web:80)"]),
    ("tcp", "dns", ["dns/kube-system/kube-dns"]),
    ("udp", "services", []),
    ("udp", "dns", ["dns/kube-system/kube-dns"]),
    ("sctp", "pods", ["default/web", "default/dual", "default/dual (fd00::3)"]),
]


@pytest.mark.parametrize(("proto", "group", "names"), ASKED)
def test_what_a_protocol_asks(proto: m.Proto, group: m.Group, names: list[str]) -> None:
    assert [target.name for target in plan.targets(WORLD, proto, [group])] == names


def test_every_protocol_and_group_has_a_row() -> None:
    assert {proto for proto, _, _ in ASKED} == set(plan.PROTOS)
    assert {group for _, group, _ in ASKED} == set(plan.GROUPS)


def test_a_promise_is_a_listener() -> None:
    found = {t.name: (t.port, t.listens) for t in plan.targets(WORLD, "tcp", plan.GROUPS)}
    assert found["default/web"] == (8080, True)
    assert found["default/dual"] == (plan.DISCARD, False)
    assert found["node1"] == (10250, True)
    assert found["svc/default/web:80"] == (80, True)
    (udp,) = [t for t in plan.targets(WORLD, "udp", ["pods"]) if t.name == "default/web"]
    assert (udp.port, udp.listens) == (plan.DISCARD, False)


def test_who_asks() -> None:
    asking, _ = plan.choose(WORLD, "icmp", ("pods",), None, None)
    assert [source.name for source in asking] == ["default/web", "default/dual"]
    asking, _ = plan.choose(WORLD, "icmp", ("pods", "nodes"), None, None)
    assert [source.name for source in asking] == ["default/web", "default/dual", "node1", "node2"]
    for name in ("web", "pod/web", "default/web", "pod/default/web"):
        asking, asked = plan.choose(WORLD, "tcp", (), name, "svc/web")
        assert [source.netns for source in asking] == ["cni-web123456789"]
        assert [(t.ip, t.port) for t in asked] == [("10.96.1.1", 80)]
    _, asked = plan.choose(WORLD, "tcp", (), "node1", "203.0.113.7:443")
    assert [(t.ip, t.port, t.listens) for t in asked] == [("203.0.113.7", 443, True)]
    both = replace(WORLD, pods=(*WORLD.pods, pod("client", "10.244.1.4")))
    for name, meant in (("client", "default/client"), ("pod/client", "default/client"), ("host/client", "client")):
        asking, asked = plan.choose(both, "icmp", (), name, "node/node1")
        assert ([source.name for source in asking], [t.name for t in asked]) == ([meant], ["node1"])
    for source, target in (("nobody", None), ("web", "nobody")):
        with pytest.raises(plan.Unknown, match="nobody"):
            plan.choose(WORLD, "icmp", ("pods",), source, target)


def test_nobody_asks_itself_nor_a_family_it_has_not() -> None:
    asking, asked = plan.choose(WORLD, "icmp", ("pods",), None, None)
    assert plan.work(asking, asked, None) == [[1], [0]]
    web, dual = plan.work(asking, asked, 1, seed=1), plan.work(asking, asked, 1, seed=1)
    assert web == dual
    assert sum(map(len, web)) == 1
    assert sum(map(len, plan.work(asking, asked, 99))) == 2


def test_patience_learns() -> None:
    nobody = pace.Patience()
    assert nobody.wait(0) == pace.FIRST_WAIT > nobody.wait(1) > 0
    quick = nobody.seen(0.0001).seen(0.0002)
    assert quick.wait(0) == pace.KERNEL_FLOOR
    assert quick.wait(0) < quick.wait(1) < quick.wait(2)
    slow = quick.seen(0.2)
    assert slow.wait(0) >= 0.4
    assert slow.seen(60).wait(2) == pace.CEILING
    assert pace.Patience(pace.PROGRAM_FLOOR).seen(0.001).wait(0) == pace.PROGRAM_FLOOR


@pytest.mark.parametrize(("members", "room"), [(1, 614), (17, 614), (100, 614), (1000, 614), (5, 2), (3, 0)])
def test_tiles_cover_all_pairs_once_and_fit(members: int, room: int) -> None:
    seen: set[frozenset[int]] = set()
    for one, other in pace.tiles(members, room):
        pairs = {frozenset((a, b)) for a in one for b in other if a != b}
        assert not pairs & seen
        assert 2 * len(pairs) <= max(2, room)
        seen |= pairs
    assert len(seen) == members * (members - 1) // 2


def test_chunks() -> None:
    assert [list(one) for one in pace.chunks(5, 2)] == [[0, 1], [2, 3], [4]]


BEFORE = Matrix("tcp", ("a", "b"), ("x", "y"), ("pods", "services"), ("oo", "c-"))
AFTER = Matrix("tcp", ("a", "c"), ("x", "y"), ("pods", "services"), ("ot", "o-"), {(0, 1): "why"})


def test_differences_are_by_name() -> None:
    found = m.differences(BEFORE, AFTER)
    assert [str(one) for one in found] == [
        "a -> y: reachable, now no answer",
        "c -> x: not asked, now reachable",
        "b -> x: reachable, port closed, now not asked",
    ]
    assert m.differences(BEFORE, BEFORE) == []


def test_prediction_may_be_late_or_in_part() -> None:
    some = {(0, 1): f"dropped (50%{m.SOME}"}
    predicted = Matrix("tcp", ("a",), ("w", "x", "y", "z"), ("pods",) * 4, ("utot",), {(0, 3): some[0, 1]})
    found = Matrix("tcp", ("a",), ("w", "x", "y", "z"), ("pods",) * 4, ("ttro",))
    assert [str(one) for one in m.unlike_predicted(predicted, found)] == ["a -> y: reachable, now refused"]


def way(kind: str, share: float = 1.0, text: str = "", reply: str = "") -> Trace:
    answer = way(reply) if reply else None
    return Trace(Flow("a", "10.0.0.1", "10.0.0.2", "tcp"), (), Verdict(kind, "b", text), share=share, reply=answer)  # type: ignore[arg-type]


WAYS = [
    ([way("delivered")], True, "o", ""),
    ([way("delivered", reply="dropped")], True, "t", "the answer: "),
    ([way("refused")], False, "c", ""),
    ([way("refused", text="reset")], True, "r", "reset"),
    ([way("rejected", text="port unreachable")], True, "r", "port unreachable"),
    ([way("rejected", text="no route")], True, "u", "no route"),
    ([way("lost", text="nobody")], False, "t", "nobody"),
    ([way("delivered", 0.75), way("dropped", 0.25, "gone")], True, "t", f"gone (25%{m.SOME}"),
]


@pytest.mark.parametrize(("ways", "listens", "letter", "words"), WAYS)
def test_predicted_ways_as_the_prober_finds_them(ways: list[Trace], listens: bool, letter: str, words: str) -> None:
    assert worst(ways, listens) == (letter, words)


def test_counts() -> None:
    assert (AFTER.asked, AFTER.reachable, AFTER.bad()) == (3, 2, [("a", "y", "t", "why")])
    assert BEFORE.reachable == BEFORE.asked == 3, "a closed port is an answer of the machine"


def test_json_and_back() -> None:
    obj = json.loads(json.dumps(AFTER.to_obj()))
    assert m.from_obj(obj) == AFTER
    broken: list[Any] = [{}, [], {**obj, "rows": ["oo"]}, {**obj, "rows": ["o?", "oo"]}, {**obj, "sources": 7}, "text"]
    for wrong in broken:
        with pytest.raises(m.BadMatrix):
            m.from_obj(wrong)


def test_text() -> None:
    lines = render.lines(AFTER)
    assert "a -> y: no answer (why)" in lines
    assert lines[-1].startswith("2 of 3 pairs reachable (tcp); 1 no answer")
    big = Matrix("icmp", tuple(map(str, range(90))), tuple(map(str, range(90))), ("pods",) * 90, ("t" * 90,) * 90)
    assert len(render.lines(big)) == render.LISTED + 3
    assert len(render.differences(m.differences(BEFORE, AFTER))) == 3


def test_picture() -> None:
    drawing = ElementTree.fromstring(render.svg(AFTER, m.differences(BEFORE, AFTER)))
    colours = [one.get("fill") for one in drawing.iter("{http://www.w3.org/2000/svg}rect")]
    assert colours.count(render.COLOURS["t"]) == 2, "a cell and the legend"
    assert colours.count("none") == 2, "two of the differences are in the picture"
    large = Matrix("icmp", tuple(map(str, range(500))), ("t",) * 1000, ("pods",) * 1000, ("o" * 1000,) * 500)
    assert len(render.svg(large)) < 100_000
    assert set(render.COLOURS) == set(m.VERDICTS)


def test_packets() -> None:
    packet = wire.echo(0x1234, 7)
    assert wire.checksum(packet) == 0
    assert struct.unpack("!BBHHH", packet)[3:] == (0x1234, 7)
    assert wire.crc32c(b"123456789") == 0xE3069283, "the check value of the Castagnoli polynomial"
    init = wire.sctp_init(4000, 5000, 9)
    assert struct.unpack_from("!HH", init) == (4000, 5000)
    assert struct.unpack_from("<I", init, 8)[0] == wire.crc32c(init[:8] + bytes(4) + init[12:])
    query = wire.dns_query("kubernetes.default", 5)
    assert query[12:] == b"\x0akubernetes\x07default\0\0\1\0\1"
    answer = query[:2] + b"\x81\x80" + query[4:] + bytes((10, 96, 0, 1))
    assert wire.dns_answer(answer, 5, "10.96.0.1") == ""
    assert wire.dns_answer(answer, 5, "10.96.0.2") == "the answer has not 10.96.0.2"
    assert wire.dns_answer(answer, 6, "") == "not an answer to the question"
    assert wire.dns_answer(query[:2] + b"\x81\x83" + query[4:], 5, "") == "NXDOMAIN"


def test_a_source_is_plain_data() -> None:
    from netlab.trace.reach.__main__ import request

    found = json.loads(
        request("icmp", [Source("a", "ns", ("10.0.0.1",))], [Target("b", "pods", "10.0.0.2")], [[0]], [])
    )
    assert (found["sources"][0]["ips"], found["targets"][0]["ip"], found["work"]) == (["10.0.0.1"], "10.0.0.2", [[0]])
