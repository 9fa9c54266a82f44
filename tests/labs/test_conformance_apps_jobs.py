"""sig-apps' conformance names about Jobs and CronJobs, as upstream's test/e2e/apps/job.go and cronjob.go.

CronJobs are not waited for by the clock: a lastScheduleTime of the past makes the last time that was missed due.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.labs.conformance_objects import by_label, discovered, meta, operations, status_endpoints
from tests.labs.conformance_tools import (
    MERGE,
    STRATEGIC,
    Watch,
    condition,
    emptied,
    items,
    labelled,
    owners,
    pause,
    sh,
    status_of,
)
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Obj, Space

pytestmark = pytest.mark.timeout(300)

GROUP = "apis/batch/v1"


def _template(container: Obj, **spec: Any) -> Obj:
    return {"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container], **spec}}


def _job(ns: Space, container: Obj, name: str = "job", pod_spec: Obj | None = None, **spec: Any) -> str:
    obj = {"metadata": meta(name), "spec": {"template": _template(container, **(pod_spec or {})), **spec}}
    ns.create("jobs", obj, GROUP)
    return ns.path("jobs", name, GROUP)


def _complete(ns: Space, path: str) -> Obj:
    ns.wait("the job is complete", lambda: condition(ns.api.get(path), "Complete").get("status") == "True")
    return ns.api.get(path)


def _failed(ns: Space, path: str, reason: str) -> Obj:
    ns.wait("the job failed", lambda: condition(ns.api.get(path), "Failed").get("status") == "True")
    found = ns.api.get(path)
    assert condition(found, "Failed")["reason"] == reason
    return found


def _pods(ns: Space, name: str = "job") -> list[Obj]:
    return items(ns.api, by_label(ns.path("pods"), "batch.kubernetes.io/job-name", name))


def _running(ns: Space, count: int, name: str = "job") -> None:
    ns.wait(
        f"{count} pods", lambda: len([p for p in _pods(ns, name) if p["status"].get("phase") == "Running"]) == count
    )


# -- Jobs


@conformance("Job should run a job to completion when tasks sometimes fail and are locally restarted")
def test_local_restarts(space: Space) -> None:  # noqa: F811
    """Each pod fails the first time; its container is started again in the same pod."""
    command = "test -f /data/once && exit 0; touch /data/once; exit 1"
    container = sh(command, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    spec = {"restartPolicy": "OnFailure", "volumes": [{"name": "data", "emptyDir": {}}]}
    path = _job(space, container, pod_spec=spec, parallelism=2, completions=4, backoffLimit=999)
    assert _complete(space, path)["status"]["succeeded"] == 4
    assert [p["status"]["phase"] for p in _pods(space)] == ["Succeeded"] * 4
    assert all(status_of(one)["restartCount"] == 1 for one in _pods(space))


INDEXED = {"completionMode": "Indexed"}


@conformance("Job should create pods for an Indexed job with completion indexes and specified hostname")
def test_indexed(space: Space) -> None:  # noqa: F811
    path = _job(space, sh("test $JOB_COMPLETION_INDEX = ${HOSTNAME##*-}"), parallelism=2, completions=4, **INDEXED)
    found = _complete(space, path)
    assert found["status"]["completedIndexes"] == "0-3"
    key = "batch.kubernetes.io/job-completion-index"
    assert sorted(one["metadata"]["annotations"][key] for one in _pods(space)) == list("0123")
    assert {one["spec"]["hostname"] for one in _pods(space)} == {f"job-{n}" for n in range(4)}


EVEN_FAILS = "exit $(( (JOB_COMPLETION_INDEX + 1) % 2 ))"


@conformance("Job should execute all indexes despite some failing when using backoffLimitPerIndex")
def test_limit_per_index(space: Space) -> None:  # noqa: F811
    path = _job(space, sh(EVEN_FAILS), parallelism=4, completions=4, backoffLimitPerIndex=0, **INDEXED)
    status = _failed(space, path, "FailedIndexes")["status"]
    assert (status["failedIndexes"], status["completedIndexes"]) == ("0,2", "1,3")
    assert (status["failed"], status["succeeded"]) == (2, 2)


@conformance("Job should terminate job execution when the number of failed indexes exceeds maxFailedIndexes")
def test_max_failed(space: Space) -> None:  # noqa: F811
    limits = {"backoffLimitPerIndex": 0, "maxFailedIndexes": 0}
    command = "test $JOB_COMPLETION_INDEX != 0 && sleep 1000; exit 1"
    path = _job(space, sh(command), parallelism=4, completions=4, **limits, **INDEXED)
    status = _failed(space, path, "MaxFailedIndexesExceeded")["status"]
    assert status["failedIndexes"].split(",")[0].startswith("0")
    assert status.get("active", 0) == 0


def _policy(action: str, code: int = 42) -> Obj:
    rule = {"action": action, "onExitCodes": {"containerName": "main", "operator": "In", "values": [code]}}
    return {"rules": [rule]}


@conformance("Job should mark indexes as failed when the FailIndex action is matched in podFailurePolicy")
def test_fail_index(space: Space) -> None:  # noqa: F811
    """One index fails with the code and is not tried again; the other has another code and is, once."""
    command = "case $JOB_COMPLETION_INDEX in 0) exit 42;; 1) exit 1;; esac"
    limits = {"backoffLimitPerIndex": 1, "podFailurePolicy": _policy("FailIndex")}
    path = _job(space, sh(command), parallelism=3, completions=3, **limits, **INDEXED)
    status = _failed(space, path, "FailedIndexes")["status"]
    assert (status["failedIndexes"], status["completedIndexes"]) == ("0,1", "2")
    assert status["failed"] == 3


@conformance("Job should allow to use the pod failure policy on exit code to fail the job early")
def test_fail_job(space: Space) -> None:  # noqa: F811
    limits = {"backoffLimit": 6, "podFailurePolicy": _policy("FailJob")}
    path = _job(space, sh("exit 42"), parallelism=1, completions=4, **limits)
    status = _failed(space, path, "PodFailurePolicy")["status"]
    assert status["failed"] == 1


@conformance("Job should allow to use a pod failure policy to ignore failure matching on DisruptionTarget condition")
def test_ignored(space: Space) -> None:  # noqa: F811
    """A pod is evicted: it counts not against a limit of none, and another takes its place."""
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    container = sh("test -f /data/go && exit 0; trap 'exit 1' TERM; sleep 1000 & wait")
    container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    spec = {
        "volumes": [{"name": "data", "hostPath": {"path": f"/{space.name}", "type": "DirectoryOrCreate"}}],
        "nodeName": "node1",
        "terminationGracePeriodSeconds": 5,
    }
    path = _job(space, container, pod_spec=spec, backoffLimit=0, podFailurePolicy={"rules": [rule]})
    _running(space, 1)
    name = _pods(space)[0]["metadata"]["name"]
    space.sh(name, "touch /data/go")
    body = {"metadata": {"name": name, "namespace": space.name}}
    space.api.call("POST", space.path("pods", f"{name}/eviction"), body)
    _complete(space, path)
    assert space.api.get(path)["status"].get("failed", 0) == 0


@conformance("Job should adopt matching orphans and release non-matching pods")
def test_adopts(space: Space) -> None:  # noqa: F811
    _job(space, pause(), parallelism=2, completions=2, pod_spec={"restartPolicy": "Never"})
    _running(space, 2)
    name = _pods(space)[0]["metadata"]["name"]
    path = space.path("pods", name)
    space.api.update(path, lambda obj: obj["metadata"].pop("ownerReferences"))
    space.wait("it is adopted", lambda: ("Job", "job") in owners(space.api.get(path)))
    space.api.update(path, lambda obj: obj["metadata"].pop("labels"))
    space.wait("it is released", lambda: not owners(space.api.get(path)))


@conformance("Job should delete a job")
@pytest.mark.parametrize("policy", ["Foreground", "Background"])
def test_deleted(space: Space, policy: str) -> None:  # noqa: F811
    path = _job(space, pause(), parallelism=2, completions=2)
    _running(space, 2)
    space.api.call("DELETE", path, {"propagationPolicy": policy})
    space.wait("it is gone", lambda: space.api.gone(path))
    emptied(space, space.path("pods"), "pods")


@conformance("Job should apply changes to a job status")
def test_status(space: Space) -> None:  # noqa: F811
    path = _job(space, sh("sleep 1000"), parallelism=2, completions=4)
    _running(space, 2)
    status_endpoints(space, "jobs", "job", GROUP)
    assert space.api.get(path)["status"]["active"] == 2


@conformance("Job should manage the lifecycle of a job")
def test_lifecycle(space: Space) -> None:  # noqa: F811
    watched = Watch(space.api, space.path("jobs", group=GROUP))
    path = _job(space, sh("true"), parallelism=2, completions=2, suspend=True)
    watched.sees("ADDED")
    space.api.merge(path, {"metadata": {"labels": {"e2e-job": "patched"}}})
    watched.sees("MODIFIED", labelled("e2e-job", "patched"))
    space.wait("it is suspended", lambda: condition(space.api.get(path), "Suspended").get("status") == "True")
    space.api.update(path, lambda obj: obj["spec"].update(suspend=False, parallelism=2))
    _complete(space, path)
    listed = items(space.api, by_label("/apis/batch/v1/jobs", "e2e-job", "patched"))
    assert "job" in {one["metadata"]["name"] for one in listed if one["metadata"]["namespace"] == space.name}
    where = by_label(space.path("jobs", group=GROUP), "e2e-job", "patched")
    space.api.call("DELETE", where, {"propagationPolicy": "Background"})
    watched.sees("DELETED")
    emptied(space, space.path("pods"), "pods")


SUCCEEDS = "Job with successPolicy"


@conformance(
    f"{SUCCEEDS} should succeeded when all indexes succeeded",
    f"{SUCCEEDS} succeededIndexes rule should succeeded even when some indexes remain pending",
    f"{SUCCEEDS} succeededCount rule should succeeded even when some indexes remain pending",
)
@pytest.mark.parametrize(
    ("rule", "command", "done", "reason"),
    [
        ({"succeededIndexes": "0-2"}, "true", "0-2", "SuccessPolicy"),
        ({"succeededIndexes": "0"}, "test $JOB_COMPLETION_INDEX = 0 || sleep 1000", "0", "SuccessPolicy"),
        ({"succeededCount": 1}, "test $JOB_COMPLETION_INDEX = 0 || sleep 1000", "0", "SuccessPolicy"),
    ],
)
def test_success_policy(space: Space, rule: Obj, command: str, done: str, reason: str) -> None:  # noqa: F811
    policy = {"rules": [rule]}
    path = _job(space, sh(command), parallelism=3, completions=3, successPolicy=policy, **INDEXED)
    space.wait("it has succeeded", lambda: condition(space.api.get(path), "SuccessCriteriaMet").get("status") == "True")
    found = _complete(space, path)
    assert condition(found, "Complete")["reason"] == condition(found, "SuccessCriteriaMet")["reason"] == reason
    assert found["status"]["completedIndexes"] == done
    space.wait("nothing runs", lambda: not space.api.get(path)["status"].get("active"))


# -- CronJobs


def _minute(ago: int) -> str:
    """The schedule of one minute of the hour, so many minutes ago."""
    return f"{time.gmtime(time.time() - 60 * ago).tm_min} * * * *"


def _cron(ns: Space, container: Obj, concurrency: str, schedule: str, **more: Any) -> str:
    spec = {
        "schedule": schedule,
        "concurrencyPolicy": concurrency,
        "timeZone": "Etc/UTC",
        "jobTemplate": {"spec": {"template": _template(container, restartPolicy="OnFailure")}},
        **more,
    }
    ns.create("cronjobs", {"metadata": meta("cron"), "spec": spec}, GROUP)
    return ns.path("cronjobs", "cron", GROUP)


def _missed(ns: Space, path: str) -> None:
    """As if the last job had been started half an hour ago."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1800))
    ns.api.call("PATCH", f"{path}/status", {"status": {"lastScheduleTime": stamp}}, MERGE)


def _again(ns: Space, path: str, schedule: str) -> None:
    ns.api.merge(path, {"spec": {"schedule": schedule}})
    _missed(ns, path)


def _jobs(ns: Space) -> set[str]:
    return {one["metadata"]["name"] for one in items(ns.api, ns.path("jobs", group=GROUP))}


def _active(ns: Space, path: str) -> set[str]:
    return {one["name"] for one in ns.api.get(path).get("status", {}).get("active") or ()}


def _says(ns: Space, reason: str) -> None:
    events = ns.path("events") + f"?fieldSelector=reason%3D{reason}"
    ns.wait(f"an event {reason}", lambda: items(ns.api, events))


@conformance("CronJob should schedule multiple jobs concurrently")
def test_concurrent(space: Space) -> None:  # noqa: F811
    path = _cron(space, sh("sleep 300"), "Allow", _minute(4))
    _missed(space, path)
    space.wait("a job", lambda: len(_active(space, path)) == 1)
    _again(space, path, _minute(2))
    space.wait("two jobs", lambda: len(_active(space, path)) == 2)
    assert _active(space, path) == _jobs(space)
    space.api.call("DELETE", path)


@conformance("CronJob should not schedule jobs when suspended [Slow]")
def test_suspended(space: Space) -> None:  # noqa: F811
    """Nothing while it is suspended; the missed time is made up for as soon as it is not."""
    path = _cron(space, sh("sleep 300"), "Allow", _minute(2), suspend=True)
    _missed(space, path)
    time.sleep(2)
    assert _jobs(space) == set()
    space.api.merge(path, {"spec": {"suspend": False}})
    space.wait("a job", lambda: len(_jobs(space)) == 1)


@conformance("CronJob should not schedule new jobs when ForbidConcurrent [Slow]")
def test_forbidden(space: Space) -> None:  # noqa: F811
    path = _cron(space, sh("sleep 300"), "Forbid", _minute(4))
    _missed(space, path)
    space.wait("a job", lambda: len(_active(space, path)) == 1)
    first = _jobs(space)
    _again(space, path, _minute(2))
    _says(space, "JobAlreadyActive")
    assert _jobs(space) == first == _active(space, path)


@conformance("CronJob should replace jobs when ReplaceConcurrent")
def test_replaced(space: Space) -> None:  # noqa: F811
    path = _cron(space, sh("sleep 300"), "Replace", _minute(4))
    _missed(space, path)
    space.wait("a job", lambda: len(_active(space, path)) == 1)
    first = _jobs(space)
    _again(space, path, _minute(2))
    space.wait("another instead", lambda: len(_active(space, path)) == 1 and not _active(space, path) & first)
    space.wait("the first is gone", lambda: not _jobs(space) & first)


@conformance("CronJob should support CronJob API operations")
def test_cron_operations(space: Space) -> None:  # noqa: F811
    discovered(space.api, "batch", "v1", "cronjobs", "cronjobs/status")
    template = {"spec": {"template": _template(pause())}}

    def make(number: int) -> Obj:
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": template, "successfulJobsHistoryLimit": 3}
        return {"metadata": meta(f"cron-{number}", space.name), "spec": spec}

    where = space.path("cronjobs", group=GROUP)
    operations(space.api, where, make, space.name, "/apis/batch/v1/cronjobs")
    space.api.call("POST", where, make(7))
    path = f"{where}/cron-7"
    stamp = "2026-01-02T03:04:05Z"
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"lastScheduleTime": stamp}}
    patched = space.api.call("PATCH", f"{path}/status", patch, STRATEGIC)
    assert patched["status"]["lastScheduleTime"] == stamp
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    later = "2026-02-02T03:04:05Z"
    changed = space.api.update(f"{path}/status", lambda obj: obj["status"].update(lastScheduleTime=later))
    assert changed["status"]["lastScheduleTime"] == later
    assert space.api.get(f"{path}/status")["status"]["lastScheduleTime"] == later
