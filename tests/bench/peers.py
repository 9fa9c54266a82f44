"""What the benchmarks of the network share: a clock, a table, and the peers, each doing the same as netlab does.

Every measurement runs in a throwaway sandbox (netlab.kernel.throwaway) and waits until the kernel has done away with
the namespaces of the one before. Ratios are of wall time; the processor's time stands beside it, because on a machine
with other work the wall time of many short waits says more about that work.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from netlab.kernel import throwaway


@dataclass(slots=True)
class Cost:
    """Wall seconds, and processor seconds of this process and of its children that have ended."""

    wall: float = 0.0
    processor: float = 0.0

    def per(self, count: int) -> Cost:
        return Cost(self.wall / count, self.processor / count)

    def add(self, other: Cost) -> None:
        self.wall += other.wall
        self.processor += other.processor

    def row(self, name: str, *peers: Cost) -> tuple[object, ...]:
        """A row of a table: name, ms, processor ms, per second, and how many times as fast as each peer."""
        return (name, self.wall * 1e3, self.processor * 1e3, 1 / self.wall, *(peer.wall / self.wall for peer in peers))


@contextmanager
def timed() -> Iterator[Cost]:
    cost = Cost()
    began, used = time.perf_counter(), _used()
    yield cost
    cost.wall, cost.processor = time.perf_counter() - began, _used() - used


def _used() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns: the first to the left, the others to the right."""
    cells = [list(head), *([cell if isinstance(cell, str) else f"{cell:.3g}" for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        print(
            "  ".join(
                cell.ljust(w) if not i else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
        if not number:
            print("  ".join("-" * width for width in widths))


def sandboxed(measure: Callable[[], Cost]) -> Cost:
    """One measurement in a sandbox of its own, once what the one before left behind is gone from the kernel."""
    throwaway.run(_settle)
    return throwaway.run(measure)


def _settle() -> None:
    """The kernel frees namespaces one batch at a time: when one that was given up now is gone, so are those before."""
    from netlab.kernel import links, netns, veth
    from netlab.kernel.errors import KernelError

    own = netns.own()
    last = netns.create("last", pin=False)
    own.netlink.request(veth.create(veth.End("sign"), veth.End("sign", fd=last.fd)), "a pair")
    last.close()
    with contextlib.suppress(KernelError):
        while True:
            own.netlink.get(links.get("sign"), "sign")
            time.sleep(0.01)


def stock_mininet(count: int) -> Cost:
    """Mininet as it is: `count` of its Hosts on its own LinuxBridge, linked and configured."""
    from mininet.link import Intf, Link
    from mininet.net import Mininet
    from mininet.node import Host
    from mininet.nodelib import LinuxBridge

    from netlab.substrate import mn  # quiet import, without Mininet's start-up checks

    mn.setLogLevel("critical")
    used = _used()
    with timed() as cost:
        net = Mininet(host=Host, switch=LinuxBridge, link=Link, intf=Intf, controller=None, build=False)
        switch = net.addSwitch("s1")
        for number in range(1, count + 1):
            net.addLink(net.addHost(f"h{number}"), switch)
        net.build()
        net.start()
    for node in (*net.hosts, *net.switches):
        node.terminate()  # a shell's time is told when it has ended
    cost.processor = _used() - used
    return cost


def ip_batch(count: int) -> Cost:
    """Pods by `ip`: namespaces and veth pairs in one `ip -batch`, then one `ip -n NS -batch` per pod."""
    setup = ["link add docker0 type bridge", "link set docker0 up", "addr add 10.244.0.1/16 dev docker0"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(setup), text=True, check=True)
    lines: list[str] = []
    for number in range(count):
        lines.append(f"netns add p{number}")
        lines.append(
            f"link add veth{number} mtu 1450 master docker0 up type veth peer name eth0 mtu 1450 netns p{number}"
        )
    with timed() as cost:
        subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
        for number in range(count):
            address = f"10.244.{(number + 2) >> 8}.{(number + 2) & 255}/16"
            inside = [
                "link set lo up",
                "link set eth0 up",
                f"addr add {address} dev eth0",
                "route add default via 10.244.0.1",
            ]
            subprocess.run(["ip", "-n", f"p{number}", "-batch", "-"], input="\n".join(inside), text=True, check=True)
    return cost


def netlab_pods(per_node: Sequence[int]) -> Cost:
    """Pods by netlab: as many on each node as said. The nodes are there before and not counted."""
    from netlab.dataplane.bridge import bridge_network
    from netlab.dataplane.model import Plan
    from netlab.dataplane.nodes import NodeNet, PodNet
    from netlab.kernel import netns
    from netlab.kernel.apply import apply
    from netlab.kernel.pods import setup_pods

    nets = [NodeNet(f"node{i}", f"10.{i}.0.0/16", "192.168.0.1") for i in range(len(per_node))]
    nodes = netns.many([net.name for net in nets])
    for node, net in zip(nodes, nets, strict=True):
        apply(node, Plan.adding(bridge_network(net).objects(), "benchmark"))
    total = Cost()
    for i, (node, net, count) in enumerate(zip(nodes, nets, per_node, strict=True)):
        pods = [PodNet.of(f"{i}-{j}", f"10.{i}.{(j + 2) >> 8}.{(j + 2) & 255}", net) for j in range(count)]
        with timed() as cost:
            spaces = netns.many([f"cni-{i}-{j}" for j in range(count)])
            setup_pods(node, list(zip(spaces, pods, strict=True)))
        total.add(cost)
    return total
