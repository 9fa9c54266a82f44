"""What the tests of whole labs share: `klab` as a user calls it, and what must be the same on the machine after."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
    source: Path = Path(__file__).resolve().parents[2]
    """A checkout of netlab that this user may read."""

    def prepare(self) -> None:
        """Make the directories."""
        for name in ("state", "run", "data"):
            (self.home / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def klab_command(self) -> tuple[str, ...]:
        return (*self.prefix, *self.python[0], "-m", "netlab")

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

    def run(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run any program as this user."""
        return self._run([*self.prefix, *command], timeout, "")

    def kubectl(self, *arguments: str, lab: str = "single") -> subprocess.CompletedProcess[str]:
        """kubectl by itself: half the time of `klab kubectl`."""
        config = self.home / "state" / "netlab" / lab / "kubeconfig"
        return self.run("kubectl", f"--kubeconfig={config}", "--request-timeout=5s", *arguments)

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


NAMESPACES = ("user", "net", "mnt", "pid", "uts", "ipc")


class Namespaces:
    """The namespaces that a process (a lab's PID 1, say) does not share with this one.

    They are held open: the kernel gives the number of one that is gone to the next that is made, perhaps of another
    lab. `Namespaces(None)`: of a process that there was not; nobody is in them.
    """

    def __init__(self, pid: int | None) -> None:
        self.names: set[str] = set()
        self.handles: list[int] = []
        for kind in NAMESPACES if pid is not None else ():
            with contextlib.suppress(OSError):
                handle = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
                self.handles.append(handle)
                if (name := os.readlink(f"/proc/self/fd/{handle}")) != _namespace("self", kind):
                    self.names.add(name)

    def __del__(self) -> None:
        for handle in self.handles:
            os.close(handle)

    def processes(self) -> list[int]:
        """The processes on this machine that are in one of them."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    ended = (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
                except OSError:
                    continue
                if not ended and any(_namespace(entry.name, kind) in self.names for kind in NAMESPACES):
                    found.append(int(entry.name))
        return found


def _namespace(pid: int | str, kind: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def init_pid(user: User, lab: str = "single") -> int | None:
    """The lab's PID 1 as the machine sees it."""
    try:
        return int((user.home / "run" / "netlab" / lab / "pid").read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def until(what: str, holds: Callable[[], bool], timeout: float = 60.0, found: Callable[[], str] | None = None) -> None:
    """Wait for it; AssertionError with `what`, and what there was instead, after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not holds():
        if time.monotonic() >= end:
            raise AssertionError(f"{what}: not within {timeout:.0f} s\n{found() if found else ''}")
        time.sleep(0.1)


def picture(user: User) -> str:
    """What a person would look at when pods are not Ready."""
    said = [user.kubectl("get", "nodes,pods", "-A", "-o", "wide"), user.kubectl("get", "pods", "-A", "-o", "yaml")]
    said += [user.kubectl("get", "events", "-A"), user.klab("status")]
    logs = sorted((user.home / "state" / "netlab").glob("*/logs/*.log"))
    ends = [f"{log.name}:\n{log.read_text()[-2000:]}" for log in logs]
    return "\n".join([*(answer.stdout + answer.stderr for answer in said), *ends])


def one_sentence(text: str) -> None:
    """What every error must be."""
    assert "Traceback" not in text
    assert text.strip(), "an error must say something"
    assert len(text.strip().splitlines()) <= 3, text


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
