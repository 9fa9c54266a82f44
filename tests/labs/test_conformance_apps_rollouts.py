"""sig-apps' conformance names about Deployments, ReplicaSets and ReplicationControllers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.labs.conformance_objects import by_label, meta, scale, status_endpoints
from tests.labs.conformance_tools import (
    MERGE,
    STRATEGIC,
    Watch,
    condition,
    create,
    emptied,
    items,
    labelled,
    owners,
    pause,
    pod,
)
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import AGNHOST, Obj, Space

pytestmark = pytest.mark.timeout(300)

APPS = "apis/apps/v1"
CORE = "api/v1"
BROKEN = "registry.k8s.io/no-such-image:404"


def _template(container: Obj, **labels: str) -> Obj:
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"metadata": {"labels": labels}, "spec": spec}


def _controller(ns: Space, plural: str, name: str, count: int = 1, container: Obj | None = None, **more: Any) -> str:
    """A Deployment, ReplicaSet or ReplicationController of pods labelled name=`name`; its path."""
    labels = {"name": name}
    core = plural == "replicationcontrollers"
    selector: Obj = labels if core else {"matchLabels": labels}
    template = _template(container or pause(), **labels)
    spec = {"replicas": count, "selector": selector, "template": template, **more}
    group = CORE if core else APPS
    ns.create(plural, {"metadata": meta(name, ns.name), "spec": spec}, group)
    return ns.path(plural, name, group)


def _available(ns: Space, path: str, count: int) -> Obj:
    """All replicas are of the newest template and available; none of another is left."""

    def there() -> bool:
        obj = ns.api.get(path)
        status = obj.get("status", {})
        updated = status.get("updatedReplicas" if "/deployments/" in path else "replicas", 0)
        return (
            status.get("observedGeneration") == obj["metadata"]["generation"]
            and status.get("availableReplicas", 0) == updated == status.get("replicas", 0) == count
        )

    ns.wait(f"{count} replicas of {path}", there)
    return ns.api.get(path)


def _sets(ns: Space, name: str) -> list[Obj]:
    """The ReplicaSets of a Deployment, the oldest revision first."""
    found = items(ns.api, by_label(ns.path("replicasets", group=APPS), "name", name))
    key = "deployment.kubernetes.io/revision"
    return sorted(found, key=lambda one: int(one["metadata"].get("annotations", {}).get(key, "0")))


def _image(ns: Space, path: str, image: str) -> None:
    container = {"name": "main", "image": image}
    ns.api.call("PATCH", path, {"spec": {"template": {"spec": {"containers": [container]}}}}, STRATEGIC)


OTHER = "registry.k8s.io/pause:3.9"

# -- Deployments


@conformance("Deployment RollingUpdateDeployment should delete old pods and create new ones")
def test_rolling(space: Space) -> None:  # noqa: F811
    """A ReplicaSet that was there before is adopted as the old revision."""
    old = _controller(space, "replicasets", "roll")
    key = "deployment.kubernetes.io/revision"
    _available(space, old, 1)
    space.api.merge(old, {"metadata": {"annotations": {key: "3546343826724305832"}, "labels": {"name": "roll"}}})
    path = _controller(space, "deployments", "roll", container=pause(image=OTHER))
    found = _available(space, path, 1)
    assert found["metadata"]["annotations"][key] == "3546343826724305833"
    before, after = _sets(space, "roll")
    assert (before["metadata"]["name"], before["spec"]["replicas"]) == ("roll", 0)
    assert owners(before) == owners(after) == {("Deployment", "roll")}
    assert after["spec"]["replicas"] == 1


@conformance("Deployment RecreateDeployment should delete old pods and create new ones")
def test_recreate(space: Space) -> None:  # noqa: F811
    """Never pods of both templates."""
    path = _controller(space, "deployments", "recreate", strategy={"type": "Recreate"})
    _available(space, path, 1)
    watched = Watch(space.api, space.path("pods"))
    _image(space, path, OTHER)
    _available(space, path, 1)
    kinds = [event["type"] for event in watched.events if event["type"] in ("ADDED", "DELETED")]
    assert kinds == ["DELETED", "ADDED"]
    assert _sets(space, "recreate")[-1]["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


@conformance("Deployment deployment should delete old replica sets")
def test_history(space: Space) -> None:  # noqa: F811
    path = _controller(space, "deployments", "cleanup", revisionHistoryLimit=0)
    _available(space, path, 1)
    _image(space, path, OTHER)
    _available(space, path, 1)
    space.wait("one set", lambda: len(_sets(space, "cleanup")) == 1)


@conformance("Deployment deployment should support rollover")
def test_rollover(space: Space) -> None:  # noqa: F811
    """A rollout that cannot end is overtaken by the next."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    path = _controller(space, "deployments", "over", strategy=strategy, minReadySeconds=1)
    _available(space, path, 1)
    _image(space, path, BROKEN)
    space.wait("a second set", lambda: len(_sets(space, "over")) == 2)
    _image(space, path, OTHER)
    _available(space, path, 1)
    assert [one["spec"]["replicas"] for one in _sets(space, "over")] == [0, 0, 1]


@conformance("Deployment deployment should support proportional scaling")
def test_proportional(space: Space) -> None:  # noqa: F811
    """10 replicas in the middle of a rollout (8 + 5) become 30 (20 + 13)."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    path = _controller(space, "deployments", "prop", 10, strategy=strategy)
    _available(space, path, 10)
    _image(space, path, BROKEN)
    space.wait("8 + 5", lambda: [one["spec"]["replicas"] for one in _sets(space, "prop")] == [8, 5])
    space.wait("8 available", lambda: space.api.get(path)["status"]["availableReplicas"] == 8)
    space.api.merge(path, {"spec": {"replicas": 30}})
    space.wait("20 + 13", lambda: [one["spec"]["replicas"] for one in _sets(space, "prop")] == [20, 13])


@conformance("Deployment Deployment should have a working scale subresource")
def test_deployment_scale(space: Space) -> None:  # noqa: F811
    path = _controller(space, "deployments", "scaled")
    _available(space, path, 1)
    scale(space, "deployments", "scaled", APPS)


@conformance("Deployment should validate Deployment Status endpoints")
def test_deployment_status(space: Space) -> None:  # noqa: F811
    _available(space, _controller(space, "deployments", "status"), 1)
    status_endpoints(space, "deployments", "status", APPS)


@conformance("Deployment should run the lifecycle of a Deployment")
def test_lifecycle(space: Space) -> None:  # noqa: F811
    watched = Watch(space.api, by_label(space.path("deployments", group=APPS), "test", space.name))
    path = _controller(space, "deployments", "life", 2)
    watched.sees("ADDED")
    watched.sees("MODIFIED", lambda obj: obj["status"].get("readyReplicas") == 2)
    patch = {"metadata": {"labels": {"test-deployment": "patched"}}, "spec": {"replicas": 1}}
    space.api.call("PATCH", path, patch, STRATEGIC)
    watched.sees("MODIFIED", labelled("test-deployment", "patched"))
    watched.sees("MODIFIED", lambda obj: obj["status"].get("readyReplicas") == 1)
    listed = items(space.api, by_label("/apis/apps/v1/deployments", "test", space.name))
    assert [one["metadata"]["name"] for one in listed] == ["life"]
    _image(space, path, OTHER)
    _available(space, path, 1)
    status = {"status": {"readyReplicas": 0, "availableReplicas": 0, "unavailableReplicas": 1}}
    space.api.call("PATCH", f"{path}/status", status, MERGE)
    watched.sees("MODIFIED", lambda obj: obj["status"].get("readyReplicas", 0) == 0)
    watched.sees("MODIFIED", lambda obj: obj["status"].get("readyReplicas", 0) == 1)
    space.api.call("DELETE", by_label(space.path("deployments", group=APPS), "test", space.name))
    watched.sees("DELETED")


# -- ReplicaSets and ReplicationControllers


@conformance(
    "ReplicaSet should serve a basic image on each replica with a public image",
    "ReplicationController should serve a basic image on each replica with a public image",
)
@pytest.mark.parametrize("plural", ["replicasets", "replicationcontrollers"])
def test_serves(space: Space, plural: str) -> None:  # noqa: F811
    """Each replica says its own name, asked through the API server."""
    server = {"name": "main", "image": AGNHOST, "args": ["serve-hostname"], "ports": [{"containerPort": 9376}]}
    path = _controller(space, plural, "basic", 2, server)
    _available(space, path, 2)
    for one in items(space.api, by_label(space.path("pods"), "name", "basic")):
        name = one["metadata"]["name"]
        proxy = space.path("pods", f"{name}:9376/proxy/")
        space.wait(f"{name} answers", lambda name=name, proxy=proxy: space.api.text(proxy) == name)  # type: ignore[misc]


def _released(ns: Space, kind: str, plural: str) -> None:
    name = items(ns.api, by_label(ns.path("pods"), "name", "adopt"))[0]["metadata"]["name"]
    path = ns.path("pods", name)
    ns.api.merge(path, {"metadata": {"labels": {"name": "not-matching-name"}}})
    ns.wait("it is released", lambda: not owners(ns.api.get(path)))
    replaced = by_label(ns.path("pods"), "name", "adopt")
    ns.wait("it is replaced", lambda: [owners(one) for one in items(ns.api, replaced)] == [{(kind, "adopt")}])


def _adopts(ns: Space, kind: str, plural: str) -> None:
    """A pod of that label is there before; no other is made."""
    create(ns, pod(pause(), name="orphan", labels={"name": "adopt"}))
    ns.ready("orphan")
    _controller(ns, plural, "adopt")
    ns.wait("it is adopted", lambda: owners(ns.api.get(ns.path("pods", "orphan"))) == {(kind, "adopt")})
    assert len(items(ns.api, ns.path("pods"))) == 1


@conformance("ReplicaSet should adopt matching pods on creation and release no longer matching pods")
def test_set_adopts(space: Space) -> None:  # noqa: F811
    _adopts(space, "ReplicaSet", "replicasets")
    _released(space, "ReplicaSet", "replicasets")


@conformance("ReplicationController should adopt matching pods on creation")
def test_controller_adopts(space: Space) -> None:  # noqa: F811
    _adopts(space, "ReplicationController", "replicationcontrollers")


@conformance("ReplicationController should release no longer matching pods")
def test_controller_releases(space: Space) -> None:  # noqa: F811
    _available(space, _controller(space, "replicationcontrollers", "adopt"), 1)
    _released(space, "ReplicationController", "replicationcontrollers")


@conformance(
    "ReplicaSet Replicaset should have a working scale subresource",
    "ReplicationController should get and update a ReplicationController scale",
)
@pytest.mark.parametrize("plural", ["replicasets", "replicationcontrollers"])
def test_scale(space: Space, plural: str) -> None:  # noqa: F811
    path = _controller(space, plural, "scaled")
    _available(space, path, 1)
    scale(space, plural, "scaled", CORE if plural == "replicationcontrollers" else APPS)
    _available(space, path, 4)


@conformance("ReplicaSet Replace and Patch tests")
def test_set_patched(space: Space) -> None:  # noqa: F811
    path = _controller(space, "replicasets", "patched")
    _available(space, path, 1)
    space.api.update(f"{path}/scale", lambda obj: obj["spec"].update(replicas=3))
    _available(space, path, 3)
    container = {"name": "main", "image": OTHER}
    patch = {
        "metadata": {"labels": {"test-rs": "patched"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [container]}}},
    }
    space.api.call("PATCH", path, patch, STRATEGIC)
    found = _available(space, path, 2)
    assert found["metadata"]["labels"]["test-rs"] == "patched"
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == OTHER


@conformance("ReplicaSet should list and delete a collection of ReplicaSets")
def test_set_collection(space: Space) -> None:  # noqa: F811
    _available(space, _controller(space, "replicasets", "many", 2), 2)
    everywhere = by_label("/apis/apps/v1/replicasets", "test", space.name)
    assert len(items(space.api, everywhere)) == 1
    space.api.call("DELETE", by_label(space.path("replicasets", group=APPS), "test", space.name))
    emptied(space, everywhere, "ReplicaSets")


@conformance("ReplicaSet should validate Replicaset Status endpoints")
def test_set_status(space: Space) -> None:  # noqa: F811
    _available(space, _controller(space, "replicasets", "status"), 1)
    status_endpoints(space, "replicasets", "status", APPS)


@conformance("ReplicationController should surface a failure condition on a common issue like exceeded quota")
def test_quota(space: Space) -> None:  # noqa: F811
    space.create("resourcequotas", {"metadata": meta("quota"), "spec": {"hard": {"pods": "2"}}})
    space.wait("the quota", lambda: space.api.get(space.path("resourcequotas", "quota")).get("status", {}).get("hard"))
    path = _controller(space, "replicationcontrollers", "limited", 3)
    space.wait("it says so", lambda: condition(space.api.get(path), "ReplicaFailure").get("reason") == "FailedCreate")
    space.api.update(path, lambda obj: obj["spec"].update(replicas=2))
    space.wait("it says no more", lambda: not condition(space.api.get(path), "ReplicaFailure"))


@conformance("ReplicationController should test the lifecycle of a ReplicationController")
def test_controller_lifecycle(space: Space) -> None:  # noqa: F811
    where = space.path("replicationcontrollers")
    watched = Watch(space.api, by_label(where, "test", space.name))
    path = _controller(space, "replicationcontrollers", "life")
    watched.sees("ADDED")
    watched.sees("MODIFIED", lambda obj: obj["status"].get("readyReplicas") == 1)
    space.api.merge(path, {"metadata": {"labels": {"test-rc": "patched"}}})
    watched.sees("MODIFIED", labelled("test-rc", "patched"))
    space.api.call("PATCH", f"{path}/status", {"status": {"readyReplicas": 0, "availableReplicas": 0}}, MERGE)
    watched.sees("MODIFIED", lambda obj: obj["status"].get("readyReplicas", 0) == 0)
    assert space.api.get(f"{path}/status")["kind"] == "ReplicationController"
    watched.sees("MODIFIED", lambda obj: obj["status"].get("readyReplicas", 0) == 1)
    space.api.call("PATCH", f"{path}/scale", {"spec": {"replicas": 2}}, MERGE)
    watched.sees("MODIFIED", lambda obj: obj["status"].get("readyReplicas", 0) == 2)
    space.api.update(path, lambda obj: obj["metadata"].setdefault("annotations", {}).update(updated="true"))
    watched.sees("MODIFIED", lambda obj: obj["metadata"].get("annotations", {}).get("updated") == "true")
    listed = items(space.api, by_label("/api/v1/replicationcontrollers", "test", space.name))
    assert [one["metadata"]["name"] for one in listed] == ["life"]
    space.api.call("DELETE", by_label(where, "test", space.name))
    watched.sees("DELETED")
