"""CronJobs: schedules against robfig/cron's own table, decisions as a table, the controller on an API in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import CRON_JOBS, EVENTS, JOBS
from netlab.controllers import ControllersConfig
from netlab.controllers.cronjob.plan import SCHEDULED, plan, surplus
from netlab.controllers.cronjob.schedule import ScheduleError, parse
from netlab.controllers.manager import run

UTC_OFFSET = "+00:00"


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("schedule", "after", "following"),
    [
        ("*/15 * * * *", "2012-07-09T14:45:00", "2012-07-09T15:00:00"),
        ("*/15 * * * *", "2012-07-09T14:59:59", "2012-07-09T15:00:00"),
        ("20-35/15 * * * *", "2012-07-09T15:45:00", "2012-07-09T16:20:00"),
        ("20-35/15 */2 * * *", "2012-07-09T23:46:00", "2012-07-10T00:20:00"),
        ("*/15 */2 */2 * *", "2012-07-09T23:46:00", "2012-07-11T00:00:00"),
        ("15 0 1 1 *", "2012-07-09T23:35:00", "2013-01-01T00:15:00"),
        ("0 0 29 feb ?", "2012-07-09T23:35:00", "2016-02-29T00:00:00"),
        ("0 0 * feb mon", "2012-07-09T23:35:00", "2013-02-04T00:00:00"),
        ("0 0 * feb mon/2", "2012-07-09T23:35:00", "2013-02-01T00:00:00"),
        # both days restricted: either will do; a step is a restriction
        ("0 0 1,15 * Sun", "2012-07-14T01:00:00", "2012-07-15T00:00:00"),
        ("0 0 13 * fri", "2012-07-07T00:00:00", "2012-07-13T00:00:00"),
        ("0 0 */10 * sun", "2012-07-09T00:00:00", "2012-07-11T00:00:00"),
        ("0 0 * * 1-3", "2012-07-11T00:00:00", "2012-07-16T00:00:00"),
        ("@hourly", "2012-07-09T14:45:00", "2012-07-09T15:00:00"),
        ("@weekly", "2012-07-09T14:45:00", "2012-07-15T00:00:00"),
        ("@every 1h30m", "2012-07-09T14:45:10", "2012-07-09T16:15:10"),
    ],
)
def test_the_time_that_follows(schedule: str, after: str, following: str) -> None:
    assert parse(schedule).next(at(after + UTC_OFFSET)) == at(following + UTC_OFFSET)


@pytest.mark.parametrize(
    ("schedule", "after", "following"),
    [
        # the clock goes from 2:00 to 3:00: what lies between does not run that day
        ("30 2 * * *", "2012-03-11T00:00:00-05:00", "2012-03-12T02:30:00-04:00"),
        ("0 * * * *", "2012-03-11T01:00:00-05:00", "2012-03-11T03:00:00-04:00"),
        # and back from 2:00 to 1:00: the hour comes twice
        ("0 * * * *", "2012-11-04T01:00:00-04:00", "2012-11-04T01:00:00-05:00"),
        ("0 2 * * *", "2012-11-04T00:00:00-04:00", "2012-11-04T02:00:00-05:00"),
    ],
)
def test_the_clock_changes(schedule: str, after: str, following: str) -> None:
    assert parse(schedule, "America/New_York").next(at(after)) == at(following)
    assert parse(f"TZ=America/New_York {schedule}").next(at(after)) == at(following)


@pytest.mark.parametrize("schedule", ["0 0 30 2 *", "59 23 31 2 *"])
def test_a_day_that_never_comes(schedule: str) -> None:
    assert parse(schedule).next(at("2012-07-09T00:00:00" + UTC_OFFSET)) is None


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 0 * * *", "end of range (60) above maximum (59): 60"),
        ("5 4 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("@yearlyish", "unrecognized descriptor: @yearlyish"),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
    ],
)
def test_no_schedule(schedule: str, message: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        parse(schedule)
    assert str(refused.value) == message


CREATED = at("2020-01-01T10:00:00" + UTC_OFFSET)
SPEC: Obj = {"schedule": "0 * * * *", "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}}


def cronjob(status: Obj | None = None, **spec: Any) -> Obj:
    data = {"name": "c", "namespace": "default", "uid": "c", "creationTimestamp": meta.rfc3339(CREATED)}
    made = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": data, "spec": {**SPEC, **spec}}
    return {**made, "status": status} if status else made


def job(name: str, ended: str = "", when: float = CREATED) -> Obj:
    status: Obj = {"startTime": meta.rfc3339(when)}
    if ended:
        status["conditions"] = [{"type": ended, "status": "True"}]
    if ended == "Complete":
        status["completionTime"] = meta.rfc3339(when + 60)
    owner = meta.owner_reference(cronjob())
    data = {"name": name, "namespace": "default", "uid": name, "ownerReferences": [owner]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": data, "status": status}


RUNNING = {"active": [{"name": "old", "namespace": "default", "uid": "old"}]}
HOUR = 3600.0


@pytest.mark.parametrize(
    ("what", "status", "spec", "now", "created", "reasons"),
    [
        ("not yet due", None, {}, CREATED + HOUR - 1, None, []),
        ("due", None, {}, CREATED + HOUR + 1, "c-26297940", []),
        ("twice due: only the newest", None, {}, CREATED + 2 * HOUR + 1, "c-26298000", []),
        ("suspended", None, {"suspend": True}, CREATED + HOUR + 1, None, []),
        ("still within the deadline", None, {"startingDeadlineSeconds": 60}, CREATED + HOUR + 59, "c-26297940", []),
        ("too late", None, {"startingDeadlineSeconds": 60}, CREATED + HOUR + 61, None, []),
        ("old one runs", RUNNING, {}, CREATED + HOUR + 1, "c-26297940", []),
        (
            "old one runs and forbids",
            RUNNING,
            {"concurrencyPolicy": "Forbid"},
            CREATED + HOUR + 1,
            None,
            ["JobAlreadyActive"],
        ),
        ("old one gives way", RUNNING, {"concurrencyPolicy": "Replace"}, CREATED + HOUR + 1, "c-26297940", []),
        ("done already", {"lastScheduleTime": meta.rfc3339(CREATED + HOUR)}, {}, CREATED + HOUR + 9, None, []),
        ("a hundred missed", None, {}, CREATED + 102 * HOUR, "c-26304000", ["TooManyMissedTimes"]),
        ("never", None, {"schedule": "0 0 31 2 *"}, CREATED + HOUR, None, ["InvalidSchedule"]),
        ("nowhere", None, {"timeZone": "Mars/Base"}, CREATED + HOUR, None, ["UnknownTimeZone"]),
        ("no schedule", None, {"schedule": "x"}, CREATED + HOUR, None, ["UnparseableSchedule"]),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_decisions(
    what: str, status: Obj | None, spec: Obj, now: float, created: str | None, reasons: list[str]
) -> None:
    jobs = [job("old")] if status == RUNNING else []
    todo = plan(cronjob(status, **spec), jobs, frozenset(), now)
    assert (meta.name(todo.create) if todo.create else None) == created
    assert [reason for _, reason, _ in todo.events] == reasons
    assert [ref["name"] for ref in todo.replace] == (["old"] if spec.get("concurrencyPolicy") == "Replace" else [])


def test_a_deadline_that_is_over_at_once() -> None:
    todo = plan(cronjob(startingDeadlineSeconds=0), [], frozenset(), CREATED + HOUR + 0.5)
    assert todo.create is None
    assert todo.recheck == pytest.approx(HOUR - 0.4)


def test_books_of_active_jobs() -> None:
    refs = [{"name": name, "namespace": "default", "uid": name} for name in ("good", "bad", "lost", "on")]
    jobs = [job("good", "Complete"), job("bad", "Failed"), job("on"), job("found")]
    todo = plan(cronjob({"active": refs}), jobs, frozenset({"lost"}), CREATED + 1)
    assert [ref["name"] for ref in todo.status["active"]] == ["on"]
    assert todo.status["lastSuccessfulTime"] == meta.rfc3339(CREATED + 60)
    assert todo.events == [
        ("Normal", "SawCompletedJob", "Saw completed job: good, condition: Complete"),
        ("Normal", "SawCompletedJob", "Saw completed job: bad, condition: Failed"),
        ("Warning", "UnexpectedJob", "Saw a job that the controller did not create or forgot: found"),
        ("Normal", "MissingJob", "Active job went missing: lost"),
    ]


def test_history() -> None:
    jobs = [job(f"good{n}", "Complete", CREATED + n) for n in range(4)] + [job("bad", "Failed")]
    kept = cronjob(successfulJobsHistoryLimit=3, failedJobsHistoryLimit=0)
    assert [meta.name(one) for one in surplus(kept, jobs)] == ["good0", "bad"]


def test_the_job_of_a_time() -> None:
    made = plan(cronjob(timeZone="Europe/Berlin"), [], frozenset(), CREATED + HOUR + 1).create
    assert made is not None
    assert made["metadata"]["annotations"] == {SCHEDULED: "2020-01-01T12:00:00+01:00"}
    assert made["metadata"]["labels"] == {"a": "b"}
    assert made["metadata"]["ownerReferences"][0]["controller"]
    made = plan(cronjob(), [], frozenset(), CREATED + HOUR + 1).create
    assert made is not None
    assert made["metadata"]["annotations"] == {SCHEDULED: "2020-01-01T11:00:00Z"}


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    api = FakeApi()
    task = asyncio.create_task(run(Client(api), ControllersConfig(controllers=("cronjob",))))
    yield api
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def reasons(api: FakeApi) -> set[str]:
    return {event["reason"] for event in api.objects(EVENTS)}


async def test_from_start_to_history(api: FakeApi) -> None:
    every = cronjob(schedule="@every 1s", successfulJobsHistoryLimit=1, failedJobsHistoryLimit=1)
    every["metadata"].pop("creationTimestamp")
    every["metadata"].pop("uid")
    api.add(every)
    await eventually(lambda: len(api.objects(JOBS)) == 1, "a job")
    name = meta.name(api.objects(JOBS)[0])
    done = {"conditions": [{"type": "Complete", "status": "True"}], "completionTime": meta.rfc3339(CREATED)}
    api.modify(JOBS, f"default/{name}", {"status": done})
    await eventually(lambda: "lastSuccessfulTime" in api.find(CRON_JOBS, "default/c")["status"], "the success is noted")
    await eventually(lambda: {"SuccessfulCreate", "SawCompletedJob"} <= reasons(api), "events")


async def test_replacing(api: FakeApi) -> None:
    gone = api.add({**job("old"), "metadata": {"name": "old", "namespace": "default"}})
    old = {"name": "old", "namespace": "default", "uid": meta.uid(gone)}
    api.add(cronjob({"active": [old]}, concurrencyPolicy="Replace"))
    await eventually(lambda: "SuccessfulDelete" in reasons(api), "the old one is deleted")
    await eventually(lambda: [meta.name(one) for one in api.objects(JOBS)] != ["old"], "a new one")
    assert "old" not in [meta.name(one) for one in api.objects(JOBS)]
