"""What a process costs: CPU read at every look, memory kept for a while, both of a whole tree."""

import subprocess
import sys

import pytest

from netlab.runtime import stats
from netlab.runtime.stats import Meter

TREE = "import subprocess, sys; subprocess.run(['sh', '-c', 'echo ready; read x; exit 0'])"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_tree_has_its_children_and_their_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    cpu, memory, count = Meter().tree(process.pid)
    assert count >= 2 and cpu > 0 and memory > 1_000_000
    process.communicate(b"\n", timeout=20)
    assert Meter().tree(process.pid) == (0.0, 0, 0)


def test_memory_is_read_again_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sizes = Clock(), iter((10, 20, 30))
    meter = Meter(clock)
    monkeypatch.setattr(stats, "_memory", lambda pid: next(sizes))
    seen = []
    for passed in (0.0, stats.MEMORY_AGE / 2, stats.MEMORY_AGE):
        clock.now += passed
        seen.append(meter._size(7, b"1", clock.now))
    assert seen == [10, 10, 20]
    assert meter._size(7, b"2", clock.now) == 30, "another process under the same number"


def test_what_has_gone_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    meter = Meter(clock)
    monkeypatch.setattr(stats, "_memory", lambda pid: 1)
    for pid in range(256):
        meter._size(pid, b"1", clock.now)
    clock.now += 1000
    meter._size(1000, b"1", clock.now)
    assert list(meter._memory) == [1000]
