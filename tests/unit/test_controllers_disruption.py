"""PodDisruptionBudgets: the counting as a table, the controller on an API in memory."""

import asyncio

import pytest

from netlab.api.meta import rfc3339
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import POD_DISRUPTION_BUDGETS, PODS
from netlab.controllers import ControllersConfig
from netlab.controllers.context import Context
from netlab.controllers.disruption import DisruptionController, NoScaleError, Scale, status

NOW = 1_700_000_000.0


def budget(spec: Obj, noted: dict[str, str] | None = None) -> Obj:
    selector = {"matchLabels": {"app": "web"}}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "default", "uid": "b", "generation": 3},
        "spec": {"selector": selector, **spec},
        "status": {"disruptedPods": noted or {}},
    }


def pod(name: str, *, ready: bool = True, phase: str = "Running", leaving: bool = False) -> Obj:
    made: Obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }
    if leaving:
        made["metadata"]["deletionTimestamp"] = rfc3339(NOW)
    return made


PODS_OF_FOUR = [pod("a"), pod("b"), pod("c"), pod("d")]


@pytest.mark.parametrize(
    ("what", "spec", "pods", "healthy", "desired", "allowed"),
    [
        ("a number", {"minAvailable": 3}, PODS_OF_FOUR, 4, 3, 1),
        ("a percentage of what the controller wants, up", {"minAvailable": "30%"}, PODS_OF_FOUR, 4, 2, 2),
        ("how many may be missing", {"maxUnavailable": 1}, PODS_OF_FOUR, 4, 3, 1),
        ("a percentage may be missing, up", {"maxUnavailable": "30%"}, PODS_OF_FOUR, 4, 2, 2),
        ("missing ones count against it", {"maxUnavailable": 1}, PODS_OF_FOUR[:3], 3, 3, 0),
        ("one that is not ready is not healthy", {"minAvailable": 1}, [pod("a"), pod("b", ready=False)], 1, 1, 0),
        ("nor one that leaves", {"minAvailable": 1}, [pod("a"), pod("b", leaving=True)], 1, 1, 0),
        ("finished ones are nothing", {"minAvailable": 1}, [pod("a", phase="Succeeded", ready=False)], 0, 1, 0),
        ("no pods: nothing to evict", {"minAvailable": 0}, [], 0, 0, 0),
        ("nothing said: one", {}, PODS_OF_FOUR[:2], 2, 1, 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_counting(what: str, spec: Obj, pods: list[Obj], healthy: int, desired: int, allowed: int) -> None:
    new, _ = status(budget(spec), pods, lambda pod: Scale("rs", 4), NOW)
    assert (new["currentHealthy"], new["desiredHealthy"], new["disruptionsAllowed"]) == (healthy, desired, allowed)
    assert new["observedGeneration"] == 3
    assert new["conditions"][0]["reason"] == ("SufficientPods" if allowed else "InsufficientPods")


def test_an_evicted_pod_counts_as_gone_for_two_minutes() -> None:
    noted = budget({"minAvailable": 3}, {"a": rfc3339(NOW - 30), "b": rfc3339(NOW - 121), "x": rfc3339(NOW)})
    new, recheck = status(noted, PODS_OF_FOUR, lambda pod: None, NOW)
    assert new["disruptedPods"] == {"a": rfc3339(NOW - 30)}
    assert (new["currentHealthy"], new["disruptionsAllowed"], recheck) == (3, 0, 90.0)


def test_without_a_scale_nothing_may_go() -> None:
    def no_scale(pod: Obj) -> Scale | None:
        raise NoScaleError("jobs 'j' does not implement the scale subresource")

    new, _ = status(budget({"maxUnavailable": 1}), PODS_OF_FOUR, no_scale, NOW)
    assert new["disruptionsAllowed"] == 0
    assert new["conditions"][0]["reason"] == "SyncFailed"


async def test_the_status_follows_the_pods() -> None:
    api = FakeApi()
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "rs", "namespace": "default"}}
    owner = api.add({**owner, "spec": {"replicas": 2}})
    reference = {"kind": "ReplicaSet", "name": "rs", "uid": owner["metadata"]["uid"], "controller": True}
    for name in ("a", "b"):
        made = pod(name)
        made["metadata"]["ownerReferences"] = [{"apiVersion": "apps/v1", **reference}]
        api.add(made)
    api.add(budget({"maxUnavailable": 1}))
    running = asyncio.create_task(DisruptionController(Context(Client(api), ControllersConfig())).run())

    def allowed() -> int:
        (found,) = api.objects(POD_DISRUPTION_BUDGETS)
        return int((found.get("status") or {}).get("disruptionsAllowed", -1))

    try:
        await eventually(lambda: allowed() == 1, "one of two may go")
        api.remove(PODS, "default/a")
        await eventually(lambda: allowed() == 0, "the other may not")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
