"""All pairs of 100 hosts: `klab ping`'s prober against Mininet's own pingAll, on one network, in one run.

Cold: no neighbour entry is there, every pair resolves first. Warm: every entry is there (Mininet's own staticArp). The
prober asks all 9,900 pairs. pingAll asks the pairs of some of the hosts, twice as many the second time: it is linear
(one `ping` process after the other), so its pairs per second are those of the whole. The processor's time stands beside
the clock's: on a busy machine it is the better measure. Then 1,000 pods of 20 nodes, sampled and whole, on a kernel
whose one neighbour table holds 1,024 entries.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from netlab.dataplane.model import Address, Link, NetObject, Plan, Step
from netlab.dataplane.nodes import NodeNet, PodNet
from netlab.dataplane.overlay import node_network
from netlab.kernel import netns, throwaway
from netlab.kernel.apply import apply
from netlab.kernel.pods import setup_pods
from netlab.trace.reach.matrix import Matrix, Source, Target
from netlab.trace.reach.plan import work
from tests.bench.peers import table

HOSTS = 100
PINGED = (8, 16)
ROUNDS = 3
PODS, NODES = 1000, 20


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


def spent(net: Any) -> float:
    """Processor seconds so far of this process, the hosts' shells, and what these have run."""
    total = time.process_time()
    for host in net.hosts:
        fields = Path(f"/proc/{host.pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def measured(net: Any, pairs: int, run: Callable[[], object]) -> tuple[float, float]:
    """Pairs per second, and pairs per processor second."""
    began, used = time.perf_counter(), spent(net)
    run()
    return pairs / (time.perf_counter() - began), pairs / (spent(net) - used)


def ping_all(net: Any, hosts: int) -> tuple[float, float]:
    """Mininet's own, on the first so many hosts."""

    def run() -> None:
        lost = net.ping(net.hosts[:hosts], timeout="1")
        assert lost == 0, f"Mininet lost {lost} %"

    return measured(net, hosts * (hosts - 1), run)


def everybody(net: Any) -> tuple[list[Source], list[Target]]:
    sources = [Source(h.name, f"/proc/{h.pid}/ns/net", (h.IP(),), "s1") for h in net.hosts]
    targets = [Target(h.name, "hosts", h.IP(), owner=h.name, segment="s1") for h in net.hosts]
    return sources, targets


def ask(sources: Sequence[Source], targets: Sequence[Target], sample: int | None = None) -> Matrix:
    from netlab.trace.reach.sockets import probe

    found = probe("icmp", sources, targets, work(sources, targets, sample))
    assert found.reachable == found.asked, found.counts()
    return found


def against_mininet() -> dict[str, list[tuple[tuple[float, float], ...]]]:
    """Per state of the neighbour tables, per round: pingAll of few hosts, of more, and the prober of all."""
    net = network()
    sources, targets = everybody(net)
    ask(sources, targets)  # Python, too, is quicker the second time
    found: dict[str, list[tuple[tuple[float, float], ...]]] = {"cold": [], "warm": []}
    for state, rounds in found.items():
        if state == "warm":
            net.staticArp()
        for _ in range(ROUNDS):
            row = []
            for hosts in PINGED:
                if state == "cold":
                    forget(net)
                row.append(ping_all(net, hosts))
            if state == "cold":
                forget(net)
            used = time.process_time()
            answer = ask(sources, targets)
            row.append((answer.asked / answer.timing.seconds, answer.asked / (time.process_time() - used)))
            rounds.append(tuple(row))
    for host in net.hosts:
        host.terminate()
    return found


def many_pods() -> list[tuple[str, int, float, float]]:
    """(what, pairs, seconds, pairs per second) for 1,000 pods on 20 nodes of one switch, host-gw."""
    nets = [NodeNet(f"node{i}", f"10.9.{i}.0/24", f"192.168.9.{i + 1}", backend="host-gw") for i in range(NODES)]
    nodes = netns.many([net.name for net in nets])
    root = netns.own()
    lan: list[NetObject] = [Link("lan", "bridge")]
    lan += [Link(f"port{i}", "veth", master="lan", peer=(net.name, "eth0")) for i, net in enumerate(nets)]
    apply(root, Plan.adding(lan, "benchmark"))
    sources, targets = [], []
    for i, (node, net) in enumerate(zip(nodes, nets, strict=True)):
        up = Step("change", Link("eth0"), "cable", old=Link("eth0", up=False))
        apply(node, Plan((up, Step("add", Address("eth0", f"{net.node_ip}/24"), "underlay"))))
        apply(node, Plan.adding(node_network(net, [one for one in nets if one != net]).objects(), "overlay"))
        pods = [PodNet.of(f"p{i}-{j}", f"10.9.{i}.{j + 2}", net) for j in range(PODS // NODES)]
        setup_pods(node, list(zip(netns.many([f"cni-{pod.id}" for pod in pods]), pods, strict=True)))
        for pod in pods:
            sources.append(Source(pod.id, f"cni-{pod.id}", (pod.ip,), net.name))
            targets.append(Target(pod.id, "pods", pod.ip, owner=pod.id, segment=net.name))
    rows = []
    for name, sample in (("10,000 pairs, sampled", 10_000), ("whole", None)):
        found = ask(sources, targets, sample)
        rows.append((name, found.asked, found.timing.seconds, found.asked / found.timing.seconds))
    return rows


def main() -> None:
    rows: list[tuple[object, ...]] = []
    for state, rounds in throwaway.run(against_mininet).items():
        names = (*(f"pingAll, {hosts} hosts" for hosts in PINGED), f"klab ping, all {HOSTS}")
        wall = [statistics.median(one[place][0] for one in rounds) for place in range(3)]
        busy = [statistics.median(one[place][1] for one in rounds) for place in range(3)]
        for place, name in enumerate(names):
            ratios = wall[place] / wall[1], busy[place] / busy[1]
            rows.append((f"{name}, {state}", wall[place], ratios[0], busy[place], ratios[1]))
    head = ("what", "pairs/s", "× pingAll", "pairs per processor second", "× pingAll")
    table("All pairs by ICMP", head, rows)
    table(f"{PODS} pods on {NODES} nodes", ("what", "pairs", "s", "pairs/s"), throwaway.run(many_pods))


if __name__ == "__main__":
    main()
