"""Frames of many rings, merged in time.

Reading comes first and looks at nothing: blocks are copied out of the rings into a queue, so that a burst is paid with
memory. When a block is taken up its frames join those that wait for their order. A frame seen at time T is in a block
that the kernel hands over at the latest RETIRE ms later: so whatever is older than the last reading by more than that
is complete, and goes on in order.
"""

from __future__ import annotations

import fcntl
import fnmatch
import struct
import time
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

from netlab.kernel.ring import RETIRE, Entry, Ring, entries

TICKS = 40
"""ms that the kernel's timer may be late."""
HURRY = 1 << 18
"""Bytes of one reading that say that frames come fast: then looking at them is put off."""
PATIENCE = 1 << 28
"""Bytes of blocks that wait for a quiet moment before they are looked at all the same."""
MARK = 10_000_000
"""ns between two marks of progress in the queue."""
BUDGET = 1 << 30
"""Bytes of blocks that may wait; beyond it rings are left full, and the kernel counts what it drops."""
SIOCGIFNAME = 0x8910


@dataclass(slots=True)
class Tap:
    """A ring and what it is called. `interface`: a name, patterns with commas, or "" for every one."""

    place: str
    ring: Ring
    interface: str = ""
    number: int = 0
    received: int = 0
    lost: int = 0
    names: dict[int, str] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    """Interface index → number that a sink has given to it (-1: not wanted)."""

    def name(self, index: int) -> str:
        """The interface's name, asked once: it may be gone when its last frame is looked at."""
        known = self.names.get(index)
        if known is None:
            known = self.names[index] = interface_name(self.ring.fileno(), index)
        return known

    def wants(self, index: int) -> bool:
        if not self.interface:
            return True
        name = self.name(index)
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.interface.split(","))

    def count_lost(self) -> int:
        self.lost += self.ring.dropped()
        return self.lost


def exact(interface: str) -> bool:
    """Whether it names one interface: no pattern, no list."""
    return bool(interface) and not any(sign in interface for sign in "*?[,")


def interface_name(descriptor: int, index: int) -> str:
    """What the namespace of a socket calls an interface; `#INDEX` where it is gone."""
    request = struct.pack("=16si20x", b"", index)
    try:
        answer = fcntl.ioctl(descriptor, SIOCGIFNAME, request)
    except OSError:
        return f"#{index}"
    return answer[:16].partition(b"\0")[0].decode()


Seen = tuple[Entry, int, bytes]
"""A frame: where it is in its block, the number of its tap, the block."""


class Merge:
    """`drain` reads, `step` looks at one block, `ready` gives what is in order. Nothing waits."""

    def __init__(self, taps: list[Tap], retire: int = RETIRE) -> None:
        self.taps = taps
        self.settled = (retire + TICKS) * 1_000_000
        """ns after which everything older has surely been read."""
        self._read = 0
        for number, tap in enumerate(taps):
            tap.number = number
        self._queue: deque[tuple[int, bytes]] = deque()
        self._held = 0
        self._pending: list[Seen] = []
        self._complete = 0
        self._marked = 0

    def drain(self) -> None:
        """Copy out whatever the kernel has handed over."""
        now, before = time.time_ns(), self._held
        if self._held < BUDGET:
            for tap in self.taps:
                for block in tap.ring.blocks():
                    self._queue.append((tap.number, block))
                    self._held += len(block)
            if now - self._marked > MARK:
                self._queue.append((-1, now.to_bytes(8, "little")))
                self._marked = now
        self._read = self._held - before

    @property
    def hurried(self) -> bool:
        """Whether frames come so fast that there is nothing to spare for looking at them."""
        return self._read > HURRY and self._held < PATIENCE

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    def step(self) -> bool:
        """Take up one block; False where none waits."""
        if not self._queue:
            return False
        number, block = self._queue.popleft()
        if number < 0:
            self._complete = int.from_bytes(block, "little") - self.settled
            return True
        self._held -= len(block)
        found = entries(block)
        self.taps[number].received += len(found)
        self._pending += [(entry, number, block) for entry in found]
        return True

    def ready(self) -> list[Seen]:
        """The frames of which no older one can come any more, in order."""
        pending = self._pending
        if not pending:
            return []
        pending.sort(key=_time)
        end = bisect_left(pending, self._complete, key=_time)
        self._pending = pending[end:]
        return pending[:end]

    def now(self) -> list[Seen]:
        """All that has been taken up, without waiting for what may be older: for one tap that is the order."""
        found, self._pending = self._pending, []
        found.sort(key=_time)
        return found

    def rest(self) -> list[Seen]:
        """At the end: wait for the blocks that are not full, and give all that is left, in order."""
        time.sleep(self.settled / 1e9)
        self.drain()
        while self.step():
            pass
        return self.now()

    def close(self) -> None:
        for tap in self.taps:
            tap.count_lost()
            tap.ring.close()


def _time(seen: Seen) -> int:
    return seen[0][0]
