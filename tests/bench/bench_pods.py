"""Creating pod networks: netlab, `ip -batch` doing the same, and Mininet's Hosts. 100 pods a node, up to 4,000 pods."""

from __future__ import annotations

import sys

from netlab.dataplane.nodes import NodeNet, PodNet
from netlab.kernel import netns
from tests.bench.peers import Cost, ip_batch, netlab_pods, sandboxed, stock_mininet, table, timed

STOCK = 40
BATCH = 200


def teardown(count: int) -> Cost:
    """To take `count` pods of one node away: their veth pairs, and the names of their namespaces."""
    from netlab.kernel.pods import teardown_pods

    netlab_pods([count])
    net = NodeNet("node0", "10.0.0.0/16", "192.168.0.1")
    pods = [PodNet.of(f"0-{j}", f"10.0.{(j + 2) >> 8}.{(j + 2) & 255}", net) for j in range(count)]
    with timed() as cost:
        teardown_pods(netns.open("node0"), pods)
        for j in range(count):
            netns.remove(f"cni-0-{j}")
    return cost


def main() -> None:
    sandboxed(lambda: netlab_pods([100] * 20))  # warms the kernel's caches for everyone
    stock = sandboxed(lambda: stock_mininet(STOCK)).per(STOCK)
    batch = sandboxed(lambda: ip_batch(BATCH)).per(BATCH)
    rows = [
        stock.row(f"Mininet Host ({STOCK})", stock, batch),
        batch.row(f"ip -batch, ip -n -batch ({BATCH})", stock, batch),
    ]
    shapes = {f"netlab {100 * n:,} on {n} nodes": [100] * n for n in (2, 10, 20, 40)}
    shapes["netlab 1,000 on one node"] = [1000]
    for name, shape in shapes.items():
        made = sandboxed(lambda shape=shape: netlab_pods(shape)).per(sum(shape))
        rows.append(made.row(name, stock, batch))
    gone = sandboxed(lambda: teardown(500)).per(500)
    rows.append(gone.row("netlab, taking 500 of one node away"))
    head = ("how", "ms a pod", "CPU ms", "pods/s", "× Mininet", "× ip -batch")
    table("Creating pod networks", head, [(*row, "", "")[:6] for row in rows])


if __name__ == "__main__":
    sys.exit(main())
