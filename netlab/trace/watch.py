"""Watches one probe in many namespaces at once: a packet socket, the rule trace and conntrack's events in each.

Everything is opened before the packet is sent and closed after; what a namespace must be told (one nftables table) goes
with its socket, so that nothing stays behind however this process ends.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from netlab.kernel import conntrack, nftrace
from netlab.kernel.capture import Capture, capture
from netlab.kernel.errors import KernelError
from netlab.kernel.nlsocket import NetlinkSocket
from netlab.trace.correlate import Sight
from netlab.trace.gather import Gathered
from netlab.trace.packet import decode
from netlab.trace.token import AnyToken, Token

BUFFER = 1 << 20


@dataclass(slots=True)
class Watch:
    """What was seen. `frames` are the sights' bytes, one for each in the same order."""

    gathered: Gathered
    token: Token | AnyToken
    sights: list[Sight] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    hits: dict[str, list[nftrace.Hit]] = field(default_factory=dict)
    connections: dict[str, list[conntrack.Entry]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _captures: dict[int, tuple[str, Capture]] = field(default_factory=dict)
    _tracers: dict[str, nftrace.Tracer] = field(default_factory=dict)
    _events: dict[str, NetlinkSocket] = field(default_factory=dict)
    _poll: select.epoll = field(default_factory=select.epoll)

    def open(self, places: Iterable[str], filtered: Iterable[str]) -> None:
        """`filtered`: the places with rules, whose trace is wanted."""
        program = self.token.bpf()
        for place in places:
            with suppress(KernelError):  # a pod that ended since
                nftrace.leftover(self.gathered.namespace(place))
                sight = capture(self.gathered.namespace(place), expression=program, buffer=BUFFER)
                self._captures[sight.fileno()] = (place, sight)
                self._poll.register(sight.fileno(), select.EPOLLIN)
        marks = [nftrace.Mark(*mark) for mark in self.token.marks()]
        family = 10 if self.token.ipv6 else 2
        for place in filtered:
            ns = self.gathered.namespace(place)
            tracer = nftrace.Tracer(ns)
            try:
                tracer.arm(marks, legacy=(family,))
            except KernelError as problem:
                self.notes.append(f"rules on {place} are not traced: {problem}")
                tracer.close()
                continue
            self._tracers[place] = tracer
            self._events[place] = conntrack.subscribe(ns)

    def wait(self, seconds: float) -> bool:
        """Collects what arrives within that time; whether there was anything."""
        end, found = time.monotonic() + seconds, False
        while True:
            ready = self._poll.poll(max(0.0, end - time.monotonic()))
            for fd, _ in ready:
                found |= self._read(fd)
            if found or not ready:
                return found

    def _read(self, fd: int) -> bool:
        place, sight = self._captures[fd]
        count = len(self.sights)
        with suppress(OSError):  # the interface went down
            for frame in sight.read():
                self.sights.append(Sight(place, frame.interface, frame.direction, frame.time, decode(frame.data)))
                self.frames.append(frame.data)
        return len(self.sights) > count

    def finish(self) -> None:
        """Everything that still waits, then the end of watching."""
        for fd in self._captures:
            self._read(fd)
        for place, tracer in self._tracers.items():
            self.hits[place] = list(tracer.read())
            self.connections[place] = [
                entry for event, entry in conntrack.events(self._events[place]) if event == "new"
            ]
        self.close()

    def close(self) -> None:
        """Twice is fine. Each socket waits for the kernel (packet sockets 10 ms and more), so all wait at once, and
        nobody waits for them."""
        for tracer in self._tracers.values():
            tracer.give_back()
        captures = [sight.close for _, sight in self._captures.values()]
        tracers = [tracer.close for tracer in self._tracers.values()]
        streams = [stream.close for stream in self._events.values()]
        for close in (*captures, *tracers, *streams):
            threading.Thread(target=close, name="closing").start()
        self._poll.close()
        self._tracers, self._events, self._captures = {}, {}, {}
