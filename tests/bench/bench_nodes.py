"""Creating nodes: netlab's substrate and Mininet's own Hosts, on one Linux bridge each.

Mininet's time per node grows with their number, so each of ours is held against as many of its own; more than 200 are
held against 200, which favours it.

When a sandbox ends, the kernel takes its namespaces down in the background, under the lock that makes links: whoever
builds right after it waits. So every run, ours and theirs, begins when the one before has gone; the best
of some counts.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from netlab.topology import load
from netlab.topology.model import Topology
from tests.bench.peers import Cost, sandboxed, stock_mininet, table, timed

STOCK = (40, 200)
COUNTS = (40, 200, 1000)
RUNS = 3
_SLAB = Path("/proc/slabinfo")


def topology(count: int) -> Topology:
    """One control-plane node and count - 1 hosts on one switch."""
    others = ", ".join(f"h{i}" for i in range(1, count))
    lines = ["name: bench", "nodes: {h0: {role: control-plane}}", f"hosts: [{others}]"]
    lines += ["switches: {s1: {subnet: 10.0.0.0/16}}", "links:"]
    lines += [f"  - ends: [h{i}, s1]" for i in range(count)]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "bench.yaml")
        path.write_text("\n".join(lines))
        return load(path)


def ours(count: int) -> Cost:
    """`build`: namespaces, bridge, links, addresses, Mininet's objects. Imports are not counted."""
    asked = topology(count)
    from netlab.substrate import build, lab  # noqa: F401

    with timed() as cost:
        build(asked)
    return cost


def by_mininets_calls(count: int) -> Cost:
    """The same by addHost and addLink of a Mininet with netlab's classes."""
    from netlab.substrate import lab, network

    bare = topology(1)
    net = lab.LabNet(bare, network.ensure(bare), owned=True)
    with timed() as cost:
        for i in range(1, count + 1):
            host = net.addHost(f"x{i}", ip=None)
            net.addLink(host, net["s1"])
            host.setIP(f"10.0.{(i + 100) >> 8}.{(i + 100) & 255}", 16)
    return cost


def namespaces() -> int:
    """How many network namespaces the kernel holds, ending ones too; 0 where only root may know."""
    try:
        lines = _SLAB.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("net_namespace ")), 0)


def settle(patience: float = 30.0) -> None:
    """Wait until the kernel has taken down what ended (it is not told when: the number stays for a second)."""
    deadline = time.monotonic() + patience
    held = namespaces()
    time.sleep(2.0)
    while (now := namespaces()) < held - 2 and time.monotonic() < deadline:
        held = now
        time.sleep(1.0)


def best(make: Callable[[int], Cost], count: int) -> Cost:
    """The quickest of some runs, per node."""
    runs = []
    for _ in range(RUNS):
        settle()
        runs.append(sandboxed(lambda: make(count)).per(count))
    return min(runs, key=lambda cost: cost.wall)


def main() -> None:
    sandboxed(lambda: ours(200))  # warms the kernel's caches for everyone
    stock = {count: best(stock_mininet, count) for count in STOCK}
    rows = [cost.row(f"Mininet Host, LinuxBridge ({count})", cost) for count, cost in stock.items()]
    calls = best(by_mininets_calls, 200)
    rows.append(calls.row("netlab's classes by Mininet's calls (200)", stock[200]))
    for count in COUNTS:
        built = best(ours, count)
        rows.append(built.row(f"netlab substrate.build ({count:,})", stock[min(count, 200)]))
    table("Creating nodes", ("how", "ms a node", "CPU ms", "nodes/s", "× Mininet"), rows)


if __name__ == "__main__":
    sys.exit(main())
