"""Garbage collection: verdicts as tables, and whole deletions on an API in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS
from netlab.controllers import ControllersConfig
from netlab.controllers.context import Context
from netlab.controllers.garbage import collector
from netlab.controllers.garbage.graph import Graph, Item, Presence, Verdict
from netlab.controllers.namespace import Found, NamespaceController, conditions


def item(uid: str, *owners: str, block: bool = False, deleting: bool = False, finalizers: tuple[str, ...] = ()) -> Item:
    refs = [{"uid": o, "kind": "K", "name": o, "blockOwnerDeletion": block} for o in owners]
    return Item(uid, ("v1", "ks"), "K", "ns", uid, "1", refs, list(finalizers), deleting)


def judged(*items: Item, **presence: Presence) -> Verdict:
    graph = Graph()
    for one in items:
        graph.put(one)
    return graph.judge(items[0], presence)


FOREGROUND: Any = {"deleting": True, "finalizers": ("foregroundDeletion",)}


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (judged(item("a")), Verdict()),
        (judged(item("a", "o"), o="solid"), Verdict()),
        (judged(item("a", "o"), o="absent"), Verdict(delete="Background")),
        (judged(item("a", "o", "p"), o="absent", p="solid"), Verdict(drop=("o",))),
        (judged(item("a", "o"), o="waiting"), Verdict(delete="Background")),
        (judged(item("a", "o"), item("b", "a"), o="waiting"), Verdict(delete="Foreground")),
        (judged(item("a", "o", finalizers=("orphan",)), o="absent"), Verdict(delete="Orphan")),
        (judged(item("a", "o", deleting=True), o="absent"), Verdict()),
        (judged(item("a", **FOREGROUND), item("b", "a", block=True)), Verdict(look_at=("b",))),
        (
            judged(item("a", **FOREGROUND), item("b", "a")),
            Verdict(remove_finalizer="foregroundDeletion", look_at=("b",)),
        ),
        (judged(item("a", **FOREGROUND)), Verdict(remove_finalizer="foregroundDeletion")),
        (
            judged(item("a", deleting=True, finalizers=("orphan",)), item("b", "a")),
            Verdict(orphan=("b",), remove_finalizer="orphan"),
        ),
    ],
    ids=[
        "nobody's",
        "owner there",
        "owner gone",
        "one of two gone",
        "owner waits for it",
        "owner waits and it has dependents",
        "keeps its own dependents",
        "already going",
        "waits for a blocking dependent",
        "does not wait for others",
        "waits for nothing more",
        "leaves orphans",
    ],
)
def test_verdicts(verdict: Verdict, expected: Verdict) -> None:
    assert verdict == expected


def test_the_graph_says_whom_to_judge() -> None:
    graph = Graph()
    assert graph.put(item("o")) == []
    assert graph.put(item("a", "o")) == []
    assert graph.put(item("b", "unseen")) == ["b"]
    assert graph.remove("o") == ["a"]
    graph.put(item("o", **FOREGROUND))
    assert graph.remove("a") == ["o"]
    graph.put(item("c", "o"))
    assert graph.put(item("c")) == ["o"]


def obj(api_version: str, kind: str, name: str, owner: Obj | None = None, **more: Any) -> Obj:
    data: Obj = {"name": name, "namespace": "default"}
    if owner is not None:
        reference = {k: owner[k] for k in ("apiVersion", "kind")}
        reference |= {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        data["ownerReferences"] = [reference | {"controller": True, "blockOwnerDeletion": True}]
    return {"apiVersion": api_version, "kind": kind, "metadata": data, **more}


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeApi]:
    monkeypatch.setattr(collector, "LATER", 0.0)
    monkeypatch.setattr(collector, "APART", 0.0)
    api = FakeApi()
    context = Context(Client(api), ControllersConfig())
    running = [collector.GarbageCollector(context).run(), NamespaceController(context).run()]
    tasks = [asyncio.create_task(one) for one in running]
    yield api
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(informer.stop() for informer in context.informers.values()))


def family(api: FakeApi) -> None:
    deployment = api.add(obj("apps/v1", "Deployment", "web", spec={}))
    replica_set = api.add(obj("apps/v1", "ReplicaSet", "web-1", deployment, spec={}))
    for number in range(5):
        api.add(obj("v1", "Pod", f"web-1-{number}", replica_set, spec={"nodeName": "n1"} if number == 0 else {}))


async def test_background_deletion_takes_the_whole_family(api: FakeApi) -> None:
    family(api)
    await Client(api).delete(DEPLOYMENTS, "web", "default")
    await eventually(lambda: len(api.objects(PODS)) == 1, "pods gone but for the one that runs")
    assert not api.objects(REPLICA_SETS)
    assert api.find(PODS, "default/web-1-0")["metadata"]["deletionTimestamp"]


async def test_foreground_deletion_waits_for_the_last_pod(api: FakeApi) -> None:
    family(api)
    await Client(api).delete(DEPLOYMENTS, "web", "default", propagation="Foreground")
    await eventually(lambda: len(api.objects(PODS)) == 1, "pods gone but for the one that runs")
    assert api.objects(DEPLOYMENTS)
    assert api.objects(REPLICA_SETS)
    api.remove(PODS, "default/web-1-0")
    await eventually(lambda: not api.objects(DEPLOYMENTS), "all gone")
    assert not api.objects(REPLICA_SETS)


async def test_orphans_stay_without_their_owner(api: FakeApi) -> None:
    family(api)
    await Client(api).delete(DEPLOYMENTS, "web", "default", propagation="Orphan")
    await eventually(lambda: not api.objects(DEPLOYMENTS), "the owner gone")
    (replica_set,) = api.objects(REPLICA_SETS)
    assert "ownerReferences" not in replica_set["metadata"]
    assert len(api.objects(PODS)) == 5


async def test_what_was_orphaned_while_nobody_looked_goes_too(api: FakeApi) -> None:
    gone = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "uid": "gone"}}
    api.add(obj("v1", "ConfigMap", "left", gone))
    unknown = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x", "uid": "y"}}
    api.add(obj("v1", "ConfigMap", "kept", unknown))
    await eventually(lambda: len(api.objects(CONFIG_MAPS)) == 1, "one gone")
    await asyncio.sleep(0.05)
    assert api.objects(CONFIG_MAPS)[0]["metadata"]["name"] == "kept"


async def test_a_namespace_goes_when_it_is_empty(api: FakeApi) -> None:
    api.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    family(api)
    api.add(obj("v1", "ConfigMap", "held"))
    api.modify(CONFIG_MAPS, "default/held", {"metadata": {"finalizers": ["example.com/hold"]}})
    await Client(api).delete(NAMESPACES, "default")
    await eventually(lambda: len(api.objects(CONFIG_MAPS)) == 1 and not api.objects(DEPLOYMENTS), "most gone")

    def said() -> bool:
        found = {c["type"]: c["message"] for c in api.find(NAMESPACES, "default")["status"].get("conditions", [])}
        return "example.com/hold in 1" in found.get("NamespaceFinalizersRemaining", "")

    await eventually(said, "the condition")
    api.remove(PODS, "default/web-1-0")
    await Client(api).patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, "default", patch_type="merge")
    await eventually(lambda: not api.objects(NAMESPACES), "the namespace gone")


def test_conditions_of_a_namespace_in_upstreams_words() -> None:
    found = Found()
    found.remaining["pods."] = 2
    said = {c["type"]: (c["status"], c["reason"], c["message"]) for c in conditions([], found, "now")}
    assert said["NamespaceContentRemaining"] == (
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: pods. has 2 resource instances",
    )
    assert said["NamespaceDeletionDiscoveryFailure"] == (
        "False",
        "ResourcesDiscovered",
        "All resources successfully discovered",
    )
