"""Filters of captures: each means what libpcap's compiler makes of it, on many packets, and the kernel takes it."""

from __future__ import annotations

import operator
import shutil
import socket
import struct
import subprocess

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from netlab.kernel.bpf import FilterError, compile_filter
from netlab.kernel.capture import attach_filter

FILTERS = {
    "headers": "ip, ip6, arp, rarp, tcp, udp, icmp, icmp6, igmp, sctp, esp, ah, pim, vrrp, ether proto 0x800, "
    "ether proto \\arp, ip proto 17, ip proto \\tcp, ip6 proto 58, ip6 proto \\udp, proto 17",
    "ports": "port 53, tcp port 80, udp port domain, src port 53, dst port 53, udp dst port 8472, port 80 or 443, "
    "tcp port http or https, port (80 or 443), src and dst port 53, src or dst port 53, sctp port 80, not port 53, "
    "portrange 50-60, tcp portrange 80-90, src portrange 1000-2000, udp dst port 53 or tcp port 80",
    "addresses": "host 10.244.1.2, src host 10.244.1.2, dst 10.244.1.2, host 10.244.1.2 or 10.244.1.3, "
    "host 10.244.1.2 and 10.244.1.3, src host (10.244.1.2 or 8.8.8.8), not host 10.244.1.2 and 8.8.8.8, "
    "ip host 10.244.1.3, arp host 10.244.1.3, host fd00::2, src host fd00::2, ip6 host fd00::2, dst fd00::3, "
    "host fd00::2 or host 10.244.1.2, not src host 10.244.1.3",
    "networks": "net 10.244.0.0/16, src net 10.244.0.0/16, net 10.244, net 10, net 192.168.0.0 mask 255.255.0.0, "
    "net fd00::/64, dst net fd00::/16, ip6 net ::/0, net 10.244.1.0/24 or 192.168, dst net 10.244.0.0/16 and udp",
    "the link": "ether host 02:42:0a:f4:01:02, ether src 02:42:0a:f4:01:03, ether dst host 02:42:0a:f4:01:02, "
    "ether broadcast, broadcast, multicast, ether multicast, ip multicast, ip6 multicast",
    "and, or": "tcp or udp and port 53, tcp and port 80 or udp, not tcp and not udp, !(tcp or udp), "
    "tcp && (port 80 || port 443), ip and not (net 10.244.0.0/16 and port 53), "
    "port 53 and ! (src net 10.0.0.0/8 && tcp), ether dst 02:42:0a:f4:01:02 and proto 17",
    "bytes": "tcp[tcpflags] & tcp-syn != 0, tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn, tcp[13] = 2, "
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and port 80, icmp[icmptype] = icmp-echo, "
    "icmp[0] == 8 or icmp[icmptype] != icmp-echoreply, icmp6[icmp6type] == icmp6-echo, icmp6[0] = 135, ip[8] < 64, "
    "ip[0] & 0xf != 5, ip[6:2] & 0x1fff = 0, ip[2:2] > 100, ip[16:4] = 0x0af40103, ip6[6] = 17, ip6[7] > 60, "
    "ether[12:2] = 0x0806, ether[0] & 1 = 1, udp[4:2] > 20, udp[8:4] = 0x08000000, arp[6:2] = 1, (tcp[13] & 2) != 0, "
    "(tcp[13] & 2 != 0), udp and ip[8] = 64, not ip[8] = 64, tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420, "
    "tcp and ((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0",
    "numbers": "len > 100, less 60, greater 60, len - 14 >= 46, ip[2:2] = len - 14, 2 + 3 * 4 = 14, tcp[12] / 16 = 5, "
    "ip[ip[0]&0xf] >= 0, ip[8] % 3 = 1, ip[8] ^ ip[9] > 50, -1 > 5, 1 << 4 = 16, "
    "(1 + ip[8]) * (2 + ip[9]) > (3 + len) * (ip[2:2] - 4)",
}


def samples() -> list[bytes]:
    link = Ether(dst="02:42:0a:f4:01:02", src="02:42:0a:f4:01:03")
    over4 = (
        UDP(sport=1000, dport=53) / Raw(b"x" * 90), UDP(sport=53, dport=53),
        UDP(sport=4000, dport=8472) / b"\x08\0\0\0", TCP(sport=1000, dport=80, flags="S"), ICMP(), ICMP(type=0),
        TCP(sport=443, dport=55, flags="SA"),
        TCP(sport=80, dport=1500, flags="PA") / b"GET / HTTP", SCTP(sport=80, dport=1),
        TCP(sport=1, dport=2, flags="F", options=[("MSS", 1460)]) / b"GET ",
    )  # fmt: skip
    over6 = (
        UDP(sport=1000, dport=53), TCP(sport=80, dport=443, flags="S"), ICMPv6EchoRequest(), ICMPv6ND_NS(tgt="fd00::3"),
        SCTP(dport=80), IPv6ExtHdrFragment(nh=17) / UDP(dport=53), IPv6ExtHdrFragment(nh=58) / Raw(b"x" * 20),
    )  # fmt: skip
    ends4 = (
        ("10.244.1.2", "10.244.1.3"),
        ("10.244.1.3", "8.8.8.8"),
        ("192.168.0.1", "10.244.1.2"),
        ("10.1.1.1", "224.0.0.5"),
    )
    ends6 = (("fd00::2", "fd00::3"), ("fe80::1", "ff02::1"), ("2001:db8::1", "fd00::2"))
    found = [link / IP(src=src, dst=dst, ttl=64 - n) / upper for n, (src, dst) in enumerate(ends4) for upper in over4]
    found += [link / IPv6(src=src, dst=dst) / upper for src, dst in ends6 for upper in over6]
    found += [link / IP(src="10.244.1.2", dst="8.8.8.8", proto=n) / Raw(b"a" * 30) for n in (2, 47, 50, 51, 103, 112)]
    found += [
        link / IP(src="10.244.1.3", dst="10.244.1.2", frag=100, proto=17) / Raw(b"\0\x35\0\x35" + b"a" * 20),
        link / IP(src="10.244.1.3", dst="10.244.1.2", options=b"\x01" * 8) / TCP(dport=80, flags="S") / b"GET ",
        Ether(dst="ff:ff:ff:ff:ff:ff", src="02:42:0a:f4:01:02") / ARP(psrc="10.244.1.2", pdst="10.244.1.3"),
        link / ARP(op=2, psrc="10.244.1.3", pdst="192.168.0.1"),
        Ether(dst="ff:ff:ff:ff:ff:ff", type=0x8035) / Raw(bytes(ARP(psrc="10.244.1.2"))),
        Ether(dst="01:00:5e:00:00:05", src="02:42:0a:f4:01:03", type=0x88B5) / Raw(b"x" * 40),
    ]
    whole = [bytes(packet) for packet in found]
    return whole + [packet[:size] for packet in whole[:12] for size in (14, 20, 34, 40)]


SAMPLES = samples()
ALU = {
    0x00: operator.add, 0x10: operator.sub, 0x20: operator.mul, 0x40: operator.or_, 0x50: operator.and_,
    0x60: operator.lshift, 0x70: operator.rshift, 0xA0: operator.xor, 0x30: operator.floordiv, 0x90: operator.mod,
    0x80: lambda a, _: -a,
}  # fmt: skip
JUMPS = {0x10: operator.eq, 0x20: operator.gt, 0x30: operator.ge, 0x40: operator.and_}


def run(program: bytes, frame: bytes) -> bool:
    """A classic BPF interpreter (Documentation/networking/filter.rst), without the kernel's own loads."""
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    memory = [0] * 16
    a = x = at = 0
    while True:
        op, yes, no, k = code[at]
        at += 1
        kind, second = op & 7, x if op & 8 else k
        if kind == 6:
            return k > 0
        if kind in (0, 1):
            start, size = k + (x if op & 0xE0 == 0x40 else 0), {0: 4, 8: 2, 0x10: 1}[op & 0x18]
            if (start + size if op & 0xE0 in (0x20, 0x40) else k + 1 if op & 0xE0 == 0xA0 else 0) > len(frame):
                return False
            value = {
                0x00: k, 0x60: memory[k & 15], 0x80: len(frame), 0xA0: 4 * (frame[k] & 15) if k < len(frame) else 0,
            }.get(op & 0xE0, int.from_bytes(frame[start : start + size], "big"))  # fmt: skip
            a, x = (value, x) if kind == 0 else (a, value)
        elif kind == 2:
            memory[k] = a
        elif kind == 3:
            memory[k] = x
        elif kind == 4:
            if op & 0xF0 in (0x30, 0x90) and second == 0:
                return False
            a = ALU[op & 0xF0](a, second) & 0xFFFFFFFF
        elif kind == 5:
            at += k if op & 0xF0 == 0 else yes if JUMPS[op & 0xF0](a, second) else no
        else:
            a, x = (a, a) if op & 0xF8 == 0 else (x, x)


def reference(expression: str) -> bytes:
    """What tcpdump's compiler makes of it."""
    command = ["tcpdump", "-y", "EN10MB", "-ddd", "--", expression]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [tuple(map(int, line.split())) for line in result.stdout.splitlines()[1:]]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


@pytest.mark.parametrize("group", FILTERS)
def test_filters_mean_what_pcap_means(group: str) -> None:
    if shutil.which("tcpdump") is None:
        pytest.skip("tcpdump, the reference, is not installed")
    for expression in FILTERS[group].split(", "):
        ours, theirs = compile_filter(expression), reference(expression)
        wrong = [sample.hex() for sample in SAMPLES if run(ours, sample) != run(theirs, sample)]
        assert wrong == [], expression
        assert group == "numbers" or len({run(ours, sample) for sample in SAMPLES}) == 2, expression


def test_the_kernel_takes_every_program() -> None:
    expressions = [one for group in FILTERS.values() for one in group.split(", ")]
    expressions += ["inbound", "outbound and tcp", "vlan", "vlan 7 and ip", " or ".join(f"port {n}" for n in range(60))]
    for expression in expressions:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            attach_filter(sock, compile_filter(expression))


def test_jumps_reach_as_far_as_is_wanted() -> None:
    program = compile_filter(" or ".join(f"port {number}" for number in (*range(100, 140), 53)))
    assert [run(program, sample) for sample in SAMPLES] == [
        run(compile_filter("port 53"), sample) for sample in SAMPLES
    ]
    with pytest.raises(FilterError, match="4096 are possible"):
        compile_filter(" or ".join(f"port {number}" for number in range(400)))


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("udp and", "unfinished"),
        ("(udp", "unfinished: ')' is expected"),
        ("", "unfinished"),
        ("hots 10.0.0.1", "'hots' at character 1: it is not understood; did you mean 'host'?"),
        ("tcp prot 80", "'prot' at character 5"),
        ("tcp 80", "'80' at character 5: 'and' or 'or' is missing before it"),
        ("tcp port 80 adn udp", "did you mean 'and'?"),
        ("port 70000", "a number up to 65535"),
        ("port htttp", "write its number"),
        ("port 80-90", "portrange N-M"),
        ("host 10.0.0.300", "'10.0.0.300' at character 6: it is no address"),
        ("host web", "names are not looked up here"),
        ("host 10.0.0.0/8", "write 'net' instead"),
        ("net 10.0.0.1/8", "write '10.0.0.0/8'"),
        ("ip6 host 10.0.0.1", "no address that 'ip6' can have"),
        ("ether host 10.0.0.1", "a hardware address is expected"),
        ("tcp host 10.0.0.1", "write 'tcp and host …'"),
        ("udp )", "')' at character 5"),
        ("udp $", "'$' at character 5"),
        ("tcp[13] & tcp-sin != 0", "did you mean 'tcp-syn'?"),
        ("tcp[13", "']' is expected here"),
        ("tcp[0:3] = 1", "1, 2 or 4 bytes"),
        ("len", "a comparison is expected"),
        ("1 / 0 = 2", "division by zero"),
        ("ip proto foo", "one of icmp, igmp, tcp"),
        ("vlan 5000", "a number up to 4095"),
        ("gateway 10.0.0.1", "not supported here; write 'ether host MAC"),
        ("ip broadcast", "write 'dst host' and its last address"),
        ("ip.addr == 10.0.0.1", "display filters are Wireshark's"),
    ],
)
def test_a_filter_that_is_not_understood_says_where_and_what_to_write(expression: str, complaint: str) -> None:
    with pytest.raises(FilterError) as problem:
        compile_filter(expression)
    assert complaint in str(problem.value)
