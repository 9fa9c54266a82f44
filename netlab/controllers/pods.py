"""PURE. What controllers ask about pods, and pods made from templates (upstream pkg/controller, pkg/api/v1/pod)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netlab.api import meta
from netlab.api.types import Obj

TERMINAL = ("Succeeded", "Failed")


def phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_active(pod: Obj) -> bool:
    """Neither finished nor being deleted."""
    return phase(pod) not in TERMINAL and not meta.deleting(pod)


def is_ready(pod: Obj) -> bool:
    return meta.condition_true(pod, "Ready")


def ready_since(pod: Obj) -> float | None:
    """When the Ready condition became True (seconds since the epoch), None when it is not."""
    found = meta.condition(pod, "Ready")
    if found is None or found.get("status") != "True":
        return None
    stamp = found.get("lastTransitionTime")
    return meta.parse_time(stamp) if stamp else 0.0


def is_available(pod: Obj, min_ready_seconds: int, now: float) -> bool:
    """Ready for at least so long."""
    since = ready_since(pod)
    return since is not None and (min_ready_seconds == 0 or (since > 0 and since + min_ready_seconds <= now))


def restarts(pod: Obj) -> int:
    """The most restarts of any container."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(status.get("restartCount") or 0) for status in statuses), default=0)


def from_template(template: Obj, owner: Obj, generate_name: str) -> Obj:
    """A pod as upstream's GetPodFromTemplate makes it."""
    data = template.get("metadata") or {}
    made: Obj = {"generateName": generate_name, "namespace": meta.namespace(owner)}
    for field in ("labels", "annotations", "finalizers"):
        if data.get(field):
            made[field] = data[field]
    made["ownerReferences"] = [meta.owner_reference(owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": template.get("spec") or {}}


_PHASE_ORDER = {"Pending": 0, "Unknown": 1, "Running": 2}


def deletion_order(pods: Sequence[Obj], related: Iterable[Obj], now: float) -> list[Obj]:
    """Pods in the order in which a ReplicaSet gives them up (upstream's ActivePodsWithRanks).

    Unassigned, then pending, not ready, cheaper to delete, more of the same on its node, ready for a shorter time,
    more restarts, younger.
    """
    crowd: dict[str, int] = {}
    for pod in related:
        node = meta.get(pod, "spec", "nodeName")
        if node and is_active(pod):
            crowd[node] = crowd.get(node, 0) + 1

    def rank(pod: Obj) -> tuple[float, ...]:
        node = meta.get(pod, "spec", "nodeName", default="")
        since = ready_since(pod)
        created = meta.get(pod, "metadata", "creationTimestamp")
        return (
            1 if node else 0,
            _PHASE_ORDER.get(phase(pod), 1),
            0 if since is None else 1,
            _deletion_cost(pod),
            -crowd.get(node, 0),
            -_age_bucket(since, now),
            -restarts(pod),
            -(meta.parse_time(created) if created else now),
        )

    return sorted(pods, key=rank)


def _deletion_cost(pod: Obj) -> int:
    try:
        return int(meta.annotations(pod).get("controller.kubernetes.io/pod-deletion-cost", "0"))
    except ValueError:
        return 0


def _age_bucket(since: float | None, now: float) -> float:
    """Upstream compares ready times on a logarithmic scale, so that of similar pods any may go; larger is younger."""
    if since is None:
        return 0.0
    age = max(1, int(now - since))
    return -float(age.bit_length())
