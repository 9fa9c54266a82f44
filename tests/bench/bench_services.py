"""Services: full sync against the tools' own floor, a change among many, and what a connection costs, in each mode.

Everything in one run and one sandbox per row, so that only ratios need be believed. With an argument, the costs of a
connection are also drawn, as SVG, into that file.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.dataplane.nftables import NftState
from netlab.kernel import iptables as kernel_iptables
from netlab.kernel import netns, throwaway
from netlab.node.proxy import NODES, SERVICES, SLICES, Proxier, SyncTiming
from netlab.node.proxy_backend import IptablesBackend, NftablesBackend
from netlab.node.proxy_kernel import NodeKernel
from tests.bench.peers import table
from tests.kernel.signature_net import CLUSTER_CIDR, PODS, SERVERS, Network
from tests.kernel.signature_net import NODES as PLACES

SIZES = (10, 1000, 10_000)
SYNCED = (1000, 10_000)
BACKENDS = {
    "iptables legacy": ("iptables", "legacy"),
    "iptables nft": ("iptables", "nft"),
    "nftables": ("nftables", "nft"),
}
SLOW = {("iptables nft", 10_000)}
"""More than a minute here: iptables-nft in a user namespace is fed in pieces, and reads everything before each."""
CHANGES = 15
CONNECTIONS = 1500


def address(number: int) -> str:
    return f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def service(number: int) -> dict[str, Any]:
    ports = [{"name": "p", "port": 80, "protocol": "TCP"}, {"name": "u", "port": 80, "protocol": "UDP"}][
        : 1 + (number == 1)
    ]
    meta = {"namespace": "default", "name": f"svc{number}"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"clusterIP": address(number), "ports": ports},
    }


def slice_of(number: int, pod: str) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": f"svc{number}"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": f"svc{number}-1", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "p", "port": 8080, "protocol": "TCP"}, {"name": "u", "port": 8080, "protocol": "UDP"}],
        "endpoints": [{"addresses": [PODS[pod]], "conditions": {"ready": True}, "nodeName": "here"}],
    }


def proxier_of(ns: netns.NetNs, mode: str, count: int) -> Proxier:
    """A proxier that has heard of `count` Services with an endpoint each."""
    made = Proxier("here", None, cluster_cidr=CLUSTER_CIDR, mode=mode, kernel=NodeKernel(ns))
    made._node(
        {"metadata": {"name": "here"}, "status": {"addresses": [{"type": "InternalIP", "address": PLACES["here"].ip}]}}
    )
    for number in range(1, count + 1):
        made.table.set_service(f"default/svc{number}", service(number))
        made.table.set_slice(f"default/svc{number}-1", slice_of(number, "one"))
    return made


def full_sync(mode: str, backend: str, count: int) -> tuple[float, float, float]:
    """Seconds of the first sync of a proxier that computes every rule, of a full sync that has them (into an empty
    namespace again), and of the tool alone with the same text."""
    kernel_iptables.default_backend = lambda: backend  # type: ignore[assignment]
    made = proxier_of(netns.create("ours"), mode, count)
    began = time.perf_counter()
    asyncio.run(made.sync())
    first = time.perf_counter() - began
    made.backend._kernel = NodeKernel(netns.create("again"))  # type: ignore[attr-defined]
    made.restore_all()
    began = time.perf_counter()
    asyncio.run(made.sync())
    ours = time.perf_counter() - began
    bare = NodeKernel(netns.create("floor"))
    if isinstance(made.backend, IptablesBackend):
        text = made.backend.program.full({})
        began = time.perf_counter()
        asyncio.run(bare.restore(text))
    else:
        assert isinstance(made.backend, NftablesBackend)
        lines = made.backend.program.full(NftState()).apply
        began = time.perf_counter()
        asyncio.run(bare.nft(lines))
    return first, ours, time.perf_counter() - began


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


def connections(mode: str, backend: str, count: int) -> tuple[float, float, float]:
    """New TCP connections per second to Services picked all over, the median µs of connect() and of a first UDP round
    trip (to the first Service, which has UDP). `mode` "direct": to the pod itself."""
    kernel_iptables.default_backend = lambda: backend  # type: ignore[assignment]
    net = Network()
    Servers(net).start()
    if mode != "direct":
        asyncio.run(proxier_of(net.ns["here"], mode, count).sync())
    targets = [(PODS["one"], 8080)] if mode == "direct" else [(address(1 + i * 7919 % count), 80) for i in range(997)]
    times = []
    began = time.perf_counter()
    for number in range(CONNECTIONS):
        with net.ns["pod"].socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            start = time.perf_counter()
            sock.connect(targets[number % len(targets)])
            times.append(time.perf_counter() - start)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    rate = CONNECTIONS / (time.perf_counter() - began)
    first = []
    for _ in range(CONNECTIONS // 3):
        with net.ns["pod"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            start = time.perf_counter()
            sock.sendto(b"?", targets[0] if mode == "direct" else (address(1), 80))
            with contextlib.suppress(TimeoutError):
                sock.recv(100)
                first.append(time.perf_counter() - start)
    return rate, statistics.median(times) * 1e6, statistics.median(first) * 1e6


def change(mode: str, backend: str, count: int) -> tuple[float, float]:
    """Seconds from the write of an EndpointSlice to the first packet to the new endpoint: median and worst."""
    kernel_iptables.default_backend = lambda: backend  # type: ignore[assignment]
    net = Network()
    Servers(net).start()
    found = asyncio.run(_changes(net, mode, count))
    return statistics.median(found), max(found)


async def _changes(net: Network, mode: str, count: int) -> list[float]:
    client = Client(FakeApi())
    await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}})
    for number in range(1, count + 1):
        await client.create(SERVICES, service(number))
        await client.create(SLICES, slice_of(number, "one"))
    proxier = Proxier("here", net.ns["here"], cluster_cidr=CLUSTER_CIDR, mode=mode, timing=SyncTiming())
    task = asyncio.create_task(proxier.run(client))
    await eventually(lambda: proxier.full_syncs > 0 and not proxier.table.pending, "the first sync", timeout=200)
    await asyncio.sleep(1.5)
    found = []
    for number in range(CHANGES):
        pod = ("two", "one")[number % 2]
        obj = await client.get(SLICES, "svc1-1", "default")
        began = time.perf_counter()
        await client.update(SLICES, {**obj, "endpoints": slice_of(1, pod)["endpoints"]})
        await asyncio.wait_for(_answered(net, pod), 30)
        found.append(time.perf_counter() - began)
        await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return found


async def _answered(net: Network, pod: str) -> None:
    """A new flow after the other, until one reaches the pod."""
    loop = asyncio.get_running_loop()
    while True:
        with net.ns["pod"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            await loop.sock_sendto(sock, b"?", (address(1), 80))
            if (await asyncio.wait_for(loop.sock_recv(sock, 100), 5)).decode() == pod:
                return


def syncs() -> None:
    rows = []
    for name, (mode, backend) in BACKENDS.items():
        for count in SYNCED:
            if (name, count) not in SLOW:
                first, ours, floor = throwaway.run(lambda: full_sync(mode, backend, count))  # noqa: B023
                rows.append((f"{name}, {count} Services", first, ours, floor, ours / floor))
    table(
        "Full sync into an empty namespace", ("", "first, computed s", "full sync s", "the tool alone s", "ratio"), rows
    )


def changes() -> None:
    rows = []
    for name, (mode, backend) in BACKENDS.items():
        for count in SIZES:
            if (name, count) not in SLOW:
                median, worst = throwaway.run(lambda: change(mode, backend, count))  # noqa: B023
                rows.append((f"{name}, {count} Services", median * 1e3, worst * 1e3))
    table("One endpoint changed: API write to first packet", ("", "p50 ms", "worst ms"), rows)


def costs(picture: str) -> None:
    direct = throwaway.run(lambda: connections("direct", "legacy", 0))
    rows: list[Sequence[object]] = [("direct to the pod", *direct, 1.0)]
    lines: dict[str, list[tuple[int, float]]] = {"direct to the pod": [(count, direct[1]) for count in SIZES]}
    for name, (mode, backend) in BACKENDS.items():
        for count in SIZES:
            if (name, count) not in SLOW:
                found = throwaway.run(lambda: connections(mode, backend, count))  # noqa: B023
                rows.append((f"{name}, {count} Services", *found, found[1] / direct[1]))
                lines.setdefault(name, []).append((count, found[1]))
    table("A new connection", ("", "per s", "connect µs", "UDP first round trip µs", "× direct"), rows)
    if picture:
        Path(picture).write_text(svg(lines))


COLOURS = ("#666", "#c33", "#e93", "#36c")


def svg(lines: dict[str, list[tuple[int, float]]]) -> str:
    """Median µs of connect() over the number of Services, both on logarithmic scales."""
    import math

    highest = max(cost for points in lines.values() for _, cost in points)
    lowest = min(cost for points in lines.values() for _, cost in points)
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
    out += [f'<text x="{at(count, 10**low)[0]:.0f}" y="330" text-anchor="middle">{count:,}</text>' for count in SIZES]
    out.append('<text x="280" y="350" text-anchor="middle">Services</text>')
    for number, ((name, points), colour) in enumerate(zip(lines.items(), COLOURS, strict=True)):
        path = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="505" y="{60 + 20 * number}" fill="{colour}">{name}</text>')
    return "\n".join([*out, "</svg>\n"])


def main() -> None:
    syncs()
    changes()
    costs(sys.argv[1] if len(sys.argv) > 1 else "")


if __name__ == "__main__":
    main()
