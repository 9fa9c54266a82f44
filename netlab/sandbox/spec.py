"""What PID 1 is asked to start, and what it says about it: plain frozen data with a JSON form.

Descriptors do not travel in JSON: an `int` in `stdio`, `join` or `pass_fds` is an index into the descriptors sent
with the order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Namespace = Literal["net", "uts", "ipc", "pid", "mnt"]
# A descriptor (by index), a path ("/run/netns/node1"), or the id of a process that PID 1 keeps ("pod/node1/…").
NamespaceRef = int | str
Stdio = int | Literal["null", "pipe", "pty", "log"]
MountKind = Literal["bind", "tmpfs", "proc", "sysfs", "devpts", "file", "dev", "symlink", "overlay"]


@dataclass(frozen=True, slots=True)
class MountSpec:
    """One mount of a root file system. `target` is absolute inside the root; missing mount points are made.

    bind: recursive. tmpfs, proc, sysfs, devpts: as they are named. file: writes `text` into the private layer.
    symlink: `target` becomes a link to `source`. dev: the usual nodes; `source` is the /dev/shm of the pod, `options`
    "private" makes the directory writable. overlay: the directory `source`, writable in private; `text` names
    directories (a line each) to make in it, `options` a directory to lay between.
    """

    kind: MountKind
    target: str
    source: str = ""
    read_only: bool = False
    text: str = ""
    options: str = ""


@dataclass(frozen=True, slots=True)
class RootFs:
    """A root for a process: read-only lower directories, a private writable layer, mounts.

    `lower` from top to bottom. `layer` is a directory on the lab's tmpfs: it holds the overlay's upper and work
    directories and is removed when the process is forgotten. `read_only` makes the finished root read-only.
    """

    lower: tuple[str, ...]
    layer: str
    mounts: tuple[MountSpec, ...] = ()
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process: a `target` ("package.module:function", called with `args`) or the program of `argv`.

    With a target, `argv` is only what `ps` shows.

    id: unique among what PID 1 keeps; a prefix with slashes groups them ("ctr/node1/4f…").
    env: the whole environment for `argv`; added to PID 1's own for a `target`.
    via: "init" forks PID 1 itself (light targets), "zygote" forks the process that has the heavy modules.
    join, new: namespaces to enter and to make. A new "pid" makes the process number 1 there.
    restart: start it again when it ends, with back-off, until it is killed through `kill` or forgotten.
    meta: an opaque string that `list` gives back.
    capabilities: names without CAP_ to keep; None keeps all.
    cgroup: directory of a cgroup (v1 memory or v2) that the process joins before it starts.
    sysctls: (dotted name, value) of parameters to write in the namespaces that were joined and made.
    hold: names of descriptors that PID 1 holds (`hold` of the client), inherited; see `inherited_fds`.
    """

    id: str
    target: str | None = None
    args: tuple[Any, ...] = ()
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    hostname: str | None = None
    via: Literal["init", "zygote"] = "init"
    join: Mapping[Namespace, NamespaceRef] = field(default_factory=dict)
    new: frozenset[Namespace] = frozenset()
    rootfs: RootFs | None = None
    stdio: tuple[Stdio, Stdio, Stdio] = ("null", "null", "null")
    restart: bool = False
    user: tuple[int, int] | None = None
    groups: tuple[int, ...] = ()
    capabilities: frozenset[str] | None = None
    no_new_privs: bool = False
    sysctls: tuple[tuple[str, str], ...] = ()
    cgroup: str | None = None
    pass_fds: tuple[int, ...] = ()
    hold: tuple[str, ...] = ()
    log: str | None = None
    meta: str = ""
    oom_score_adj: int | None = None


@dataclass(frozen=True, slots=True)
class ExitInfo:
    """How a process ended: `code` of an exit, or `signal`; `error` when it never came to run (stage: reason)."""

    code: int
    signal: int
    finished_at: float
    error: str = ""
    errno: int = 0
    oom: bool = False

    @property
    def status(self) -> int:
        """The exit status as a shell or a container runtime says it: 128 + signal when killed."""
        return 128 + self.signal if self.signal else self.code


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A kept process. `pid` is its number in the lab; `starts` counts how often it was started."""

    id: str
    pid: int
    started_at: float
    exit: ExitInfo | None
    meta: str = ""
    starts: int = 1


@dataclass(frozen=True, slots=True)
class ExitEvent:
    """A process ended. `restarting`: PID 1 is about to start it again."""

    id: str
    pid: int
    exit: ExitInfo
    meta: str = ""
    restarting: bool = False


class SandboxError(Exception):
    """Base of what this package raises; the message is one clear sentence."""


class SpawnError(SandboxError):
    """The process could not be started. `stage`: fork, join, new, rootfs, user, cwd, exec, …"""

    def __init__(self, stage: str, errno: int, message: str) -> None:
        super().__init__(message)
        self.stage, self.errno, self.message = stage, errno, message


class NoSuchProcess(SandboxError):  # noqa: N818
    """PID 1 keeps no process of that id."""


class AlreadyExists(SandboxError):  # noqa: N818
    """PID 1 already keeps a process of that id."""


class InitGone(SandboxError):  # noqa: N818
    """PID 1 does not answer: the lab is ending."""
