"""ReplicaSets: the plan as tables, the controller on an API in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import EVENTS, PODS, REPLICA_SETS
from netlab.controllers import ControllersConfig
from netlab.controllers.context import Context
from netlab.controllers.replicaset import Plan, ReplicaSetController, plan, status

NOW = 1_700_000_000.0


def replica_set(replicas: int, **spec: Any) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default", "uid": "rs", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            **spec,
        },
    }


def pod(name: str, *, phase: str = "Running", ready: float | None = None, node: str = "n1", **annotations: str) -> Obj:
    conditions = []
    if ready is not None:
        from netlab.api.meta import rfc3339

        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(ready)})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "labels": {"app": "web"},
            "annotations": {k.replace("__", "/").replace("_", "-"): v for k, v in annotations.items()},
        },
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": conditions},
    }


@pytest.mark.parametrize(
    ("have", "wanted", "gone"),
    [
        ([pod("a"), pod("b", node="")], 1, ["b"]),
        ([pod("a"), pod("b", phase="Pending")], 1, ["b"]),
        ([pod("a", ready=NOW - 99), pod("b")], 1, ["b"]),
        ([pod("a", ready=NOW - 9), pod("b", ready=NOW - 9999)], 1, ["a"]),
        ([pod("a", ready=NOW), pod("b", ready=NOW, node="n2"), pod("c", ready=NOW, node="n2")], 2, ["b"]),
        ([pod("a", ready=NOW, controller_kubernetes_io="x"), pod("b", ready=NOW)], 2, []),
    ],
    ids=["unassigned", "pending", "not ready", "ready for a shorter time", "crowded node", "enough"],
)
def test_which_pod_goes_first(have: list[Obj], wanted: int, gone: list[str]) -> None:
    doomed = plan(replica_set(wanted), have, have, NOW).delete
    assert [p["metadata"]["name"] for p in doomed] == gone


def test_deletion_cost_is_respected() -> None:
    cheap, dear = pod("dear", ready=NOW), pod("cheap", ready=NOW)
    dear["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    assert [p["metadata"]["name"] for p in plan(replica_set(1), [cheap, dear], [], NOW).delete] == ["cheap"]


def test_a_set_that_is_being_deleted_does_nothing() -> None:
    owner = replica_set(3)
    owner["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    assert plan(owner, [], [], NOW) == Plan()


def test_min_ready_seconds_delays_availability_and_looks_again() -> None:
    owner = replica_set(1, minReadySeconds=10)
    mine = [pod("a", ready=NOW - 4)]
    assert plan(owner, mine, [], NOW).recheck == pytest.approx(6.01)
    assert "availableReplicas" not in status(owner, mine, None, NOW)
    assert status(owner, mine, None, NOW + 6)["availableReplicas"] == 1


def test_failures_show_as_a_condition_and_go_away() -> None:
    owner = replica_set(1)
    owner["status"] = status(owner, [], ("FailedCreate", "no"), NOW)
    (condition,) = owner["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("ReplicaFailure", "True", "FailedCreate")
    assert "conditions" not in status(owner, [], None, NOW)


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    api = FakeApi()
    context = Context(Client(api), ControllersConfig())
    controller = ReplicaSetController(context)
    task = asyncio.create_task(controller.run())
    yield api
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def names(api: FakeApi) -> list[str]:
    return [p["metadata"]["name"] for p in api.objects(PODS)]


async def test_creates_scales_and_reports(api: FakeApi) -> None:
    api.add(replica_set(3))
    await eventually(lambda: len(names(api)) == 3, "three pods")
    assert all(name.startswith("web-") and len(name) == 9 for name in names(api))
    reference = api.objects(PODS)[0]["metadata"]["ownerReferences"][0]
    assert (reference["kind"], reference["name"], reference["uid"]) == ("ReplicaSet", "web", "rs")
    assert reference["controller"] and reference["blockOwnerDeletion"]
    await eventually(lambda: len(api.objects(EVENTS)) == 3, "an event each")
    event = api.objects(EVENTS)[0]
    assert (event["reason"], event["source"]["component"]) == ("SuccessfulCreate", "replicaset-controller")
    assert event["message"].startswith("Created pod: web-")
    await eventually(lambda: api.find(REPLICA_SETS, "default/web").get("status", {}).get("replicas") == 3, "status")
    api.modify(REPLICA_SETS, "default/web", {"spec": {"replicas": 1}})
    await eventually(lambda: len(names(api)) == 1, "one pod")
    assert api.find(REPLICA_SETS, "default/web")["metadata"]["uid"] == "rs"


async def test_replaces_a_failed_pod_and_adopts_an_orphan(api: FakeApi) -> None:
    orphan = pod("orphan")
    api.add(orphan)
    api.add(replica_set(2))
    await eventually(lambda: len(names(api)) == 2, "one more pod")
    assert api.find(PODS, "default/orphan")["metadata"]["ownerReferences"][0]["uid"] == "rs"
    api.modify(PODS, "default/orphan", {"status": {"phase": "Failed"}})
    await eventually(lambda: len(names(api)) == 3, "a replacement")


async def test_releases_a_pod_whose_labels_changed(api: FakeApi) -> None:
    api.add(replica_set(1))
    await eventually(lambda: len(names(api)) == 1, "a pod")
    (name,) = names(api)
    api.modify(PODS, f"default/{name}", {"metadata": {"labels": {"app": "other"}}})
    await eventually(lambda: len(names(api)) == 2, "a replacement")
    await eventually(
        lambda: not api.find(PODS, f"default/{name}")["metadata"].get("ownerReferences"), "the old one released"
    )


async def test_a_refused_pod_is_asked_for_once_and_shows_in_the_status(api: FakeApi) -> None:
    api.fail_next("POST", "/pods", 403, "Forbidden")
    api.add(replica_set(20))
    await eventually(lambda: len(names(api)) == 20, "all pods in the end")
    reasons = {event["reason"] for event in api.objects(EVENTS)}
    assert "FailedCreate" in reasons
    await eventually(
        lambda: "conditions" not in api.find(REPLICA_SETS, "default/web").get("status", {}), "the condition gone"
    )


async def test_does_not_overshoot_when_the_server_comes_and_goes(api: FakeApi) -> None:
    api.add(replica_set(40))
    await eventually(lambda: len(names(api)) > 3, "some pods")
    for _ in range(3):
        api.up = False
        api.drop_watches()
        await asyncio.sleep(0.01)
        api.up = True
        await asyncio.sleep(0.05)
    await eventually(lambda: len(names(api)) == 40, "forty pods")
    await asyncio.sleep(0.1)
    assert len(names(api)) == 40
