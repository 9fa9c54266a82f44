"""Captures, filters, conntrack: what is seen in a namespace."""

from __future__ import annotations

import select
import shutil
import socket
import struct
import subprocess
import time

import pytest

from netlab.dataplane.bridge import bridge_network
from netlab.dataplane.model import Plan
from netlab.dataplane.nodes import NodeNet, PodNet
from netlab.kernel import conntrack, iptables, netns
from netlab.kernel.apply import apply
from netlab.kernel.bpf import FilterError, compile_filter
from netlab.kernel.capture import Capture, Frame, capture
from netlab.kernel.errors import KernelError
from netlab.kernel.pods import setup_pods

UDP, TCP = 17, 6


def two_pods() -> tuple[netns.NetNs, netns.NetNs, netns.NetNs]:
    """A node with two pods, 10.244.1.2 and 10.244.1.3."""
    net = NodeNet("n", "10.244.1.0/24", "192.168.0.1")
    node, one, two = netns.many(["n", "one", "two"])
    apply(node, Plan.adding(bridge_network(net).objects(), "test"))
    setup_pods(node, [(one, PodNet.of("uid-1", "10.244.1.2", net)), (two, PodNet.of("uid-2", "10.244.1.3", net))])
    return node, one, two


def frames(sight: Capture, count: int) -> list[Frame]:
    found: list[Frame] = []
    deadline = time.monotonic() + 10
    while len(found) < count and select.select([sight], [], [], deadline - time.monotonic())[0]:
        found += sight.read()
    return found


def say(source: netns.NetNs, destination: str, port: int, words: bytes = b"hello") -> None:
    with source.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 5000))
        sock.sendto(words, (destination, port))


def test_a_capture_sees_what_its_filter_lets_through_with_time_and_direction(sandbox):
    node, one, two = two_pods()
    began = time.time_ns()
    at_sender = capture(one, "eth0", expression="udp and dst port 7777")
    at_receiver = capture(two, "eth0", expression="udp port 7777")
    everywhere = capture(node, expression="src host 10.244.1.2 and udp port 7777")
    say(one, "10.244.1.3", 1234, b"not this one")
    say(one, "10.244.1.3", 7777)
    sent, received = frames(at_sender, 1)[0], frames(at_receiver, 1)[0]
    assert (sent.netns, sent.interface, sent.direction) == ("one", "eth0", "out")
    assert (received.netns, received.direction, received.length) == ("two", "in", 14 + 20 + 8 + 5)
    assert received.data.endswith(b"hello") and sent.data == received.data
    assert began <= sent.time <= received.time <= time.time_ns()
    seen = {(frame.interface[:4], frame.direction) for frame in frames(everywhere, 2)}
    assert seen == {("veth", "other"), ("veth", "out")}  # bridged: in, for another host, and out
    assert at_receiver.dropped() == 0


def test_capturing_on_an_interface_that_is_not_there_says_so(sandbox):
    ns = netns.create("n")
    with pytest.raises(KernelError, match="capture on eth9 of n"):
        capture(ns, "eth9")


def test_conntrack_lists_and_deletes_connections(sandbox):
    node, one, two = two_pods()
    iptables.restore(
        node, "*nat\n-A PREROUTING -d 10.96.0.1/32 -p udp -m udp --dport 53 -j DNAT --to 10.244.1.3:7777\nCOMMIT\n"
    )
    server = two.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 7777))
    server.settimeout(10)
    say(one, "10.96.0.1", 53)
    assert server.recv(100) == b"hello"
    (entry,) = [entry for entry in conntrack.entries(node) if entry.original.dst == "10.96.0.1"]
    assert (entry.proto, entry.original.sport, entry.original.dport) == (UDP, 5000, 53)
    assert (entry.reply.src, entry.reply.sport) == ("10.244.1.3", 7777)
    assert entry.status & conntrack.DST_NAT and "[UNREPLIED]" in str(entry)
    assert conntrack.count(node) == len(conntrack.entries(node))
    assert conntrack.flush(node, proto=TCP) == 0
    assert conntrack.flush(node, proto=UDP, dst="10.96.0.1", dport=53, reply_src="10.244.1.3") == 1
    assert not conntrack.delete(node, entry) and conntrack.count(node) == len(conntrack.entries(node))


FILTERS = (
    "ip",
    "arp or ip6",
    "icmp",
    "host 10.244.1.3",
    "not src host 10.244.1.3",
    "dst net 10.244.0.0/16 and udp",
    "udp dst port 53 or tcp port 80",
    "port 53 and ! (src net 10.0.0.0/8 && tcp)",
    "ether host 02:42:0a:f4:01:02",
    "ether dst 02:42:0a:f4:01:02 and proto 17",
)


def ethernet(kind: int, payload: bytes) -> bytes:
    return bytes.fromhex("02420af40102") + bytes.fromhex("02420af40103") + kind.to_bytes(2, "big") + payload


def ipv4(proto: int, source: str, destination: str, payload: bytes, fragment: int = 0) -> bytes:
    head = bytes([0x45, 0]) + (20 + len(payload)).to_bytes(2, "big") + bytes(2) + fragment.to_bytes(2, "big")
    head += bytes([64, proto, 0, 0]) + socket.inet_aton(source) + socket.inet_aton(destination)
    return ethernet(0x0800, head + payload)


def ports(source: int, destination: int) -> bytes:
    return source.to_bytes(2, "big") + destination.to_bytes(2, "big") + bytes(16)


SAMPLES = (
    ipv4(17, "10.244.1.3", "10.244.1.2", ports(1000, 53)),
    ipv4(17, "10.244.1.2", "10.244.1.3", ports(53, 1000)),
    ipv4(17, "192.168.0.1", "10.244.1.3", ports(53, 53), fragment=100),
    ipv4(6, "10.244.1.2", "8.8.8.8", ports(1000, 80)),
    ipv4(6, "10.244.1.2", "8.8.8.8", ports(53, 53)),
    ipv4(1, "8.8.8.8", "10.244.1.3", bytes(40)),
    ethernet(
        0x0806, bytes(14) + socket.inet_aton("10.244.1.3") + bytes(6) + socket.inet_aton("10.244.1.2") + bytes(18)
    ),
    ethernet(0x86DD, bytes(60)),
)


def run(program: bytes, frame: bytes) -> bool:
    """A classic BPF interpreter for the instructions that the compiler uses."""
    code = [struct.unpack_from("=HBBI", program, i) for i in range(0, len(program), 8)]
    a = x = at = 0
    while True:
        op, yes, no, k = code[at]
        at += 1
        if op == 0x06:
            return k > 0
        if op in (0x20, 0x28, 0x30, 0x48):
            size = {0x20: 4, 0x28: 2, 0x30: 1, 0x48: 2}[op]
            start = k + (x if op == 0x48 else 0)
            if start + size > len(frame):
                return False
            a = int.from_bytes(frame[start : start + size], "big")
        elif op == 0xB1:
            x = 4 * (frame[k] & 0xF)
        elif op == 0x54:
            a &= k
        else:
            at += yes if (a == k if op == 0x15 else a & k) else no


def expected(expression: str, sample: bytes) -> bool:
    """The same by tcpdump's compiler."""
    result = subprocess.run(["tcpdump", "-y", "EN10MB", "-ddd", expression], capture_output=True, text=True, check=True)
    rows = [tuple(map(int, line.split())) for line in result.stdout.splitlines()[1:]]
    return run(b"".join(struct.pack("=HBBI", *row) for row in rows), sample)


@pytest.mark.parametrize("expression", FILTERS)
def test_filters_mean_what_pcap_means(expression):
    if shutil.which("tcpdump") is None:
        pytest.skip("tcpdump, the reference, is not installed")
    program = compile_filter(expression)
    for sample in SAMPLES:
        assert run(program, sample) == expected(expression, sample), sample.hex()


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("udp and", "unfinished"),
        ("hots 10.0.0.1", "'hots' is not understood"),
        ("port 70000", "not a number up to 65535"),
        ("host 10.0.0.300", "10.0.0.300"),
        ("udp )", "')' is not understood"),
        ("(udp", "unfinished"),
        ("udp $", "'$' is not understood"),
    ],
)
def test_a_filter_that_is_not_understood_says_where(expression, complaint):
    with pytest.raises(FilterError) as problem:
        compile_filter(expression)
    assert complaint in str(problem.value)
