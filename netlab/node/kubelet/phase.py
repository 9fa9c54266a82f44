"""A pod's phase from its containers' states. Pure; follows upstream getPhase in pkg/kubelet/kubelet_pods.go."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.node.kubelet.model import ContainerState, Kind, PodState


def pod_phase(spec: Obj, state: PodState) -> str:
    """Pending, Running, Succeeded or Failed. A verdict of the kubelet (deadline, eviction) goes first.

    A pod that ended is never Pending or Running: one that was deleted before its containers ended has failed.
    """
    if state.verdict is not None:
        return state.verdict[0]
    phase = _phase(spec, state)
    return "Failed" if state.terminal and phase in ("Pending", "Running") else phase


def _phase(spec: Obj, state: PodState) -> str:
    policy = spec.get("restartPolicy") or "Always"
    pending, failed = _initialization(state)
    if failed and policy == "Never":
        return "Failed"
    if pending:
        return "Pending"
    running = waiting = stopped = succeeded = 0
    pending_sidecars = 0
    for sidecar in state.of(Kind.SIDECAR):
        if sidecar.running:
            running += 1
            pending_sidecars += not sidecar.started
        elif sidecar.exit is None and sidecar.last is None:
            waiting += not state.terminal
    for container in state.of(Kind.MAIN):
        if container.running:
            running += 1
        elif container.exit is None and container.last is None:
            waiting += 1
        else:
            stopped += 1
            ended = container.exit or container.last
            succeeded += not _is_waiting(container, state) and ended is not None and ended.exit_code == 0
    if waiting or (pending_sidecars and not state.initialized):
        return "Pending"
    if running:
        return "Running"
    return _stopped_phase(policy, stopped, succeeded, state.terminal)


def _stopped_phase(policy: str, stopped: int, succeeded: int, terminal: bool) -> str:
    if not stopped:
        return "Pending"
    if terminal:
        return "Succeeded" if stopped == succeeded else "Failed"
    if policy == "Always":
        return "Running"
    if stopped == succeeded:
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _is_waiting(container: ContainerState, state: PodState) -> bool:
    return container.waiting is not None and not state.terminal


def _initialization(state: PodState) -> tuple[int, int]:
    """(plain init containers still to finish, those that failed)."""
    pending = failed = 0
    for container in state.of(Kind.INIT):
        ended = container.exit or (container.last if container.waiting else None)
        if container.running or ended is None:
            pending += 1
        elif ended.exit_code != 0:
            failed += 1
    return (0 if state.initialized else pending), failed
