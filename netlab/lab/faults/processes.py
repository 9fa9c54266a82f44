"""Whom a process fault means, and signals to them. Runs in labd, which sees every process of the lab."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from netlab.lab.faults.model import FaultError, suggestion
from netlab.lab.faults.places import Layout, Pod
from netlab.runtime import records
from netlab.sandbox.client import InitClient
from netlab.sandbox.paths import NETNS_DIR
from netlab.sandbox.spec import ProcessInfo

COMPONENT = "component/"
LAST_WORDS = 0.1


def pods_of(processes: Sequence[ProcessInfo]) -> dict[str, Pod]:
    """The running pods by "namespace/name"."""
    import hashlib

    found: dict[str, Pod] = {}
    for process in processes:
        kind, _, _ = records.split_id(process.id)
        if kind == records.SANDBOX and process.exit is None:
            config = records.sandbox_config(process.meta)
            host_if = f"veth{hashlib.sha256(config.uid.encode()).hexdigest()[:8]}"
            space = config.netns.rpartition("/")[2]
            name = f"{config.namespace}/{config.name}"
            found[name] = Pod(name, config.node, space, host_if, not config.host_network)
    return found


def of_node(processes: Sequence[ProcessInfo], node: str) -> list[ProcessInfo]:
    """The running processes of a node's pods, containers before their pods."""
    kinds = (records.EXEC, records.CONTAINER, records.SANDBOX)
    mine = [p for p in processes if p.exit is None and records.split_id(p.id)[0] in kinds]
    mine = [p for p in mine if records.split_id(p.id)[1] == node]
    return sorted(mine, key=lambda process: kinds.index(records.split_id(process.id)[0]))


def meant(processes: Sequence[ProcessInfo], layout: Layout, target: str) -> list[ProcessInfo]:
    """The running processes of a component, or of a pod's containers (one of them with :CONTAINER).

    FaultError where there is none of that name; an empty list where it does not run just now.
    """
    if not target.startswith("pod/"):
        known = [p.id.removeprefix(COMPONENT) for p in processes if p.id.startswith(COMPONENT)]
        if target not in known:
            raise FaultError(f"no component '{target}'; {suggestion(target, known)}; a pod is pod/NAME", "targets")
        return [p for p in processes if p.id == COMPONENT + target and p.exit is None]
    name, _, container = target.removeprefix("pod/").partition(":")
    wanted = name if "/" in name else f"default/{name}"
    sandboxes = {
        records.split_id(p.id)[2]: records.sandbox_config(p.meta)
        for p in processes
        if records.split_id(p.id)[0] == records.SANDBOX and p.exit is None
    }
    ids = {key for key, config in sandboxes.items() if f"{config.namespace}/{config.name}" == wanted}
    if not ids:
        raise FaultError(f"no running pod '{wanted}'; {suggestion(wanted, list(layout.pods))}", "targets")
    found, known = [], []
    for process in processes:
        if records.split_id(process.id)[0] == records.CONTAINER and process.exit is None:
            record = records.container_record(process.meta)
            if record.config.sandbox_id in ids:
                known.append(record.config.name)
                if container in ("", record.config.name):
                    found.append(process)
    if container and container not in known:
        raise FaultError(f"pod '{wanted}' has no running container '{container}'; {suggestion(container, known)}",
                         "targets")  # fmt: skip
    return found


def _own_proc() -> bool:
    """Whether /proc shows the lab's own process numbers (where it may not be mounted, it is the machine's)."""
    return Path("/proc/self").readlink().name == str(os.getpid())


def family(process: ProcessInfo) -> list[int]:
    """A container's processes: those in its PID namespace; a component's: itself."""
    if process.id.startswith(COMPONENT) or not _own_proc():
        return [process.pid]
    try:
        own, lab = (Path(f"/proc/{who}/ns/pid").readlink() for who in (process.pid, "self"))
    except OSError:
        return []
    if own == lab:
        return [process.pid]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "ns" / "pid").readlink() == own:
                    found.append(int(entry.name))
    return found


def signal_all(processes: Sequence[ProcessInfo], number: signal.Signals) -> list[int]:
    """Send it to each and everything inside; the pids that got it. To ourselves last, when we have answered."""
    reached = []
    for process in processes:
        for pid in family(process):
            reached.append(pid)
            if pid == os.getpid():
                asyncio.get_running_loop().call_later(LAST_WORDS, os.kill, pid, number)
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    return reached


def within(namespaces: Sequence[str], spare: Sequence[int]) -> list[int]:
    """The processes whose network is one of these pinned namespaces, whoever started them."""
    doomed = set()
    if not _own_proc():
        return []
    for name in namespaces:
        with contextlib.suppress(OSError):
            doomed.add(Path(NETNS_DIR, name).stat().st_ino)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (1, os.getpid(), *spare):
            with contextlib.suppress(OSError):
                if (entry / "ns" / "net").stat().st_ino in doomed:
                    found.append(int(entry.name))
    return found


async def hang_up(init: InitClient) -> None:
    """Have every agent look at what it is told."""
    for process in await init.list("component/agent-"):
        if process.exit is None:
            await init.kill(process.id, signal.SIGHUP)
