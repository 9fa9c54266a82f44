"""Building and comparing a worker's records: from the API's status, and between versions of a pod. Pure."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.node.kubelet.clock import parse
from netlab.node.kubelet.containerstatus import ID_PREFIX
from netlab.node.kubelet.model import ContainerState, Exit, Kind, PodState
from netlab.node.kubelet.podspec import is_sidecar

_LISTS = (
    ("initContainers", "initContainerStatuses", Kind.INIT),
    ("containers", "containerStatuses", Kind.MAIN),
    ("ephemeralContainers", "ephemeralContainerStatuses", Kind.EPHEMERAL),
)


def sync_containers(pod: Obj, state: PodState) -> None:
    """Add a record for every container of the spec that has none, seeded from the API's status."""
    spec, status = pod["spec"], pod.get("status") or {}
    for key, listing, kind in _LISTS:
        known = {entry["name"]: entry for entry in status.get(listing) or ()}
        for container in spec.get(key) or ():
            name = container["name"]
            if name in state.containers:
                continue
            real = Kind.SIDECAR if kind is Kind.INIT and is_sidecar(container) else kind
            record = state.containers[name] = ContainerState(name, real)
            if name in known:
                _seed(record, known[name])


def _seed(record: ContainerState, status: Obj) -> None:
    """What the API remembers of a container. One that ran has ended, unless the runtime says otherwise later."""
    state, last = status.get("state") or {}, (status.get("lastState") or {}).get("terminated")
    record.last = _exit(last) if last else None
    record.id = str(status.get("containerID") or "").removeprefix(ID_PREFIX)
    record.image_id = str(status.get("imageID") or "")
    if not record.id:
        return
    record.attempt = int(status.get("restartCount") or 0)
    record.image = str(status.get("image") or "")
    if ended := state.get("terminated"):
        record.exit = _exit(ended)
    elif running := state.get("running"):
        record.exit = Exit(
            record.id, 255, "Unknown", "", parse(running.get("startedAt")), parse(running.get("startedAt"))
        )
    else:
        record.exit, record.last = record.last, None


def _exit(terminated: Obj) -> Exit:
    return Exit(
        str(terminated.get("containerID") or "").removeprefix(ID_PREFIX),
        int(terminated.get("exitCode") or 0),
        str(terminated.get("reason") or ""),
        str(terminated.get("message") or ""),
        parse(terminated.get("startedAt")),
        parse(terminated.get("finishedAt")),
        int(terminated.get("signal") or 0),
    )


def version(pod: Obj) -> int:
    """resourceVersion as a number (ours are)."""
    text = str(pod["metadata"].get("resourceVersion") or "0")
    return int(text) if text.isdigit() else 0


def same_meta(old: Obj, new: Obj) -> bool:
    """Whether labels and annotations, which the downward API shows, are the same."""
    one, other = old["metadata"], new["metadata"]
    return all(one.get(key) == other.get(key) for key in ("labels", "annotations"))


def matters(old: Obj, new: Obj) -> bool:
    """Whether the difference is anything that a worker must look at (its own status coming back is not)."""
    if old["metadata"].get("deletionTimestamp") != new["metadata"].get("deletionTimestamp"):
        return True
    if old["metadata"].get("deletionGracePeriodSeconds") != new["metadata"].get("deletionGracePeriodSeconds"):
        return True
    if not new["spec"].get("readinessGates"):
        return False
    conditions = [(pod.get("status") or {}).get("conditions") for pod in (old, new)]
    return bool(conditions[0] != conditions[1])
