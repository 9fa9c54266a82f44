"""PURE. What a Job needs next, and its status (upstream pkg/controller/job).

A finished pod is counted exactly once: its uid is first written into status.uncountedTerminatedPods, then its finalizer
is taken away, and only when it has none (or is gone) does it move into the counters. A crash in between loses nothing.

With backoffLimitPerIndex an index's failures are remembered by its pods: each carries how many came before it, and the
last one that failed is held back (neither counted nor released) until its successor is there to carry the number on.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.types import Obj
from netlab.controllers import job_policy as policy
from netlab.controllers import pods as podlib
from netlab.controllers.job_policy import parse_ranges, ranges

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
Verdict = tuple[str, str, str]
"""Complete or Failed, reason, message."""


@dataclass
class Plan:
    """Pods to create (completion indexes, or None each), to delete, to release after the status is written.

    `before`: index → failures that counted and that were ignored, for indexes that are tried again.
    """

    create: list[int | None] = field(default_factory=list)
    before: dict[int, tuple[int, int]] = field(default_factory=dict)
    delete: list[Obj] = field(default_factory=list)
    release: list[Obj] = field(default_factory=list)
    status: Obj = field(default_factory=dict)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    recheck: float | None = None


def finished(job: Obj) -> bool:
    return meta.condition_true(job, "Complete") or meta.condition_true(job, "Failed")


def orphaned(pod: Obj, jobs: Mapping[str, Obj]) -> bool:
    """Whether no Job counts this pod: it has no controller, or one that is a Job that is gone. `jobs` are by key."""
    ref = meta.controller_of(pod)
    if ref is None:
        return True
    if (ref.get("kind"), ref.get("apiVersion")) != ("Job", "batch/v1"):
        return False
    job = jobs.get(meta.join_key(meta.namespace(pod), ref["name"]))
    return job is None or meta.uid(job) != ref.get("uid")


def index_of(pod: Obj) -> int | None:
    """The completion index a pod carries."""
    value = meta.annotations(pod).get(INDEX, "")
    return int(value) if value.isdigit() else None


def _per_index(job: Obj) -> bool:
    return job["spec"].get("backoffLimitPerIndex") is not None


def _failures(pod: Obj) -> tuple[int, int]:
    """How often its index had failed before this pod: what counted, what was ignored."""
    notes = meta.annotations(pod)
    return int(notes.get(FAILURES, "0")), int(notes.get(IGNORED, "0"))


def pod(job: Obj, index: int | None, before: tuple[int, int] = (0, 0)) -> Obj:
    """A pod of the Job, with its finalizer and, in Indexed mode, its index in annotation, label, hostname and env."""
    template = copy.deepcopy(job["spec"]["template"])
    prefix = f"{meta.name(job)}-" if index is None else f"{meta.name(job)}-{index}-"
    made = podlib.from_template(template, job, prefix)
    made["metadata"]["finalizers"] = [*made["metadata"].get("finalizers", []), FINALIZER]
    if index is not None:
        meta.set_annotation(made, INDEX, str(index))
        meta.set_label(made, INDEX, str(index))
        if _per_index(job):
            meta.set_annotation(made, FAILURES, str(before[0]))
            if before[1]:
                meta.set_annotation(made, IGNORED, str(before[1]))
        made["spec"].setdefault("hostname", f"{meta.name(job)}-{index}")
        source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
        for container in made["spec"].get("containers", []):
            container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return made


@dataclass
class _Tally:
    """`held`: index → the failed pod whose successor is to come. `policy`: why the failure policy ends the Job."""

    succeeded: int
    failed: int
    uncounted: dict[str, list[str]]
    done_indexes: set[int]
    failed_indexes: set[int] = field(default_factory=set)
    held: dict[int, Obj] = field(default_factory=dict)
    policy: str = ""


def plan(job: Obj, pods: Sequence[Obj], now: float, backoff: tuple[float, float]) -> Plan:
    """`backoff` is (first, longest) wait in seconds after a failed pod."""
    result, spec = Plan(), job["spec"]
    tally = _count(job, pods, result)
    active = [p for p in pods if podlib.is_active(p)]
    terminating = [p for p in pods if meta.deleting(p) and podlib.phase(p) not in podlib.TERMINAL]
    status: Obj = {k: v for k, v in (job.get("status") or {}).items() if k != "conditions"}
    conditions = [dict(c) for c in (job.get("status") or {}).get("conditions") or ()]
    done = finished(job)
    if not done and not spec.get("suspend"):
        status.setdefault("startTime", meta.rfc3339(now))
    verdict = None if done else _verdict(job, status, tally, active, now)
    if verdict is not None or done:
        _let_go(job, tally, result)
    if verdict is not None:
        result.delete = active
        final = not active and not terminating and not any(tally.uncounted.values())
        _conclude(conditions, status, verdict, final=final, now=now, result=result)
    elif spec.get("suspend") and not done:
        _suspend(conditions, result, now)
        result.delete = active
        status.pop("startTime", None)
    elif not done:
        if meta.condition_true(job, "Suspended"):
            _resume(conditions, result, now)
        busy = [*active, *terminating] if _waits_for_the_end(spec) else active
        _create(job, tally, active, busy, pods, now, backoff, result)
        deadline = spec.get("activeDeadlineSeconds")
        if deadline is not None:
            left = meta.parse_time(status["startTime"]) + int(deadline) - now
            result.recheck = left if result.recheck is None else min(left, result.recheck)
    remaining = [p for p in active if p not in result.delete]
    status |= {
        "active": len(remaining),
        "ready": sum(podlib.is_ready(p) for p in remaining),
        "terminating": len(terminating),
        "succeeded": tally.succeeded - len(tally.uncounted["succeeded"]),
        "failed": tally.failed - len(tally.uncounted["failed"]),
        "uncountedTerminatedPods": {k: v for k, v in tally.uncounted.items() if v},
        "conditions": conditions,
    }
    if spec.get("completionMode") == "Indexed":
        status["completedIndexes"] = ranges(tally.done_indexes)
    always = ["uncountedTerminatedPods", "ready", "terminating"]
    if _per_index(job):
        status["failedIndexes"] = ranges(tally.failed_indexes)
        always.append("failedIndexes")
    result.status = {k: v for k, v in status.items() if v or k in always}
    return result


def _waits_for_the_end(spec: Obj) -> bool:
    """podReplacementPolicy Failed: a pod that is being deleted keeps its place until it has ended."""
    return str(spec.get("podReplacementPolicy") or ("Failed" if spec.get("podFailurePolicy") else "")) == "Failed"


def _count(job: Obj, pods: Sequence[Obj], result: Plan) -> _Tally:
    old: Obj = job.get("status") or {}
    pending: Obj = old.get("uncountedTerminatedPods") or {}
    tally = _Tally(
        int(old.get("succeeded") or 0),
        int(old.get("failed") or 0),
        {"succeeded": [], "failed": []},
        parse_ranges(str(old.get("completedIndexes") or "")),
        parse_ranges(str(old.get("failedIndexes") or "")),
    )
    holding = {meta.uid(p): p for p in pods if FINALIZER in meta.finalizers(p)}
    for kind in ("succeeded", "failed"):
        for uid in pending.get(kind) or ():
            _add(tally, kind, uid if uid in holding else "")
            if uid in holding:
                result.release.append(holding[uid])
    known = {uid for uids in pending.values() for uid in uids}
    newest = _newest(pods) if _per_index(job) else {}
    for uid, one in holding.items():
        ended = podlib.phase(one) in podlib.TERMINAL
        if uid in known or not (ended or meta.deleting(one)):
            continue
        if not ended and meta.get(one, "spec", "nodeName"):
            continue  # it is being deleted and will say how it ended
        if podlib.phase(one) == "Succeeded":
            _succeeded(one, tally, result)
        else:
            _failed(job, one, tally, newest, result)
    return tally


def _add(tally: _Tally, kind: str, uid: str) -> None:
    """One more of `kind`, whose pod (if it is there) still has its finalizer."""
    setattr(tally, kind, getattr(tally, kind) + 1)
    if uid:
        tally.uncounted[kind].append(uid)


def _newest(pods: Sequence[Obj]) -> dict[int, Obj]:
    """Index → the pod that carries the highest number of failures before it."""
    found: dict[int, Obj] = {}
    for one in pods:
        index = index_of(one)
        if index is not None and (index not in found or sum(_failures(one)) > sum(_failures(found[index]))):
            found[index] = one
    return found


def _succeeded(one: Obj, tally: _Tally, result: Plan) -> None:
    index = index_of(one)
    if index is None or index not in tally.done_indexes:
        _add(tally, "succeeded", meta.uid(one))
    if index is not None:
        tally.done_indexes.add(index)
    result.release.append(one)


def _failed(job: Obj, one: Obj, tally: _Tally, newest: dict[int, Obj], result: Plan) -> None:
    said = policy.failure(job, one) if podlib.phase(one) == "Failed" else policy.COUNT
    if said.action == "FailJob" and not tally.policy:
        tally.policy = said.message
    index = index_of(one)
    if index is not None and newest.get(index) is one and index not in tally.done_indexes | tally.failed_indexes:
        exhausted = said.counts and _failures(one)[0] >= int(job["spec"]["backoffLimitPerIndex"])
        if said.action == "FailIndex" or exhausted:
            tally.failed_indexes.add(index)
        else:
            tally.held[index] = one
            return
    if said.counts:
        _add(tally, "failed", meta.uid(one))
    result.release.append(one)


def _let_go(job: Obj, tally: _Tally, result: Plan) -> None:
    """Nothing will be tried again: what was held back counts now."""
    for one in tally.held.values():
        if policy.failure(job, one).counts:
            _add(tally, "failed", meta.uid(one))
        result.release.append(one)
    tally.held.clear()


def _verdict(job: Obj, status: Obj, tally: _Tally, active: Sequence[Obj], now: float) -> Verdict | None:
    spec = job["spec"]
    for kind, interim in (("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")):
        if meta.condition_true(job, interim):
            found = meta.condition(job, interim) or {}
            return kind, str(found.get("reason", "")), str(found.get("message", ""))
    if tally.policy:
        return "Failed", "PodFailurePolicy", tally.policy
    if tally.failed > int(spec.get("backoffLimit", 6)):
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and "startTime" in status and meta.parse_time(status["startTime"]) + int(deadline) <= now:
        return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
    wanted = spec.get("completions")
    if tally.failed_indexes:
        most = spec.get("maxFailedIndexes")
        if most is not None and len(tally.failed_indexes) > int(most):
            text = "Job has exceeded the specified maximal number of failed indexes"
            return "Failed", "MaxFailedIndexesExceeded", text
        if len(tally.failed_indexes | tally.done_indexes) >= int(wanted or 0):
            return "Failed", "FailedIndexes", "Job has failed indexes"
    if (matched := policy.success(job, tally.done_indexes)) is not None:
        return "Complete", "SuccessPolicy", matched
    enough = tally.succeeded >= int(wanted) if wanted is not None else tally.succeeded > 0 and not active
    if enough:
        return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
    return None


def _conclude(conditions: list[Obj], status: Obj, verdict: Verdict, *, final: bool, now: float, result: Plan) -> None:
    """The interim condition at once, the final one (and its event) when no pod runs and all are counted."""
    kind, reason, message = verdict
    stamp = meta.rfc3339(now)
    interim = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
    for one in (interim, kind) if final else (interim,):
        condition = {"type": one, "status": "True", "reason": reason, "message": message, "lastProbeTime": stamp}
        meta.set_condition(conditions, condition, stamp)
    if not final:
        return
    if kind == "Complete":
        status["completionTime"] = stamp
    how = ("Normal", "Completed", "Job completed") if kind == "Complete" else ("Warning", reason, message)
    result.events.append(how)


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
    busy: Sequence[Obj],
    pods: Sequence[Obj],
    now: float,
    backoff: tuple[float, float],
    result: Plan,
) -> None:
    """`busy`: the pods that keep their place, `active` and perhaps those that are being deleted."""
    spec = job["spec"]
    parallel, completions = int(spec.get("parallelism", 1)), spec.get("completions")
    if completions is None:
        wanted = parallel if not tally.succeeded else len(active)
    else:
        wanted = min(parallel, int(completions) - tally.succeeded - len(tally.failed_indexes))
    if len(active) > wanted:
        result.delete = podlib.deletion_order(active, active, now)[: len(active) - wanted]
        return
    missing = wanted - len(busy)
    if missing <= 0:
        return
    if spec.get("completionMode") != "Indexed" or not _per_index(job):
        wait = _wait(pods, now, backoff)
        if wait > 0:
            result.recheck = wait
            return
    if spec.get("completionMode") != "Indexed":
        result.create = [None] * missing
        return
    taken = {index for p in busy if (index := index_of(p)) is not None} | tally.done_indexes | tally.failed_indexes
    free = (index for index in range(int(completions or 0)) if index not in taken)
    for index in free:
        if len(result.create) < missing and _due(job, index, tally, now, backoff, result):
            result.create.append(index)


def _due(job: Obj, index: int, tally: _Tally, now: float, backoff: tuple[float, float], result: Plan) -> bool:
    """Whether the index may be tried now; if not, when to look again."""
    one = tally.held.get(index)
    if one is None:
        return True
    counted, ignored = _failures(one)
    first, most = backoff
    wait = _ended(one) + min(most, first * 2.0 ** min(counted, 20)) - now
    if wait > 0:
        result.recheck = wait if result.recheck is None else min(wait, result.recheck)
        return False
    more = policy.failure(job, one).counts
    result.before[index] = (counted + more, ignored + (not more))
    return True


def _wait(pods: Sequence[Obj], now: float, backoff: tuple[float, float]) -> float:
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
