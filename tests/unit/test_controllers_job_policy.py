"""Failure and success policies of Jobs, and indexes that are tried again (upstream pkg/controller/job's tables)."""

from __future__ import annotations

from typing import Any

import pytest

from netlab.api import meta
from netlab.api.types import Obj
from netlab.controllers import job_plan
from netlab.controllers.job_policy import failure, success

CODES = {"operator": "In", "values": [42]}


def _job(*rules: Obj, **spec: Any) -> Obj:
    policy = {"podFailurePolicy": {"rules": list(rules)}} if rules else {}
    template = {"metadata": {}, "spec": {"containers": [{"name": "c"}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "work", "namespace": "ns", "uid": "j"},
        "spec": {"template": template, **policy, **spec},
    }


def _failed(code: int = 1, condition: str = "", index: int | None = None, failures: int = 0, at: float = 0) -> Obj:
    notes = {} if index is None else {job_plan.INDEX: str(index), job_plan.FAILURES: str(failures)}
    ended = {"exitCode": code, "finishedAt": meta.rfc3339(at)}
    return {
        "metadata": {
            "name": f"p-{index}-{failures}",
            "namespace": "ns",
            "uid": f"{index}-{failures}",
            "annotations": notes,
            "finalizers": [job_plan.FINALIZER],
            "creationTimestamp": meta.rfc3339(at),
        },
        "status": {
            "phase": "Failed",
            "conditions": [{"type": condition, "status": "True"}] if condition else [],
            "containerStatuses": [{"name": "c", "state": {"terminated": ended}}],
        },
    }


@pytest.mark.parametrize(
    ("rule", "pod", "action", "message"),
    [
        (
            {"action": "FailJob", "onExitCodes": CODES},
            _failed(42),
            "FailJob",
            "Container c for pod ns/p-None-0 failed with exit code 42 matching FailJob rule at index 0",
        ),
        ({"action": "FailJob", "onExitCodes": CODES}, _failed(1), "Count", ""),
        ({"action": "FailJob", "onExitCodes": {**CODES, "containerName": "other"}}, _failed(42), "Count", ""),
        ({"action": "Ignore", "onExitCodes": {**CODES, "operator": "NotIn"}}, _failed(0), "Count", ""),
        (
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            _failed(1, "DisruptionTarget"),
            "Ignore",
            "Pod ns/p-None-0 has condition DisruptionTarget matching Ignore rule at index 0",
        ),
        ({"action": "Ignore", "onPodConditions": [{"type": "Ready", "status": "False"}]}, _failed(1), "Count", ""),
    ],
)
def test_failure(rule: Obj, pod: Obj, action: str, message: str) -> None:
    found = failure(_job(rule), pod)
    assert (found.action, found.message) == (action, message)


@pytest.mark.parametrize(
    ("rules", "done", "wanted"),
    [
        ([{"succeededIndexes": "0-2"}], {0, 1}, None),
        ([{"succeededIndexes": "0-2"}], {0, 1, 2, 5}, "Matched rules at index 0"),
        ([{"succeededCount": 2}], {4}, None),
        ([{"succeededIndexes": "9"}, {"succeededCount": 2}], {4, 5}, "Matched rules at index 1"),
        ([{"succeededIndexes": "0-3", "succeededCount": 2}], {0, 7}, None),
        ([{"succeededIndexes": "0-3", "succeededCount": 2}], {0, 3}, "Matched rules at index 0"),
    ],
)
def test_success(rules: list[Obj], done: set[int], wanted: str | None) -> None:
    assert success(_job(successPolicy={"rules": rules}), done) == wanted


INDEXED = {
    "completionMode": "Indexed",
    "completions": 2,
    "parallelism": 2,
    "backoffLimit": 99,
    "backoffLimitPerIndex": 1,
}


def _plan(job: Obj, *pods: Obj, now: float = 1000.0) -> job_plan.Plan:
    return job_plan.plan(job, pods, now, (10.0, 600.0))


def test_an_index_is_tried_again_with_its_failures() -> None:
    """Its pod is held back, uncounted, until the back-off is over; the successor carries the number."""
    job, pod = _job(**INDEXED), _failed(index=0, at=995.0)
    early = _plan(job, pod)
    assert (early.create, early.recheck, early.release, early.status.get("failed", 0)) == ([1], 5.0, [], 0)
    later = _plan(job, pod, now=1006.0)
    assert (later.create, later.before) == ([0, 1], {0: (1, 0)})
    made = job_plan.pod(job, 0, later.before[0])
    assert made["metadata"]["annotations"][job_plan.FAILURES] == "1"


def test_an_index_fails_at_its_limit() -> None:
    """Both of its pods are then counted."""
    found = _plan(_job(**INDEXED), _failed(index=0), _failed(index=0, failures=1))
    assert found.status["failedIndexes"] == "0"
    assert found.create == [1]
    assert len(found.release) == len(found.status["uncountedTerminatedPods"]["failed"]) == 2


def test_the_final_condition_waits_for_the_last_pod() -> None:
    rule = {"action": "FailJob", "onExitCodes": CODES}
    running = {"metadata": {"name": "r", "namespace": "ns", "uid": "r"}, "status": {"phase": "Running"}}
    first = _plan(_job(rule, completions=2, parallelism=2), _failed(42), running)
    assert [one["type"] for one in first.status["conditions"]] == ["FailureTarget"]
    assert first.delete == [running]
    job = {**_job(rule, completions=2), "status": {"failed": 1, "conditions": first.status["conditions"]}}
    last = _plan(job)
    assert [(one["type"], one["reason"]) for one in last.status["conditions"]] == [
        ("FailureTarget", "PodFailurePolicy"),
        ("Failed", "PodFailurePolicy"),
    ]
