"""Deployments: the arithmetic and the plan as tables, whole rollouts on an API in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS
from netlab.controllers import ControllersConfig
from netlab.controllers.context import Context
from netlab.controllers.deployment import sizes
from netlab.controllers.deployment.controller import DeploymentController
from netlab.controllers.deployment.plan import Create, Delete, Patch, plan
from netlab.controllers.deployment.template import fnv32a, safe_encode, same_template, template_hash
from netlab.controllers.replicaset import ReplicaSetController

NOW = 1_700_000_000.0


def deployment(replicas: int = 3, image: str = "v1", **spec: Any) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1, "annotations": {}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            **spec,
        },
    }


def replica_set(name: str, size: int, image: str, *, available: int | None = None, revision: int = 1) -> Obj:
    ready = size if available is None else available
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "creationTimestamp": f"2024-01-01T00:00:{revision:02}Z",
            "annotations": {sizes.REVISION: str(revision)},
        },
        "spec": {
            "replicas": size,
            "template": {
                "metadata": {"labels": {"app": "web", "pod-template-hash": name}},
                "spec": {"containers": [{"image": image}]},
            },
        },
        "status": {"replicas": size, "readyReplicas": ready, "availableReplicas": ready},
    }


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (4, 1, 1, (1, 1)),
        (1, "25%", "25%", (1, 0)),
        (3, 0, "10%", (0, 1)),
        (3, 0, 0, (0, 1)),
        (10, "100%", "0%", (10, 0)),
    ],
)
def test_fenceposts(replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    assert sizes.fenceposts(deployment(replicas, strategy=strategy)) == expected


def test_the_hash_has_upstreams_form_and_ignores_nothing_but_itself() -> None:
    assert fnv32a(b"") == 0x811C9DC5
    assert fnv32a(b"a") == 0xE40C292C
    assert safe_encode("0123456789") == "456789bcdf"
    template = deployment()["spec"]["template"]
    assert template_hash(template, None) != template_hash(template, 1)
    assert same_template(template, replica_set("x", 1, "v1")["spec"]["template"])
    assert not same_template(template, replica_set("x", 1, "v2")["spec"]["template"])


def sized(todo: Any) -> dict[str, int]:
    return {
        meta.name(step.replica_set): step.spec["replicas"]
        for step in todo.steps
        if isinstance(step, Patch) and "replicas" in step.spec
    }


@pytest.mark.parametrize(
    ("have", "wanted"),
    [
        ([replica_set("old", 4, "v1"), replica_set("new", 0, "v2", revision=2)], {"new": 1}),
        ([replica_set("old", 4, "v1"), replica_set("new", 1, "v2", available=0, revision=2)], {"old": 3}),
        ([replica_set("old", 3, "v1"), replica_set("new", 1, "v2", available=0, revision=2)], {"new": 2}),
        ([replica_set("old", 3, "v1"), replica_set("new", 2, "v2", revision=2)], {"old": 1}),
        ([replica_set("old", 4, "v1", available=2), replica_set("new", 1, "v2", available=0, revision=2)], {"old": 3}),
        ([replica_set("old", 0, "v1"), replica_set("new", 4, "v2", revision=2)], {}),
    ],
    ids=[
        "surges first",
        "gives up one when one may be missing",
        "uses the room",
        "old ones go as new ones are ready",
        "unhealthy ones go first",
        "done",
    ],
)
def test_a_rolling_update_of_four(have: list[Obj], wanted: dict[str, int]) -> None:
    todo = plan(deployment(4, "v2"), have, False, NOW)
    assert sized(todo) == wanted


def test_the_first_pass_creates_the_replica_set_in_full() -> None:
    todo = plan(deployment(3), [], False, NOW)
    (step,) = todo.steps
    assert isinstance(step, Create)
    made = step.replica_set
    label = made["spec"]["template"]["metadata"]["labels"]["pod-template-hash"]
    assert made["metadata"]["name"] == f"web-{label}"
    assert made["spec"]["replicas"] == 3
    assert made["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": label}
    assert made["metadata"]["annotations"] == {
        "deployment.kubernetes.io/revision": "1",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert todo.revision == "1"
    assert todo.status is not None
    kinds = {c["type"]: (c["status"], c["reason"], c["message"]) for c in todo.status["conditions"]}
    assert kinds["Progressing"] == ("True", "NewReplicaSetCreated", f'Created new replica set "web-{label}"')
    assert kinds["Available"][:2] == ("False", "MinimumReplicasUnavailable")


def test_recreate_waits_for_the_old_pods() -> None:
    recreate = deployment(2, "v2", strategy={"type": "Recreate"})
    old = replica_set("old", 2, "v1")
    assert sized(plan(recreate, [old], True, NOW)) == {"old": 0}
    gone = replica_set("old", 0, "v1")
    assert plan(recreate, [gone], True, NOW).steps == []
    (step,) = plan(recreate, [gone], False, NOW).steps
    assert isinstance(step, Create)
    assert step.replica_set["spec"]["replicas"] == 2


def test_a_paused_deployment_scales_in_proportion_but_does_not_roll() -> None:
    paused = deployment(20, "v2", paused=True)
    sets = [replica_set("old", 8, "v1"), replica_set("new", 3, "v2", revision=2)]
    for one in sets:
        one["metadata"]["annotations"] |= {sizes.DESIRED: "10", sizes.MAX_REPLICAS: "13"}
    todo = plan(paused, sets, False, NOW)
    assert sized(todo) == {"old": 19, "new": 6}
    assert todo.status is not None
    condition = next(c for c in todo.status["conditions"] if c["type"] == "Progressing")
    assert (condition["status"], condition["reason"]) == ("Unknown", "DeploymentPaused")


def test_going_back_raises_the_revision_of_the_old_template() -> None:
    sets = [replica_set("one", 0, "v1", revision=1), replica_set("two", 3, "v2", revision=2)]
    todo = plan(deployment(3, "v1"), sets, False, NOW)
    patch = todo.steps[0]
    assert isinstance(patch, Patch)
    assert patch.annotations[sizes.REVISION] == "3"
    assert patch.annotations[sizes.REVISION_HISTORY] == "1"
    assert todo.revision == "3"


def test_old_sets_beyond_the_history_limit_go() -> None:
    d = deployment(1, "v4", revisionHistoryLimit=1)
    sets = [replica_set(f"s{n}", int(n == 4), f"v{n}", revision=n) for n in (1, 2, 3, 4)]
    d["status"] = {"updatedReplicas": 1, "replicas": 1, "availableReplicas": 1, "observedGeneration": 1}
    doomed = [meta.name(step.replica_set) for step in plan(d, sets, False, NOW).steps if isinstance(step, Delete)]
    assert doomed == ["s1", "s2"]


def test_the_deadline_passes() -> None:
    d = deployment(2, "v1")
    stamp = meta.rfc3339(NOW - 700)
    condition = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": ""}
    d["status"] = {
        "replicas": 2,
        "updatedReplicas": 2,
        "conditions": [condition | {"lastUpdateTime": stamp, "lastTransitionTime": stamp}],
    }
    todo = plan(d, [replica_set("web", 2, "v1", available=0)], False, NOW)
    assert todo.status is not None
    found = next(c for c in todo.status["conditions"] if c["type"] == "Progressing")
    assert (found["status"], found["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert found["message"] == 'ReplicaSet "web" has timed out progressing.'


def make_ready(api: FakeApi) -> None:
    stamp = meta.now_rfc3339()
    for pod in api.objects(PODS):
        if not meta.condition_true(pod, "Ready") and not meta.deleting(pod):
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp}
            api.modify(PODS, meta.key(pod), {"status": {"phase": "Running", "conditions": [ready]}})


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    api = FakeApi()
    context = Context(Client(api), ControllersConfig())
    running = [ReplicaSetController(context).run(), DeploymentController(context).run()]
    tasks = [asyncio.create_task(one) for one in running]
    yield api
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def rolled_out(api: FakeApi, size: int) -> bool:
    make_ready(api)
    found = api.find(DEPLOYMENTS, "default/web")
    status = found.get("status", {})
    return bool(
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("updatedReplicas") == size
        and status.get("replicas") == size
        and status.get("availableReplicas") == size
    )


async def test_rolls_out_rolls_on_and_back(api: FakeApi) -> None:
    api.add(deployment(4))
    await eventually(lambda: rolled_out(api, 4), "rolled out")
    d = api.find(DEPLOYMENTS, "default/web")
    assert d["metadata"]["annotations"][sizes.REVISION] == "1"
    (first,) = api.objects(REPLICA_SETS)
    client = Client(api)
    containers = {"containers": [{"image": "v2"}]}
    await client.patch(DEPLOYMENTS, "web", {"spec": {"template": {"spec": containers}}}, "default", patch_type="merge")
    await eventually(lambda: rolled_out(api, 4), "rolled on")
    assert {p["spec"]["containers"][0]["image"] for p in api.objects(PODS)} == {"v2"}
    assert api.find(REPLICA_SETS, meta.key(first))["spec"]["replicas"] == 0
    containers = {"containers": [{"image": "v1"}]}
    await client.patch(DEPLOYMENTS, "web", {"spec": {"template": {"spec": containers}}}, "default", patch_type="merge")
    await eventually(lambda: rolled_out(api, 4), "rolled back")
    assert len(api.objects(REPLICA_SETS)) == 2
    assert api.find(DEPLOYMENTS, "default/web")["metadata"]["annotations"][sizes.REVISION] == "3"
    texts = [e["message"] for e in api.objects(EVENTS) if e["reason"] == "ScalingReplicaSet"]
    assert texts[0] == f"Scaled up replica set {meta.name(first)} from 0 to 4"
    conditions = {c["type"]: c for c in api.find(DEPLOYMENTS, "default/web")["status"]["conditions"]}
    assert conditions["Progressing"]["reason"] == "NewReplicaSetAvailable"
    assert conditions["Available"]["status"] == "True"


async def test_scales_up_and_down(api: FakeApi) -> None:
    api.add(deployment(1))
    await eventually(lambda: rolled_out(api, 1), "one")
    client = Client(api)
    for size in (5, 0, 2):
        await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": size}}, "default", patch_type="merge")
        await eventually(lambda: len(api.objects(PODS)) == size and (not size or rolled_out(api, size)), f"{size}")  # noqa: B023


async def test_recreate_never_mixes_versions(api: FakeApi) -> None:
    api.add(deployment(3, strategy={"type": "Recreate"}))
    await eventually(lambda: rolled_out(api, 3), "rolled out")
    client = Client(api)
    containers = {"containers": [{"image": "v2"}]}
    await client.patch(DEPLOYMENTS, "web", {"spec": {"template": {"spec": containers}}}, "default", patch_type="merge")

    def never_mixed() -> bool:
        assert len({p["spec"]["containers"][0]["image"] for p in api.objects(PODS)}) <= 1
        return rolled_out(api, 3)

    await eventually(never_mixed, "recreated")
