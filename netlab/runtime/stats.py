"""CPU time and memory of a process and its descendants, from /proc."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def process_tree_stats(pid: int) -> tuple[float, int, int]:
    """CPU seconds (with ended children), bytes of memory, number of processes.

    Memory is the proportional share: processes that are forks of one another have most of theirs in common.
    """
    cpu, memory, count = 0.0, 0, 0
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        base = Path(f"/proc/{current}")
        try:
            text = (base / "stat").read_text()
            waiting += [int(child) for child in (base / f"task/{current}/children").read_text().split()]
        except (OSError, ValueError):
            continue
        fields = text[text.rindex(")") + 2 :].split()
        cpu += sum(int(fields[index]) for index in (11, 12, 13, 14)) / TICKS
        memory += _memory(base)
        count += 1
    return cpu, memory, count


def _memory(process: Path) -> int:
    """Its proportional set size; where the kernel does not tell, what is resident and not shared with a file."""
    try:
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        resident, shared = (int(word) for word in (process / "statm").read_text().split()[1:3])
    except (OSError, ValueError):
        return 0
    return max(0, resident - shared) * PAGE
