"""DaemonSets and StatefulSets on an API in memory, with a kubelet that makes pods ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import CONTROLLER_REVISIONS, DAEMON_SETS, EVENTS, NODES, PODS, STATEFUL_SETS
from netlab.controllers import ControllersConfig
from netlab.controllers import daemonset_plan as daemons
from netlab.controllers import statefulset_plan as stateful
from netlab.controllers.manager import run


def node(name: str, *taints: Obj, **labels: str) -> Obj:
    data = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": data, "spec": {"taints": list(taints)}}


def owner(kind: str, image: str = "v1", **spec: Any) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "web", "namespace": "default", "generation": 1},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}},
            **spec,
        },
    }


NO_SCHEDULE = {"key": "dedicated", "effect": "NoSchedule"}
NO_EXECUTE = {"key": "dedicated", "effect": "NoExecute"}
CORDON = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
LOST = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (node("n"), (True, True)),
        (node("n", CORDON, LOST), (True, True)),
        (node("n", NO_SCHEDULE), (False, True)),
        (node("n", NO_EXECUTE), (False, False)),
    ],
)
def test_where_daemons_belong(where: Obj, expected: tuple[bool, bool]) -> None:
    assert daemons.belongs(daemons.template(owner("DaemonSet"), "h"), where) == expected


def test_a_daemon_pod_is_meant_for_its_node() -> None:
    made = daemons.for_node(daemons.template(owner("DaemonSet"), "h"), "n1")
    assert daemons.node_of({"spec": made["spec"]}) == "n1"
    assert daemons.belongs(made, node("n1")) == (True, True)
    assert daemons.belongs(made, node("n2")) == (False, False)


class Cluster:
    """An API in memory, the controllers, and a kubelet with the scheduler's work done: bind, run, finish."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.client = Client(self.api)
        self.hold: set[str] = set()

    def images(self) -> list[str]:
        return sorted(p["spec"]["containers"][0]["image"] for p in self.api.objects(PODS))

    def names(self) -> list[str]:
        return sorted(meta.name(p) for p in self.api.objects(PODS))

    def tick(self) -> None:
        for pod in self.api.objects(PODS):
            key = meta.key(pod)
            if meta.deleting(pod):
                self.api.remove(PODS, key)
            elif not meta.condition_true(pod, "Ready") and meta.name(pod) not in self.hold:
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": meta.now_rfc3339()}
                name = daemons.node_of(pod) or "n1"
                patch = {"spec": {"nodeName": name}, "status": {"phase": "Running", "conditions": [ready]}}
                self.api.modify(PODS, key, patch)

    async def until(self, check: Callable[[], bool], what: str) -> None:
        def step() -> bool:
            self.tick()
            with contextlib.suppress(KeyError):
                return check()
            return False

        await eventually(step, what)

    async def set_image(self, resource: tuple[str, str], image: str) -> None:
        template = {"spec": {"template": {"spec": {"containers": [{"image": image}]}}}}
        await self.client.patch(resource, "web", template, "default", patch_type="merge")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    config = ControllersConfig(controllers=("daemonset", "statefulset"))
    task = asyncio.create_task(run(cluster.client, config))
    yield cluster
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_daemon_on_every_node_that_takes_it(cluster: Cluster) -> None:
    for number in range(3):
        cluster.api.add(node(f"n{number}"))
    cluster.api.add(node("apart", NO_SCHEDULE))
    cluster.api.add(owner("DaemonSet"))

    def status() -> Obj:
        found: Obj = cluster.api.find(DAEMON_SETS, "default/web").get("status", {})
        return found

    await cluster.until(lambda: status().get("numberAvailable") == 3, "three available")
    assert (status()["desiredNumberScheduled"], status()["updatedNumberScheduled"]) == (3, 3)
    assert len({daemons.node_of(p) for p in cluster.api.objects(PODS)}) == 3
    cluster.api.modify(NODES, "apart", {"spec": {"taints": None}})
    await cluster.until(lambda: status().get("numberAvailable") == 4, "four available")
    cluster.api.remove(NODES, "n0")
    await cluster.until(lambda: len(cluster.names()) == 3, "three left")
    (pod, *_) = cluster.api.objects(PODS)
    cluster.api.modify(PODS, meta.key(pod), {"status": {"phase": "Failed"}})
    await cluster.until(lambda: meta.name(pod) not in cluster.names() and len(cluster.names()) == 3, "replaced")
    assert "FailedDaemonPod" in {e["reason"] for e in cluster.api.objects(EVENTS)}


async def test_daemons_roll_one_by_one_and_keep_their_history(cluster: Cluster) -> None:
    for number in range(3):
        cluster.api.add(node(f"n{number}"))
    cluster.api.add(owner("DaemonSet"))
    await cluster.until(lambda: cluster.images() == ["v1"] * 3, "v1")
    await cluster.until(lambda: all(meta.condition_true(p, "Ready") for p in cluster.api.objects(PODS)), "ready")
    await cluster.set_image(DAEMON_SETS, "v2")
    least = 3

    def rolled() -> bool:
        nonlocal least
        least = min(least, len(cluster.names()))
        return cluster.images() == ["v2"] * 3

    await cluster.until(rolled, "v2")
    assert least >= 2
    assert [r["revision"] for r in cluster.api.objects(CONTROLLER_REVISIONS)] == [1, 2]


async def test_stateful_pods_come_and_go_in_order(cluster: Cluster) -> None:
    cluster.hold = {"web-1"}
    cluster.api.add(owner("StatefulSet", replicas=3, serviceName="svc"))
    await cluster.until(lambda: cluster.names() == ["web-0", "web-1"], "the second waits")
    pod = cluster.api.find(PODS, "default/web-0")
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-0", "svc")
    assert pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "web-0"
    revision = cluster.api.objects(CONTROLLER_REVISIONS)[0]["metadata"]["name"]
    assert pod["metadata"]["labels"]["controller-revision-hash"] == revision
    await asyncio.sleep(0.05)
    assert cluster.names() == ["web-0", "web-1"]
    cluster.hold.clear()
    await cluster.until(lambda: cluster.names() == ["web-0", "web-1", "web-2"], "the third")
    cluster.api.modify(STATEFUL_SETS, "default/web", {"spec": {"replicas": 1}})
    await cluster.until(lambda: cluster.names() == ["web-0"], "only the first is left")
    texts = [e["message"] for e in cluster.api.objects(EVENTS)]
    assert texts[0] == "create Pod web-0 in StatefulSet web successful"
    assert "delete Pod web-2 in StatefulSet web successful" in texts


async def test_stateful_updates_go_backwards_to_the_partition(cluster: Cluster) -> None:
    update = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    cluster.api.add(owner("StatefulSet", replicas=3, updateStrategy=update))

    def ready() -> bool:
        status = cluster.api.find(STATEFUL_SETS, "default/web").get("status", {})
        return bool(status.get("readyReplicas") == 3)

    await cluster.until(ready, "ready")
    await cluster.set_image(STATEFUL_SETS, "v2")
    await cluster.until(lambda: cluster.images() == ["v1", "v2", "v2"], "all but the first")
    status = cluster.api.find(STATEFUL_SETS, "default/web")["status"]
    assert status["currentRevision"] != status["updateRevision"]
    cluster.api.remove(PODS, "default/web-0")
    await cluster.until(lambda: len(cluster.names()) == 3 and ready(), "the first again")
    assert cluster.images() == ["v1", "v2", "v2"]
    cluster.api.modify(STATEFUL_SETS, "default/web", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
    await cluster.until(lambda: cluster.images() == ["v2"] * 3, "all")

    def settled() -> bool:
        found = cluster.api.find(STATEFUL_SETS, "default/web")["status"]
        return bool(found["currentRevision"] == found["updateRevision"])

    await cluster.until(settled, "the revision is the current one")


def test_parallel_pods_do_not_wait() -> None:
    one = owner("StatefulSet", replicas=3, podManagementPolicy="Parallel")
    assert [number for number, _ in stateful.plan(one, [], "a", "a", 0.0).create] == [0, 1, 2]
    assert [number for number, _ in stateful.plan(owner("StatefulSet", replicas=3), [], "a", "a", 0.0).create] == [0]
