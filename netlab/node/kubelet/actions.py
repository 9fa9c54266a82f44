"""What to do next for one pod: which containers to start or stop, what to wait for, whether all is over. Pure.

Follows upstream computePodActions and computeInitContainerActions (pkg/kubelet/kuberuntime): plain init containers one
after the other; sidecars started in order among them and kept running; main containers once all init containers are
done; restarts by restartPolicy, spaced by the back-off.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netlab.api.types import Obj
from netlab.node.kubelet.backoff import Backoff
from netlab.node.kubelet.model import ContainerState, Kind, PodState


@dataclass(slots=True)
class Actions:
    """`start`: container specs, in order. `backing_off`: name → seconds until a crashed container is started again;
    `retry`: name → seconds until one that could not be created is tried again. `finished`: the pod will never run a
    container again, so what still runs (sidecars) is to be stopped."""

    start: list[Obj] = field(default_factory=list)
    backing_off: dict[str, float] = field(default_factory=dict)
    retry: dict[str, float] = field(default_factory=dict)
    finished: bool = False


def backoff_key(uid: str, name: str) -> str:
    return f"{uid}/{name}"


def plan(pod: Obj, state: PodState, backoff: Backoff, now: float) -> Actions:
    """The next actions for a pod whose sandbox is up and which is not being deleted."""
    spec = pod["spec"]
    policy = spec.get("restartPolicy") or "Always"
    actions = Actions()
    initialized = _plan_init(spec, state, policy, backoff, now, actions)
    if initialized and not actions.finished:
        for container in spec["containers"]:
            _start_or_wait(container, state, policy, backoff, now, actions)
        mains = state.of(Kind.MAIN)
        actions.finished = all(
            c.exit is not None and not c.running and not _should_restart(policy, c.exit.exit_code) for c in mains
        )
    if actions.finished:
        actions.start.clear()
        actions.backing_off.clear()
        actions.retry.clear()
        return actions
    for container in spec.get("ephemeralContainers") or ():
        known = state.containers.get(container["name"])
        if known is not None and not known.created and known.exit is None:
            _start_or_retry(container, known, now, actions)
    return actions


def _plan_init(
    spec: Obj,
    state: PodState,
    policy: str,
    backoff: Backoff,
    now: float,
    actions: Actions,
) -> bool:
    """Whether initialization is over; what it still needs goes into `actions`."""
    for container in spec.get("initContainers") or ():
        known = state.containers[container["name"]]
        if known.kind is Kind.SIDECAR:
            if not known.running:
                _start_or_wait(container, state, "Always", backoff, now, actions)
            if not known.started and not state.initialized:
                return False
            continue
        if state.initialized:
            continue
        if known.exit is not None and not known.running:
            if known.exit.exit_code == 0:
                continue
            if policy == "Never":
                actions.finished = True
                return False
        _start_or_wait(container, state, "OnFailure", backoff, now, actions)
        return False
    return True


def _should_restart(policy: str, exit_code: int) -> bool:
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _start_or_wait(
    container: Obj, state: PodState, policy: str, backoff: Backoff, now: float, actions: Actions
) -> None:
    known: ContainerState = state.containers[container["name"]]
    if known.running or known.stopping:
        return
    if known.exit is None:
        _start_or_retry(container, known, now, actions)
        return
    if not _should_restart(policy, known.exit.exit_code):
        return
    remaining = backoff.remaining(backoff_key(state.uid, known.name), known.exit.finished_at, now)
    if remaining > 0:
        actions.backing_off[known.name] = remaining
    else:
        _start_or_retry(container, known, now, actions)


def _start_or_retry(container: Obj, known: ContainerState, now: float, actions: Actions) -> None:
    if known.retry_at > now:
        actions.retry[known.name] = known.retry_at - now
    else:
        actions.start.append(container)
