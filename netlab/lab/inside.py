"""Running things inside a lab from outside: on a node, in a pod, at Mininet's prompt."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from netlab.api.types import Obj
from netlab.lab.bus import ask
from netlab.lab.record import LabError
from netlab.sandbox.enter import enter
from netlab.sandbox.paths import LabPaths
from netlab.topology import load
from netlab.topology.model import Topology

if TYPE_CHECKING:
    from netlab.runtime.contract import SandboxConfig


def machines(topology: Topology) -> list[str]:
    """Everything with a network namespace of its own."""
    return [item.name for group in (topology.nodes, topology.hosts, topology.routers) for item in group]


def run_in_machine(paths: LabPaths, where: str, argv: Sequence[str]) -> int:
    """Run a command on the caller's terminal, in the network of a machine of the topology; its exit status."""
    known = machines(load(paths.topology))
    if where not in known:
        close = get_close_matches(where, known, 1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise LabError(f"no machine '{where}' in lab '{paths.name}'; {hint}there are: {', '.join(known)}", 2)
    return enter(paths, argv, netns=where, hostname=where, env={**os.environ, "KLAB_LAB": paths.name})


def shell(paths: LabPaths, where: str) -> int:
    """A shell on a machine, or in a pod's container."""
    if where in machines(load(paths.topology)):
        program = os.environ.get("SHELL") or "/bin/sh"
        return run_in_machine(paths, where, (program if os.access(program, os.X_OK) else "/bin/sh",))
    process = _container(paths, where)
    script = "command -v bash >/dev/null 2>&1 && exec bash || exec sh"
    return enter(paths, ("/bin/sh", "-c", script), process=process["pid"], env={**os.environ, "PS1": f"{where}$ "})


def _processes(paths: LabPaths) -> list[Obj]:
    """What PID 1 keeps and still runs."""
    status = next(ask(paths.control_socket, {"op": "status"}, 10.0))
    return [process for process in status["processes"] if not process["exit"]]


def _pods(processes: list[Obj]) -> dict[str, tuple[str, SandboxConfig]]:
    """Running pods: "namespace/name" → (sandbox id, configuration)."""
    from netlab.runtime import records

    found: dict[str, tuple[str, SandboxConfig]] = {}
    for process in processes:
        kind, _, identity = records.split_id(process["id"])
        if kind == records.SANDBOX:
            config = records.sandbox_config(process["meta"])
            found[f"{config.namespace}/{config.name}"] = (identity, config)
    return found


def _pod(paths: LabPaths, processes: list[Obj], name: str) -> tuple[str, SandboxConfig]:
    """The running pod `[NAMESPACE/]NAME`."""
    pods = _pods(processes)
    name = name.removeprefix("pod/")
    wanted = name if "/" in name else f"default/{name}"
    if wanted not in pods:
        close = get_close_matches(name, machines(load(paths.topology)), 1) or get_close_matches(wanted, pods, 1)
        hint = f"; did you mean '{close[0]}'?" if close else "; 'klab kubectl get pods -A' lists the pods"
        raise LabError(f"no machine or running pod '{name}' in lab '{paths.name}'{hint}", 2)
    return pods[wanted]


def _container(paths: LabPaths, where: str) -> Obj:
    """The process of the pod `[NAMESPACE/]NAME[:CONTAINER]`; its first container where none is named."""
    from netlab.runtime import records

    name, _, container = where.partition(":")
    processes = _processes(paths)
    sandbox, config = _pod(paths, processes, name)
    names: list[str] = []
    for process in processes:
        if records.split_id(process["id"])[0] != records.CONTAINER:
            continue
        record = records.container_record(process["meta"])
        if record.config.sandbox_id == sandbox:
            names.append(record.config.name)
            if container in ("", record.config.name):
                return process
    shown = ", ".join(names) or "none runs"
    raise LabError(
        f"pod '{config.namespace}/{config.name}' has no running container '{container}'; there are: {shown}", 2
    )


def container_process(paths: LabPaths, where: str) -> tuple[int, dict[str, str]]:
    """The process of the pod `[NAMESPACE/]NAME[:CONTAINER]`, in the lab's numbers, and the container's environment."""
    from netlab.runtime import records

    process = _container(paths, where)
    return int(process["pid"]), dict(records.container_record(process["meta"]).env)


def running_pods(paths: LabPaths) -> dict[str, SandboxConfig]:
    """Running pods by "namespace/name"."""
    return {name: config for name, (_, config) in sorted(_pods(_processes(paths)).items())}


def mininet(paths: LabPaths, command: str | None) -> int:
    """Mininet's prompt (or one command of it) in the lab."""
    argv = [sys.executable, "-m", "netlab.substrate.prompt", str(paths.topology)]
    return enter(paths, [*argv, "-c", command] if command else argv)
