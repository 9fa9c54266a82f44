"""The pod conditions that the kubelet owns. Pure; follows upstream pkg/kubelet/status/generate.go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from netlab.api.types import Obj
from netlab.node.kubelet.model import ContainerState, Kind, PodState

OWNED = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def _condition(kind: str, true: bool, reason: str = "", message: str = "") -> Obj:
    found: Obj = {"type": kind, "status": "True" if true else "False"}
    if reason:
        found["reason"] = reason
    if message:
        found["message"] = message
    return found


def _names(names: Iterable[str]) -> str:
    return "[" + " ".join(names) + "]"


def pod_conditions(pod: Obj, state: PodState, phase: str, existing: Sequence[Obj]) -> list[Obj]:
    """The five conditions, without times. `existing` are the pod's conditions now (readiness gates are read there)."""
    containers = _containers_ready(state, phase)
    return [
        _condition("PodReadyToStartContainers", state.sandbox_ready and bool(state.ips)),
        _initialized(state, phase),
        _ready(pod, containers, existing),
        containers,
        _condition("PodScheduled", True),
    ]


def _initialized(state: PodState, phase: str) -> Obj:
    if phase == "Succeeded":
        return _condition("Initialized", True, "PodCompleted")
    incomplete: list[str] = []
    if not state.initialized:
        incomplete = [c.name for c in state.containers.values() if _incomplete(c)]
    if incomplete:
        message = f"containers with incomplete status: {_names(incomplete)}"
        return _condition("Initialized", False, "ContainersNotInitialized", message)
    return _condition("Initialized", True)


def _incomplete(container: ContainerState) -> bool:
    if container.kind is Kind.SIDECAR:
        return not container.started
    return container.kind is Kind.INIT and (container.exit is None or container.exit.exit_code != 0)


def _containers_ready(state: PodState, phase: str) -> Obj:
    if phase == "Succeeded":
        return _condition("ContainersReady", False, "PodCompleted")
    if phase == "Failed":
        return _condition("ContainersReady", False, "PodFailed")
    unready = [c.name for c in state.containers.values() if c.kind in (Kind.SIDECAR, Kind.MAIN) and not c.ready]
    if unready:
        message = f"containers with unready status: {_names(unready)}"
        return _condition("ContainersReady", False, "ContainersNotReady", message)
    return _condition("ContainersReady", True)


def _ready(pod: Obj, containers: Obj, existing: Sequence[Obj]) -> Obj:
    if containers["status"] != "True":
        return {**containers, "type": "Ready"}
    gates = pod["spec"].get("readinessGates")
    if not gates:
        return _condition("Ready", True)
    by_type = {c["type"]: c for c in existing}
    problems = []
    for gate in gates:
        kind = gate["conditionType"]
        found = by_type.get(kind)
        if found is None:
            problems.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif found["status"] != "True":
            problems.append(f'the status of pod readiness gate "{kind}" is not "True", but {found["status"]}')
    if problems:
        return _condition("Ready", False, "ReadinessGatesNotReady", ", ".join(problems))
    return _condition("Ready", True)


def with_times(conditions: Sequence[Obj], existing: Mapping[str, Obj], now: str) -> list[Obj]:
    """The conditions with lastTransitionTime: kept where the status is what it was, else `now`."""
    result = []
    for condition in conditions:
        old = existing.get(condition["type"])
        kept = old.get("lastTransitionTime") if old and old["status"] == condition["status"] else None
        result.append({**condition, "lastTransitionTime": kept or now})
    return result
