"""sig-apps' conformance names about DaemonSets, StatefulSets and ControllerRevisions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.labs.conformance_objects import by_label, meta, scale, status_endpoints
from tests.labs.conformance_tools import (
    STRATEGIC,
    Watch,
    create,
    emptied,
    items,
    labelled,
    owners,
    pause,
    pod,
    sh,
    status_of,
)
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Obj, Space

pytestmark = pytest.mark.timeout(300)

APPS = "apis/apps/v1"
IMAGE = "registry.k8s.io/pause:3.10"
OTHER = "registry.k8s.io/pause:3.9"
BROKEN = "registry.k8s.io/no-such-image:404"
NODES = ("node1", "node2")


def _template(name: str, container: Obj, **spec: Any) -> Obj:
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
    return {"metadata": {"labels": {"name": name}}, "spec": spec}


def _pods(ns: Space, name: str) -> list[Obj]:
    found = items(ns.api, by_label(ns.path("pods"), "name", name))
    return sorted(found, key=lambda one: str(one["metadata"]["name"]))


def _ready(one: Obj) -> bool:
    return bool(status_of(one).get("ready")) and "deletionTimestamp" not in one["metadata"]


def _set_image(ns: Space, path: str, image: str) -> None:
    containers = [{"name": "main", "image": image}]
    ns.api.call("PATCH", path, {"spec": {"template": {"spec": {"containers": containers}}}}, STRATEGIC)


# -- DaemonSets


def _daemon(ns: Space, name: str, image: str = IMAGE, pod_spec: Obj | None = None, **spec: Any) -> str:
    template = _template(name, pause(image=image), **(pod_spec or {}))
    full = {"selector": {"matchLabels": {"name": name}}, "template": template, **spec}
    ns.create("daemonsets", {"metadata": meta(name, ns.name), "spec": full}, APPS)
    return ns.path("daemonsets", name, APPS)


def _on(ns: Space, name: str, nodes: tuple[str, ...], image: str = "") -> None:
    """Exactly one ready pod on each of these nodes, and none elsewhere."""

    def there() -> bool:
        found = _pods(ns, name)
        right = all(_ready(one) and image in ("", one["spec"]["containers"][0]["image"]) for one in found)
        return right and sorted(one["spec"].get("nodeName", "") for one in found) == sorted(nodes)

    ns.wait(f"{name} on {nodes}", there)


@conformance("Daemon set [Serial] should run and stop simple daemon")
def test_daemon(space: Space) -> None:  # noqa: F811
    _daemon(space, "simple")
    _on(space, "simple", NODES)
    name = _pods(space, "simple")[0]["metadata"]["name"]
    space.delete("pods", name)
    space.wait("another", lambda: name not in {one["metadata"]["name"] for one in _pods(space, "simple")})
    _on(space, "simple", NODES)


@conformance("Daemon set [Serial] should run and stop complex daemon")
def test_selected_daemon(space: Space) -> None:  # noqa: F811
    """It follows the label of a node, and its own selector."""
    key = f"color-{space.name}"
    path = _daemon(space, "complex", pod_spec={"nodeSelector": {key: "blue"}})

    def paint(color: str | None) -> None:
        space.api.merge("/api/v1/nodes/node1", {"metadata": {"labels": {key: color}}})

    try:
        _on(space, "complex", ())
        paint("blue")
        _on(space, "complex", ("node1",))
        paint("green")
        _on(space, "complex", ())
        spec = {"updateStrategy": {"type": "RollingUpdate"}, "template": {"spec": {"nodeSelector": {key: "green"}}}}
        space.api.merge(path, {"spec": spec})
        _on(space, "complex", ("node1",))
    finally:
        paint(None)


@conformance("Daemon set [Serial] should retry creating failed daemon pods")
def test_daemon_retries(space: Space) -> None:  # noqa: F811
    _daemon(space, "retry")
    _on(space, "retry", NODES)
    name = _pods(space, "retry")[0]["metadata"]["name"]
    path = space.path("pods", name)
    space.api.update(f"{path}/status", lambda obj: obj["status"].update(phase="Failed"))
    space.wait("the failed pod is gone", lambda: space.api.gone(path))
    _on(space, "retry", NODES)


def _hashes(ns: Space, name: str) -> list[str]:
    """Of the DaemonSet's revisions, the oldest first."""
    found = items(ns.api, by_label(ns.path("controllerrevisions", group=APPS), "name", name))
    ordered = sorted(found, key=lambda one: int(one["revision"]))
    return [one["metadata"]["labels"]["controller-revision-hash"] for one in ordered]


@conformance("Daemon set [Serial] should update pod when spec was updated and update strategy is RollingUpdate")
def test_daemon_update(space: Space) -> None:  # noqa: F811
    path = _daemon(space, "update")
    _on(space, "update", NODES)
    first = _hashes(space, "update")
    assert {one["metadata"]["labels"]["controller-revision-hash"] for one in _pods(space, "update")} == set(first)
    _set_image(space, path, OTHER)
    _on(space, "update", NODES, OTHER)
    assert _hashes(space, "update")[:1] == first
    assert len(_hashes(space, "update")) == 2


@conformance("Daemon set [Serial] should rollback without unnecessary restarts")
def test_daemon_rollback(space: Space) -> None:  # noqa: F811
    path = _daemon(space, "back")
    _on(space, "back", NODES)
    before = {one["metadata"]["name"] for one in _pods(space, "back")}
    _set_image(space, path, BROKEN)
    space.wait(
        "one of the new image",
        lambda: [one for one in _pods(space, "back") if one["spec"]["containers"][0]["image"] == BROKEN],
    )
    kept = before & {one["metadata"]["name"] for one in _pods(space, "back")}
    assert len(kept) == 1
    _set_image(space, path, IMAGE)
    _on(space, "back", NODES, IMAGE)
    after = {one["metadata"]["name"]: one for one in _pods(space, "back")}
    assert kept <= set(after)
    assert all(status_of(after[name])["restartCount"] == 0 for name in kept)


@conformance("Daemon set [Serial] should list and delete a collection of DaemonSets")
def test_daemon_collection(space: Space) -> None:  # noqa: F811
    _daemon(space, "many")
    _on(space, "many", NODES)
    everywhere = by_label("/apis/apps/v1/daemonsets", "test", space.name)
    assert len(items(space.api, everywhere)) == 1
    space.api.call("DELETE", by_label(space.path("daemonsets", group=APPS), "test", space.name))
    emptied(space, everywhere, "DaemonSets")
    emptied(space, space.path("pods"), "pods")


@conformance("Daemon set [Serial] should verify changes to a daemon set status")
def test_daemon_status(space: Space) -> None:  # noqa: F811
    _daemon(space, "status")
    _on(space, "status", NODES)
    status_endpoints(space, "daemonsets", "status", APPS)


@conformance("ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision")
def test_revisions(space: Space) -> None:  # noqa: F811
    path = _daemon(space, "rev")
    _on(space, "rev", NODES)
    where = space.path("controllerrevisions", group=APPS)
    selected = by_label(where, "name", "rev")
    assert len(items(space.api, by_label("/apis/apps/v1/controllerrevisions", "name", "rev"))) >= 1
    first = items(space.api, selected)[0]
    name = first["metadata"]["name"]
    assert owners(first) == {("DaemonSet", "rev")}
    changed = space.api.merge(f"{where}/{name}", {"metadata": {"labels": {name: "patched"}}})
    assert labelled(name, "patched")(changed)
    copied = {
        "metadata": {
            "name": "rev-copy",
            "labels": {"name": "rev", "copied": "true"},
            "ownerReferences": first["metadata"]["ownerReferences"],
        },
        "data": first["data"],
        "revision": first["revision"] + 1,
    }
    space.create("controllerrevisions", copied, APPS)
    assert len(items(space.api, selected)) == 2
    space.api.call("DELETE", f"{where}/{name}")
    space.wait("the revision is made again", lambda: space.api.gone(f"{where}/{name}") or items(space.api, selected))
    updated = space.api.update(
        f"{where}/rev-copy", lambda obj: obj["metadata"]["labels"].update({"rev-copy": "updated"})
    )
    assert labelled("rev-copy", "updated")(updated)
    _set_image(space, path, OTHER)
    _on(space, "rev", NODES, OTHER)
    space.api.call("DELETE", by_label(where, "rev-copy", "updated"))
    assert items(space.api, by_label(where, "rev-copy", "updated")) == []


# -- StatefulSets


READY = {"exec": {"command": ["test", "-f", "/ready"]}, "periodSeconds": 1, "failureThreshold": 1}


def _stateful(ns: Space, name: str, count: int, container: Obj | None = None, **spec: Any) -> str:
    container = container or pause()
    full = {
        "replicas": count,
        "serviceName": "test",
        "selector": {"matchLabels": {"name": name}},
        "template": _template(name, container),
        **spec,
    }
    ns.create("statefulsets", {"metadata": meta(name, ns.name), "spec": full}, APPS)
    return ns.path("statefulsets", name, APPS)


def _probed() -> Obj:
    return sh("touch /ready; sleep 10000", readinessProbe=READY)


def _are(ns: Space, name: str, ready: list[bool]) -> None:
    """Pods 0, 1, … are there, ready as said, and no other."""

    def there() -> bool:
        found = _pods(ns, name)
        wanted = [f"{name}-{number}" for number in range(len(ready))]
        return [one["metadata"]["name"] for one in found] == wanted and [_ready(one) for one in found] == ready

    ns.wait(f"pods of {name}: {ready}", there)


def _images(ns: Space, name: str) -> list[str]:
    return [one["spec"]["containers"][0]["image"] for one in _pods(ns, name)]


def _scale(ns: Space, path: str, count: int) -> None:
    ns.api.merge(f"{path}/scale", {"spec": {"replicas": count}})


BASIC = "StatefulSet Basic StatefulSet functionality [StatefulSetBasic]"


def _order(watched: Watch, kind: str) -> list[str]:
    return [event["object"]["metadata"]["name"] for event in watched.events if event["type"] == kind]


@conformance(f"{BASIC} Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Slow]")
def test_order(space: Space) -> None:  # noqa: F811
    watched = Watch(space.api, space.path("pods"))
    path = _stateful(space, "ss", 1, _probed())
    _are(space, "ss", [True])
    space.sh("ss-0", "rm /ready")
    _are(space, "ss", [False])
    _scale(space, path, 3)
    space.wait("the controller saw it", lambda: space.api.get(path)["status"].get("observedGeneration") == 2)
    _are(space, "ss", [False])
    space.sh("ss-0", "touch /ready")
    _are(space, "ss", [True, True, True])
    every = ("ss-0", "ss-1", "ss-2")
    for name in every:
        space.sh(name, "rm /ready")
    _are(space, "ss", [False, False, False])
    _scale(space, path, 0)
    space.wait("the controller saw it", lambda: space.api.get(path)["status"].get("observedGeneration") == 3)
    assert len(_pods(space, "ss")) == 3
    for name in every:
        space.sh(name, "touch /ready")
    emptied(space, space.path("pods"), "pods")
    space.wait("the watch saw all", lambda: len(_order(watched, "DELETED")) == 3)
    assert _order(watched, "ADDED") == ["ss-0", "ss-1", "ss-2"]
    assert _order(watched, "DELETED") == ["ss-2", "ss-1", "ss-0"]


@conformance(f"{BASIC} Burst scaling should run to completion even with unhealthy pods [Slow]")
def test_burst(space: Space) -> None:  # noqa: F811
    path = _stateful(space, "ss", 1, _probed(), podManagementPolicy="Parallel")
    _are(space, "ss", [True])
    space.sh("ss-0", "rm /ready")
    _are(space, "ss", [False])
    _scale(space, path, 3)
    _are(space, "ss", [False, True, True])
    space.sh("ss-1", "rm /ready")
    _scale(space, path, 0)
    emptied(space, space.path("pods"), "pods")
    space.wait("no replica", lambda: not space.api.get(path)["status"].get("replicas"))


@conformance(f"{BASIC} Should recreate evicted statefulset")
def test_evicted(space: Space) -> None:  # noqa: F811
    """Its pod is rejected by the node while another has the port; it is made again until it fits."""
    ports = [{"containerPort": 21017, "hostPort": 21017}]
    create(space, pod(pause(ports=ports), name="test-pod", nodeName="node1"))
    space.ready("test-pod")
    watched = Watch(space.api, by_label(space.path("pods"), "name", "ss"))
    template = _template("ss", pause(ports=ports), nodeName="node1")
    _stateful(space, "ss", 1, template=template)
    watched.sees("MODIFIED", lambda obj: obj["status"].get("phase") == "Failed")
    watched.sees("DELETED")
    space.delete("pods", "test-pod")
    _are(space, "ss", [True])


@conformance(f"{BASIC} should have a working scale subresource")
def test_stateful_scale(space: Space) -> None:  # noqa: F811
    _stateful(space, "ss", 1)
    _are(space, "ss", [True])
    scale(space, "statefulsets", "ss", APPS)


@conformance(f"{BASIC} should validate Statefulset Status endpoints")
def test_stateful_status(space: Space) -> None:  # noqa: F811
    _stateful(space, "ss", 1)
    _are(space, "ss", [True])
    status_endpoints(space, "statefulsets", "ss", APPS)


@conformance(f"{BASIC} should list, patch and delete a collection of StatefulSets")
def test_stateful_collection(space: Space) -> None:  # noqa: F811
    path = _stateful(space, "ss", 1)
    _are(space, "ss", [True])
    patch = {"metadata": {"labels": {"test-ss": "patched"}}, "spec": {"replicas": 2}}
    space.api.call("PATCH", path, patch, STRATEGIC)
    _set_image(space, path, OTHER)
    _are(space, "ss", [True, True])
    space.wait("the new image", lambda: _images(space, "ss") == [OTHER] * 2)
    everywhere = by_label("/apis/apps/v1/statefulsets", "test-ss", "patched")
    assert len(items(space.api, everywhere)) == 1
    space.api.call("DELETE", by_label(space.path("statefulsets", group=APPS), "test-ss", "patched"))
    emptied(space, everywhere, "StatefulSets")


def _revisions(ns: Space, path: str) -> tuple[str, str]:
    status = ns.api.get(path)["status"]
    return status["currentRevision"], status["updateRevision"]


def _rolled(ns: Space, path: str, name: str, images: list[str]) -> None:
    ns.wait(f"images {images}", lambda: _images(ns, name) == images and all(_ready(one) for one in _pods(ns, name)))


@conformance(f"{BASIC} should perform rolling updates and roll backs of template modifications")
def test_stateful_update(space: Space) -> None:  # noqa: F811
    path = _stateful(space, "ss", 3)
    _are(space, "ss", [True] * 3)
    current, update = _revisions(space, path)
    assert current == update
    for image in (OTHER, IMAGE):
        watched = Watch(space.api, space.path("pods"))
        before = _revisions(space, path)[0]
        _set_image(space, path, image)
        _rolled(space, path, "ss", [image] * 3)
        space.wait("the revision is the current one", lambda: len(set(_revisions(space, path))) == 1)
        assert _revisions(space, path)[0] != before
        assert _order(watched, "DELETED") == ["ss-2", "ss-1", "ss-0"]
    assert _revisions(space, path)[0] == current


@conformance(f"{BASIC} should perform canary updates and phased rolling updates of template modifications")
def test_canary(space: Space) -> None:  # noqa: F811
    def partition(number: int) -> Obj:
        return {"type": "RollingUpdate", "rollingUpdate": {"partition": number}}

    path = _stateful(space, "ss", 3, updateStrategy=partition(3))
    _are(space, "ss", [True] * 3)
    _set_image(space, path, OTHER)
    space.wait("a new revision", lambda: len(set(_revisions(space, path))) == 2)
    assert _images(space, "ss") == [IMAGE] * 3
    space.api.merge(path, {"spec": {"updateStrategy": partition(2)}})
    _rolled(space, path, "ss", [IMAGE, IMAGE, OTHER])
    for number in (0, 2):  # each comes back as what it was
        space.delete("pods", f"ss-{number}")
    _rolled(space, path, "ss", [IMAGE, IMAGE, OTHER])
    for number, images in ((1, [IMAGE, OTHER, OTHER]), (0, [OTHER] * 3)):
        space.api.merge(path, {"spec": {"updateStrategy": partition(number)}})
        _rolled(space, path, "ss", images)
    space.wait("the revision is the current one", lambda: len(set(_revisions(space, path))) == 1)
