"""Pod to pod: netlab's overlay against the same VXLAN set up by hand with `ip`, in one run, in turns.

One TCP stream of 256 KiB writes, and round trips of small UDP packets. Sender and receiver are two processes.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from netlab.dataplane.bridge import bridge_network
from netlab.dataplane.model import Address, Plan, Step
from netlab.dataplane.model import Link as Device
from netlab.dataplane.nodes import NodeNet, PodNet
from netlab.dataplane.overlay import node_network
from netlab.kernel import links, netns, throwaway, veth
from netlab.kernel.apply import apply
from netlab.kernel.pods import setup_pods
from tests.bench.peers import table

SECONDS = 0.7
ROUNDS = 5
Pair = tuple[netns.NetNs, netns.NetNs, str]
"""Client's namespace, server's namespace, server's address."""

BY_HAND = """\
ip netns add h1; ip netns add h2; ip netns add q1; ip netns add q2
ip link add eth0 netns h1 type veth peer name eth0 netns h2
for i in 1 2; do
  o=$((3 - i))
  ip -n h$i addr add 192.168.9.$i/24 dev eth0
  ip -n h$i link set eth0 up
  ip -n h$i link add vx type vxlan id 1 local 192.168.9.$i dev eth0 dstport 8472 nolearning
  ip -n h$i link set vx address 02:00:00:00:00:0$i mtu 1450 up
  ip -n h$i addr add 10.9.$i.0/32 dev vx
  ip -n h$i link add docker0 mtu 1450 type bridge
  ip -n h$i link set docker0 up
  ip -n h$i addr add 10.9.$i.1/24 dev docker0
  ip -n h$i route add 10.9.$o.0/24 via 10.9.$o.0 dev vx onlink
  ip -n h$i neigh add 10.9.$o.0 lladdr 02:00:00:00:00:0$o dev vx nud permanent
  bridge -n h$i fdb add 02:00:00:00:00:0$o dev vx dst 192.168.9.$o self permanent
  ip netns exec h$i sysctl -qw net.ipv4.ip_forward=1
  ip -n h$i link add v0 mtu 1450 master docker0 up type veth peer name eth0 mtu 1450 netns q$i
  ip -n q$i addr add 10.9.$i.2/24 dev eth0
  ip -n q$i link set eth0 up
  ip -n q$i route add default via 10.9.$i.1
done
"""


def by_hand() -> Pair:
    subprocess.run(["sh", "-ec", BY_HAND], check=True)
    return netns.open("q1"), netns.open("q2"), "10.9.2.2"


def overlay(backend: str) -> Pair:
    """Two nodes on one cable, a pod on each."""
    nets = [NodeNet(f"{backend}{i}", f"10.{i}.0.0/24", f"192.168.0.{i}", backend=backend) for i in (1, 2)]  # type: ignore[arg-type]
    nodes = netns.many([net.name for net in nets])
    nodes[0].netlink.request(veth.create(veth.End("eth0"), veth.End("eth0", fd=nodes[1].fd)), "cable")
    pods = []
    for node, net in zip(nodes, nets, strict=True):
        up = Step("change", Device("eth0"), "cable", old=Device("eth0", up=False))
        apply(node, Plan((up, Step("add", Address("eth0", f"{net.node_ip}/24"), "underlay"))))
        apply(node, Plan.adding(node_network(net, nets).objects(), "overlay"))
        ns = netns.create(f"pod-{net.name}")
        setup_pods(node, [(ns, PodNet.of(f"{backend}{net.name}", net.gateway[:-1] + "2", net))])
        pods.append(ns)
    return pods[0], pods[1], "10.2.0.2"


def same_node() -> Pair:
    net = NodeNet("single", "10.5.0.0/24", "192.168.0.1")
    node, one, two = netns.many([net.name, "one", "two"])
    apply(node, Plan.adding(bridge_network(net).objects(), "bridge"))
    setup_pods(node, [(one, PodNet.of("one", "10.5.0.2", net)), (two, PodNet.of("two", "10.5.0.3", net))])
    return one, two, "10.5.0.3"


def direct() -> Pair:
    """A plain veth pair: what the machine can do at all."""
    one, two = netns.many(["d1", "d2"])
    one.netlink.request(veth.create(veth.End("eth0"), veth.End("eth0", fd=two.fd)), "cable")
    for i, ns in enumerate((one, two), 1):
        ns.netlink.request(links.set_up("eth0", True), "up")
        apply(ns, Plan.adding([Address("eth0", f"10.8.0.{i}/24")], "address"))
    return one, two, "10.8.0.2"


def throughput(pair: Pair) -> float:
    """Gb/s of one TCP stream."""
    client, server, address = pair
    listener = server.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("0.0.0.0", 0))
    listener.listen()
    sender = client.socket(socket.AF_INET, socket.SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        sender.connect((address, listener.getsockname()[1]))
        block = bytes(256 * 1024)
        while True:
            sender.sendall(block)
    sender.close()
    receiver, _ = listener.accept()
    buffer = bytearray(1 << 20)
    warm = time.perf_counter() + 0.2
    while time.perf_counter() < warm:
        receiver.recv_into(buffer)
    total, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        total += receiver.recv_into(buffer)
    elapsed = time.perf_counter() - began
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return total * 8 / elapsed / 1e9


def round_trip(pair: Pair, count: int = 3000) -> float:
    """Median µs of a UDP echo, Python's own cost included (the same for all)."""
    client, server, address = pair
    echo = server.socket(socket.AF_INET, socket.SOCK_DGRAM)
    echo.bind(("0.0.0.0", 0))
    pid = os.fork()
    if pid == 0:
        while True:
            data, peer = echo.recvfrom(100)
            echo.sendto(data, peer)
    asker = client.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.connect((address, echo.getsockname()[1]))
    times = []
    for _ in range(count):
        began = time.perf_counter_ns()
        asker.send(b"ping")
        asker.recv(100)
        times.append(time.perf_counter_ns() - began)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return statistics.median(times) / 1e3


PATHS: dict[str, Callable[[], Pair]] = {
    "VXLAN by hand": by_hand,
    "netlab, other node, vxlan": lambda: overlay("vxlan"),
    "netlab, other node, host-gw": lambda: overlay("host-gw"),
    "netlab, same node": same_node,
    "veth pair": direct,
}


def measure() -> dict[str, tuple[float, float]]:
    pairs = {name: make() for name, make in PATHS.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
    for _ in range(ROUNDS):
        for name, pair in pairs.items():
            found[name].append((throughput(pair), round_trip(pair)))
    return {
        name: (statistics.median(rate for rate, _ in rounds), statistics.median(us for _, us in rounds))
        for name, rounds in found.items()
    }


def main() -> None:
    found = throwaway.run(measure)
    rate, latency = found["VXLAN by hand"]
    rows = [(name, gbit, gbit / rate, us, us / latency) for name, (gbit, us) in found.items()]
    table("Pod to pod, one TCP stream and UDP round trips", ("path", "Gb/s", "× by hand", "µs", "× by hand"), rows)


if __name__ == "__main__":
    sys.exit(main())
