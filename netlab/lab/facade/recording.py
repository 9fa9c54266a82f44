"""Packets of a running lab, read by the script itself: rings on sockets that the portal hands over."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netlab.kernel.bpf import FilterError
from netlab.kernel.errors import KernelError
from netlab.kernel.ring import data_of, open_ring
from netlab.lab.portal import Portal
from netlab.lab.record import LabError
from netlab.trace.merge import Merge, Seen, Tap, exact
from netlab.trace.sinks import DIRECTIONS, interface_index

if TYPE_CHECKING:
    from netlab.trace.observe import Point
    from netlab.trace.story import Frame

SIZE = 4 << 20


@dataclass(frozen=True, slots=True)
class Sighting:
    """A frame as it was seen. `time` in ns since the epoch, `length` on the wire."""

    time: int
    place: str
    interface: str
    direction: str
    length: int
    data: bytes
    kind: int = 0


class Recording:
    """Runs from its making until `stop`; the kernel keeps what nobody has read yet (4 MB a place)."""

    def __init__(self, portal: Portal, points: Sequence[Point], expression: str = "") -> None:
        self.expression = expression
        self.sightings: list[Sighting] = []
        taps: list[Tap] = []
        try:
            taps.extend(self._tap(portal, point) for point in points)
        except BaseException:
            for tap in taps:
                tap.ring.close()
            raise
        self._merge: Merge | None = Merge(taps)
        self._taps = taps

    def _tap(self, portal: Portal, point: Point) -> Tap:
        sock = portal.open_socket(point.netns, socket.AF_PACKET, socket.SOCK_RAW)
        one = point.interface if exact(point.interface) else ""
        try:
            ring = open_ring(sock, one, expression=self.expression, size=SIZE)
        except FilterError as problem:
            sock.close()
            raise LabError(str(problem)) from None
        except KernelError as problem:
            raise LabError(f"{point.place}: no interface '{one}'" if one else f"{point.place}: {problem}") from None
        tap = Tap(point.place, ring, point.interface)
        if one:  # its name is known while it exists
            tap.names[interface_index(sock.fileno(), one)] = one
        return tap

    def read(self, wait: float = 0.0) -> list[Sighting]:
        """What has come since the last call; with several places the order is final only after `stop`."""
        if self._merge is None:
            return []
        if wait:
            poll = select.poll()
            for tap in self._taps:
                poll.register(tap.ring.fileno(), select.POLLIN)
            poll.poll(wait * 1000)
        self._merge.drain()
        while self._merge.step():
            pass
        return self._keep(self._merge.now())

    def _keep(self, seen: Sequence[Seen]) -> list[Sighting]:
        fresh = [self._sighting(one) for one in seen if self._taps[one[1]].wants(one[0][4])]
        self.sightings += fresh
        return fresh

    def _sighting(self, seen: Seen) -> Sighting:
        entry, number, block = seen
        tap = self._taps[number]
        return Sighting(
            entry[0],
            tap.place,
            tap.name(entry[4]),
            DIRECTIONS.get(entry[6], "other"),
            entry[3],
            data_of(block, entry),
            entry[6],
        )

    def until(self, count: int, timeout: float) -> None:
        """Read until there are so many, or the time is over."""
        deadline = time.monotonic() + timeout
        while len(self.sightings) < count and (left := deadline - time.monotonic()) > 0:
            self.read(min(left, 0.2))

    def stop(self) -> None:
        """Read what is still on its way, and end. Twice is fine."""
        if self._merge is None:
            return
        self._keep(self._merge.rest())
        self.sightings.sort(key=lambda one: one.time)
        self._merge.close()
        self._merge = None

    @property
    def dropped(self) -> dict[str, int]:
        """Frames lost, by place, as far as known."""
        lost: dict[str, int] = {}
        for tap in self._taps:
            lost[tap.place] = lost.get(tap.place, 0) + (tap.lost if self._merge is None else tap.count_lost())
        return lost

    def frames(self) -> list[Frame]:
        """What was seen so far, decoded."""
        from netlab.trace.packet import decode
        from netlab.trace.story import Frame

        return [Frame(s.time / 1e9, s.place, s.interface, s.direction, decode(s.data)) for s in self.sightings]

    def packets(self) -> list[Any]:
        """As scapy packets, each with `time`, and with `sniffed_on` as "PLACE:INTERFACE"."""
        return [scapy_packet(one) for one in self.sightings]

    def save(self, path: str | Path) -> Path:
        """Write a pcapng file with an interface for each place."""
        from netlab.trace import pcapng

        numbers: dict[str, int] = {}
        chunks = [pcapng.section("netlab")]
        for one in self.sightings:
            name = f"{one.place}:{one.interface}"
            if name not in numbers:
                numbers[name] = len(numbers)
                chunks.append(pcapng.interface(name, one.place, expression=self.expression))
            chunks.append(pcapng.packet(numbers[name], one.time, one.data, one.length, one.kind))
        path = Path(path)
        path.write_bytes(b"".join(chunks))
        return path

    def __len__(self) -> int:
        return len(self.sightings)

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def scapy_packet(one: Sighting) -> Any:
    """The frame, dissected by scapy."""
    from scapy.layers.l2 import Ether

    for layers in ("inet", "inet6", "dns", "vxlan"):  # each tells scapy which ports are its
        import_module(f"scapy.layers.{layers}")

    packet = Ether(one.data)
    packet.time = one.time / 1e9
    packet.sniffed_on = f"{one.place}:{one.interface}"
    packet.direction = {"in": 1, "out": 2}.get(one.direction, 0)
    return packet
