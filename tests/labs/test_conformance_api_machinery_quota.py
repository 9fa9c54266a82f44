"""api-machinery's conformance names about ResourceQuota (resource_quota.go)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.labs.conformance_tools import PAUSE, STRATEGIC, Watch, labelled, names, refused
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import ApiError, Obj, Space

pytestmark = pytest.mark.timeout(300)
Q = "ResourceQuota "
LIFE = Q + "should create a ResourceQuota and capture the life of a "
DONGLE = "requests.example.com/dongle"
HARD: Obj = {
    "pods": "5", "services": "10", "services.nodeports": "1", "services.loadbalancers": "1",
    "replicationcontrollers": "10", "resourcequotas": "1", "cpu": "1", "memory": "500Mi", "configmaps": "10",
    "secrets": "10", "persistentvolumeclaims": "10", "requests.storage": "10Gi", "ephemeral-storage": "50Gi",
    "gold.storageclass.storage.k8s.io/requests.storage": "10Gi",
    "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "10", DONGLE: "3", "count/replicasets.apps": "5",
}  # fmt: skip


def _quota(ns: Space, name: str = "test-quota", scope: str = "", labels: Obj | None = None, **hard: Any) -> str:
    """The path of the quota."""
    spec: Obj = {"hard": hard or HARD, **({"scopes": [scope]} if scope else {})}
    ns.create("resourcequotas", {"metadata": {"name": name, "labels": labels or {}}, "spec": spec})
    return ns.path("resourcequotas", name)


def _used(ns: Space, path: str, **wanted: str) -> None:
    """status.used says this, and status.hard is spec.hard."""

    def holds() -> bool:
        found = ns.api.get(path)
        status = found.get("status", {})
        used = status.get("used") or {}
        return status.get("hard") == found["spec"]["hard"] and all(used.get(key) == wanted[key] for key in wanted)

    ns.wait(f"{path} uses {wanted}", holds)


def _pod(name: str, requests: Obj, limits: Obj | None = None, **spec: Any) -> Obj:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits or {})) if value}
    container = {"name": "pause", "image": PAUSE, "resources": resources}
    full = {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return {"metadata": {"name": name}, "spec": full}


@conformance(Q + "should create a ResourceQuota and ensure its status is promptly calculated.")
def test_status_is_calculated(space: Space) -> None:  # noqa: F811
    _used(space, _quota(space), resourcequotas="1")


@conformance(LIFE + "service.")
def test_services(space: Space) -> None:  # noqa: F811
    path = _quota(space)
    _used(space, path, resourcequotas="1")
    space.service("test-service", [{"port": 80}], type="ClusterIP")
    space.service("test-service-np", [{"port": 80}], type="NodePort")
    with pytest.raises(ApiError, match="exceeded quota"):
        space.service("test-service-lb", [{"port": 80}], type="LoadBalancer", allocateLoadBalancerNodePorts=True)
    _used(space, path, resourcequotas="1", **{"services": "2", "services.nodeports": "1"})
    space.delete("services", "test-service")
    space.delete("services", "test-service-np")
    _used(space, path, **{"services": "0", "services.nodeports": "0"})


def _counted(ns: Space, kind: str, body: Obj) -> None:
    """An object of a kind that namespaces have by themselves (a ConfigMap) counts too."""
    if kind == "configmaps":
        ns.wait("the root certificates", lambda: not ns.api.gone(ns.path(kind, "kube-root-ca.crt")))
    before = len(ns.api.get(ns.path(kind))["items"])
    path = _quota(ns, **{**HARD, kind: str(before + 1)})
    _used(ns, path, **{"resourcequotas": "1", kind: str(before)})
    ns.create(kind, body)
    _used(ns, path, **{kind: str(before + 1)})
    ns.delete(kind, body["metadata"]["name"])
    _used(ns, path, **{kind: str(before)})


@conformance(LIFE + "secret.")
def test_secrets(space: Space) -> None:  # noqa: F811
    _counted(space, "secrets", {"metadata": {"name": "test-secret"}, "stringData": {"data-1": "value-1"}})


@conformance(LIFE + "configMap.")
def test_config_maps(space: Space) -> None:  # noqa: F811
    _counted(space, "configmaps", {"metadata": {"name": "test-configmap"}, "data": {"a": "b"}})


@conformance(LIFE + "pod.")
def test_pods(space: Space) -> None:  # noqa: F811
    path = _quota(space)
    _used(space, path, resourcequotas="1")
    requests = {"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2"}
    limits = {"example.com/dongle": "2"}
    made = space.create("pods", _pod("test-pod", requests, limits))
    usage = {"pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi",
             DONGLE: "2"}  # fmt: skip
    _used(space, path, **usage)
    with pytest.raises(ApiError, match="exceeded quota"):
        space.create("pods", _pod("fail-pod", {"cpu": "600m", "memory": "100Mi"}))
    again = {**requests, "memory": "100Mi"}
    with pytest.raises(ApiError, match="exceeded quota"):
        space.create("pods", _pod("fail-pod-for-extended-resource", again, limits))
    smaller = {"cpu": "100m", "memory": "100Mi", "ephemeral-storage": "10Gi"}
    made["spec"]["containers"][0]["resources"]["requests"] = smaller
    del made["metadata"]["resourceVersion"]
    refused(422, lambda: space.api.call("PUT", space.path("pods", "test-pod"), made))
    _used(space, path, **usage)
    space.delete("pods", "test-pod")
    _used(space, path, **dict.fromkeys(usage, "0"))


def _template(name: str) -> Obj:
    labels = {"name": name}
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": name, "image": "nginx"}]}}


@conformance(LIFE + "replication controller.")
def test_controllers(space: Space) -> None:  # noqa: F811
    path = _quota(space)
    _used(space, path, resourcequotas="1", replicationcontrollers="0")
    spec = {"replicas": 0, "selector": {"name": "test-rc"}, "template": _template("test-rc")}
    space.create("replicationcontrollers", {"metadata": {"name": "test-rc"}, "spec": spec})
    _used(space, path, replicationcontrollers="1")
    space.api.call("DELETE", space.path("replicationcontrollers", "test-rc"), {"propagationPolicy": "Background"})
    _used(space, path, replicationcontrollers="0")


@conformance(LIFE + "replica set.")
def test_replica_sets(space: Space) -> None:  # noqa: F811
    path = _quota(space)
    _used(space, path, **{"count/replicasets.apps": "0"})
    spec = {"replicas": 0, "selector": {"matchLabels": {"name": "test-rs"}}, "template": _template("test-rs")}
    space.create("replicasets", {"metadata": {"name": "test-rs"}, "spec": spec}, "apis/apps/v1")
    _used(space, path, **{"count/replicasets.apps": "1"})
    space.delete("replicasets", "test-rs", "apis/apps/v1")
    _used(space, path, **{"count/replicasets.apps": "0"})


def _scopes(ns: Space, hard: Obj, scopes: tuple[str, str], made: tuple[Obj, Obj], usage: tuple[Obj, Obj]) -> None:
    """Of two quotas each takes the pod that is of its scope, the other does not."""
    paths = [_quota(ns, f"quota-{scope.lower()}", scope, **hard) for scope in scopes]
    for path in paths:
        _used(ns, path, pods="0")
    for number, (body, used) in enumerate(zip(made, usage, strict=True)):
        ns.create("pods", body)
        _used(ns, paths[number], **used)
        _used(ns, paths[1 - number], **dict.fromkeys(used, "0"))
        ns.delete("pods", body["metadata"]["name"])
        _used(ns, paths[number], **dict.fromkeys(used, "0"))


@conformance(Q + "should verify ResourceQuota with terminating scopes.")
def test_terminating(space: Space) -> None:  # noqa: F811
    hard = {"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi"}
    requests, limits = {"cpu": "500m", "memory": "200Mi"}, {"cpu": "1", "memory": "400Mi"}
    used = {"pods": "1", "requests.cpu": "500m", "requests.memory": "200Mi", "limits.cpu": "1",
            "limits.memory": "400Mi"}  # fmt: skip
    running, ending = _pod("test-pod", requests, limits), _pod("terminating-pod", requests, limits)
    ending["spec"]["activeDeadlineSeconds"] = 3600
    _scopes(space, hard, ("NotTerminating", "Terminating"), (running, ending), (used, used))


@conformance(Q + "should verify ResourceQuota with best effort scope.")
def test_best_effort(space: Space) -> None:  # noqa: F811
    requests, limits = {"cpu": "500m", "memory": "200Mi"}, {"cpu": "1", "memory": "400Mi"}
    made = (_pod("besteffort-pod", {}), _pod("burstable-pod", requests, limits))
    _scopes(space, {"pods": "5"}, ("BestEffort", "NotBestEffort"), made, ({"pods": "1"}, {"pods": "1"}))


@conformance(Q + "should be able to update and delete ResourceQuota.")
def test_update_and_delete(space: Space) -> None:  # noqa: F811
    path = _quota(space, cpu="1", memory="500Mi")
    assert space.api.get(path)["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"}
    wanted = {"cpu": "2", "memory": "1Gi"}
    assert space.api.update(path, lambda obj: obj["spec"].update(hard=wanted))["spec"]["hard"] == wanted
    assert space.api.get(path)["spec"]["hard"] == wanted
    space.delete("resourcequotas", "test-quota")
    space.wait("the quota is gone", lambda: space.api.gone(path))


@conformance(Q + "should manage the lifecycle of a ResourceQuota")
def test_lifecycle(space: Space) -> None:  # noqa: F811
    api = space.api
    path = _quota(space, space.name, labels={space.name: "created"}, cpu="1", memory="500Mi")
    assert api.get(path)["spec"]["hard"]["cpu"] == "1"
    everywhere = f"/api/v1/resourcequotas?labelSelector={space.name}%3D"
    assert names(api, everywhere + "created") == {space.name}
    patch = {"metadata": {"labels": {space.name: "patched"}}, "spec": {"hard": {"memory": "750Mi"}}}
    found = api.call("PATCH", path, patch, STRATEGIC)
    assert labelled(space.name, "patched")(found)
    assert found["spec"]["hard"] == {"cpu": "1", "memory": "750Mi"}
    api.call("DELETE", space.path("resourcequotas") + f"?labelSelector={space.name}%3Dpatched")
    space.wait("none is left", lambda: not names(api, everywhere + "patched"))


@conformance(Q + "should apply changes to a resourcequota status")
def test_status(space: Space) -> None:  # noqa: F811
    """The controller puts back what others write to status.hard, and that never changes the spec."""
    api = space.api
    path = _quota(space, cpu="500m", memory="500Mi")

    def follows() -> None:
        spec = api.get(path)["spec"]["hard"]
        space.wait("status.hard is spec.hard", lambda: api.get(f"{path}/status")["status"].get("hard") == spec)

    follows()
    watch = Watch(api, space.path("resourcequotas"))
    wanted = {"cpu": "2", "memory": "2Gi"}
    assert api.update(f"{path}/status", lambda obj: obj["status"].update(hard=wanted))["status"]["hard"] == wanted
    watch.sees("MODIFIED", lambda obj: obj["status"].get("hard") == wanted)
    follows()
    assert api.merge(path, {"spec": {"hard": {"cpu": "1", "memory": "1Gi"}}})["spec"]["hard"]["cpu"] == "1"
    follows()
    found = api.merge(f"{path}/status", {"status": {"hard": wanted}})
    assert found["status"]["hard"] == wanted
    assert found["spec"]["hard"] == {"cpu": "1", "memory": "1Gi"}
    watch.sees("MODIFIED", lambda obj: obj["status"].get("hard") == wanted)
    follows()
