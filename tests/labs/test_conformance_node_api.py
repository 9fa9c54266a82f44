"""sig-node's conformance names about objects: Lease, Node, PodTemplate, RuntimeClass, and the taint manager."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.labs.conformance_tools import (
    MERGE,
    STRATEGIC,
    Watch,
    annotated,
    condition,
    create,
    items,
    once,
    pause,
    pod,
    refused,
    sh,
)
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import ApiError, Obj, Space, until

pytestmark = pytest.mark.timeout(300)


@conformance("Lease lease API should be available")
def test_lease(space: Space) -> None:  # noqa: F811
    group = "apis/coordination.k8s.io/v1"
    spec = {
        "holderIdentity": "holder",
        "leaseDurationSeconds": 30,
        "acquireTime": "2026-01-02T03:04:05.000001Z",
        "renewTime": "2026-01-02T03:04:10.000002Z",
        "leaseTransitions": 0,
    }
    space.create("leases", {"metadata": {"name": "lease"}, "spec": spec}, group)
    path = space.path("leases", "lease", group)
    assert space.api.get(path)["spec"] == spec
    other = {**spec, "holderIdentity": "holder2", "leaseDurationSeconds": 40, "leaseTransitions": 1}
    space.api.update(path, lambda obj: obj.update(spec=other))
    assert space.api.get(path)["spec"] == other
    patched = space.api.call("PATCH", path, {"spec": {"leaseDurationSeconds": 50}}, STRATEGIC)
    assert patched["spec"] == {**other, "leaseDurationSeconds": 50}
    space.create("leases", {"metadata": {"name": "lease2", "labels": {"deletecollection": "true"}}}, group)
    where = space.path("leases", group=group)
    assert len(items(space.api, where)) == 2
    space.api.call("DELETE", f"{where}?labelSelector=deletecollection%3Dtrue")
    assert [one["metadata"]["name"] for one in items(space.api, where)] == ["lease"]
    space.api.call("DELETE", path)
    assert space.api.gone(path)


@conformance("Node Lifecycle should run through the lifecycle of a node")
def test_node(space: Space) -> None:  # noqa: F811
    name = f"e2e-fake-node-{space.name}"
    node = {
        "metadata": {"name": name},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "reason": "it is", "message": "Set from e2e test"}],
        },
    }
    try:
        space.api.call("POST", "/api/v1/nodes", node)
        path = f"/api/v1/nodes/{name}"
        assert space.api.get(path)["metadata"]["name"] == name
        patched = space.api.call("PATCH", path, {"metadata": {"labels": {name: "patched"}}}, STRATEGIC)
        assert patched["metadata"]["labels"][name] == "patched"
        found = space.api.update(path, lambda obj: obj["metadata"]["labels"].update({name: "updated"}))
        assert found["metadata"]["labels"][name] == "updated"
        change = {"status": {"phase": "Pending"}}
        assert space.api.call("PATCH", f"{path}/status", change, MERGE)["status"]["phase"] == "Pending"
        selector = f"/api/v1/nodes?labelSelector={name}%3Dupdated"
        watched = Watch(space.api, selector)
        space.api.call("DELETE", selector)
        watched.sees("DELETED")
        assert items(space.api, selector) == []
    finally:
        try:
            space.api.call("DELETE", f"/api/v1/nodes/{name}")
        except ApiError as problem:
            assert problem.code == 404


# -- PodTemplates


def _template(name: str, value: str) -> Obj:
    label = {"podtemplate-set": value}
    return {"metadata": {"name": name, "labels": label}, "template": {"spec": {"containers": [pause("nginx")]}}}


@conformance("PodTemplates should run the lifecycle of PodTemplates")
def test_template_lifecycle(space: Space) -> None:  # noqa: F811
    selector = "/api/v1/podtemplates?labelSelector=podtemplate-static%3Dtrue"
    made = _template("t", "1")
    made["metadata"]["labels"] = {"podtemplate-static": "true"}
    space.create("podtemplates", made)
    assert len(items(space.api, selector)) == 1
    patch = {"metadata": {"labels": {"podtemplate": "patched"}}}
    path = space.path("podtemplates", "t")
    space.api.call("PATCH", path, patch, STRATEGIC)
    assert space.api.get(path)["metadata"]["labels"]["podtemplate"] == "patched"
    space.api.call("DELETE", path)
    assert items(space.api, selector) == []


@conformance("PodTemplates should delete a collection of pod templates")
def test_template_collection(space: Space) -> None:  # noqa: F811
    for number in range(3):
        space.create("podtemplates", _template(f"test-podtemplate-{number}", "true"))
    where = space.path("podtemplates") + "?labelSelector=podtemplate-set%3Dtrue"
    assert len(items(space.api, where)) == 3
    space.api.call("DELETE", where)
    assert items(space.api, where) == []


@conformance("PodTemplates should replace a pod template")
def test_template_replaced(space: Space) -> None:  # noqa: F811
    space.create("podtemplates", _template("t", "1"))
    path = space.path("podtemplates", "t")
    space.api.update(path, lambda obj: obj["metadata"].update(annotations={"updated": "true"}))
    assert annotated("updated", "true")(space.api.get(path))


# -- RuntimeClasses


CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"


def _class(ns: Space, name: str, handler: str, **more: Obj) -> str:
    full = f"{ns.name}-{name}"
    ns.api.call("POST", CLASSES, {"metadata": {"name": full}, "handler": handler, **more})
    return full


def _scheduled(ns: Space, name: str) -> Obj:
    made = create(ns, once(sh("true"), runtimeClassName=name))
    path = ns.path("pods", made)
    ns.wait("it has a node", lambda: condition(ns.api.get(path), "PodScheduled").get("status") == "True")
    return ns.api.get(path)


@conformance("RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead")
def test_class(space: Space) -> None:  # noqa: F811
    name = _class(space, "preconfigured-handler", "test-handler")
    assert not _scheduled(space, name)["spec"].get("overhead")
    space.api.call("DELETE", f"{CLASSES}/{name}")


@conformance("RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead")
def test_overhead(space: Space) -> None:  # noqa: F811
    fixed = {"cpu": "10m", "memory": "1Mi"}
    name = _class(space, "preconfigured-handler", "test-handler", overhead={"podFixed": fixed})
    assert _scheduled(space, name)["spec"]["overhead"] == fixed
    space.api.call("DELETE", f"{CLASSES}/{name}")


@conformance(
    "RuntimeClass should reject a Pod requesting a non-existent RuntimeClass",
    "RuntimeClass should reject a Pod requesting a deleted RuntimeClass",
)
@pytest.mark.parametrize("before", [False, True])
def test_no_class(space: Space, before: bool) -> None:  # noqa: F811
    name = f"{space.name}-nonexistent"
    if before:
        name = _class(space, "delete-me", "runc")
        space.api.call("DELETE", f"{CLASSES}/{name}")
    message = refused(403, lambda: create(space, once(sh("true"), runtimeClassName=name)))
    assert f'RuntimeClass "{name}" not found' in message


@conformance("RuntimeClass should support RuntimeClasses API operations")
def test_class_operations(space: Space) -> None:  # noqa: F811
    assert "node.k8s.io" in {one["name"] for one in space.api.get("/apis")["groups"]}
    assert "v1" in {one["version"] for one in space.api.get("/apis/node.k8s.io")["versions"]}
    assert "runtimeclasses" in {one["name"] for one in space.api.get("/apis/node.k8s.io/v1")["resources"]}
    selector = f"{CLASSES}?labelSelector=test%3D{space.name}"

    def make(number: int) -> Obj:
        name = f"{space.name}-{number}"
        obj = {"metadata": {"name": name, "labels": {"test": space.name}}, "handler": f"{name}-handler"}
        return space.api.call("POST", CLASSES, obj)

    made = make(1)
    refused(409, lambda: make(1))
    make(2)
    watched = Watch(space.api, selector)
    make(3)
    path = f"{CLASSES}/{space.name}-1"
    assert space.api.get(path)["metadata"]["uid"] == made["metadata"]["uid"]
    assert len(items(space.api, selector)) == 3
    assert annotated("patched", "true")(space.api.merge(path, {"metadata": {"annotations": {"patched": "true"}}}))
    space.api.update(path, lambda obj: obj["metadata"]["annotations"].update(updated="true"))
    watched.sees("ADDED")
    watched.sees("MODIFIED", annotated("patched", "true"))
    watched.sees("MODIFIED", annotated("updated", "true"))
    space.api.call("DELETE", path)
    assert space.api.gone(path)
    assert len(items(space.api, selector)) == 2
    space.api.call("DELETE", selector)
    assert items(space.api, selector) == []


# -- the taint manager


TAINT = {"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute"}


@pytest.fixture
def taint(space: Space) -> Iterator[str]:  # noqa: F811
    """A node that is free of the taint afterwards."""
    yield "node2"
    _taint(space, "node2", on=False)


def _taint(ns: Space, node: str, *, on: bool) -> None:
    def change(obj: Obj) -> None:
        left = [one for one in obj["spec"].get("taints") or () if one["key"] != TAINT["key"]]
        obj["spec"]["taints"] = [*left, TAINT] if on else left

    ns.api.update(f"/api/v1/nodes/{node}", change)


def _tolerant(ns: Space, name: str, node: str, seconds: int) -> str:
    toleration = {**TAINT, "tolerationSeconds": seconds}
    where = {"nodeSelector": {"kubernetes.io/hostname": node}, "tolerations": [toleration]}
    create(ns, pod(pause(), name=name, **where))
    ns.ready(name)
    return ns.path("pods", name)


def _leaving(ns: Space, path: str) -> bool:
    try:
        return "deletionTimestamp" in ns.api.get(path)["metadata"]
    except ApiError as problem:
        assert problem.code == 404
        return True


@conformance("NoExecuteTaintManager Multiple Pods [Serial] evicts pods with minTolerationSeconds [Disruptive]")
def test_evictions(space: Space, taint: str) -> None:  # noqa: F811
    first, second = (_tolerant(space, f"taint-eviction-b{n}", taint, seconds) for n, seconds in ((1, 1), (2, 5)))
    _taint(space, taint, on=True)
    tainted = time.monotonic()
    until("the first is evicted", lambda: _leaving(space, first), 60)
    if time.monotonic() - tainted < 4:  # on a machine that kept up
        assert not _leaving(space, second)
    until("the second is evicted", lambda: _leaving(space, second), 60)
    assert time.monotonic() - tainted >= 4


@conformance("NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction [Disruptive]")
def test_eviction_cancelled(space: Space, taint: str) -> None:  # noqa: F811
    seconds = 4
    path = _tolerant(space, "taint-eviction-4", taint, seconds)
    _taint(space, taint, on=True)
    _taint(space, taint, on=False)
    end = time.monotonic() + seconds + 2
    while time.monotonic() < end:
        assert not _leaving(space, path)
        time.sleep(0.3)
