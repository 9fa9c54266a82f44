"""sig-storage's conformance names about objects, as upstream's test/e2e/storage tests them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.labs.conformance_objects import by_label, discovered, meta, missing_or_deleted, operations
from tests.labs.conformance_tools import MERGE, condition, create, items, labelled, once, sh
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Obj, Space

pytestmark = pytest.mark.timeout(300)

GROUP = "/apis/storage.k8s.io/v1"


def _cluster(ns: Space, plural: str, **more: Obj | str) -> None:
    """Every verb on a kind of the whole cluster."""
    discovered(ns.api, "storage.k8s.io", "v1", plural)
    operations(ns.api, f"{GROUP}/{plural}", lambda n: {"metadata": meta(f"{ns.name}-{n}", ns.name), **more}, ns.name)


@conformance("CSIInlineVolumes should run through the lifecycle of a CSIDriver")
def test_driver(space: Space) -> None:  # noqa: F811
    _cluster(space, "csidrivers", spec={"volumeLifecycleModes": ["Ephemeral"]})


@conformance("CSINodes CSI Conformance should run through the lifecycle of a csinode")
def test_csi_node(space: Space) -> None:  # noqa: F811
    drivers = [{"name": "e2e-driver", "nodeID": "e2e-node", "topologyKeys": ["topology.example.com/zone"]}]
    _cluster(space, "csinodes", spec={"drivers": drivers})


@conformance("StorageClasses CSI Conformance should run through the lifecycle of a StorageClass")
def test_storage_class(space: Space) -> None:  # noqa: F811
    _cluster(space, "storageclasses", provisioner="e2e-fake-provisioner")


ATTACHMENT = {"attacher": "e2e-test.storage.k8s.io", "nodeName": "node1", "source": {"persistentVolumeName": "pv"}}


@conformance("VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment")
def test_attachment(space: Space) -> None:  # noqa: F811
    _cluster(space, "volumeattachments", spec=ATTACHMENT)


@conformance("VolumeAttachment Conformance should apply changes to a volumeattachment status")
def test_attachment_status(space: Space) -> None:  # noqa: F811
    name = f"va-{space.name}"
    path = f"{GROUP}/volumeattachments/{name}"
    space.api.call("POST", f"{GROUP}/volumeattachments", {"metadata": meta(name), "spec": ATTACHMENT})
    try:
        patched = space.api.call("PATCH", f"{path}/status", {"status": {"attached": True}}, MERGE)
        assert patched["status"]["attached"] is True
        changed = space.api.update(f"{path}/status", lambda obj: obj.update(status={"attached": False}))
        assert changed["status"]["attached"] is False
        assert space.api.get(f"{path}/status")["status"]["attached"] is False
    finally:
        missing_or_deleted(space.api, path)


@conformance("CSIStorageCapacity should support CSIStorageCapacities API operations")
def test_capacity(space: Space) -> None:  # noqa: F811
    plural = "csistoragecapacities"
    discovered(space.api, "storage.k8s.io", "v1", plural)

    def make(number: int) -> Obj:
        return {"metadata": meta(f"c-{number}", space.name), "storageClassName": "e2e", "capacity": "1Gi"}

    where = space.path(plural, group="apis/storage.k8s.io/v1")
    operations(space.api, where, make, space.name, f"{GROUP}/{plural}")


@conformance("CSIInlineVolumes should support CSIVolumeSource in Pod API")
def test_inline_volume(space: Space) -> None:  # noqa: F811
    """The pod need not run: there is no such driver."""
    driver = f"e2e-{space.name}.example.com"
    spec = {"volumeLifecycleModes": ["Ephemeral"]}
    space.api.call("POST", f"{GROUP}/csidrivers", {"metadata": meta(driver), "spec": spec})
    try:
        volume = {"name": "pod-csi-inline", "csi": {"driver": driver}}
        create(space, once(sh("true"), volumes=[volume], labels={"test": space.name}))
        listed = items(space.api, by_label("/api/v1/pods", "test", space.name))
        assert [one["spec"]["volumes"][0]["csi"]["driver"] for one in listed] == [driver]
        path = space.path("pods", "pod")
        patched = space.api.merge(path, {"metadata": {"labels": {"patched": "true"}}})
        assert labelled("patched", "true")(patched)
        space.api.call("DELETE", path, {"gracePeriodSeconds": 0})
        space.wait("it is gone", lambda: space.api.gone(path))
    finally:
        missing_or_deleted(space.api, f"{GROUP}/csidrivers/{driver}")


# -- PersistentVolumes and claims

VOLUMES = "/api/v1/persistentvolumes"


def _volume(ns: Space) -> Obj:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": f"e2e-{ns.name}",
        "csi": {"driver": "e2e-driver", "volumeHandle": "e2e-handle"},
    }
    return {"metadata": {"generateName": "pv-", "labels": {"e2e-pv-pool": ns.name}}, "spec": spec}


def _claim(ns: Space) -> Obj:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": f"e2e-{ns.name}",
    }
    return {"metadata": {"generateName": "pvc-", "labels": {"e2e-pvc-pool": ns.name}}, "spec": spec}


@pytest.fixture
def both(space: Space) -> Iterator[tuple[str, str]]:  # noqa: F811
    """Paths of a volume and a claim; what is left of the volumes goes afterwards."""
    volume = space.api.call("POST", VOLUMES, _volume(space))["metadata"]["name"]
    claim = space.create("persistentvolumeclaims", _claim(space))["metadata"]["name"]
    yield f"{VOLUMES}/{volume}", space.path("persistentvolumeclaims", claim)
    space.api.call("DELETE", space.path("persistentvolumeclaims"))
    space.api.call("DELETE", by_label(VOLUMES, "e2e-pv-pool", space.name))


@conformance("PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC")
def test_volume_and_claim(space: Space, both: tuple[str, str]) -> None:  # noqa: F811
    volume, claim = both
    claims = space.path("persistentvolumeclaims")
    assert len(items(space.api, by_label(VOLUMES, "e2e-pv-pool", space.name))) == 1
    assert len(items(space.api, claims)) == 1
    for path in both:
        changed = space.api.merge(path, {"metadata": {"labels": {"patched": "true"}}})
        assert labelled("patched", "true")(changed)
        changed = space.api.update(path, lambda obj: obj["metadata"]["labels"].update(updated="true"))
        assert labelled("updated", "true")(space.api.get(path))
        space.api.call("DELETE", path) if path == claim else None
    space.wait("the claim is gone", lambda: space.api.gone(claim))
    space.api.call("DELETE", volume)
    space.wait("the volume is gone", lambda: space.api.gone(volume))
    again = space.api.call("POST", VOLUMES, _volume(space))["metadata"]["name"]
    space.create("persistentvolumeclaims", _claim(space))
    space.api.call("DELETE", by_label(claims, "e2e-pvc-pool", space.name))
    space.wait("no claim", lambda: not items(space.api, claims))
    space.api.call("DELETE", by_label(VOLUMES, "e2e-pv-pool", space.name))
    space.wait("no volume", lambda: space.api.gone(f"{VOLUMES}/{again}"))


@conformance("PersistentVolumes CSI Conformance should apply changes to a pv/pvc status")
def test_volume_status(space: Space, both: tuple[str, str]) -> None:  # noqa: F811
    volume, claim = both
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True", "reason": "E2E patchStatus"}]}}
    patched = space.api.call("PATCH", f"{claim}/status", patch, MERGE)
    assert condition(patched, "StatusPatched")["reason"] == "E2E patchStatus"

    def update(obj: Obj) -> None:
        obj["status"]["conditions"].append({"type": "StatusUpdated", "status": "True", "reason": "E2E updateStatus"})

    assert condition(space.api.update(f"{claim}/status", update), "StatusUpdated")["status"] == "True"
    change = {"status": {"message": "StatusPatched", "reason": "E2E patchStatus"}}
    patched = space.api.call("PATCH", f"{volume}/status", change, MERGE)
    assert (patched["status"]["message"], patched["status"]["reason"]) == ("StatusPatched", "E2E patchStatus")
    updated = space.api.update(f"{volume}/status", lambda obj: obj["status"].update(message="StatusUpdated"))
    assert updated["status"]["message"] == "StatusUpdated"
