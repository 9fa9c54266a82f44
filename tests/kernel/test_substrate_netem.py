"""Links with delay, jitter and loss, where the kernel has netem (scripts/vm-test runs these under one that has)."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from pathlib import Path

import pytest

from netlab.kernel import features, netns
from netlab.substrate import build
from netlab.topology import load

pytestmark = pytest.mark.vm

TWO = """\
name: two
nodes: {{n1: {{role: control-plane}}, n2: }}
switches: [s1]
links:
  - {{ends: [n1, s1], {how}}}
  - ends: [n2, s1]
"""


def need_netem() -> None:
    found = features.feature("netem")
    if not found.available:
        pytest.skip(f"netem: {found.detail}; scripts/vm-test runs this test")


def two(tmp_path: Path, how: str):
    path = tmp_path / "two.yaml"
    path.write_text(TWO.format(how=how))
    return build(load(path))


def test_each_direction_waits_as_long_as_the_link_says(sandbox, tmp_path):
    need_netem()
    net = two(tmp_path, "delay: 30ms")
    shown = net.get("n1").cmd("ping -c5 -i0.2 -W5 " + net.node_ip("n2"))
    times = [float(value) for value in re.findall(r"time=([\d.]+)", shown)][1:]  # the first one waits for ARP, too
    assert len(times) == 4 and all(60 <= value < 120 for value in times), shown
    net.stop()


def poll(receiver: socket.socket, seconds: float) -> bool:
    """Whether something arrives in that time."""
    return bool(select.select([receiver], [], [], seconds)[0])


def drain(receiver: socket.socket) -> int:
    """How many of the counted packets wait."""
    found = 0
    while True:
        try:
            found += len(receiver.recv(200)) == 100
        except BlockingIOError:
            return found


def test_as_many_packets_are_lost_as_the_link_says(sandbox, tmp_path):
    need_netem()
    net = two(tmp_path, "loss: 20%")
    sender, receiver = (net.netns(name).socket(socket.AF_INET, socket.SOCK_DGRAM) for name in ("n1", "n2"))
    receiver.bind(("0.0.0.0", 9999))
    receiver.setblocking(False)
    end = time.monotonic() + 30
    while not poll(receiver, 0.1):  # ARP is lost as often, and asked again after a second
        assert time.monotonic() < end, "no packet arrived in 30 s"
        sender.sendto(b"x", (net.node_ip("n2"), 9999))
    got = 0
    for _ in range(1000):
        sender.sendto(b"y" * 100, (net.node_ip("n2"), 9999))
        got += drain(receiver)
    time.sleep(0.5)
    got += drain(receiver)
    assert 720 <= got <= 880, got
    net.stop()


RATE = 4_000_000
"""So little that the bucket holds 30 ms: the virtual machine may be kept waiting for the processor that long."""


def stream(sender: socket.socket, receiver: socket.socket, seconds: float) -> float:
    """Bits per second that arrive, once what was in the queues at the start is through."""
    received, began = 0, 0.0
    end = time.monotonic() + seconds
    sender.setblocking(False)
    receiver.settimeout(5)
    payload = b"x" * 65536
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            sender.send(payload)
        received += len(receiver.recv(1 << 20))
        if not began and time.monotonic() > end - seconds + 1:
            began, received = time.monotonic(), 0
    return received * 8 / (time.monotonic() - began)


def test_a_tcp_stream_gets_the_bandwidth_of_the_link(sandbox, tmp_path):
    net = two(tmp_path, "bandwidth: 4Mbit")
    with net.netns("n2").socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("0.0.0.0", 9998))
        listener.listen()
        sender = net.netns("n1").socket(socket.AF_INET, socket.SOCK_STREAM)
        sender.connect((net.node_ip("n2"), 9998))
        receiver = listener.accept()[0]
    with sender, receiver:
        measured = stream(sender, receiver, 4)
    assert 0.85 * RATE <= measured <= 1.15 * RATE, measured
    net.stop()


def test_the_shipped_wide_area_network_stands_and_building_it_again_changes_nothing(sandbox):
    need_netem()
    wan = load("topologies/wan.yaml")
    net = build(wan)
    before = sorted(netns.names())
    nodes = [node.name for node in wan.nodes]
    shown = net.get(nodes[0]).cmd(f"ping -c10 -i0.2 -W5 {net.node_ip(nodes[-1])}")
    times = [float(value) for value in re.findall(r"time=([\d.]+)", shown)]
    assert times and min(times) > 50, shown
    build(wan)
    assert sorted(netns.names()) == before
    net.stop()
