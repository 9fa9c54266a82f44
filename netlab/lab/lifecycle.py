"""Starting, finding and ending labs, from outside, as the user who types `klab`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from netlab import __version__
from netlab.api.types import Obj
from netlab.lab import speed
from netlab.lab.bus import ask
from netlab.lab.components import REPLACEABLE, ZYGOTE_MODULES
from netlab.lab.labd import OWN_ID
from netlab.lab.progress import PHASES
from netlab.lab.record import LabError, LabRecord, load_record, no_space, save_record, write_atomically
from netlab.runtime import PRELOAD
from netlab.sandbox.doctor import missing_programs
from netlab.sandbox.launch import LabRunning, Launched, destroy, launch, running_pid
from netlab.sandbox.paths import LabPaths
from netlab.sandbox.removal import remove
from netlab.sandbox.spec import ProcessSpec
from netlab.topology import dump, find, load
from netlab.topology.model import Topology

START_TIMEOUT = 120.0
DEFAULT_TOPOLOGY = "course"


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `klab up` was asked for. `topology` None: the lab's own from its last run, or the course's.

    `upstream_timing` None: as this machine's speed asks for. `timeout` None: START_TIMEOUT, more on a slow machine.
    """

    topology: str | None = None
    name: str | None = None
    api_port: int | None = None
    upstream_timing: bool | None = None
    timeout: float | None = None
    without: tuple[str, ...] | None = None
    """Components to leave out; None: as in the lab's last run."""


@dataclass(frozen=True, slots=True)
class Started:
    """A lab that is up: what `klab up` tells."""

    paths: LabPaths
    record: LabRecord
    topology: Topology
    phases: list[Obj]
    pid: int


def up(options: UpOptions, on_progress: Callable[[Obj], None] = lambda _: None) -> Started:
    """Start a lab and return when its cluster is of use.

    Raises TopologyError, LabError and SandboxError. Whatever ends the start early, Ctrl-C included, ends the lab too:
    nothing is left running, and no trace of a new lab that did not come to life.
    """
    began = time.monotonic()
    upstream_timing, timeout = _pace(options)
    check_without(options.without or ())
    paths, topology, source = choose(options)
    check_supported(topology)
    _check_kernel(topology, paths.state)
    for check in missing_programs():
        raise LabError(f"{check.name} is {check.found}, and no lab can do without ({check.needed_for}): {check.remedy}")
    new = not paths.state.exists()
    try:
        paths.create()
    except OSError as error:
        if new:
            shutil.rmtree(paths.state, ignore_errors=True)
        raise LabError(f"{error.filename}: {error.strerror}; the lab keeps its state and its sockets there") from None
    launched: Launched | None = None
    with _starting(paths):
        try:
            record, launched = _begin(paths, replace(options, upstream_timing=upstream_timing), topology, source, began)
            final = wait_ready(paths, on_progress, timeout)
        except BaseException as problem:
            if launched is not None:
                destroy(paths)
            if new and (launched is None or not isinstance(problem, Exception)):  # else its logs say why
                down(paths.name, purge=True)
            raise
    return Started(paths, record, topology, final["phases"], launched.pid)


def _pace(options: UpOptions) -> tuple[bool, float]:
    """Whether to use upstream's periods, and the time that a start may take: as asked for, else as the machine is."""
    slow = None in (options.upstream_timing, options.timeout) and speed.is_slow()
    upstream_timing = slow if options.upstream_timing is None else options.upstream_timing
    allowed = START_TIMEOUT * (speed.PATIENCE if slow else 1)
    return upstream_timing, allowed if options.timeout is None else options.timeout


def choose(options: UpOptions) -> tuple[LabPaths, Topology, str]:
    """The lab's places, its topology, and where that came from."""
    if options.topology is None and options.name is not None:
        paths = LabPaths.of(options.name)
        record = load_record(paths)
        if record is not None and paths.topology.exists():
            return paths, load(paths.topology), record.topology
    source = options.topology or DEFAULT_TOPOLOGY
    topology = load(source)
    paths = LabPaths.of(options.name or topology.name)
    return paths, topology, str(find(source))


def _begin(
    paths: LabPaths, options: UpOptions, topology: Topology, source: str, began: float
) -> tuple[LabRecord, Launched]:
    """Write down what the lab is and make its PID 1. The sockets are closed here at the end: they are the lab's."""
    record = _record(paths, options, source)
    with _listening(record, options) as api:
        record = record.moved_to(api.getsockname()[1])
        save_record(paths, record)
        write_atomically(paths.topology, dump(topology))
        with contextlib.suppress(OSError):
            remove(paths.pods)
        paths.create()
        with _control_socket(paths) as control:
            return record, _launch(paths, options, began, api, control)


PROXY_MODES = ("iptables", "ipvs", "nftables", "external", "none")


def check_supported(topology: Topology) -> None:
    """Refuse what a topology may ask for and this version does not have. LabError names the place and the remedy."""
    for node in topology.nodes:
        mode = node.proxy_mode or topology.cluster.proxy_mode
        if mode not in PROXY_MODES:
            raise LabError(
                f"node '{node.name}': proxy mode '{mode}' is not available yet; use {', '.join(PROXY_MODES)}"
            )
    if len(topology.control_planes) > 1:
        names = ", ".join(node.name for node in topology.control_planes)
        raise LabError(
            f"several control-plane nodes ({names}): only one is possible yet, because the store is not shared; "
            "make the others workers"
        )


def _check_kernel(topology: Topology, state: Path) -> None:
    """Refuse what this kernel cannot do (a link, a switch, a proxy mode) before there is anything of the lab. LabError.

    `state` is the lab's from its last run: proxy modes that were chosen then count.
    """
    from netlab.lab import proxymodes
    from netlab.substrate import UnsupportedFeature, check

    if any(choice.mode == "ipvs" for choice in proxymodes.chosen(state, topology).values()):
        proxymodes.check_ipvs()

    try:
        check(topology)
    except UnsupportedFeature as lack:
        raise LabError(str(lack)) from None


def wait_ready(paths: LabPaths, on_progress: Callable[[Obj], None], timeout: float) -> Obj:
    """Follow labd's progress until the lab is ready. LabError says why when it fails, ends, or takes too long."""
    deadline = time.monotonic() + timeout
    last: Obj = {"phases": []}
    while time.monotonic() < deadline:
        try:
            for last in ask(paths.control_socket, {"op": "progress"}, max(0.1, deadline - time.monotonic())):
                on_progress(last)
                if last["state"] == "failed":
                    raise LabError(f"lab '{paths.name}' did not start: {last['error']}")
                if last["state"] == "ready":
                    return last
        except TimeoutError:
            break
        except (ConnectionError, FileNotFoundError):
            time.sleep(0.02)  # labd is just being started again
        if running_pid(paths) is None:
            raise LabError(f"lab '{paths.name}' ended while it started; see {paths.logs / 'init.log'}")
    done = {phase["name"] for phase in last["phases"]}
    waiting = next((text for name, text in PHASES.items() if name not in done), "the last report")
    reason = no_space(paths) or f"waited for {waiting}; see {paths.logs}"
    raise LabError(f"lab '{paths.name}' was not ready after {timeout:.0f} s: {reason}")


def down(name: str, *, purge: bool = False) -> bool:
    """End a lab; `purge` removes its state too. True when there was something to end or to remove."""
    paths = LabPaths.of(name)
    ended = destroy(paths, grace=2.0)
    removed = False
    if purge and paths.state.exists():
        remove(paths.state)
        removed = True
    shutil.rmtree(paths.runtime, ignore_errors=True)
    return ended or removed


def _record(paths: LabPaths, options: UpOptions, source: str) -> LabRecord:
    old = load_record(paths)
    return LabRecord(
        name=paths.name,
        topology=source,
        api_port=options.api_port if options.api_port is not None else (old.api_port if old else 0),
        created=old.created if old else time.time(),
        version=__version__,
        upstream_timing=bool(options.upstream_timing),
        without=options.without if options.without is not None else (old.without if old else ()),
    )


def check_without(names: Sequence[str]) -> None:
    """Refuse names of components that cannot be left out. LabError lists those that can."""
    unknown = [name for name in names if name not in REPLACEABLE]
    if unknown:
        listed = ", ".join(f"'{name}'" for name in unknown)
        raise LabError(f"--without: no component {listed}; known are {', '.join(REPLACEABLE)} (or none)", 2)


@contextmanager
def _starting(paths: LabPaths) -> Iterator[None]:
    """One `klab up` at a time for a lab: two would write the same files."""
    with (paths.runtime / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LabError(f"another 'klab up' of lab '{paths.name}' is at work") from None
        if running_pid(paths) is not None:
            raise LabError(f"lab '{paths.name}' already runs; 'klab down {paths.name}' ends it")
        yield


@contextmanager
def _listening(record: LabRecord, options: UpOptions) -> Iterator[socket.socket]:
    """The API's socket on 127.0.0.1. A port that the user asked for must be free; the last run's one need not be."""
    api = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        api.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            api.bind(("127.0.0.1", record.api_port))
        except OSError as error:
            if options.api_port is not None:
                raise LabError(
                    f"port {options.api_port} of 127.0.0.1 cannot be used ({error.strerror}): "
                    "choose another with --api-port, or none to let one be chosen"
                ) from None
            api.bind(("127.0.0.1", 0))
        api.listen(256)
        yield api
    finally:
        api.close()


def _control_socket(paths: LabPaths) -> socket.socket:
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    paths.control_socket.unlink(missing_ok=True)
    old = os.umask(0o177)
    try:
        control.bind(str(paths.control_socket))
    except OSError as error:
        control.close()
        raise LabError(
            f"{paths.control_socket}: {error.strerror}; set XDG_RUNTIME_DIR to a shorter, writable path"
        ) from None
    finally:
        os.umask(old)
    control.listen(64)
    return control


def _launch(paths: LabPaths, options: UpOptions, began: float, api: socket.socket, control: socket.socket) -> Launched:
    labd = ProcessSpec(
        id=OWN_ID,
        target="netlab.lab.boot:labd",
        args=(
            [str(Path(entry).absolute()) for entry in sys.path],
            paths.name,
            str(paths.state),
            str(paths.runtime),
            bool(options.upstream_timing),
            began,
        ),
        hold=("control",),
        restart=True,
        stdio=("null", "log", "log"),
        log=str(paths.logs / "labd.log"),
    )
    for file in paths.logs.glob("*.log"):
        file.unlink()
    try:
        return launch(
            paths,
            (labd,),
            fds={"api": (api.fileno(),), "control": (control.fileno(),)},
            zygote=ZYGOTE_MODULES,
            preload=PRELOAD,
        )
    except LabRunning as error:
        raise LabError(str(error)) from None
