"""Services: full sync against the tools' own floor, a change among many, and what a connection costs, in each mode.

`python -m tests.bench.bench_services [--modes NAMES] [--sizes NUMBERS] [--svg FILE]`

One sandbox for each mode and number of Services: the first sync, what the tool alone needs for the same text (the
floor: `iptables-restore`; `nft -f` in transactions as large as its socket takes; `ipset`, `ipvsadm`, `ip` and
`iptables-restore`), endpoints changed by the API until the first packet arrives at the new one, what the tool and the
kernel alone need for those texts, and new connections. So only ratios within a row, and rows of one run, need be
believed. The costs of a connection are also drawn, as SVG. IPVS is measured where the kernel has it:
`NETLAB_VM_COMMAND='python -m tests.bench.bench_services --modes ipvs,iptables-legacy' scripts/vm-test`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import math
import resource
import select
import shutil
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.dataplane.ipvs.sets import ip_sets
from netlab.dataplane.ipvs.state import Step
from netlab.dataplane.nftables import Operation, text
from netlab.dataplane.services import Family
from netlab.kernel import features, netns, nft, throwaway
from netlab.kernel import iptables as kernel_iptables
from netlab.kernel.command import run as command
from netlab.kernel.nftables import batch
from netlab.node.proxy import NODES, SERVICES, SLICES, Proxier
from netlab.node.proxy_ipvs_kernel import NodeIpvs
from netlab.node.proxy_kernel import NodeKernel
from tests.bench.peers import Cost, table, timed
from tests.kernel.signature_net import CLUSTER_CIDR, PODS, SERVERS, Network, ip

SIZES = (10, 100, 1000, 10_000)
MODES = {
    "iptables-legacy": ("iptables", "legacy"),
    "iptables-nft": ("iptables", "nft"),
    "nftables": ("nftables", "nft"),
    "ipvs": ("ipvs", "legacy"),
}
REAL = {"iptables-legacy": 1.45, "iptables-nft": 1.45, "nftables": 0.61}
"""Seconds of the real kube-proxy 1.33 for a full sync of REAL_SHAPE, on two processors like these."""
REAL_SHAPE = (1000, 5)
CHANGES = 14
REPLAYS = 6
COLLECTED = (50_000, 20, 20)
"""How seldom a lab's agents look for garbage."""
CONNECTIONS = 1500
PICTURE = Path("build/bench/services.svg")

Write = tuple[str, Any]
"""What the proxier gave to its kernel: the method's name and its argument; IPVS' steps as "steps"."""


def address(number: int) -> str:
    return f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def service(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": f"svc{number}"},
        "spec": {"clusterIP": address(number), "ports": ports(number, 80)},
    }


def ports(number: int, port: int) -> list[dict[str, Any]]:
    """The first Service has UDP too."""
    return [{"name": "p", "port": port, "protocol": "TCP"}, {"name": "u", "port": port, "protocol": "UDP"}][
        : 1 + (number == 1)
    ]


def slice_of(number: int, pod: str, endpoints: int = 1) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": f"svc{number}"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": f"svc{number}-1", "labels": labels},
        "addressType": "IPv4",
        "ports": ports(number, 8080),
        "endpoints": [
            {"addresses": [found], "conditions": {"ready": True}, "nodeName": "here"}
            for found in (PODS[pod], *(f"10.244.{number >> 8}.{20 + more}" for more in range(endpoints - 1)))
        ],
    }


def _accept(listener: socket.socket) -> None:
    listener.accept()[0].close()


def _answer(sock: socket.socket, name: str) -> None:
    sock.sendto(name.encode(), sock.recvfrom(100)[1])


class Servers(threading.Thread):
    """one and two: TCP is accepted and closed, UDP says who."""

    def __init__(self, net: Network) -> None:
        super().__init__(daemon=True)
        self.epoll = select.epoll()
        self.act: dict[int, Callable[[], object]] = {}
        self.held: list[socket.socket] = []
        for name in ("one", "two"):
            tcp = net.ns[name].socket(socket.AF_INET, socket.SOCK_STREAM)
            tcp.bind((SERVERS[name], 8080))
            tcp.listen(1024)
            udp = net.ns[name].socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind((SERVERS[name], 8080))
            self.held += [tcp, udp]
            self.act[tcp.fileno()] = partial(_accept, tcp)
            self.act[udp.fileno()] = partial(_answer, udp, name)
            for sock in (tcp, udp):
                self.epoll.register(sock.fileno(), select.EPOLLIN)

    def run(self) -> None:
        while True:
            for number, _ in self.epoll.poll():
                self.act[number]()


@dataclass(slots=True)
class Found:
    """Of one mode and number of Services. Seconds; `rate` is connections per second."""

    sync: Cost
    tool: Cost
    again: Cost = field(default_factory=Cost)
    """Of a full sync into an empty namespace by a proxier that has computed its rules."""
    changes: list[float] = field(default_factory=list)
    change_tool: list[Cost] = field(default_factory=list)
    change_kernel: list[float] = field(default_factory=list)
    """Of our own write, what was spent in the kernel."""
    rate: float = 0.0
    connect: float = 0.0
    first_packet: float = 0.0


class RecordingIpvs(NodeIpvs):
    def __init__(self, ns: netns.NetNs, written: list[Write]) -> None:
        super().__init__(ns, ip_sets("IPv4"))
        self._written = written

    async def apply(self, steps: Sequence[Step]) -> None:
        self._written.append(("steps", steps))
        await super().apply(steps)


class Recording(NodeKernel):
    """Remembers what was written."""

    def __init__(self, ns: netns.NetNs) -> None:
        super().__init__(ns)
        self.written: list[Write] = []
        self._recorded = RecordingIpvs(ns, self.written)

    def ipvs(self, family: Family) -> NodeIpvs:
        return self._recorded

    async def restore(self, text: str) -> None:
        self.written.append(("restore", text))
        await super().restore(text)

    async def nft(self, operations: Sequence[Operation]) -> None:
        self.written.append(("nft", operations))
        await super().nft(operations)


class Timed(Proxier):
    """Knows what its syncs cost."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.costs: list[Cost] = []

    async def sync(self) -> None:
        with timed() as cost:
            await super().sync()
        self.costs.append(cost)


async def cluster(count: int, endpoints: int = 1) -> Client:
    """An API with that many Services."""
    client = Client(FakeApi())
    await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}})
    for number in range(1, count + 1):
        await client.create(SERVICES, service(number))
        await client.create(SLICES, slice_of(number, "one", endpoints))
    return client


async def write(kernel: NodeKernel, what: Write) -> None:
    if what[0] == "steps":
        await kernel.ipvs("IPv4").apply(what[1])
    else:
        await getattr(kernel, what[0])(what[1])


NFT_BYTES = 160_000
"""What of our messages nft can send at once: its own are a little longer, its socket takes 208 KiB."""


IPVS_TOOLS = {"ip": ("ip", "-batch", "-"), "ipset": ("ipset", "restore"), "ipvsadm": ("ipvsadm", "-R")}


def by_ipvs_tools(ns: netns.NetNs, steps: Sequence[Step]) -> None:
    """A step prints as a command; those of one tool go to it in one batch."""
    lines = [str(step).partition(" ") for step in steps]
    for tool, group in itertools.groupby(lines, lambda line: line[0]):
        command(ns, IPVS_TOOLS[tool], "".join(f"{rest}\n" for _, _, rest in group))


async def by_tool(ns: netns.NetNs, what: Write) -> None:
    """The same by the tool alone."""
    if what[0] == "nft":
        for piece in batch.transactions(what[1], NFT_BYTES):
            await nft.run_async(ns, text(piece.operations))
    elif what[0] == "steps":
        by_ipvs_tools(ns, what[1])
    else:
        await write(NodeKernel(ns), what)


def in_kernel() -> float:
    """Seconds that this process and its ended children have spent in the kernel."""
    return sum(resource.getrusage(who).ru_stime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def empty(name: str) -> netns.NetNs:
    """A namespace without rules; with loopback up, because IPVS takes no real server where there is no local route."""
    made = netns.create(name)
    ip(name, "link set lo up")
    return made


def choose_backend(backend: str) -> None:
    kernel_iptables.default_backend = lambda: backend  # type: ignore[assignment]


def first_sync(mode: str, backend: str, count: int, endpoints: int) -> Found:
    """Of the first sync only."""
    choose_backend(backend)

    async def run() -> Found:
        kernel = Recording(netns.create("ours"))
        proxier = Timed("here", None, cluster_cidr=CLUSTER_CIDR, mode=mode, kernel=kernel)
        task = asyncio.create_task(proxier.run(await cluster(count, endpoints)))
        await _settled(proxier)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return Found(proxier.costs[0], await _tool_alone(kernel))

    return asyncio.run(run())


async def _settled(proxier: Timed) -> None:
    await eventually(lambda: proxier.full_syncs > 0 and not proxier.table.pending, "the first sync", timeout=300)


async def _tool_alone(kernel: Recording) -> Cost:
    """The first text once more, into an empty namespace; IPVS' steps stand before it. Nothing where a tool is none."""
    steps = list(itertools.takewhile(lambda what: what[0] == "steps", kernel.written))
    if not kernel.written or (steps and not all(map(shutil.which, IPVS_TOOLS))):
        return Cost()
    bare = empty("floor")
    with timed() as cost:
        for what in kernel.written[: len(steps) + 1]:
            await by_tool(bare, what)
    return cost


async def _sync_again(proxier: Timed, kernel: Recording) -> Cost:
    if not kernel.written:
        return Cost()
    backend: Any = proxier.backend
    backend._kernel = NodeKernel(empty("again"))
    backend._ipvs = backend._kernel.ipvs("IPv4")
    with timed() as cost:
        await backend.sync(True)
    backend._kernel, backend._ipvs = kernel, kernel.ipvs("IPv4")
    return cost


def measure(mode: str, backend: str, count: int) -> Found:
    """Everything, with `count` Services of one endpoint; `count` 0: connections to the pod itself."""
    choose_backend(backend)
    net = Network()
    Servers(net).start()
    found = asyncio.run(_syncs_and_changes(net, mode, count)) if count else Found(Cost(), Cost())
    _connections(net, count, found)
    return found


async def _syncs_and_changes(net: Network, mode: str, count: int) -> Found:
    client = await cluster(count)
    kernel = Recording(net.ns["here"])
    proxier = Timed("here", net.ns["here"], cluster_cidr=CLUSTER_CIDR, mode=mode, kernel=kernel)
    task = asyncio.create_task(proxier.run(client))
    await _settled(proxier)
    found = Found(proxier.costs[0], await _tool_alone(kernel), await _sync_again(proxier, kernel))
    await asyncio.sleep(1.5)
    for number in range(CHANGES):
        pod = ("two", "one")[number % 2]
        obj = await client.get(SLICES, "svc1-1", "default")
        written = len(kernel.written)
        began = time.perf_counter()
        await client.update(SLICES, {**obj, "endpoints": slice_of(1, pod)["endpoints"]})
        await asyncio.wait_for(_answered(net, pod), 30)
        found.changes.append(time.perf_counter() - began)
        await eventually(lambda: proxier.health.waiting_since is None, "the end of the sync", timeout=60)
        await asyncio.sleep(max(0.2, found.changes[-1]))
        if number == CHANGES - 2:
            replayed = written  # the last two changes: there and back
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if found.tool.wall:
        await _replay(net, kernel, kernel.written[replayed:], found)
    return found


async def _replay(net: Network, kernel: Recording, texts: Sequence[Write], found: Found) -> None:
    """What the tool alone needs for the texts of a change, with everything in place, and what the kernel needs when we
    write them. Of two texts (nftables: what is to be, then what is not needed any more) the first one counts, because
    packets go by it."""
    each = len(texts) // 2
    for _ in range(REPLAYS):
        for number, what in enumerate(texts):
            with timed() as cost:
                await by_tool(net.ns["here"], what)
            if number % each == 0:
                found.change_tool.append(cost)
        for number, what in enumerate(texts):
            before = in_kernel()
            await write(kernel, what)
            if number % each == 0:
                found.change_kernel.append(in_kernel() - before)


async def _answered(net: Network, pod: str) -> None:
    """A new flow after the other, until one reaches the pod."""
    loop = asyncio.get_running_loop()
    while True:
        with net.ns["pod"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            await loop.sock_sendto(sock, b"?", (address(1), 80))
            with contextlib.suppress(TimeoutError):  # a datagram may be lost with the flow that it was of
                if (await asyncio.wait_for(loop.sock_recv(sock, 100), 1)).decode() == pod:
                    return


def _connections(net: Network, count: int, found: Found) -> None:
    """New TCP connections to Services picked all over, and first UDP round trips to the first one, which has UDP."""
    targets = [(address(1 + i * 7919 % count), 80) for i in range(997)] if count else [(PODS["one"], 8080)]
    times = []
    began = time.perf_counter()
    for number in range(CONNECTIONS):
        with net.ns["pod"].socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            start = time.perf_counter()
            sock.connect(targets[number % len(targets)])
            times.append(time.perf_counter() - start)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    found.rate, found.connect = CONNECTIONS / (time.perf_counter() - began), statistics.median(times)
    first = []
    for _ in range(CONNECTIONS // 3):
        with net.ns["pod"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            start = time.perf_counter()
            sock.sendto(b"?", (address(1), 80) if count else targets[0])
            with contextlib.suppress(TimeoutError):
                sock.recv(100)
                first.append(time.perf_counter() - start)
    found.first_packet = statistics.median(first)


Results = dict[tuple[str, int], Found]


def sync_rows(results: Results) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = []
    for (name, count), found in results.items():
        if count > 99 and found.tool.wall:
            costs = (found.sync, found.again, found.tool)
            ratios = (found.again.wall / found.tool.wall, found.again.processor / found.tool.processor)
            rows.append(
                (f"{name}, {count:,} Services", *(s for one in costs for s in (one.wall, one.processor)), *ratios)
            )
    return rows


def change_rows(results: Results) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = []
    for (name, count), found in results.items():
        if not found.changes:
            continue
        ours = statistics.median(found.changes)
        row: list[object] = [f"{name}, {count:,} Services", ours * 1e3, max(found.changes) * 1e3]
        if found.change_tool:
            tool, inside = statistics.median(cost.wall for cost in found.change_tool), _mean(found.change_kernel)
            row += [tool * 1e3, inside * 1e3, ours / tool]
            smallest = results[name, min(size for mode, size in results if mode == name)]
            row += [
                f"{ours / statistics.median(smallest.changes):.1f}",
                f"{inside / _mean(smallest.change_kernel):.1f}",
            ]
        rows.append(row + ["-"] * (8 - len(row)))
    return rows


def _mean(values: Sequence[float]) -> float:
    return max(statistics.fmean(values), 1e-4)


def cost_rows(results: Results, direct: Found) -> list[Sequence[object]]:
    found = {
        "direct to the pod": direct,
        **{f"{name}, {count:,} Services": one for (name, count), one in results.items()},
    }
    return [
        (name, one.rate, one.connect * 1e6, one.first_packet * 1e6, one.connect / direct.connect)
        for name, one in found.items()
    ]


COLOURS = ("#666", "#c33", "#e93", "#36c", "#293")


def svg(lines: dict[str, list[tuple[int, float]]]) -> str:
    """Median µs of connect() over the number of Services, both on logarithmic scales."""
    highest = max(cost for points in lines.values() for _, cost in points)
    lowest = min(cost for points in lines.values() for _, cost in points)
    counts = sorted({count for points in lines.values() for count, _ in points})
    low, high = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))

    def at(count: int, cost: float) -> tuple[float, float]:
        return 70 + (math.log10(count) - 1) / 3 * 420, 310 - (math.log10(cost) - low) / (high - low) * 270

    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="680" height="360" font-family="sans-serif" font-size="12">']
    out.append('<rect width="680" height="360" fill="white"/><text x="70" y="22">connect(), median µs</text>')
    for power in range(low, high + 1):
        y = at(10, 10**power)[1]
        out.append(
            f'<path d="M70 {y:.0f}H490" stroke="#ddd"/>'
            f'<text x="62" y="{y + 4:.0f}" text-anchor="end">{10**power}</text>'
        )
    out += [f'<text x="{at(count, 10**low)[0]:.0f}" y="330" text-anchor="middle">{count:,}</text>' for count in counts]
    out.append('<text x="280" y="350" text-anchor="middle">Services</text>')
    for number, ((name, points), colour) in enumerate(zip(lines.items(), COLOURS, strict=False)):
        path = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="505" y="{60 + 20 * number}" fill="{colour}">{name}</text>')
    return "\n".join([*out, "</svg>\n"])


def main() -> None:
    gc.set_threshold(*COLLECTED)
    parser = argparse.ArgumentParser()
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--svg", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    modes = {name: MODES[name] for name in arguments.modes.split(",")}
    if "ipvs" in modes and not features.has("ip_vs"):
        print("ipvs is left out: this kernel has none (scripts/vm-test has; see this file's head)", file=sys.stderr)
        del modes["ipvs"]
    direct = throwaway.run(lambda: measure("direct", "legacy", 0))
    results: Results = {}
    for name, (mode, backend) in modes.items():
        for size in sizes:
            # IPVS is the first user namespace's alone on the kernels that have it
            results[name, size] = throwaway.run(partial(measure, mode, backend, size), user=mode != "ipvs")
    head: tuple[str, ...] = ("", "first s", "CPU s", "full s", "CPU s", "tool s", "CPU s", "full / tool", "by CPU")
    table(
        "Full sync into an empty namespace: rules yet to be computed, computed, and the tool alone with that text",
        head,
        sync_rows(results),
    )
    head = ("", "p50 ms", "worst ms", "tool ms", "kernel ms", "× tool", "p50 has grown", "kernel has grown")
    table("One endpoint changed: API write to first packet", head, change_rows(results))
    head = ("", "per s", "connect µs", "UDP first round trip µs", "× direct")
    table("A new connection", head, cost_rows(results, direct))
    real = []
    for name in modes.keys() & REAL.keys():
        found = throwaway.run(partial(first_sync, *modes[name], *REAL_SHAPE))
        real.append((name, found.sync.wall, found.sync.processor, REAL[name], REAL[name] / found.sync.wall))
    table(
        f"First sync of {REAL_SHAPE[0]:,} Services of {REAL_SHAPE[1]} endpoints, against the real kube-proxy 1.33",
        ("", "wall s", "CPU s", "kube-proxy wall s", "× as fast"),
        real,
    )
    lines = {name: [(size, results[name, size].connect * 1e6) for size in sizes] for name in modes}
    arguments.svg.parent.mkdir(parents=True, exist_ok=True)
    arguments.svg.write_text(svg({"direct to the pod": [(size, direct.connect * 1e6) for size in sizes], **lines}))
    print(f"\nconnect() by number of Services, as a picture: {arguments.svg}")


if __name__ == "__main__":
    main()
