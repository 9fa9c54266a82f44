"""The parts of a trace that are arithmetic: the token's filter, correlation, comparison, DNS bytes, what is printed."""

from __future__ import annotations

import struct
from dataclasses import replace
from xml.etree import ElementTree

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from netlab.trace import dnsquery, picture, tell
from netlab.trace.compare import compare, explained, nearest, settled
from netlab.trace.correlate import Met, Sight, hops, sort, without_floods
from netlab.trace.file import to_pcapng
from netlab.trace.model import Exchanged, Flow, Hop, Outer, Report, Step, Trace, Verdict, View, with_changes
from netlab.trace.packet import decode
from netlab.trace.predict.state import Forward, Interface, Machine
from netlab.trace.token import AnyToken, Token, token_of

ISN = 0xFFFFFFFE
ETHERNET = bytes(12) + b"\x08\x00"


def ipv4(protocol: int, body: bytes, src: str = "10.0.0.1", dst: str = "10.0.0.2", ttl: int = 64) -> bytes:
    ends = b"".join(bytes(map(int, address.split("."))) for address in (src, dst))
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 7, 0, ttl, protocol, 0) + ends + body


def tcp(seq: int, ack: int = 0, flags: int = 2, dport: int = 80, payload: bytes = b"") -> bytes:
    return struct.pack("!HHIIBBHHH", 40000, dport, seq, ack, 0x50, flags, 1024, 0, 0) + payload


def udp(payload: bytes, sport: int = 40000, dport: int = 53) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def vxlan(inner: bytes) -> bytes:
    return ETHERNET + ipv4(17, udp(b"\x08\0\0\0\0\0\1\0" + inner, 50000, 8472), "192.168.0.1", "192.168.0.2")


def quoted(packet: bytes) -> bytes:
    return ETHERNET + ipv4(1, struct.pack("!BBHI", 3, 3, 0, 0) + packet)


def accepts(program: bytes, frame: bytes) -> bool:
    """The few instructions of classic BPF that are used here."""
    at, value = 0, 0
    while True:
        code, yes, no, k = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code in (0x20, 0x28, 0x30):
            size = {0x20: 4, 0x28: 2, 0x30: 1}[code]
            if k + size > len(frame):
                return False
            value = int.from_bytes(frame[k : k + size], "big")
        elif code == 0x14:
            value = (value - k) & 0xFFFFFFFF
        elif code == 0x35:
            at += yes if value >= k else no
        else:
            assert code == 0x06
            return bool(k)


SYN, SYN_ACK, OTHER = tcp(ISN), tcp(5, 0xFFFFFFFF, 0x12, 40000), tcp(1234)
FRAMES = [
    ("a SYN", ETHERNET + ipv4(6, SYN), "request"),
    ("a SYN in VXLAN", vxlan(ETHERNET + ipv4(6, SYN)), "request"),
    ("its answer", ETHERNET + ipv4(6, SYN_ACK), "reply"),
    ("its answer in VXLAN", vxlan(ETHERNET + ipv4(6, SYN_ACK)), "reply"),
    ("an ICMP error that quotes it", quoted(ipv4(6, SYN)), "error"),
    ("the same in VXLAN", vxlan(quoted(ipv4(6, SYN))), "error"),
    ("another connection", ETHERNET + ipv4(6, OTHER), None),
    ("an ICMP error about another", quoted(ipv4(6, OTHER)), None),
    ("a datagram", ETHERNET + ipv4(17, udp(b"x" * 40)), None),
    ("something short", ETHERNET + b"E", None),
]


@pytest.mark.parametrize(("frame", "role"), [row[1:] for row in FRAMES], ids=[row[0] for row in FRAMES])
def test_a_token_is_known_wherever_it_is(frame: bytes, role: str | None) -> None:
    token = Token("tcp", ISN)
    assert accepts(token.bpf(), frame) == (role is not None)
    assert token.role(decode(frame)) == role


def test_a_whole_connection() -> None:
    token = Token("tcp", 1000, whole=True)
    later = ETHERNET + ipv4(6, tcp(1300, 77, 0x18, payload=b"hello"))
    assert accepts(token.bpf(), later)
    assert not accepts(Token("tcp", 1000).bpf(), later)
    assert not accepts(token.bpf(), ETHERNET + ipv4(6, tcp(999, 5, 0x10)))


def test_datagrams_echoes_and_dns() -> None:
    value = 0xCAFEBABE
    said = udp(struct.pack("!I", value) + b"klab")
    assert accepts(Token("udp", value).bpf(), vxlan(ETHERNET + ipv4(17, said)))
    assert Token("udp", value).role(decode(quoted(ipv4(17, said)))) == "error"
    query = dnsquery.question("web.default", 0xCAFE)
    token = Token("udp", int.from_bytes(query[:4], "big"), dns=True)
    answer = dns.message.make_response(dns.message.from_wire(query))
    for payload, role in ((query, "request"), (answer.to_wire(), "reply")):
        frame = ETHERNET + ipv4(17, udp(payload))
        assert accepts(token.bpf(), frame)
        assert token.role(decode(frame)) == role
    echo = ETHERNET + ipv4(1, struct.pack("!BBHHHI", 8, 0, 0, 1, 1, value))
    assert Token("icmp", value).role(decode(echo)) == "request"
    assert accepts(Token("icmp", value).bpf(), echo)


def test_what_is_followed_live_is_known_by_its_ports_first() -> None:
    frame = ETHERNET + ipv4(6, SYN)
    assert accepts(AnyToken("tcp", frozenset({80, 443})).bpf(), vxlan(frame))
    assert not accepts(AnyToken("tcp", frozenset({8080})).bpf(), frame)
    assert token_of(decode(frame), "tcp") == Token("tcp", ISN)


# -- DNS --------------------------------------------------------------------------------------------------------------


def test_a_question_as_others_read_it() -> None:
    read = dns.message.from_wire(dnsquery.question("web.default.svc.cluster.local", 77, ipv6=True))
    assert (read.id, str(read.question[0])) == (77, "web.default.svc.cluster.local. IN AAAA")
    assert read.flags & dns.flags.RD


def test_an_answer_as_others_write_it() -> None:
    message = dns.message.make_response(dns.message.from_wire(dnsquery.question("a.b", 1)))
    message.answer.append(dns.rrset.from_text("a.b.", 5, "IN", "CNAME", "c.d."))
    message.answer.append(dns.rrset.from_text("c.d.", 5, "IN", "A", "10.0.0.1", "10.0.0.2"))
    found = dnsquery.answer(message.to_wire())
    assert (found.code, sorted(found.addresses)) == ("NOERROR", ["10.0.0.1", "10.0.0.2"])
    message.set_rcode(dns.rcode.NXDOMAIN)
    message.answer.clear()
    assert dnsquery.answer(message.to_wire()) == dnsquery.Answer("NXDOMAIN", ())
    with pytest.raises(ValueError, match="cut short"):
        dnsquery.answer(message.to_wire()[:15])


# -- correlation ------------------------------------------------------------------------------------------------------


def sight(place: str, interface: str, direction: str, time: int, body: bytes = SYN, ttl: int = 64) -> Sight:
    return Sight(place, interface, direction, time, decode(ETHERNET + ipv4(6, body, ttl=ttl)))


def machine(name: str, **ports: tuple[str, str]) -> Machine:
    made = {
        port: Interface(port, 1, "veth", "02:00:00:00:00:01", 1500, master="br", peer=peer)
        for port, peer in ports.items()
    }
    alone = {"eth0": Interface("eth0", 9, "veth", "02:00:00:00:00:02", 1500, peer=("lan", name))}
    bridge = {"br": Interface("br", 8, "bridge", "02:00:00:00:00:03", 1500)}
    return Machine(name, interfaces={**made, **bridge} if ports else alone, fdb=())


MACHINES = {
    "lan": machine("lan", a=("a", "eth0"), b=("b", "eth0"), c=("c", "eth0")),
    **{name: machine(name) for name in "abc"},
}


def test_sights_in_order_and_each_once() -> None:
    seen = sort(
        [
            sight("b", "eth0", "in", 3),
            sight("a", "eth0", "out", 1),
            sight("a", "eth0", "out", 900),
            sight("b", "eth0", "out", 5, SYN_ACK),
            sight("x", "y", "in", 2, OTHER),
        ],
        Token("tcp", ISN),
    )
    assert [(one.place, one.time) for one in seen.request] == [("a", 1), ("b", 3)]
    assert [one.place for one in seen.reply] == ["b"]


def test_copies_of_a_flooded_frame_are_left_out() -> None:
    flooded = [
        sight("a", "eth0", "out", 1),
        sight("lan", "a", "other", 2),
        sight("lan", "b", "out", 3),
        sight("b", "eth0", "other", 4),
        sight("lan", "c", "out", 5),
        sight("c", "eth0", "in", 6),
    ]
    kept = [f"{one.place} {one.interface}" for one in without_floods(flooded, MACHINES)]
    assert kept == ["a eth0", "lan a", "lan c", "c eth0"]
    alone = without_floods([one if one.place != "c" else replace(one, direction="other") for one in flooded], MACHINES)
    assert [f"{one.place} {one.interface}" for one in alone] == ["a eth0", "lan a"], "nobody took it"


def test_a_frame_that_the_table_sends_to_the_wrong_machine_stays() -> None:
    lan = replace(MACHINES["lan"], fdb=(Forward("b", "00:00:00:00:00:00"),))
    seen = [sight("lan", "a", "other", 2), sight("lan", "b", "out", 3), sight("b", "eth0", "other", 4)]
    assert without_floods(seen, {**MACHINES, "lan": lan}) == seen


def test_rules_lie_between_the_sights_of_their_devices() -> None:
    node = Machine(
        "n",
        interfaces={
            "veth": Interface("veth", 2, "veth", "02:00:00:00:00:05", 1500, master="docker0"),
            "docker0": Interface("docker0", 3, "bridge", "02:00:00:00:00:06", 1500),
            "eth0": Interface("eth0", 4, "veth", "02:00:00:00:00:07", 1500),
        },
    )
    seen = [sight("n", "veth", "in", 1), sight("n", "docker0", "in", 2), sight("n", "eth0", "out", 3, ttl=63)]

    def met(hook: str, indev: str, outdev: str) -> Met:
        return Met("n", "request", hook, indev, outdev, Step("rule", hook, hook))

    made, rest = hops(
        seen,
        [met("prerouting", "docker0", ""), met("forward", "docker0", "eth0"), met("postrouting", "", "eth0")],
        {"n": node},
    )
    assert [[step.where for step in hop.steps] for hop in made] == [[], ["prerouting"], ["forward", "postrouting"]]
    assert rest == []
    arrived, rest = hops(seen[:2], [met("prerouting", "docker0", ""), met("input", "docker0", "")], {"n": node})
    assert [step.where for step in rest] == ["input"], "behind the machine's own interface"
    assert [len(hop.steps) for hop in arrived] == [0, 1]


# -- comparison -------------------------------------------------------------------------------------------------------

RULE = Step("rule", "-A FORWARD -j ACCEPT", "iptables filter FORWARD 1", (1, 60), "default/web", True)


def trace(*keys: str, source: str = "predicted", kind: str = "delivered", **view: object) -> Trace:
    seen = View("10.0.0.1", "10.0.0.2", "tcp", 40000, 80, **view)  # type: ignore[arg-type]
    ends = [tuple(key.split()) for key in keys]
    made = [
        Hop(place, interface, "out" if way == "out" else "in", seen, steps=(RULE,) if n == 1 else ())
        for n, (place, interface, way) in enumerate(ends)
    ]
    flow = Flow("a", "10.0.0.1", "10.0.0.2", "tcp", 40000, 80)
    verdict = Verdict(kind, "b", f"{kind} there", cause="a cause", remedy="a remedy")  # type: ignore[arg-type]
    return Trace(flow, with_changes(made), verdict, source)  # type: ignore[arg-type]


WAY = ("a eth0 out", "n vpod in", "n eth0 out", "b eth0 in")
SEEN = trace(*WAY, source="observed")


def changed(one: Trace, index: int, **fields: object) -> Trace:
    made = list(one.hops)
    made[index] = replace(made[index], **fields)  # type: ignore[arg-type]
    return replace(one, hops=tuple(made))


def look(index: int, **fields: object) -> Trace:
    return changed(SEEN, index, packet=replace(SEEN.hops[index].packet, **fields))  # type: ignore[arg-type]


DIFFERENCES = [
    ("another interface", trace(*WAY[:2], "n eth1 out", WAY[3], source="observed"), 3, "where it is seen"),
    ("it ends early", trace(*WAY[:3], source="observed"), 4, "where it is seen"),
    ("it goes on", trace(*WAY, "c eth0 in", source="observed"), 5, "where it is seen"),
    ("another rule", changed(SEEN, 1, steps=(replace(RULE, where="iptables filter FORWARD 2"),)), 2, "rule"),
    ("no rule", changed(SEEN, 1, steps=()), 2, "rule"),
    ("another destination", look(3, dst="10.0.0.9"), 4, "destination"),
    ("another source port", look(2, sport=7), 3, "source"),
    ("another TTL", look(3, ttl=1), 4, "TTL"),
    ("an encapsulation", look(2, outer=Outer("1.1.1.1", "2.2.2.2", 1)), 3, "outer header"),
    ("another end", trace(*WAY, source="observed", kind="refused"), 0, "how it ends"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("observed", "hop", "what"), [row[1:] for row in DIFFERENCES], ids=[row[0] for row in DIFFERENCES]
)
def test_the_first_thing_that_differs(observed: Trace, hop: int, what: str) -> None:
    found = compare(trace(*WAY), observed)
    assert found is not None
    assert (found.hop, found.what) == (hop, what)
    assert what in str(found)


def test_what_nobody_can_know_does_not_differ() -> None:
    assert compare(trace(*WAY), SEEN) is None
    unknown = trace(*WAY)
    unknown = changed(unknown, 3, packet=replace(unknown.hops[3].packet, sport=None))
    assert compare(unknown, look(3, sport=55555)) is None
    lost = trace(*WAY, source="observed", kind="lost")
    assert compare(trace(*WAY, kind="dropped"), lost) is None, "from outside both look the same"


def test_a_hop_that_only_some_packets_show() -> None:
    mine = trace(WAY[0], WAY[1], "n docker0 out", *WAY[2:])
    mine = changed(changed(mine, 2, optional=True, steps=(RULE,)), 1, steps=())
    theirs = changed(changed(SEEN, 1, steps=()), 2, steps=(RULE,))
    assert compare(mine, theirs) is None
    assert [hop.interface for hop in settled(mine, theirs).hops] == ["eth0", "vpod", "eth0", "eth0"]


def test_the_answer_is_compared_too() -> None:
    back = trace("b eth0 out", "a eth0 in")
    found = compare(replace(trace(*WAY), reply=back), replace(SEEN, reply=changed(back, 1, interface="eth9")))
    assert found is not None
    assert (found.part, found.hop) == ("reply", 2)


def test_which_way_was_taken_and_what_explains_it() -> None:
    other = trace("a eth0 out", "n vpod in", "n other out")
    route = Step("route", "to 10.0.0.2: default")
    mine = changed(trace(*WAY, kind="dropped"), 1, steps=(route, RULE))
    assert nearest((other, mine), SEEN) is mine
    told = explained(trace(*WAY, source="observed", kind="lost"), mine)
    assert [step.kind for step in told.hops[1].steps] == ["route", "rule"]
    assert (told.verdict.kind, told.verdict.cause) == ("dropped", "a cause"), "the prediction says why it was lost"


# -- what is shown ----------------------------------------------------------------------------------------------------


def report(**fields: object) -> Report:
    frame = __import__("base64").b64encode(ETHERNET + ipv4(6, SYN)).decode()
    seen = replace(SEEN, reply=trace("b eth0 out", "a eth0 in", source="observed"))
    exchange = (Exchanged(0.0, "TCP a → b SYN", ("a", "b")),)
    made = Report(
        (trace(*WAY),), seen, None, {"10.0.0.2": "default/<b>"}, (("a", "eth0", "out", 10**18, frame),), exchange
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def test_text() -> None:
    text = "\n".join(tell.plain(tell.report(report())))
    for words in (
        "a eth0",
        "10.0.0.1:40000 → 10.0.0.2:80",
        "iptables filter FORWARD 1",
        "⟵ default/web",
        "[1 packet, 60 bytes",
        "delivered: delivered there",
        "the answer",
        "the whole connection",
        "are the same",
    ):
        assert words in text
    difference = compare(trace(*WAY), look(3, ttl=1))
    assert "part at hop 4" in "\n".join(tell.plain(tell.report(report(difference=difference))))
    lost = report(observed=trace(*WAY, source="observed", kind="dropped"))
    assert "probable cause: a cause" in "\n".join(tell.plain(tell.report(lost)))
    quiet = report(observed=changed(SEEN, 1, steps=(replace(RULE, deciding=False, owner=""),)))
    assert "1 rule more" in "\n".join(tell.plain(tell.report(quiet)))
    assert "-A FORWARD" in "\n".join(tell.plain(tell.report(quiet, every=True)))


def test_pictures() -> None:
    root = ElementTree.fromstring(picture.svg(report()))
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text in ("a", "n", "b")] == ["a", "n", "b"], "a column for each place"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}line"))) == 3 + 2 + 1, (
        "columns, and an arrow for each crossing"
    )
    assert "&lt;b&gt;" in picture.html(report(), "<b>")


def test_pcapng_has_an_interface_for_each_hop() -> None:
    data, at, kinds = to_pcapng(report()), 0, []
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        kinds.append(kind)
        at += length
    assert kinds == [0x0A0D0D0A, 1, 1, 1, 1, 4, 6]
    assert all(name in data for name in (b"a:eth0", b"n:vpod", b"b:eth0", b"default.<b>"))
