"""PURE. What a Job needs next, and its status (upstream pkg/controller/job).

A finished pod is counted exactly once: its uid is first written into status.uncountedTerminatedPods, then its finalizer
is taken away, and only when it has none (or is gone) does it move into the counters. A crash in between loses nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.types import Obj
from netlab.controllers import pods as podlib

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
NO_LIMIT = 2**31 - 1


@dataclass
class Plan:
    """Pods to create (completion indexes, or None each), to delete, to release after the status is written."""

    create: list[int | None] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)
    release: list[Obj] = field(default_factory=list)
    status: Obj = field(default_factory=dict)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    recheck: float | None = None


def finished(job: Obj) -> bool:
    return meta.condition_true(job, "Complete") or meta.condition_true(job, "Failed")


def index_of(pod: Obj) -> int | None:
    """The completion index a pod carries."""
    value = meta.annotations(pod).get(INDEX, "")
    return int(value) if value.isdigit() else None


def pod(job: Obj, index: int | None) -> Obj:
    """A pod of the Job, with its finalizer and, in Indexed mode, its index in annotation, label, hostname and env."""
    template = copy.deepcopy(job["spec"]["template"])
    prefix = f"{meta.name(job)}-" if index is None else f"{meta.name(job)}-{index}-"
    made = podlib.from_template(template, job, prefix)
    made["metadata"]["finalizers"] = [*made["metadata"].get("finalizers", []), FINALIZER]
    if index is not None:
        meta.set_annotation(made, INDEX, str(index))
        meta.set_label(made, INDEX, str(index))
        made["spec"].setdefault("hostname", f"{meta.name(job)}-{index}")
        source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
        for container in made["spec"].get("containers", []):
            container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return made


@dataclass
class _Tally:
    succeeded: int
    failed: int
    uncounted: dict[str, list[str]]
    done_indexes: set[int]


def plan(job: Obj, pods: Sequence[Obj], now: float, backoff: tuple[float, float]) -> Plan:
    """`backoff` is (first, longest) wait in seconds after a failed pod."""
    result, spec = Plan(), job["spec"]
    tally = _count(job, pods, result)
    active = [p for p in pods if podlib.is_active(p)]
    status: Obj = {k: v for k, v in (job.get("status") or {}).items() if k != "conditions"}
    conditions = [dict(c) for c in (job.get("status") or {}).get("conditions") or ()]
    done = finished(job)
    if not done and not spec.get("suspend"):
        status.setdefault("startTime", meta.rfc3339(now))
    verdict = None if done else _verdict(job, status, tally, active, now)
    if verdict is not None:
        kind, reason, message = verdict
        _conclude(conditions, status, kind, reason, message, now)
        result.delete = active
        how = ("Normal", "Completed", "Job completed") if kind == "Complete" else ("Warning", reason, message)
        result.events.append(how)
    elif spec.get("suspend") and not done:
        _suspend(conditions, result, now)
        result.delete = active
        status.pop("startTime", None)
    elif not done:
        if meta.condition_true(job, "Suspended"):
            _resume(conditions, result, now)
        _create(job, tally, active, pods, now, backoff, result)
        deadline = spec.get("activeDeadlineSeconds")
        if deadline is not None:
            left = meta.parse_time(status["startTime"]) + int(deadline) - now
            result.recheck = left if result.recheck is None else min(left, result.recheck)
    remaining = [p for p in active if p not in result.delete]
    status |= {
        "active": len(remaining),
        "ready": sum(podlib.is_ready(p) for p in remaining),
        "succeeded": tally.succeeded - len(tally.uncounted["succeeded"]),
        "failed": tally.failed - len(tally.uncounted["failed"]),
        "uncountedTerminatedPods": {k: v for k, v in tally.uncounted.items() if v},
        "conditions": conditions,
    }
    if spec.get("completionMode") == "Indexed":
        status["completedIndexes"] = ranges(tally.done_indexes)
    result.status = {k: v for k, v in status.items() if v or k in ("uncountedTerminatedPods", "ready")}
    return result


def _count(job: Obj, pods: Sequence[Obj], result: Plan) -> _Tally:
    old: Obj = job.get("status") or {}
    pending: Obj = old.get("uncountedTerminatedPods") or {}
    counts = {kind: int(old.get(kind) or 0) for kind in ("succeeded", "failed")}
    uncounted: dict[str, list[str]] = {"succeeded": [], "failed": []}
    holding = {meta.uid(p): p for p in pods if FINALIZER in meta.finalizers(p)}
    for kind, uids in uncounted.items():
        for uid in pending.get(kind) or ():
            counts[kind] += 1
            if uid in holding:
                uids.append(uid)
                result.release.append(holding[uid])
    known = {uid for uids in pending.values() for uid in uids}
    indexes = parse_ranges(str(old.get("completedIndexes") or ""))
    for uid, one in holding.items():
        ended = podlib.phase(one) in podlib.TERMINAL
        if uid in known or not (ended or meta.deleting(one)):
            continue
        if not ended and meta.get(one, "spec", "nodeName"):
            continue  # it is being deleted and will say how it ended
        kind = "succeeded" if podlib.phase(one) == "Succeeded" else "failed"
        index = index_of(one)
        if kind == "succeeded" and index is not None:
            if index in indexes:
                kind = ""
            indexes.add(index)
        if kind:
            counts[kind] += 1
            uncounted[kind].append(uid)
        result.release.append(one)
    return _Tally(counts["succeeded"], counts["failed"], uncounted, indexes)


def _verdict(job: Obj, status: Obj, tally: _Tally, active: Sequence[Obj], now: float) -> tuple[str, str, str] | None:
    spec = job["spec"]
    if tally.failed > int(spec.get("backoffLimit", 6)):
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and "startTime" in status and meta.parse_time(status["startTime"]) + int(deadline) <= now:
        return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
    wanted = spec.get("completions")
    enough = tally.succeeded >= int(wanted) if wanted is not None else tally.succeeded > 0 and not active
    if enough:
        return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
    return None


def _conclude(conditions: list[Obj], status: Obj, kind: str, reason: str, message: str, now: float) -> None:
    stamp = meta.rfc3339(now)
    first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
    for one in (first, kind):
        condition = {"type": one, "status": "True", "reason": reason, "message": message, "lastProbeTime": stamp}
        meta.set_condition(conditions, condition, stamp)
    if kind == "Complete":
        status["completionTime"] = stamp


def _suspend(conditions: list[Obj], result: Plan, now: float) -> None:
    stamp = meta.rfc3339(now)
    new = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
    old = next((c for c in conditions if c["type"] == "Suspended"), None)
    if old is None or old["status"] != "True":
        meta.set_condition(conditions, {**new, "lastProbeTime": stamp}, stamp)
        result.events.append(("Normal", "Suspended", "Job suspended"))


def _resume(conditions: list[Obj], result: Plan, now: float) -> None:
    stamp = meta.rfc3339(now)
    new = {"type": "Suspended", "status": "False", "reason": "JobResumed", "message": "Job resumed"}
    meta.set_condition(conditions, {**new, "lastProbeTime": stamp}, stamp)
    result.events.append(("Normal", "Resumed", "Job resumed"))


def _create(
    job: Obj,
    tally: _Tally,
    active: Sequence[Obj],
    pods: Sequence[Obj],
    now: float,
    backoff: tuple[float, float],
    result: Plan,
) -> None:
    spec = job["spec"]
    parallel, completions = int(spec.get("parallelism", 1)), spec.get("completions")
    if completions is None:
        wanted = parallel if not tally.succeeded else len(active)
    else:
        wanted = min(parallel, int(completions) - tally.succeeded)
    if len(active) > wanted:
        result.delete = podlib.deletion_order(active, active, now)[: len(active) - wanted]
        return
    missing = wanted - len(active)
    if missing <= 0:
        return
    wait = _wait(tally, pods, now, backoff)
    if wait > 0:
        result.recheck = wait
        return
    if spec.get("completionMode") != "Indexed":
        result.create = [None] * missing
        return
    taken = tally.done_indexes | {index for p in active if (index := index_of(p)) is not None}
    free = (index for index in range(int(completions or 0)) if index not in taken)
    result.create = [index for _, index in zip(range(missing), free, strict=False)]


def _wait(tally: _Tally, pods: Sequence[Obj], now: float, backoff: tuple[float, float]) -> float:
    """Seconds until a pod may follow a failed one: doubled with each failure since the last success."""
    failed = [p for p in pods if podlib.phase(p) == "Failed"]
    if not failed:
        return 0.0
    ended = max(_ended(p) for p in failed)
    first, most = backoff
    return ended + min(most, first * 2.0 ** min(len(failed) - 1, 20)) - now


def _ended(one: Obj) -> float:
    statuses = meta.get(one, "status", "containerStatuses", default=[])
    stamps = [meta.get(s, "state", "terminated", "finishedAt") for s in statuses]
    known = [meta.parse_time(stamp) for stamp in stamps if stamp]
    return max(known) if known else meta.parse_time(one["metadata"].get("creationTimestamp", "1970-01-01T00:00:00Z"))


def ranges(numbers: set[int]) -> str:
    """`0-2,5`: how completed indexes are written."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def parse_ranges(text: str) -> set[int]:
    """The inverse of `ranges`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
