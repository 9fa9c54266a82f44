"""Where merged frames go: a pcapng stream, text for a reader, JSON lines for a program."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Protocol

from netlab.kernel.ring import data_of
from netlab.trace import pcapng
from netlab.trace.follow import Follower
from netlab.trace.merge import Seen, Tap, exact
from netlab.trace.packet import Packet, decode
from netlab.trace.render import outer, summary

DIRECTIONS = {0: "in", 1: "broadcast", 2: "multicast", 3: "other", 4: "out"}


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of places and addresses. `interfaces`: "PLACE:INTERFACE" → whose it is, in words."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    interfaces: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    expression: str = ""


_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


def named(text: str, names: Mapping[str, str]) -> str:
    """The text with the name behind every IPv4 address that has one."""
    return _ADDRESS.sub(lambda found: f"{found[0]}({names[found[0]]})" if found[0] in names else found[0], text)


class Sink(Protocol):
    """Takes frames in order. `begin` when every tap is open, `end` when nothing comes any more.

    `write` says how many it has kept."""

    def begin(self, taps: Sequence[Tap]) -> None: ...

    def write(self, batch: Sequence[Seen]) -> int: ...

    def end(self) -> None: ...


class PcapngSink:
    """Writes without decoding, about a microsecond a frame; with a follower only what is of the flow."""

    def __init__(self, target: int, labels: Labels, follower: Follower | None = None) -> None:
        self.target, self.labels, self.follower = target, labels, follower
        self.taps: Sequence[Tap] = ()
        self._count = 0
        self._described: list[Tap] = []
        self._tails: dict[tuple[int, int], bytes] = {}

    def begin(self, taps: Sequence[Tap]) -> None:
        self.taps = taps
        system = f"{os.uname().sysname} {os.uname().release}"
        self._send(pcapng.section("netlab", system) + pcapng.name_resolution(self.labels.addresses))
        ready = [self._describe(tap, _index(tap)) for tap in taps if exact(tap.interface)]
        self._send(b"".join(ready))

    def write(self, batch: Sequence[Seen]) -> int:
        chunks: list[bytes] = []
        add, tails, pack, taps = chunks.append, self._tails, pcapng.HEAD.pack, self.taps
        kept = 0
        for entry, tap_number, block in batch:
            when, at, size, length, index, hardware, kind, tag = entry
            tap = taps[tap_number]
            number = tap.numbers.get(index)
            if number is None:
                add(self._describe(tap, index, hardware))
                number = tap.numbers[index]
            if number < 0:
                continue
            if tag >= 0 or self.follower is not None:
                found = self._slowly(number, (entry, tap_number, block))
                kept += bool(found)
                add(found)
                continue
            kept += 1
            end = tails.get((size, kind))
            if end is None:
                end = tails[size, kind] = pcapng.tail(size, kind)
            add(pack(6, 28 + size + len(end), number, when >> 32, when & 0xFFFFFFFF, size, length))
            add(block[at : at + size])
            add(end)
        self._send(b"".join(chunks))
        return kept

    def _slowly(self, number: int, seen: Seen) -> bytes:
        """A frame with a VLAN tag to put back, or one that may be of the flow: then with its ends' names."""
        entry, _, block = seen
        data, comment = data_of(block, entry), ""
        if self.follower is not None:
            packet = decode(data)
            if not self.follower.has(packet):
                return b""
            comment = named(summary(packet), self.labels.addresses)
        return pcapng.packet(number, entry[0], data, entry[3] + len(data) - entry[2], entry[6], comment)

    def _describe(self, tap: Tap, index: int, hardware: int = 1) -> bytes:
        """The block of an interface that is seen for the first time; nothing for one that is not wanted."""
        if not tap.wants(index):
            tap.numbers[index] = -1
            return b""
        tap.numbers[index] = self._count
        self._count += 1
        self._described.append(tap)
        name = f"{tap.place}:{tap.name(index)}"
        labels = self.labels
        whose = labels.interfaces.get(name) or labels.places.get(tap.place, "")
        return pcapng.interface(
            name, whose or tap.place, comment=whose, expression=labels.expression, hardware=hardware
        )

    def end(self) -> None:
        now = time.time_ns()
        told: set[int] = set()
        found = b""
        for number, tap in enumerate(self._described):
            if tap.number not in told:  # of several interfaces of one ring the first tells for all
                told.add(tap.number)
                found += pcapng.statistics(number, now, tap.received, tap.count_lost())
        self._send(found)

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.target, rest) :]


def _index(tap: Tap) -> int:
    return interface_index(tap.ring.fileno(), tap.interface)


def interface_index(descriptor: int, name: str) -> int:
    """The index of an interface in a socket's namespace; OSError ENODEV where there is none."""
    import fcntl
    import struct

    answer = fcntl.ioctl(descriptor, 0x8933, struct.pack("=16si20x", name.encode(), 0))  # SIOCGIFINDEX
    return int(struct.unpack_from("=i", answer, 16)[0])


class LineSink:
    """Decodes every frame and prints a line: text, or JSON as `Lab.observe` reads it."""

    def __init__(self, target: IO[str], labels: Labels, follower: Follower | None = None, *, text: bool) -> None:
        self.target, self.labels, self.follower, self.text = target, labels, follower, text
        self.taps: Sequence[Tap] = ()

    def begin(self, taps: Sequence[Tap]) -> None:
        self.taps = taps
        if not self.text:
            self._line(json.dumps({"ready": len(taps)}))
            self.target.flush()

    def write(self, batch: Sequence[Seen]) -> int:
        kept = 0
        for entry, number, block in batch:
            tap = self.taps[number]
            if not tap.wants(entry[4]):
                continue
            data = data_of(block, entry)
            packet = decode(data) if self.text or self.follower is not None else None
            if self.follower is not None and (packet is None or not self.follower.has(packet)):
                continue
            where = (tap.place, tap.name(entry[4]), DIRECTIONS.get(entry[6], "other"))
            self._line(self._text(entry[0], where, packet) if packet and self.text else _json(entry[0], where, data))
            kept += 1
        self.target.flush()
        return kept

    def _text(self, when: int, where: tuple[str, str, str], packet: Packet) -> str:
        encapsulation = f"{outer(packet)} ▸ " if packet.inner else ""
        clock = time.strftime("%H:%M:%S", time.localtime(when // 10**9)) + f".{when // 1000 % 10**6:06d}"
        what = named(summary(packet), self.labels.addresses)
        return f"{clock}  {' '.join(where):<28}  {encapsulation}{what}"

    def _line(self, line: str) -> None:
        self.target.write(line + "\n")

    def end(self) -> None:
        for tap in self.taps:
            lost = tap.count_lost()
            if not self.text:
                self._line(json.dumps({"place": tap.place, "dropped": lost}))
            elif lost:
                self._line(f"{tap.place}: {lost} frames lost because the reader was too slow")
        self.target.flush()


def _json(when: int, where: tuple[str, str, str], data: bytes) -> str:
    place, interface, direction = where
    text = base64.b64encode(data).decode()
    return json.dumps({"time": when, "place": place, "interface": interface, "direction": direction, "data": text})
