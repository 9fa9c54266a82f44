"""Health and metrics of controllers, scheduler and kubelet: names, numbers, and who may read them."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from apiserver_client import client_of, comes, controllers
from apiserver_harness import ADMIN, Harness, harness, pod
from prometheus_client.parser import text_string_to_metric_families

from netlab.api.measuring import exposition
from netlab.client import door
from netlab.client.fake import FakeApi, eventually
from netlab.client.measured import queues
from netlab.client.workqueue import WorkQueue
from netlab.scheduler import SchedulerConfig
from netlab.scheduler.measured import Measured, resources
from netlab.scheduler.scheduler import Scheduler

Obj = dict[str, Any]


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """By name and values of labels (in the order of their names), without buckets."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for one in family.samples:
            if "le" not in one.labels:
                found[one.name, *(value for _, value in sorted(one.labels.items()))] = one.value
    return found


def names(text: bytes) -> set[str]:
    return {family.name for family in text_string_to_metric_families(text.decode())}


async def test_a_work_queue_counts() -> None:
    queue = WorkQueue("things", backoff_min=0.001)
    done: list[str] = []

    async def work(key: str) -> None:
        done.append(key)
        if len(done) == 1:
            raise OSError("not yet")

    task = asyncio.create_task(queue.run(work))
    queue.add("a")
    queue.add("a")
    await eventually(lambda: done == ["a", "a"] and not queue.unfinished(), "a second try")
    task.cancel()
    found = samples(exposition(queues([queue])))
    assert found["workqueue_adds_total", "things"] == 2
    assert found["workqueue_retries_total", "things"] == 1
    assert found["workqueue_depth", "things"] == 0
    assert found["workqueue_work_duration_seconds_count", "things"] == 2
    assert found["workqueue_queue_duration_seconds_count", "things"] == 2


STABLE = {
    "scheduler_framework_extension_point_duration_seconds",
    "scheduler_pending_pods",
    "scheduler_pod_scheduling_attempts",
    "scheduler_preemption_attempts",
    "scheduler_preemption_victims",
    "scheduler_queue_incoming_pods",
    "scheduler_schedule_attempts",
    "scheduler_scheduling_attempt_duration_seconds",
    "scheduler_pod_scheduling_sli_duration_seconds",
}


async def test_the_scheduler_counts() -> None:
    api = FakeApi()
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "1", "pods": "10"}}
    api.add({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": ready})
    from netlab.client.client import Client

    scheduler = Scheduler(Client(api), SchedulerConfig())
    task = asyncio.create_task(scheduler.run())
    asking = {
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "600m"}}}],
        "schedulerName": "default-scheduler",
    }
    for name in ("a", "b"):
        api.add({**pod(name, namespace="default", uid=name), "spec": asking})
    attempts = scheduler.measured.attempts.values
    await eventually(lambda: len(attempts) == 2, "one pod placed and one that finds no room")
    task.cancel()
    text = exposition(scheduler.measured.all(scheduler.queue.lengths()))
    assert names(text) >= STABLE
    found = samples(text)
    assert found["scheduler_schedule_attempts_total", "default-scheduler", "scheduled"] == 1
    assert found["scheduler_schedule_attempts_total", "default-scheduler", "unschedulable"] >= 1
    assert found["scheduler_pending_pods", "unschedulable"] + found["scheduler_pending_pods", "backoff"] == 1
    assert found["scheduler_queue_incoming_pods_total", "PodAdd", "active"] == 2
    assert found["scheduler_pod_scheduling_attempts_count",] == 1
    point = "scheduler_framework_extension_point_duration_seconds_count"
    assert found[point, "Filter", "default-scheduler", "Success"] >= 2


def test_what_pods_ask_for() -> None:
    one = pod("p", "n1", namespace="default")
    one["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "250m", "memory": "1Ki"}, "limits": {"cpu": "1"}}
    ended = {**pod("q", namespace="default"), "status": {"phase": "Succeeded"}}
    ended["spec"] = one["spec"]
    found = samples(exposition(resources([one, ended])))
    assert found["kube_pod_resource_request", "default", "n1", "p", "", "cpu", "", "cores"] == 0.25
    assert found["kube_pod_resource_request", "default", "n1", "p", "", "memory", "", "bytes"] == 1024
    assert found["kube_pod_resource_limit", "default", "n1", "p", "", "cpu", "", "cores"] == 1
    assert not any("q" in labels for labels in found)


def test_every_measure_has_upstreams_stability() -> None:
    for one in Measured("x").all({}):
        assert one.text.startswith(("[STABLE] ", "[BETA] ")), one.name


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        yield made


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[Any]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:

        async def ask(path: str, token: str = "") -> tuple[int, bytes]:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            try:
                async with session.get(f"https://127.0.0.1:{port}{path}", headers=headers) as answer:
                    return answer.status, await answer.read()
            except aiohttp.ClientConnectorError:
                return 0, b""

        yield ask


async def test_the_port_of_the_controllers(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door.Door.serve, "__defaults__", (0.0,))
    port = free_port()
    async with controllers(server, "serviceaccount", "job", secure_port=port), asking(port) as ask:

        async def up() -> bool:
            return bool((await ask("/healthz"))[0] == 200)

        await comes(up, "the port")
        code, body = await ask("/healthz?verbose")
        assert code == 200 and b"[+]leaderElection ok\n" in body and body.endswith(b"healthz check passed\n")
        assert (await ask("/livez/job")) == (200, b"ok")
        assert (await ask("/livez/nothing"))[0] == 404
        assert (await ask("/metrics"))[0] == 403
        assert (await ask("/metrics", "no-token"))[0] == 401
        assert (await ask("/metrics", "joe-token"))[0] == 403

        async def queued() -> bool:
            text = (await ask("/metrics", ADMIN))[1]
            return samples(text).get(("workqueue_adds_total", "service-account-controller"), 0) >= 4

        await comes(queued, "the namespaces in the queue")
        text = (await ask("/metrics", ADMIN))[1]
        assert samples(text)["leader_election_master_status", "kube-controller-manager"] == 1
        assert names(text) >= {
            "cronjob_controller_job_creation_skew_duration_seconds",
            "job_controller_job_syncs",
            "job_controller_jobs_finished",
            "job_controller_job_pods_finished",
            "node_collector_evictions",
        }
        assert (await ask("/nowhere", ADMIN))[0] == 404


async def test_jobs_are_counted(server: Harness) -> None:
    from netlab.controllers import ControllersConfig
    from netlab.controllers.context import Context
    from netlab.controllers.job import JobController

    context = Context(client_of(server), ControllersConfig())
    job = {"metadata": {"name": "j"}, "spec": {"completionMode": "Indexed"}, "status": {"succeeded": 1}}
    done = [{"type": "Complete", "status": "True"}]
    controller = JobController(context)
    controller._count(job, {"succeeded": 3, "failed": 1, "conditions": done})
    failed = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
    controller._count({"metadata": {"name": "k"}}, {"conditions": failed})
    found = samples(exposition(context.measured.all()))
    assert found["job_controller_job_pods_finished_total", "Indexed", "succeeded"] == 2
    assert found["job_controller_job_pods_finished_total", "Indexed", "failed"] == 1
    assert found["job_controller_jobs_finished_total", "Indexed", "", "succeeded"] == 1
    assert found["job_controller_jobs_finished_total", "NonIndexed", "BackoffLimitExceeded", "failed"] == 1
