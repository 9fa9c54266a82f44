"""Decoding against frames that scapy builds, and the story of a flow told from captured frames."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from netlab.trace.packet import decode
from netlab.trace.render import named, outer, story, summary
from netlab.trace.story import Frame, belongs, changes, hops, packets

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
CLIENT, SERVICE, BACKEND = "10.244.1.2", "10.96.7.1", "10.244.2.3"


def syn(dst: str, dport: int, ttl: int = 64, src: str = CLIENT, seq: int = 7) -> Any:
    return ETHER / IP(src=src, dst=dst, ttl=ttl) / TCP(sport=41000, dport=dport, seq=seq, flags="S")


def in_vxlan(inner: Any) -> Any:
    return (
        ETHER / IP(src="192.168.0.3", dst="192.168.0.4") / UDP(sport=51234, dport=8472) / VXLAN(vni=1, flags=8) / inner
    )


SUMMARIES: dict[str, tuple[Any, str]] = {
    "tcp": (syn(SERVICE, 80), "TCP 10.244.1.2:41000 → 10.96.7.1:80 SYN"),
    "tcp with data": (
        ETHER / IP(src="1.1.1.1", dst="2.2.2.2") / TCP(sport=1, dport=2, flags="PA") / Raw(b"hello"),
        "TCP 1.1.1.1:1 → 2.2.2.2:2 ACK,PSH 5 bytes",
    ),
    "udp": (
        ETHER / IP(src="1.1.1.1", dst="2.2.2.2") / UDP(sport=5, dport=53) / Raw(b"xy"),
        "UDP 1.1.1.1:5 → 2.2.2.2:53 2 bytes",
    ),
    "ping": (
        ETHER / IP(src="1.1.1.1", dst="2.2.2.2") / ICMP(type=8, id=3, seq=4),
        "ICMP 1.1.1.1 → 2.2.2.2 echo request id 3 seq 4",
    ),
    "refused": (
        ETHER / IP(src="1.1.1.1", dst="2.2.2.2") / ICMP(type=3, code=3) / Raw(bytes(8)),
        "ICMP 1.1.1.1 → 2.2.2.2 unreachable: port 8 bytes",
    ),
    "arp": (ETHER / ARP(op=1, psrc="1.1.1.1", pdst="2.2.2.2"), "ARP 1.1.1.1 → 2.2.2.2 who has 2.2.2.2? tell 1.1.1.1"),
    "v6": (ETHER / IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=1, dport=2), "UDP fd00::1:1 → fd00::2:2"),
    "vlan": (
        ETHER / Dot1Q(vlan=5) / IP(src="1.1.1.1", dst="2.2.2.2") / UDP(sport=1, dport=2),
        "UDP 1.1.1.1:1 → 2.2.2.2:2",
    ),
}


@pytest.mark.parametrize("case", SUMMARIES)
def test_one_line_says_what_a_frame_is(case: str) -> None:
    frame, text = SUMMARIES[case]
    assert summary(decode(bytes(frame))) == text


def test_vxlan_shows_both_headers() -> None:
    packet = decode(bytes(in_vxlan(syn(BACKEND, 8080))))
    assert outer(packet) == "VXLAN VNI 1 in UDP 192.168.0.3:51234 → 192.168.0.4:8472"
    assert summary(packet) == "TCP 10.244.1.2:41000 → 10.244.2.3:8080 SYN"


@pytest.mark.parametrize("length", range(80))
def test_a_frame_cut_short_is_no_error(length: int) -> None:
    decode(bytes(in_vxlan(syn(BACKEND, 8080)))[:length])


def sight(time: float, place: str, interface: str, frame: Any) -> Frame:
    return Frame(time, place, interface, "in", decode(bytes(frame)))


def call() -> list[Frame]:
    """One SYN from the client to the backend on the other node, and the answer."""
    answer = ETHER / IP(src=BACKEND, dst=CLIENT) / TCP(sport=8080, dport=41000, seq=9, ack=8, flags="SA")
    translated = ETHER / IP(src=SERVICE, dst=CLIENT) / TCP(sport=80, dport=41000, seq=9, ack=8, flags="SA")
    return [
        sight(1.0, "client", "eth0", syn(SERVICE, 80)),
        sight(1.1, "node1", "docker0", syn(SERVICE, 80)),
        sight(1.2, "node1", "flannel.1", syn(BACKEND, 8080, ttl=63)),
        sight(1.3, "node1", "eth0", in_vxlan(syn(BACKEND, 8080, ttl=63))),
        sight(1.35, "node1", "eth0", in_vxlan(syn("10.244.2.9", 8080, src="10.244.1.8"))),
        sight(1.4, "node2", "flannel.1", syn(BACKEND, 8080, ttl=63)),
        sight(1.5, "backend", "eth0", syn(BACKEND, 8080, ttl=62)),
        sight(1.6, "backend", "eth0", answer),
        sight(1.7, "client", "eth0", translated),
    ]


def test_a_flow_is_followed_through_nat_and_encapsulation() -> None:
    flows = packets(call(), CLIENT, 41000)
    assert [[frame.place for frame in flow] for flow in flows] == [
        ["client", "node1", "node1", "node1", "node2", "backend"],
        ["backend", "client"],
    ]


def test_what_changed_from_hop_to_hop_is_said() -> None:
    told = [hop.changes for hop in hops(packets(call(), CLIENT, 41000)[0])]
    assert told == [
        (),
        (),
        ("DNAT 10.96.7.1:80 → 10.244.2.3:8080", "TTL 64 → 63"),
        ("VXLAN on: VNI 1, 192.168.0.3 → 192.168.0.4, +50 bytes",),
        ("VXLAN off: VNI 1, 50 bytes less",),
        ("TTL 63 → 62",),
    ]


def test_masquerade_is_said() -> None:
    before, after = (
        decode(bytes(syn("203.0.113.9", 80))),
        decode(bytes(syn("203.0.113.9", 80, src="192.168.0.3", ttl=63))),
    )
    assert changes(before, after) == ("SNAT 10.244.1.2:41000 → 192.168.0.3:41000", "TTL 64 → 63")


def test_arp_belongs_to_no_flow() -> None:
    assert not belongs(decode(bytes(ETHER / ARP(op=1, psrc=CLIENT, pdst=SERVICE))), CLIENT, 0)


def test_the_story_names_the_rule_behind() -> None:
    text = story(packets(call(), CLIENT, 41000), explain=lambda frame, change: "KUBE-SEP-X" if "DNAT" in change else "")
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index("│ DNAT 10.96.7.1:80 → 10.244.2.3:8080") + 1] == "│   by KUBE-SEP-X"


def test_names_stand_behind_their_addresses() -> None:
    assert (
        named("TCP 10.1.1.1:5 → 10.1.1.10:6", {"10.1.1.1": "a", "10.1.1.10": "b"})
        == "TCP 10.1.1.1(a):5 → 10.1.1.10(b):6"
    )
