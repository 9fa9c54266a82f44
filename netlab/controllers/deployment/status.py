"""PURE. The status of a Deployment and its conditions (upstream progress.go, sync.go, deployment_util.go)."""

from __future__ import annotations

from collections.abc import Sequence

from netlab.api import meta
from netlab.api.types import Obj
from netlab.controllers.deployment import sizes

COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
NO_DEADLINE = 2**31 - 1


def find(conditions: Sequence[Obj], kind: str) -> Obj | None:
    return next((c for c in conditions if c["type"] == kind), None)


def set_condition(conditions: list[Obj], kind: str, status: str, reason: str, message: str, now: float) -> None:
    """Upstream's SetDeploymentCondition: the same status and reason change nothing, not even the message."""
    old = find(conditions, kind)
    if old is not None and (old["status"], old.get("reason")) == (status, reason):
        return
    _replace(conditions, kind, status, reason, message, now, old)


def _replace(
    conditions: list[Obj], kind: str, status: str, reason: str, message: str, now: float, old: Obj | None
) -> None:
    stamp = meta.rfc3339(now)
    moved = old["lastTransitionTime"] if old is not None and old["status"] == status else stamp
    conditions[:] = [c for c in conditions if c["type"] != kind]
    conditions.append(
        {
            "type": kind,
            "status": status,
            "lastUpdateTime": stamp,
            "lastTransitionTime": moved,
            "reason": reason,
            "message": message,
        }
    )


def deadline(deployment: Obj) -> int | None:
    """progressDeadlineSeconds, None where there is none."""
    value = deployment["spec"].get("progressDeadlineSeconds")
    return None if value is None or value == NO_DEADLINE else int(value)


def counts(deployment: Obj, sets: Sequence[Obj], new: Obj | None, now: float) -> Obj:
    """The status as calculated from the ReplicaSets, with the Available condition."""
    ready = sizes.available(sets)
    old = deployment.get("status") or {}
    status: Obj = {
        "observedGeneration": meta.generation(deployment),
        "replicas": sum(sizes.stat(one, "replicas") for one in sets),
        "updatedReplicas": sizes.stat(new, "replicas") if new else 0,
        "readyReplicas": sum(sizes.stat(one, "readyReplicas") for one in sets),
        "availableReplicas": ready,
        "unavailableReplicas": max(0, sizes.total(sets) - ready),
    }
    if old.get("collisionCount") is not None:
        status["collisionCount"] = old["collisionCount"]
    conditions = [dict(c) for c in old.get("conditions") or ()]
    if ready >= sizes.replicas(deployment) - sizes.max_unavailable(deployment):
        sentence = "Deployment has minimum availability."
        set_condition(conditions, "Available", "True", "MinimumReplicasAvailable", sentence, now)
    else:
        sentence = "Deployment does not have minimum availability."
        set_condition(conditions, "Available", "False", "MinimumReplicasUnavailable", sentence, now)
    status["conditions"] = conditions
    return status


def complete(deployment: Obj, status: Obj) -> bool:
    wanted = sizes.replicas(deployment)
    same = all(int(status.get(f) or 0) == wanted for f in ("updatedReplicas", "replicas", "availableReplicas"))
    return same and int(status.get("observedGeneration") or 0) >= meta.generation(deployment)


def progressing(deployment: Obj, new: Obj) -> bool:
    """Whether the counts moved forward since the last status."""
    updated, ready = sizes.stat(deployment, "updatedReplicas"), sizes.stat(deployment, "readyReplicas")
    outdated = sizes.stat(deployment, "replicas") - updated
    return bool(
        new["updatedReplicas"] > updated
        or new["replicas"] - new["updatedReplicas"] < outdated
        or new["readyReplicas"] > ready
        or new["availableReplicas"] > sizes.stat(deployment, "availableReplicas")
    )


def timed_out(deployment: Obj, conditions: Sequence[Obj], now: float) -> bool:
    condition, limit = find(conditions, "Progressing"), deadline(deployment)
    if condition is None or limit is None or condition.get("reason") == COMPLETE:
        return False
    if condition.get("reason") == TIMED_OUT:
        return True
    return meta.parse_time(condition["lastUpdateTime"]) + limit < now


def rollout(deployment: Obj, sets: Sequence[Obj], new: Obj | None, conditions: list[Obj], now: float) -> Obj:
    """The status after a pass of a rollout, with the Progressing and ReplicaFailure conditions.

    `conditions` are the deployment's, with what the pass itself set (new ReplicaSet created or found).
    """
    status = counts(deployment, sets, new, now)
    kept = [c for c in conditions if c["type"] != "Available"]
    status["conditions"] = [*(c for c in status["conditions"] if c["type"] == "Available"), *kept]
    result: list[Obj] = status["conditions"]
    if deadline(deployment) is None:
        result[:] = [c for c in result if c["type"] != "Progressing"]
    else:
        _progress(deployment, status, new, result, now)
    failure = _failure(sets, new)
    if failure is not None:
        set_condition(result, "ReplicaFailure", "True", failure["reason"], failure["message"], now)
    else:
        result[:] = [c for c in result if c["type"] != "ReplicaFailure"]
    return status


def _progress(deployment: Obj, status: Obj, new: Obj | None, result: list[Obj], now: float) -> None:
    current = find(result, "Progressing")
    done = status["replicas"] == status["updatedReplicas"] and (current or {}).get("reason") == COMPLETE
    if done:
        return
    subject = f'ReplicaSet "{meta.name(new)}"' if new else f'Deployment "{meta.name(deployment)}"'
    if complete(deployment, status):
        set_condition(result, "Progressing", "True", COMPLETE, f"{subject} has successfully progressed.", now)
    elif progressing(deployment, status):
        sentence = f"{subject} is progressing."
        _replace(result, "Progressing", "True", "ReplicaSetUpdated", sentence, now, current)
    elif timed_out(deployment, result, now):
        set_condition(result, "Progressing", "False", TIMED_OUT, f"{subject} has timed out progressing.", now)


def _failure(sets: Sequence[Obj], new: Obj | None) -> Obj | None:
    for one in ([new] if new else []) + [s for s in sets if s is not new]:
        condition = meta.condition(one, "ReplicaFailure")
        if condition is not None:
            return condition
    return None


def recheck(deployment: Obj, status: Obj, now: float) -> float | None:
    """Seconds until the progress deadline passes, None where it does not matter."""
    condition, limit = find(status["conditions"], "Progressing"), deadline(deployment)
    if condition is None or limit is None or complete(deployment, status) or condition.get("reason") == TIMED_OUT:
        return None
    return max(0.5, meta.parse_time(condition["lastUpdateTime"]) + limit - now + 1)


def pause_condition(deployment: Obj, conditions: list[Obj], now: float) -> bool:
    """Say in Progressing that the Deployment was paused or resumed; True where that is new."""
    if deadline(deployment) is None:
        return False
    condition = find(conditions, "Progressing")
    reason = (condition or {}).get("reason")
    if reason == TIMED_OUT:
        return False  # what is known to be stuck stays so
    paused = bool(deployment["spec"].get("paused"))
    if paused and reason != PAUSED:
        set_condition(conditions, "Progressing", "Unknown", PAUSED, "Deployment is paused", now)
        return True
    if not paused and reason == PAUSED:
        set_condition(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
        return True
    return False
