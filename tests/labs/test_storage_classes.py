"""The default StorageClass: volumes made where the first pod runs, kept over its restarts, gone with their claims."""

from __future__ import annotations

from typing import Any

import pytest

from tests.labs.conformance_tools import BUSYBOX, create, log, pod, sh
from tests.labs.sig_network_lab import lab, space  # noqa: F401
from tests.labs.sig_network_tools import ApiError, Obj, Space

pytestmark = pytest.mark.timeout(300)


def _claim(name: str, **spec: Any) -> Obj:
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    return {"metadata": {"name": name}, "spec": {**asked, **spec}}


def _mounting(name: str, claim: str, command: str) -> Obj:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/data"}]}
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]
    return pod(sh(command, **mount), name=name, restartPolicy="Never", volumes=volumes)


def _done(ns: Space, one: Obj) -> Obj:
    name = create(ns, one)
    path = ns.path("pods", name)
    ns.wait(f"pod {name} ended well", lambda: ns.api.get(path)["status"].get("phase") == "Succeeded")
    return ns.api.get(path)


def _gone(ns: Space, path: str) -> None:
    def missing() -> bool:
        try:
            ns.api.get(path)
        except ApiError as error:
            assert error.code == 404, error
            return True
        return False

    ns.wait(f"{path} gone", missing)


def test_a_volume_follows_its_first_pod_and_goes_with_its_claim(space: Space) -> None:  # noqa: F811
    ns = space
    ns.create("persistentvolumeclaims", _claim("c"))
    path = ns.path("persistentvolumeclaims", "c")
    assert ns.api.get(path)["spec"]["storageClassName"] == "standard"
    first = _done(ns, _mounting("first", "c", "echo kept > /data/file"))
    bound = ns.api.get(path)
    assert bound["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == first["spec"]["nodeName"]
    volume = f"/api/v1/persistentvolumes/{bound['spec']['volumeName']}"
    assert ns.api.get(volume)["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    second = _done(ns, _mounting("second", "c", "cat /data/file"))
    assert second["spec"]["nodeName"] == first["spec"]["nodeName"]
    assert log(ns, "second") == "kept\n"
    for name in ("first", "second"):
        ns.api.call("DELETE", ns.path("pods", name))
    ns.api.call("DELETE", path)
    _gone(ns, volume)


def test_claims_of_a_set_go_as_its_policy_says(space: Space) -> None:  # noqa: F811
    ns = space
    container = {**sh("sleep 1000"), "image": BUSYBOX, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod(container)["spec"]}
    spec: Obj = {
        "replicas": 2,
        "serviceName": "web",
        "podManagementPolicy": "Parallel",
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
        "selector": {"matchLabels": {"a": "b"}},
        "template": template,
        "volumeClaimTemplates": [_claim("data")],
    }
    where = ns.path("statefulsets", group="apis/apps/v1")
    ns.api.call("POST", where, {"metadata": {"name": "web"}, "spec": spec})
    ns.wait("two pods", lambda: ns.api.get(f"{where}/web").get("status", {}).get("readyReplicas") == 2)
    scaled = {"spec": {"replicas": 1}}
    ns.api.call("PATCH", f"{where}/web", scaled, "application/merge-patch+json")
    _gone(ns, ns.path("persistentvolumeclaims", "data-web-1"))
    assert ns.api.get(ns.path("persistentvolumeclaims", "data-web-0"))["status"]["phase"] == "Bound"
    ns.api.call("DELETE", f"{where}/web")
    _gone(ns, ns.path("persistentvolumeclaims", "data-web-0"))


def test_a_recycled_volume_is_empty_and_available(space: Space) -> None:  # noqa: F811
    ns, name = space, f"recycled-{space.name}"
    spec = {
        "capacity": {"storage": "1Mi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Recycle",
        "storageClassName": name,
        "hostPath": {"path": "/var/shared-path-provisioner/recycled"},
    }
    volume = f"/api/v1/persistentvolumes/{name}"
    ns.api.call("POST", "/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": spec})
    try:
        ns.create("persistentvolumeclaims", _claim("c", storageClassName=name))
        _done(ns, _mounting("writer", "c", "touch /data/file"))
        ns.api.call("DELETE", ns.path("pods", "writer"))
        ns.api.call("DELETE", ns.path("persistentvolumeclaims", "c"))
        ns.wait("available again", lambda: ns.api.get(volume)["status"]["phase"] == "Available")
        ns.create("persistentvolumeclaims", _claim("d", storageClassName=name))
        _done(ns, _mounting("reader", "d", "ls -A /data"))
        assert log(ns, "reader") == ""
    finally:
        ns.api.call("DELETE", volume)
