"""What the benchmarks of whole labs share: a lab of one's own, and what its processes cost.

Labs live in directories of their own under the temporary directory and are gone afterwards, whatever happens.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A process of a lab as the machine sees it. `part`: the component's name, or `pods` for pause and containers."""

    pid: int
    part: str


@dataclass
class BenchLab:
    """A running lab. `seconds`: from the call of `klab up` until it returned; `phases`: what `klab up -o json` gave."""

    name: str
    home: Path
    topology: str
    seconds: float = 0.0
    phases: list[dict[str, Any]] = field(default_factory=list)
    init_pid: int = 0

    @property
    def environment(self) -> dict[str, str]:
        directories = {
            "HOME": self.home,
            "XDG_STATE_HOME": self.home / "state",
            "XDG_RUNTIME_DIR": self.home / "run",
            "XDG_DATA_HOME": self.home / "data",
        }
        return {**os.environ, **{name: str(where) for name, where in directories.items()}, "KLAB_LAB": self.name}

    @property
    def kubeconfig(self) -> Path:
        return self.home / "state" / "netlab" / self.name / "kubeconfig"

    def klab(self, *arguments: str, timeout: float = 300.0) -> str:
        """Run `klab`; its output. RuntimeError with its words when it fails."""
        return self._run([sys.executable, "-m", "netlab", *arguments], timeout)

    def kubectl(self, *arguments: str, stdin: str = "", timeout: float = 300.0) -> str:
        return self._run(["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments], timeout, stdin)

    def _run(self, command: Sequence[str], timeout: float, stdin: str = "") -> str:
        result = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, env=self.environment, check=False
        )
        if result.returncode:
            raise RuntimeError(f"{' '.join(command[-5:])}: {(result.stderr or result.stdout).strip()}")
        return result.stdout

    def up(self) -> None:
        for name in ("state", "run", "data"):
            (self.home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        began = time.monotonic()
        told = json.loads(self.klab("up", self.topology, "--name", self.name, "-o", "json"))
        self.seconds = time.monotonic() - began
        self.phases, self.init_pid = told["phases"], told["pid"]

    def down(self) -> float:
        """Seconds that `klab down --purge` took."""
        began = time.monotonic()
        self.klab("down", self.name, "--purge")
        return time.monotonic() - began

    def processes(self) -> list[Process]:
        """Every process of the lab, PID 1 included."""
        status = json.loads(self.klab("status", "-o", "json"))
        parts = {p["pid"]: p["id"].removeprefix("component/") for p in status["processes"] if p["exit"] is None}
        found = []
        for pid in family(self.init_pid):
            inner = inner_pid(pid)
            part = "PID 1" if pid == self.init_pid else parts.get(inner, "pods")
            found.append(Process(pid, "pods" if "/" in part else part))
        return found

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far per part (children that have ended included)."""
        total: dict[str, float] = defaultdict(float)
        for process in self.processes():
            total[process.part] += cpu_seconds(process.pid)
        return dict(total)

    def memory(self) -> dict[str, float]:
        """Proportional set size per part, in MB (10**6 bytes)."""
        total: dict[str, float] = defaultdict(float)
        for process in self.processes():
            total[process.part] += pss(process.pid)
        return dict(total)


@contextmanager
def lab(name: str, topology: str) -> Iterator[BenchLab]:
    """A lab that is down and forgotten at the end, also when that is a SIGTERM or SIGINT."""
    with tempfile.TemporaryDirectory(prefix="netlab-bench-", ignore_cleanup_errors=True) as home:
        bench = BenchLab(name, Path(home), topology)
        before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            bench.up()
            yield bench
        finally:
            # nobody who is impatient may keep the lab from its end
            for number in before:
                signal.signal(number, signal.SIG_IGN)
            try:
                bench.down()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def family(pid: int) -> list[int]:
    """That process and all below it."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = _stat(int(entry))
            if stat and stat[0] != "Z":
                children[int(stat[1])].append(int(entry))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def inner_pid(pid: int) -> int:
    """The pid that the lab's own PID namespace gives it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(words[2]) for line in lines if len(words := line.split()) > 2 and words[0] == "NSpid:"), 0)


def cpu_seconds(pid: int) -> float:
    """Of the process and of its children that have ended. The ticks of `stat` do not show a container's few ms; the
    scheduler's own count does, for the main thread."""
    stat = _stat(pid)
    if not stat:
        return 0.0
    try:
        exact = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        exact = 0.0
    return max(exact, sum(map(int, stat[11:13])) / TICKS) + sum(map(int, stat[13:15])) / TICKS


def pss(pid: int) -> float:
    """MB; 0 for a process that has gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in text.splitlines() if line.startswith("Pss:")), 0.0)


def busy_machine() -> tuple[float, float]:
    """(busy, total) processor seconds of the whole machine so far: what others did is the difference."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    total = sum(fields[:8]) / TICKS
    return total - (fields[3] + fields[4]) / TICKS, total


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
