"""PURE. The arithmetic of rolling updates (upstream pkg/controller/deployment/util/deployment_util.go)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from netlab.api import meta
from netlab.api.types import Obj

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"


def replicas(obj: Obj) -> int:
    """spec.replicas, 1 where it is not set."""
    value = obj["spec"].get("replicas")
    return 1 if value is None else int(value)


def stat(obj: Obj, field: str) -> int:
    """A count in the status, 0 where it is not set."""
    return int((obj.get("status") or {}).get(field) or 0)


def total(sets: Iterable[Obj]) -> int:
    return sum(map(replicas, sets))


def available(sets: Iterable[Obj]) -> int:
    return sum(stat(one, "availableReplicas") for one in sets)


def is_rolling(deployment: Obj) -> bool:
    return bool(meta.get(deployment, "spec", "strategy", "type", default="RollingUpdate") == "RollingUpdate")


def scaled(value: int | str, whole: int, *, up: bool) -> int:
    """A number, or a percentage of `whole` rounded up or down."""
    if isinstance(value, int):
        return value
    share = float(value.rstrip("%")) * whole / 100
    return math.ceil(share) if up else math.floor(share)


def fenceposts(deployment: Obj) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods; not both 0."""
    rolling = meta.get(deployment, "spec", "strategy", "rollingUpdate", default={})
    wanted = replicas(deployment)
    surge = scaled(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    return surge, unavailable if surge or unavailable else 1


def max_surge(deployment: Obj) -> int:
    return fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Obj) -> int:
    if not is_rolling(deployment) or replicas(deployment) == 0:
        return 0
    return min(fenceposts(deployment)[1], replicas(deployment))


def new_set_size(deployment: Obj, sets: Iterable[Obj], current: int) -> int:
    """How large the new ReplicaSet may be now; `sets` are all, the new one (of size `current`) included."""
    wanted = replicas(deployment)
    if not is_rolling(deployment):
        return wanted
    room = wanted + max_surge(deployment) - total(sets)
    return current if room <= 0 else current + min(room, wanted - current)


def proportion(one: Obj, deployment: Obj, to_add: int, added: int) -> int:
    """How much of `to_add` falls to one set when a Deployment is scaled in the middle of a rollout."""
    if replicas(one) == 0 or to_add in (0, added):
        return 0
    fraction = _fraction(one, deployment)
    allowed = to_add - added
    return min(fraction, allowed) if to_add > 0 else max(fraction, allowed)


def _fraction(one: Obj, deployment: Obj) -> int:
    if replicas(deployment) == 0:
        return -replicas(one)
    annotated = int(meta.annotations(one).get(MAX_REPLICAS, 0) or stat(deployment, "replicas"))
    if not annotated:
        return 0
    size = replicas(one) * (replicas(deployment) + max_surge(deployment)) / annotated
    return math.floor(size + 0.5) - replicas(one)


def by_creation(sets: Iterable[Obj]) -> list[Obj]:
    return sorted(sets, key=lambda one: (one["metadata"].get("creationTimestamp", ""), meta.name(one)))


def by_size(sets: Sequence[Obj], *, newer_first: bool) -> list[Obj]:
    """Largest first; of equal ones the newer or the older first."""
    ordered = by_creation(sets)
    if newer_first:
        ordered.reverse()
    return sorted(ordered, key=lambda one: -replicas(one))


def revision(obj: Obj) -> int:
    """The revision annotation, 0 where there is none or it is no number."""
    try:
        return int(meta.annotations(obj).get(REVISION, "0"))
    except ValueError:
        return 0


def annotated_desired(one: Obj) -> int | None:
    value = meta.annotations(one).get(DESIRED)
    return int(value) if value and value.isdigit() else None


def is_saturated(deployment: Obj, one: Obj | None) -> bool:
    """Whether the new ReplicaSet is at full size and all its pods are available."""
    if one is None:
        return False
    wanted = replicas(deployment)
    return replicas(one) == wanted and annotated_desired(one) == wanted and stat(one, "availableReplicas") == wanted
