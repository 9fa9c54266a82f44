"""Where a lab keeps its things, outside (per user, XDG base directories) and inside (the private /run)."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

# Inside a lab /run is a private tmpfs, so these are the same for every lab.
INSIDE = Path("/run/netlab")
INIT_SOCKET = INSIDE / "init.sock"
LAYERS = INSIDE / "layers"
NETNS_DIR = Path("/run/netns")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")


class BadLabName(ValueError):  # noqa: N818
    """A lab's name becomes a directory and a host name: lower-case letters, digits and inner dashes, 40 at most."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is not a lab name: use 1 to 40 lower-case letters, digits and dashes, no dash at either end"
        )


def _home() -> Path:
    return Path(os.environ.get("HOME") or Path("~").expanduser())


def _xdg(variable: str, fallback: str) -> Path:
    """The base directory; the specification says that a relative value is to be ignored."""
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else _home() / fallback


def state_root() -> Path:
    return _xdg("XDG_STATE_HOME", ".local/state") / "netlab"


def runtime_root() -> Path:
    value = os.environ.get("XDG_RUNTIME_DIR", "")
    if value.startswith("/") and os.access(value, os.W_OK):
        return Path(value) / "netlab"
    return Path(f"/tmp/netlab-{os.getuid()}")


def images_dir() -> Path:
    """Images that the user added or loaded; shared by all of the user's labs."""
    return _xdg("XDG_DATA_HOME", ".local/share") / "netlab" / "images"


def bundled_program(name: str) -> Path | None:
    """A program that scripts/setup unpacked beside our environment (installed, it would be a running service)."""
    for entry in sys.path:
        if entry.endswith("site-packages"):
            program = Path(entry).parents[2] / "share" / "netlab" / "programs" / name
            if os.access(program, os.X_OK):
                return program
    return None


@dataclass(frozen=True, slots=True)
class LabPaths:
    """The places of one lab. `LabPaths.of(name)` reads the environment; the constructor takes them as they are."""

    name: str
    state: Path
    runtime: Path

    @classmethod
    def of(cls, name: str) -> "LabPaths":
        if not _NAME.match(name):
            raise BadLabName(name)
        return cls(name, state_root() / name, runtime_root() / name)

    # Kept after `klab down` (until --purge)
    @property
    def store(self) -> Path:
        return self.state / "store"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def topology(self) -> Path:
        return self.state / "topology.yaml"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pods(self) -> Path:
        """Pod logs and emptyDirs; wiped at every start."""
        return self.state / "pods"

    @property
    def disks(self) -> Path:
        """What the nodes have on their disks (hostPath and local volumes): it outlives `klab down`, as a disk would."""
        return self.state / "disks"

    @property
    def lab_json(self) -> Path:
        return self.state / "lab.json"

    # Gone with the lab
    @property
    def control_socket(self) -> Path:
        return self.runtime / "control.sock"

    @property
    def pid(self) -> Path:
        """`<pid> <start time>` of the lab's PID 1 as the machine sees it."""
        return self.runtime / "pid"

    @property
    def cgroup(self) -> Path:
        """The path of the lab's memory cgroup, where it has one."""
        return self.runtime / "cgroup"

    @property
    def lock(self) -> Path:
        """Locked (flock) by PID 1 for as long as the lab lives."""
        return self.runtime / "lock"

    def create(self) -> None:
        """Make the directories; the runtime one is the user's alone."""
        for directory in (self.state, self.store, self.pki, self.logs, self.pods):
            directory.mkdir(parents=True, exist_ok=True)
        self.runtime.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.runtime.mkdir(mode=0o700, exist_ok=True)


def known_labs() -> list[str]:
    """Names of the labs that have state or run, sorted."""
    names: set[str] = set()
    for root in (state_root(), runtime_root()):
        if root.is_dir():
            names.update(p.name for p in root.iterdir() if p.is_dir() and _NAME.match(p.name))
    return sorted(names)
