"""What the tests of whole labs share: `klab` as a user calls it, and what must be the same on the machine after."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class User:
    """Who runs the labs of a test: `prefix` goes before every command, the directories are this test's own.

    `python`: the interpreter to use and what it needs in its environment.
    """

    home: Path
    prefix: tuple[str, ...] = ()
    python: tuple[tuple[str, ...], dict[str, str]] = ((sys.executable,), {})

    def prepare(self) -> None:
        """Make the directories."""
        for name in ("state", "run", "data"):
            (self.home / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def klab_command(self) -> tuple[str, ...]:
        return (*self.prefix, *self.python[0], "-m", "netlab.cli")

    @property
    def environment(self) -> dict[str, str]:
        directories = {
            "HOME": self.home,
            "XDG_STATE_HOME": self.home / "state",
            "XDG_RUNTIME_DIR": self.home / "run",
            "XDG_DATA_HOME": self.home / "data",
        }
        path = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        return {**path, **self.python[1], **{name: str(where) for name, where in directories.items()}}

    def klab(
        self, *arguments: str, timeout: float = 120, stdin: str = "", path: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `klab`; `path` replaces PATH."""
        return self._run([*self.klab_command, *arguments], timeout, stdin, {"PATH": path} if path else {})

    def script(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a Python program with the same interpreter."""
        return self._run([*self.prefix, *self.python[0], *arguments], timeout, "")

    def _run(
        self, command: Sequence[str], timeout: float, stdin: str, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**self.environment, **(extra or {})},
            cwd="/",
            check=False,
        )

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.klab_command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            cwd="/",
            start_new_session=True,
        )


def host_state() -> dict[str, str]:
    """Everything about the machine's network that a lab must not touch."""
    commands = {
        "addresses": ["ip", "addr"],
        "rules": ["ip", "rule"],
        "routes": ["ip", "route", "show", "table", "all"],
        "nftables": ["nft", "list", "ruleset"],
        "iptables": ["iptables-save"],
        "mounts": ["cat", "/proc/self/mounts"],
    }
    if os.getuid() != 0:
        commands = {name: command for name, command in commands.items() if name not in ("nftables", "iptables")}
    state = {
        name: _stable(subprocess.run(c, capture_output=True, text=True, check=True).stdout)
        for name, c in commands.items()
    }
    names = Path("/run/netns")
    state["netns"] = "\n".join(sorted(entry.name for entry in names.iterdir())) if names.is_dir() else ""
    return state


def _stable(text: str) -> str:
    """Without the counting of time that the machine does by itself (lifetimes, dates in a comment)."""
    return "\n".join(line for line in text.splitlines() if "valid_lft" not in line and not line.startswith("#"))


def processes_of(namespace: str) -> list[int]:
    """The processes whose PID namespace (`/proc/<pid>/ns/pid_for_children` or `pid`) is that one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                ended = (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
                if not ended and os.readlink(entry / "ns" / "pid") == namespace:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def pid_namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def descendants(pid: int) -> list[int]:
    """All processes below that one, whichever namespaces they are in."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if stat[0] != "Z":
                children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found
