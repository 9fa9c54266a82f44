"""CPU time and memory of a process and its descendants, from /proc.

The kernel walks all pages of a process to tell its proportional share, which costs more than everything else that is
read here: a reading of memory is therefore kept, the longer the more processes are measured.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

MEMORY_AGE = 5.0
"""Seconds for which a reading of memory is kept."""
MEMORY_AGE_EACH = 0.02
"""Seconds for every process that is measured, where that is more."""
_FORGOTTEN = 120.0
_FEW = 256


@dataclass(slots=True)
class _Memory:
    started: bytes
    size: int
    read: float


class Meter:
    """Reads processes again and again. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._memory: dict[int, _Memory] = {}
        self._tidy_at = _FEW

    def tree(self, pid: int) -> tuple[float, int, int]:
        """CPU seconds (with ended children), bytes of memory, number of processes.

        Memory is the proportional share: processes that are forks of one another have most of theirs in common.
        """
        cpu, memory, count, now = 0, 0, 0, self._clock()
        waiting = [pid]
        while waiting:
            current = waiting.pop()
            try:
                stat = _read(f"/proc/{current}/stat")
                waiting += map(int, _read(f"/proc/{current}/task/{current}/children").split())
            except (OSError, ValueError):
                continue
            fields = stat[stat.rindex(b")") + 2 :].split()
            cpu += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
            memory += self._size(current, fields[19], now)
            count += 1
        return cpu / TICKS, memory, count

    def _size(self, pid: int, started: bytes, now: float) -> int:
        known = self._memory.get(pid)
        age = max(MEMORY_AGE, MEMORY_AGE_EACH * len(self._memory))
        if known is not None and known.started == started and now - known.read < age:
            return known.size
        self._memory[pid] = _Memory(started, _memory(pid), now)
        if len(self._memory) > self._tidy_at:
            self._memory = {key: one for key, one in self._memory.items() if now - one.read < max(_FORGOTTEN, 2 * age)}
            self._tidy_at = max(_FEW, 2 * len(self._memory))
        return self._memory[pid].size


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 8192)
    finally:
        os.close(file)


def _memory(pid: int) -> int:
    """Its proportional set size; where the kernel does not tell, what is resident and not shared with a file."""
    try:
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
        resident, shared = (int(word) for word in _read(f"/proc/{pid}/statm").split()[1:3])
    except (OSError, ValueError):
        return 0
    return max(0, resident - shared) * PAGE
