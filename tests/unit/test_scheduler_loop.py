"""The scheduler on an API in memory: bindings, events, conditions, waiting and waking."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import EVENTS, NODES, PERSISTENT_VOLUME_CLAIMS, PODS
from netlab.scheduler import SchedulerConfig, run_scheduler


def node(name: str, cpu: str = "4") -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "500"}},
    }


def pod(name: str, cpu: str = "100m", **spec: Any) -> Obj:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    full = {"schedulerName": "default-scheduler", "containers": [container], **spec}
    meta_ = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta_, "spec": full}


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    api = FakeApi()
    task = asyncio.create_task(run_scheduler(Client(api), SchedulerConfig()))
    yield api
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def where(api: FakeApi, name: str) -> str:
    return str(meta.get(api.find(PODS, f"default/{name}"), "spec", "nodeName", default=""))


async def test_binds_and_says_so(api: FakeApi) -> None:
    api.add(node("n1"))
    api.add(pod("p"))
    await eventually(lambda: where(api, "p") == "n1", "bound")
    await eventually(lambda: bool(api.objects(EVENTS)), "event")
    (event,) = api.objects(EVENTS)
    assert event["message"] == "Successfully assigned default/p to n1"
    assert (event["reason"], event["action"]) == ("Scheduled", "Binding")
    assert event["reportingComponent"] == "default-scheduler"


async def test_waits_for_room_and_takes_it(api: FakeApi) -> None:
    api.add(node("n1", cpu="1"))
    api.add(pod("first", "800m"))
    await eventually(lambda: where(api, "first") == "n1", "first bound")
    api.add(pod("second", "800m"))

    def condition() -> Obj:
        return meta.condition(api.find(PODS, "default/second"), "PodScheduled") or {}

    await eventually(lambda: condition().get("reason") == "Unschedulable", "condition")
    assert condition()["message"].startswith("0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes")
    api.remove(PODS, "default/first")
    await eventually(lambda: where(api, "second") == "n1", "second bound")


async def test_waits_for_its_claim(api: FakeApi) -> None:
    api.add(node("n1"))
    api.add(pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]))

    def message() -> str:
        condition = meta.condition(api.find(PODS, "default/p"), "PodScheduled") or {}
        return str(condition.get("message", ""))

    await eventually(lambda: 'persistentvolumeclaim "c" not found.' in message(), "no claim")
    volume: Obj = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {}}
    claim: Obj = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", "namespace": "default"},
    }
    api.add(claim | {"spec": {}})
    await eventually(lambda: "pod has unbound immediate PersistentVolumeClaims. preemption" in message(), "unbound")
    assert where(api, "p") == ""
    api.add(volume)
    bound = {"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}
    await Client(api).patch(PERSISTENT_VOLUME_CLAIMS, "c", bound, "default", patch_type="merge")
    await eventually(lambda: where(api, "p") == "n1", "bound")


async def test_waits_for_a_node(api: FakeApi) -> None:
    api.add(pod("p"))
    await eventually(lambda: bool(api.objects(EVENTS)), "event")
    assert api.objects(EVENTS)[0]["message"] == "no nodes available to schedule pods"
    api.add(node("n1"))
    await eventually(lambda: where(api, "p") == "n1", "bound")


async def test_leaves_alone_what_is_not_its_own(api: FakeApi) -> None:
    api.add(node("n1"))
    api.add(pod("other", schedulerName="mine"))
    api.add(pod("gated", schedulingGates=[{"name": "wait"}]))
    api.add(pod("plain"))
    await eventually(lambda: where(api, "plain") == "n1", "plain bound")
    assert (where(api, "other"), where(api, "gated")) == ("", "")
    api.modify(PODS, "default/gated", {"spec": {"schedulingGates": None}})
    await eventually(lambda: where(api, "gated") == "n1", "gate lifted")


async def test_a_failed_binding_is_tried_again(api: FakeApi) -> None:
    api.add(node("n1"))
    api.fail_next("POST", "/binding", 0)
    api.fail_next("POST", "/binding", 500)
    api.add(pod("p"))
    await eventually(lambda: where(api, "p") == "n1", "bound")


async def test_preempts_the_less_important(api: FakeApi) -> None:
    api.add(node("n1", cpu="1"))
    api.add(pod("low", "800m"))
    await eventually(lambda: where(api, "low") == "n1", "low bound")
    api.add(pod("high", "800m", priority=1000))
    await eventually(lambda: meta.deleting(api.find(PODS, "default/low")), "low evicted")
    assert (meta.condition(api.find(PODS, "default/low"), "DisruptionTarget") or {})[
        "reason"
    ] == "PreemptionByScheduler"
    api.remove(PODS, "default/low")
    await eventually(lambda: where(api, "high") == "n1", "high bound")


async def test_the_important_go_first(api: FakeApi) -> None:
    for number in range(20):
        api.add(pod(f"low{number}", "100m"))
    api.add(pod("high", "900m", priority=10))
    await eventually(lambda: len(api.objects(EVENTS)) >= 21, "all seen")
    api.add(node("n1", cpu="1"))
    await eventually(lambda: where(api, "high") == "n1", "high bound")


async def test_many_pods_never_overcommit(api: FakeApi) -> None:
    for name in ("n1", "n2", "n3"):
        api.add(node(name, cpu="2"))
    for number in range(70):
        api.add(pod(f"p{number}"))
    await eventually(lambda: sum(bool(where(api, f"p{n}")) for n in range(70)) == 60, "sixty fit")
    await asyncio.sleep(0.05)
    counts = {name: sum(where(api, f"p{n}") == name for n in range(70)) for name in ("n1", "n2", "n3")}
    assert counts == {"n1": 20, "n2": 20, "n3": 20}
    api.modify(NODES, "n1", {"status": {"allocatable": {"cpu": "3"}}})
    await eventually(lambda: sum(bool(where(api, f"p{n}")) for n in range(70)) == 70, "the rest")
