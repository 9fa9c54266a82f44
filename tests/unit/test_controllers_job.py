"""Jobs on an API in memory: completions, failures, indexes, suspension, and pods counted exactly once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import EVENTS, JOBS, PODS
from netlab.controllers import ControllersConfig
from netlab.controllers.job_plan import FINALIZER, orphaned, plan
from netlab.controllers.job_policy import parse_ranges, ranges
from netlab.controllers.manager import run


def job(**spec: Any) -> Obj:
    labels = {"job-name": "work"}
    full = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c"}]}},
        **spec,
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work", "namespace": "default"}, "spec": full}


@pytest.mark.parametrize(("numbers", "text"), [(set(), ""), ({0}, "0"), ({0, 1, 2, 5}, "0-2,5"), ({1, 3, 4}, "1,3,4")])
def test_ranges(numbers: set[int], text: str) -> None:
    assert ranges(numbers) == text
    assert parse_ranges(text) == numbers


def test_a_failed_pod_is_waited_after() -> None:
    failed = {
        "metadata": {"name": "p", "uid": "p", "creationTimestamp": meta.rfc3339(1000)},
        "status": {"phase": "Failed"},
    }
    todo = plan(job(completions=1), [failed], 1004.0, (10.0, 600.0))
    assert (todo.create, todo.recheck) == ([], 6.0)
    assert plan(job(completions=1), [failed], 1011.0, (10.0, 600.0)).create == [None]


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    api = FakeApi()
    task = asyncio.create_task(run(Client(api), ControllersConfig(controllers=("job",))))
    yield api
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def end(api: FakeApi, phase: str = "Succeeded", most: int = 100) -> None:
    """Finish running pods, as long ago as no back-off remembers."""
    for pod in api.objects(PODS)[:]:
        if meta.get(pod, "status", "phase") == "Pending" and most > 0:
            most -= 1
            done = {"state": {"terminated": {"finishedAt": "2024-01-01T00:00:00Z"}}}
            api.modify(PODS, meta.key(pod), {"status": {"phase": phase, "containerStatuses": [done]}})


def status(api: FakeApi) -> Obj:
    found: Obj = api.find(JOBS, "default/work").get("status", {})
    return found


def condition(api: FakeApi, kind: str) -> str:
    with contextlib.suppress(KeyError):
        found = meta.condition(api.find(JOBS, "default/work"), kind) or {}
        if found.get("status") == "True":
            return str(found["reason"])
    return ""


async def test_runs_to_completion_and_counts_once(api: FakeApi) -> None:
    api.add(job(completions=5, parallelism=2))
    await eventually(lambda: len(api.objects(PODS)) == 2, "two at a time")
    assert status(api)["startTime"]

    def complete() -> bool:
        running = [p for p in api.objects(PODS) if meta.get(p, "status", "phase") == "Pending"]
        assert len(running) <= 2
        end(api)
        return condition(api, "Complete") == "CompletionsReached"

    await eventually(complete, "complete")
    await eventually(lambda: not status(api).get("uncountedTerminatedPods"), "all counted")
    assert (status(api)["succeeded"], len(api.objects(PODS))) == (5, 5)
    assert not any(meta.finalizers(p) for p in api.objects(PODS))
    assert "Completed" in {e["reason"] for e in api.objects(EVENTS)}


async def test_gives_up_at_the_backoff_limit(api: FakeApi) -> None:
    api.add(job(completions=1, backoffLimit=1))

    def failed() -> bool:
        end(api, "Failed")
        return condition(api, "Failed") == "BackoffLimitExceeded"

    await eventually(failed, "failed")
    await eventually(lambda: status(api).get("failed") == 2, "both counted")


async def test_indexed_jobs_run_each_index_until_it_succeeds(api: FakeApi) -> None:
    api.add(job(completions=3, parallelism=3, completionMode="Indexed"))
    await eventually(lambda: len(api.objects(PODS)) == 3, "three")
    assert sorted(p["spec"]["hostname"] for p in api.objects(PODS)) == ["work-0", "work-1", "work-2"]
    assert api.objects(PODS)[0]["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
    end(api, "Failed", most=1)
    await eventually(lambda: len(api.objects(PODS)) == 4, "tried again")
    end(api)
    await eventually(lambda: condition(api, "Complete") != "", "complete")
    assert status(api)["completedIndexes"] == "0-2"


async def test_suspends_and_resumes(api: FakeApi) -> None:
    api.add(job(completions=1, suspend=True))
    await eventually(lambda: condition(api, "Suspended") == "JobSuspended", "suspended")
    assert not api.objects(PODS)
    api.modify(JOBS, "default/work", {"spec": {"suspend": False}})
    await eventually(lambda: len(api.objects(PODS)) == 1, "resumed")
    api.modify(JOBS, "default/work", {"spec": {"suspend": True}})
    await eventually(lambda: not api.objects(PODS), "suspended again")


async def test_is_cleaned_up_after_its_time(api: FakeApi) -> None:
    api.add(job(completions=1, ttlSecondsAfterFinished=0))

    def gone() -> bool:
        end(api)
        return not api.objects(JOBS)

    await eventually(gone, "gone")


@pytest.mark.parametrize("ownerless", [False, True])
async def test_lets_go_of_the_pods_of_a_job_that_is_gone(api: FakeApi, ownerless: bool) -> None:
    """What the garbage collector deletes (or makes ownerless) after the Job is not held for ever."""
    api.add(job(completions=1))
    await eventually(lambda: len(api.objects(PODS)) == 1, "a pod")
    key = meta.key(api.objects(PODS)[0])
    assert meta.finalizers(api.find(PODS, key)) == [FINALIZER]
    api.remove(JOBS, "default/work")
    if ownerless:
        api.modify(PODS, key, {"metadata": {"ownerReferences": None}})
    await eventually(lambda: not meta.finalizers(api.find(PODS, key)), "no longer held")


def test_orphans_are_pods_without_a_job() -> None:
    def pod(**ref: Any) -> Obj:
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "work", "uid": "1", "controller": True, **ref}
        return {"metadata": {"name": "p", "namespace": "default", "ownerReferences": [owner]}}

    jobs = {"default/work": {"metadata": {"name": "work", "namespace": "default", "uid": "1"}}}
    assert not orphaned(pod(), jobs)
    assert orphaned(pod(), {})
    assert orphaned(pod(uid="2"), jobs)
    assert orphaned(pod(controller=False), jobs)
    assert not orphaned(pod(apiVersion="example.com/v1"), {})
