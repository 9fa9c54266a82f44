"""PURE. What a CronJob needs now (upstream pkg/controller/cronjob: `syncCronJob`, `mostRecentScheduleTime`)."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from netlab.api import meta
from netlab.api.types import Obj
from netlab.controllers.cronjob.schedule import Schedule, ScheduleError, parse, zone_of

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
DELTA = 0.1
"""How long after its time a CronJob is looked at again, as upstream's nextScheduleDelta."""
MANY_MISSED = 100


@dataclass(slots=True)
class Plan:
    """`status` is the new status; a Job to `create` comes after those to `replace`; look again after `recheck` s."""

    status: Obj
    events: list[tuple[str, str, str]] = field(default_factory=list)
    replace: list[Obj] = field(default_factory=list)
    create: Obj | None = None
    scheduled: float = 0.0
    recheck: float | None = None


@dataclass(frozen=True, slots=True)
class Recent:
    """`latest`: the newest time that has passed since `since`, None where there is none; `missed`: how many passed."""

    since: float
    latest: float | None
    missed: int


def outcome(job: Obj) -> str:
    """Complete, Failed, or "" while a Job is not finished."""
    return next((kind for kind in ("Complete", "Failed") if meta.condition_true(job, kind)), "")


def plan(cronjob: Obj, jobs: Sequence[Obj], gone: frozenset[str], now: float) -> Plan:
    """`jobs` are those it controls; `gone` the uids of active ones that the API does not know any more."""
    todo = Plan(copy.deepcopy(cronjob.get("status") or {}))
    _count(todo, jobs, gone)
    if not meta.deleting(cronjob):
        _schedule(todo, cronjob, now)
    return todo


def _count(todo: Plan, jobs: Sequence[Obj], gone: frozenset[str]) -> None:
    """Bring the list of active Jobs and the time of the last success up to date."""
    status, events = todo.status, todo.events
    active: list[Obj] = status.get("active") or []
    listed = {ref["uid"] for ref in active}
    done: set[str] = set()
    for job in jobs:
        ended = outcome(job)
        if not ended and meta.uid(job) not in listed:
            text = f"Saw a job that the controller did not create or forgot: {meta.name(job)}"
            events.append(("Warning", "UnexpectedJob", text))
        if ended and meta.uid(job) in listed:
            done.add(meta.uid(job))
            events.append(("Normal", "SawCompletedJob", f"Saw completed job: {meta.name(job)}, condition: {ended}"))
        completed = meta.get(job, "status", "completionTime")
        if ended == "Complete" and completed and completed > status.get("lastSuccessfulTime", ""):
            status["lastSuccessfulTime"] = completed
    for ref in active:
        if ref["uid"] in gone:
            events.append(("Normal", "MissingJob", f"Active job went missing: {ref['name']}"))
    _set_active(status, [ref for ref in active if ref["uid"] not in gone | done])


def _set_active(status: Obj, active: list[Obj]) -> None:
    status.pop("active", None)
    if active:
        status["active"] = active


def _schedule(todo: Plan, cronjob: Obj, now: float) -> None:
    spec, zone = cronjob["spec"], cronjob["spec"].get("timeZone") or ""
    try:
        zone_of(zone)
    except ScheduleError as error:
        todo.events.append(("Warning", "UnknownTimeZone", f'invalid timeZone: "{zone}": {error}'))
        return
    if spec.get("suspend"):
        return
    text = spec["schedule"]
    if "TZ" in text:
        why = (
            f'CRON_TZ or TZ used in schedule "{text}" is not officially supported, see '
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
        todo.events.append(("Warning", "UnsupportedSchedule", why))
    try:
        schedule = parse(text, zone)
    except ScheduleError as error:
        todo.events.append(("Warning", "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}'))
        return
    try:
        found = recent(cronjob, now, schedule, with_deadline=True)
    except ScheduleError as error:
        todo.events.append(("Warning", "InvalidSchedule", f"invalid schedule: {text} : {error}"))
        return
    todo.recheck = until_next(cronjob, now, schedule)
    if found.latest is not None:
        if found.missed > MANY_MISSED:
            why = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            todo.events.append(("Warning", "TooManyMissedTimes", why))
        _start(todo, cronjob, found.latest, now)


def _start(todo: Plan, cronjob: Obj, due: float, now: float) -> None:
    """Whether the Job of a time that has come is started."""
    spec, status = cronjob["spec"], todo.status
    active: list[Obj] = status.get("active") or []
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None and due + deadline < now:
        stamp = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(due))
        todo.events.append(("Warning", "MissSchedule", f"Missed scheduled time to start a job: {stamp}"))
        return
    name = job_name(cronjob, due)
    if any(ref["name"] == name for ref in active) or status.get("lastScheduleTime") == meta.rfc3339(due):
        return
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy == "Forbid" and active:
        why = "Not starting job because prior execution is running and concurrency policy is Forbid"
        todo.events.append(("Normal", "JobAlreadyActive", why))
        return
    if policy == "Replace":
        todo.replace = active
    todo.create, todo.scheduled = job_of(cronjob, due), due


def recent(cronjob: Obj, now: float, schedule: Schedule, *, with_deadline: bool) -> Recent:
    """The newest time that has passed. Raises ScheduleError for a schedule that never comes."""
    since = meta.parse_time(cronjob["metadata"]["creationTimestamp"])
    last = meta.get(cronjob, "status", "lastScheduleTime")
    if last:
        since = meta.parse_time(last)
    deadline = cronjob["spec"].get("startingDeadlineSeconds")
    if with_deadline and deadline is not None:
        since = max(since, now - deadline)
    first = schedule.next(since)
    second = schedule.next(first) if first is not None else None
    if first is None or second is None or second - first < 1:
        raise ScheduleError("time difference between two schedules is less than 1 second")
    if now < first:
        return Recent(since, None, 0)
    if now < second:
        return Recent(since, first, 0)
    interval = int(second - first)
    missed = int(now - first) // interval + 1
    latest: float | None = None
    # regular schedules are jumped over; one step back, for those whose steps differ (30 6-16/4 * * 1-5)
    candidate = schedule.next(first + (missed - 2) * interval)
    while candidate is not None and candidate <= now:
        latest, candidate = candidate, schedule.next(candidate)
    return Recent(since, latest, missed)


def until_next(cronjob: Obj, now: float, schedule: Schedule) -> float | None:
    """Seconds until the CronJob is to be looked at again."""
    try:
        found = recent(cronjob, now, schedule, with_deadline=False)
    except ScheduleError:
        start = now
    else:
        start = found.latest if found.latest is not None else now if found.missed else found.since
    following = schedule.next(start)
    return None if following is None else following + DELTA - now


def job_name(cronjob: Obj, due: float) -> str:
    """The same for the same time: two controllers cannot start it twice."""
    return f"{meta.name(cronjob)}-{int(due) // 60}"


def job_of(cronjob: Obj, due: float) -> Obj:
    """The Job for a time (`getJobFromTemplate2`)."""
    template = cronjob["spec"].get("jobTemplate") or {}
    data = template.get("metadata") or {}
    zone = zone_of(cronjob["spec"].get("timeZone") or "")
    stamp = datetime.fromtimestamp(due, zone).isoformat(timespec="seconds")
    metadata: Obj = {
        "name": job_name(cronjob, due),
        "namespace": meta.namespace(cronjob),
        "annotations": {
            **(data.get("annotations") or {}),
            SCHEDULED: stamp.removesuffix("+00:00") + "Z" if zone is UTC or stamp.endswith("+00:00") else stamp,
        },
        "ownerReferences": [meta.owner_reference(cronjob)],
    }
    if data.get("labels"):
        metadata["labels"] = dict(data["labels"])
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def started(status: Obj, job: Obj, due: float) -> None:
    """Note in the status that a Job runs."""
    _set_active(status, [*(status.get("active") or []), meta.object_reference(job)])
    status["lastScheduleTime"] = meta.rfc3339(due)


def stopped(status: Obj, uid: str) -> None:
    """Take a Job out of the active ones."""
    _set_active(status, [ref for ref in status.get("active") or [] if ref["uid"] != uid])


def surplus(cronjob: Obj, jobs: Sequence[Obj]) -> list[Obj]:
    """Finished Jobs over the limits of the history, oldest first of each kind."""
    found: list[Obj] = []
    for kind, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        most = cronjob["spec"].get(limit)
        if most is None:
            continue
        ended = [job for job in jobs if outcome(job) == kind]
        # one without a start time counts as the newest
        ended.sort(key=lambda job: (meta.get(job, "status", "startTime", default="~"), meta.name(job)))
        found += ended[: max(0, len(ended) - most)]
    return found
