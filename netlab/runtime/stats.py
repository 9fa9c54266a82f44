"""CPU time and memory of a process and its descendants, from /proc."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def process_tree_stats(pid: int) -> tuple[float, int, int]:
    """CPU seconds (with ended children), resident bytes that are not shared, number of processes."""
    cpu, memory, count = 0.0, 0, 0
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        base = Path(f"/proc/{current}")
        try:
            text = (base / "stat").read_text()
            resident, shared = (int(word) for word in (base / "statm").read_text().split()[1:3])
            waiting += [int(child) for child in (base / f"task/{current}/children").read_text().split()]
        except (OSError, ValueError):
            continue
        fields = text[text.rindex(")") + 2 :].split()
        cpu += sum(int(fields[index]) for index in (11, 12, 13, 14)) / TICKS
        memory += max(0, resident - shared) * PAGE
        count += 1
    return cpu, memory, count
