"""Captures, filters, conntrack: what is seen in a namespace."""

from __future__ import annotations

import select
import socket
import time

import pytest

from netlab.dataplane.bridge import bridge_network
from netlab.dataplane.model import Plan
from netlab.dataplane.nodes import NodeNet, PodNet
from netlab.kernel import conntrack, iptables, netns
from netlab.kernel.apply import apply
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
