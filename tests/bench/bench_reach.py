"""All pairs of 100 hosts: `klab ping`'s prober against Mininet's own pingAll, on one network, in one run.

Cold: no neighbour entry is there, every pair resolves first. Warm: every entry is there (Mininet's own staticArp). The
prober asks all 9,900 pairs. pingAll asks the pairs of some of the hosts, twice as many the second time: it is linear
(one `ping` process after the other), so its pairs per second are those of the whole. Then 1,000 pods on one bridge,
sampled and whole, on a kernel whose one neighbour table holds 1,024 entries.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from netlab.kernel import throwaway
from netlab.trace.reach.matrix import Matrix, Source, Target
from netlab.trace.reach.plan import work
from tests.bench.peers import table

HOSTS = 100
PINGED = (8, 16)
ROUNDS = 3
PODS = 1000


def network() -> Any:
    """Mininet's Hosts on its own LinuxBridge."""
    from mininet.link import Intf, Link
    from mininet.net import Mininet
    from mininet.node import Host
    from mininet.nodelib import LinuxBridge

    from netlab.substrate import mn

    mn.setLogLevel("critical")
    net = Mininet(host=Host, switch=LinuxBridge, link=Link, intf=Intf, controller=None, build=False)
    switch = net.addSwitch("s1")
    for number in range(1, HOSTS + 1):
        net.addLink(net.addHost(f"h{number}"), switch)
    net.build()
    net.start()
    return net


def forget(net: Any) -> None:
    for host in net.hosts:
        host.cmd("ip neigh flush all nud all")


def ping_all(net: Any, hosts: int) -> float:
    """Pairs per second of Mininet's own, on the first so many hosts."""
    began = time.perf_counter()
    lost = net.ping(net.hosts[:hosts], timeout="1")
    assert lost == 0, f"Mininet lost {lost} %"
    return hosts * (hosts - 1) / (time.perf_counter() - began)


def everybody(net: Any) -> tuple[list[Source], list[Target]]:
    sources = [Source(h.name, f"/proc/{h.pid}/ns/net", (h.IP(),), "s1") for h in net.hosts]
    targets = [Target(h.name, "hosts", h.IP(), owner=h.name, segment="s1") for h in net.hosts]
    return sources, targets


def ask(sources: Sequence[Source], targets: Sequence[Target], sample: int | None = None) -> Matrix:
    from netlab.trace.reach.sockets import probe

    found = probe("icmp", sources, targets, work(sources, targets, sample))
    assert found.reachable == found.asked, found.counts()
    return found


def rate(found: Matrix) -> float:
    return found.asked / found.timing.seconds


def against_mininet() -> dict[str, list[tuple[float, float, float]]]:
    """Pairs per second: per state of the neighbour tables, per round, pingAll of few hosts, of more, and the prober."""
    net = network()
    sources, targets = everybody(net)
    measured: dict[str, list[tuple[float, float, float]]] = {"cold": [], "warm": []}
    for _ in range(ROUNDS):
        rates = []
        for hosts in PINGED:
            forget(net)
            rates.append(ping_all(net, hosts))
        forget(net)
        measured["cold"].append((rates[0], rates[1], rate(ask(sources, targets))))
    net.staticArp()
    ask(sources, targets)
    for _ in range(ROUNDS):
        few, more = (ping_all(net, hosts) for hosts in PINGED)
        measured["warm"].append((few, more, rate(ask(sources, targets))))
    for host in net.hosts:
        host.terminate()
    return measured


def many_pods() -> list[tuple[str, int, float, float]]:
    """(what, pairs, seconds, pairs per second) for 1,000 pods on one bridge."""
    from netlab.dataplane.bridge import bridge_network
    from netlab.dataplane.model import Plan
    from netlab.dataplane.nodes import NodeNet, PodNet
    from netlab.kernel import netns
    from netlab.kernel.apply import apply
    from netlab.kernel.pods import setup_pods

    net = NodeNet("node", "10.9.0.0/16", "192.168.0.1")
    node = netns.create("node")
    apply(node, Plan.adding(bridge_network(net).objects(), "benchmark"))
    pods = [PodNet.of(f"p{i}", f"10.9.{(i + 2) >> 8}.{(i + 2) & 255}", net) for i in range(PODS)]
    spaces = netns.many([f"cni-{i}" for i in range(PODS)])
    setup_pods(node, list(zip(spaces, pods, strict=True)))
    sources = [Source(f"p{i}", f"cni-{i}", (pod.ip,), "docker0") for i, pod in enumerate(pods)]
    targets = [Target(f"p{i}", "pods", pod.ip, owner=f"p{i}", segment="docker0") for i, pod in enumerate(pods)]
    rows = []
    for name, sample in (("10,000 pairs sampled", 10_000), ("whole", None)):
        found = ask(sources, targets, sample)
        rows.append((name, found.asked, found.timing.seconds, rate(found)))
    return rows


def main() -> None:
    rows: list[tuple[object, ...]] = []
    for state, rounds in throwaway.run(against_mininet).items():
        few, more, ours = (sorted(values)[len(values) // 2] for values in zip(*rounds, strict=True))
        rows.append((f"pingAll, {PINGED[0]} hosts, {state}", few, 1.0))
        rows.append((f"pingAll, {PINGED[1]} hosts, {state}", more, more / few))
        rows.append((f"klab ping, all of {HOSTS}, {state}", ours, ours / more))
    table("All pairs by ICMP, pairs per second", ("what", "pairs/s", "× pingAll"), rows)
    table(f"{PODS} pods on one bridge", ("what", "pairs", "s", "pairs/s"), throwaway.run(many_pods))


if __name__ == "__main__":
    main()
