"""Creating nodes: netlab's substrate and Mininet's own Hosts, on one Linux bridge each.

Mininet's time per node grows with their number, so each of ours is held against as many of its own; more than 200 are
held against 200, which favours it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from netlab.topology import load
from netlab.topology.model import Topology
from tests.bench.peers import Cost, sandboxed, stock_mininet, table, timed

STOCK = (40, 200)
COUNTS = (40, 200, 1000)


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


def main() -> None:
    sandboxed(lambda: ours(200))  # warms the kernel's caches for everyone
    stock = {count: sandboxed(lambda count=count: stock_mininet(count)).per(count) for count in STOCK}
    rows = [cost.row(f"Mininet Host, LinuxBridge ({count})", cost) for count, cost in stock.items()]
    calls = sandboxed(lambda: by_mininets_calls(200)).per(200)
    rows.append(calls.row("netlab's classes by Mininet's calls (200)", stock[200]))
    for count in COUNTS:
        built = sandboxed(lambda count=count: ours(count)).per(count)
        rows.append(built.row(f"netlab substrate.build ({count:,})", stock[min(count, 200)]))
    table("Creating nodes", ("how", "ms a node", "CPU ms", "nodes/s", "× Mininet"), rows)


if __name__ == "__main__":
    sys.exit(main())
