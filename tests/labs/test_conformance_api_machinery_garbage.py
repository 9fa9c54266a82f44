"""api-machinery's conformance names about the garbage collector (garbage_collector.go); few pods for upstream's 100."""

from __future__ import annotations

import time

import pytest

from tests.labs.conformance_tools import STRATEGIC, items, owners, pause, pod
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Obj, Space

pytestmark = pytest.mark.timeout(300)
G = "Garbage collector should "
APPS = "apis/apps/v1"
PATIENCE = 3.0
"""How long what must not be deleted is watched; upstream's 30 s are for controllers with slow clients."""


def _controller(ns: Space, name: str, replicas: int) -> Obj:
    labels = {"gctest": name}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [pause()]}}
    spec = {"replicas": replicas, "selector": labels, "template": template}
    made = ns.create("replicationcontrollers", {"metadata": {"name": name}, "spec": spec})
    path = ns.path("replicationcontrollers", name)
    ns.wait(f"{replicas} pods", lambda: ns.api.get(path)["status"].get("replicas", 0) == replicas)
    return made


def _deployment(ns: Space) -> Obj:
    labels = {"gctest": "deployment"}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [pause()]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    made = ns.create("deployments", {"metadata": {"name": "simpletest"}, "spec": spec}, APPS)
    ns.wait("its ReplicaSet", lambda: len(_of(ns, "replicasets")) == 1)
    ns.wait("its pods", lambda: len(_of(ns, "pods")) == 2)
    return made


def _of(ns: Space, kind: str) -> list[Obj]:
    return items(ns.api, ns.path(kind, group="api/v1" if kind in ("pods", "replicationcontrollers") else APPS))


def _delete(ns: Space, kind: str, obj: Obj, policy: str) -> None:
    """With the UID as a precondition, as upstream deletes."""
    path = ns.path(kind, obj["metadata"]["name"], "api/v1" if kind == "replicationcontrollers" else APPS)
    ns.api.call("DELETE", path, {"propagationPolicy": policy, "preconditions": {"uid": obj["metadata"]["uid"]}})


@conformance(G + "delete pods created by rc when not orphaning")
def test_background(space: Space) -> None:  # noqa: F811
    _delete(space, "replicationcontrollers", _controller(space, "simpletest.rc", 3), "Background")
    space.wait("no pods", lambda: not _of(space, "pods"))


@conformance(G + "orphan pods created by rc if delete options say so [Serial]")
def test_orphans(space: Space) -> None:  # noqa: F811
    _delete(space, "replicationcontrollers", _controller(space, "simpletest.rc", 3), "Orphan")
    space.wait("the controller is gone", lambda: not _of(space, "replicationcontrollers"))
    time.sleep(PATIENCE)
    found = _of(space, "pods")
    assert len(found) == 3
    assert all(not owners(one) and "deletionTimestamp" not in one["metadata"] for one in found)


@conformance(G + "delete RS created by deployment when not orphaning")
def test_deployment(space: Space) -> None:  # noqa: F811
    _delete(space, "deployments", _deployment(space), "Background")
    for kind in ("deployments", "replicasets", "pods"):
        space.wait(f"no {kind}", lambda kind=kind: not _of(space, kind))  # type: ignore[misc]


@conformance(G + "orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan")
def test_orphaned_set(space: Space) -> None:  # noqa: F811
    _delete(space, "deployments", _deployment(space), "Orphan")
    space.wait("the Deployment is gone", lambda: not _of(space, "deployments"))
    time.sleep(PATIENCE)
    (found,) = _of(space, "replicasets")
    assert not owners(found)
    assert len(_of(space, "pods")) == 2


@conformance(G + "keep the rc around until all its pods are deleted if the deleteOptions says so [Serial]")
def test_foreground(space: Space) -> None:  # noqa: F811
    made = _controller(space, "simpletest.rc", 3)
    held = _of(space, "pods")[0]["metadata"]["name"]
    space.api.merge(space.path("pods", held), {"metadata": {"finalizers": ["example.com/held"]}})
    _delete(space, "replicationcontrollers", made, "Foreground")
    space.wait("the other pods are gone", lambda: len(_of(space, "pods")) == 1)
    (left,) = _of(space, "replicationcontrollers")
    assert left["metadata"]["finalizers"] == ["foregroundDeletion"]
    space.api.merge(space.path("pods", held), {"metadata": {"finalizers": None}})
    space.wait("the controller is gone", lambda: not _of(space, "replicationcontrollers"))
    assert not _of(space, "pods")


@conformance(
    G
    + "not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted [Serial]"
)
def test_two_owners(space: Space) -> None:  # noqa: F811
    ending, staying = _controller(space, "to-be-deleted", 4), _controller(space, "to-stay", 0)
    owner = {"apiVersion": "v1", "kind": "ReplicationController", "name": "to-stay", "uid": staying["metadata"]["uid"]}
    kept = {one["metadata"]["name"] for one in _of(space, "pods")[:2]}
    for name in kept:
        space.api.call("PATCH", space.path("pods", name), {"metadata": {"ownerReferences": [owner]}}, STRATEGIC)
    _delete(space, "replicationcontrollers", ending, "Foreground")
    path = space.path("replicationcontrollers", "to-be-deleted")
    space.wait("the controller is gone", lambda: space.api.gone(path))
    space.wait("its own pods are gone", lambda: len(_of(space, "pods")) == 2)
    found = _of(space, "pods")
    assert {one["metadata"]["name"] for one in found} == kept
    for one in found:
        assert "deletionTimestamp" not in one["metadata"]
        assert owners(one) == {("ReplicationController", "to-stay")}


@conformance(G + "not be blocked by dependency circle")
def test_circle(space: Space) -> None:  # noqa: F811
    pods = [space.create("pods", pod(pause(), name=f"pod{number}")) for number in (1, 2, 3)]
    for number, one in enumerate(pods):
        meta = pods[number - 1]["metadata"]
        owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"], "controller": True,
                 "blockOwnerDeletion": True}  # fmt: skip
        path = space.path("pods", one["metadata"]["name"])
        space.api.call("PATCH", path, {"metadata": {"ownerReferences": [owner]}}, STRATEGIC)
    body = {"propagationPolicy": "Foreground", "preconditions": {"uid": pods[0]["metadata"]["uid"]}}
    space.api.call("DELETE", space.path("pods", "pod1"), body)
    space.wait("all pods are gone", lambda: not _of(space, "pods"))
