"""Claims and volumes: which volume a claim gets, the phases of both, what is said, and ephemeral claims."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_client import comes, controllers
from apiserver_harness import ACCOUNTS, PODS, Harness, account, harness, pod

from netlab.api import storage
from netlab.controllers import volume_plan as planning
from netlab.node.kubelet.volumes.claims import claim_name, source_of

Obj = dict[str, Any]
VOLUMES = "/api/v1/persistentvolumes"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
EVENTS = "/api/v1/namespaces/default/events"
MERGE = {"content-type": "application/merge-patch+json"}


def volume(name: str, size: str = "1Gi", *, labels: dict[str, str] | None = None, **spec: Any) -> Obj:
    full = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": f"/data/{name}"}}
    metadata = {"name": name, "labels": labels or {}}
    made = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": {**full, **spec}}
    return {**made, "status": {"phase": "Available"}}


def claim(name: str, size: str = "1Gi", **spec: Any) -> Obj:
    asked = {"requests": {"storage": size}}
    full = {"accessModes": ["ReadWriteOnce"], "resources": asked, "storageClassName": "", **spec}
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": full}


FOR_C = {"claimRef": {"namespace": "default", "name": "c"}}
BEST: list[tuple[Obj, list[Obj], str]] = [
    (claim("c"), [volume("large", "5Gi"), volume("small", "2Gi"), volume("tiny", "1Mi")], "small"),
    (claim("c"), [volume("b"), volume("a")], "a"),
    (claim("c", storageClassName="fast"), [volume("a"), volume("b", storageClassName="fast")], "b"),
    (claim("c", accessModes=["ReadWriteMany"]), [volume("a")], ""),
    (claim("c", volumeMode="Block"), [volume("a"), volume("b", volumeMode="Block")], "b"),
    (claim("c", selector={"matchLabels": {"x": "1"}}), [volume("a"), volume("b", labels={"x": "1"})], "b"),
    (claim("c"), [volume("a"), volume("mine", "9Gi", **FOR_C)], "mine"),
    (claim("c"), [volume("a", claimRef={"namespace": "default", "name": "other"})], ""),
    (claim("c"), [{**volume("a"), "status": {"phase": "Released"}}], ""),
    (claim("c", "2Gi"), [volume("mine", **FOR_C)], ""),
]


@pytest.mark.parametrize(("wanted", "volumes", "best"), BEST)
def test_the_best_volume(wanted: Obj, volumes: list[Obj], best: str) -> None:
    found = storage.best(wanted, volumes, delayed=False)
    assert (found["metadata"]["name"] if found else "") == best


def test_while_delayed_only_what_was_bound_beforehand() -> None:
    assert storage.best(claim("c"), [volume("a")], delayed=True) is None
    assert storage.best(claim("c"), [volume("a", **FOR_C)], delayed=True) is not None


def bound(name: str, to: str = "v") -> Obj:
    made = claim(name, volumeName=to) if to else claim(name)
    made["metadata"]["annotations"] = {storage.COMPLETED: "yes"}
    return made


LATE = {"metadata": {"name": "late"}, "provisioner": "example.com/x", "volumeBindingMode": "WaitForFirstConsumer"}
NONE = {"metadata": {"name": "none"}, "provisioner": "kubernetes.io/no-provisioner"}
OUTSIDE = {"metadata": {"name": "outside"}, "provisioner": "example.com/x"}
TAKEN = {"claimRef": {"namespace": "default", "name": "other", "uid": "u"}}
STEPS: list[tuple[Obj, list[Obj], str, str, str]] = [
    (claim("c"), [], "Pending", "FailedBinding", "no persistent volumes available for this claim and no storage class"),
    (claim("c", storageClassName="late"), [], "Pending", "WaitForFirstConsumer", "waiting for first consumer to be"),
    (claim("c", storageClassName="gone"), [], "Pending", "ProvisioningFailed", '"gone" not found'),
    (
        claim("c", storageClassName="none"),
        [],
        "Pending",
        "ProvisioningFailed",
        "no volume plugin matched name: kubernetes",
    ),
    (
        claim("c", storageClassName="outside"),
        [],
        "Pending",
        "ExternalProvisioning",
        "external provisioner 'example.com/x'",
    ),
    (claim("c", volumeName="v"), [], "Pending", "", ""),
    (claim("c", "2Gi", volumeName="v"), [volume("v")], "Pending", "VolumeMismatch", "requested PV is too small"),
    (claim("c", volumeName="v"), [volume("v", **TAKEN)], "Pending", "FailedBinding", "already bound to a different"),
    (bound("c"), [], "Lost", "ClaimLost", "has lost its PersistentVolume"),
    (bound("c", ""), [], "Lost", "ClaimLost", "has lost reference to PersistentVolume"),
    (bound("c"), [volume("v", **TAKEN)], "Lost", "ClaimMisbound", "Two claims are bound to the same volume"),
]


@pytest.mark.parametrize(("given", "volumes", "phase", "reason", "text"), STEPS)
def test_what_becomes_of_a_claim(given: Obj, volumes: list[Obj], phase: str, reason: str, text: str) -> None:
    classes = {one["metadata"]["name"]: one for one in (LATE, NONE, OUTSIDE)}
    step = planning.claim_step(given, {one["metadata"]["name"]: one for one in volumes}, classes)
    assert step.bind is None and step.phase == phase
    assert (step.event or ("", "", ""))[1] == reason and text in (step.event or ("", "", ""))[2]


def test_a_pod_that_waits_is_named() -> None:
    waiting = [pod("p", namespace="default"), pod("q", "n1", namespace="default")]
    step = planning.claim_step(claim("c", storageClassName="late"), {}, {"late": LATE}, waiting)
    assert step.event == ("Normal", "WaitForPodScheduled", "waiting for pod p to be scheduled")


HERS = {"claimRef": {"namespace": "default", "name": "c", "uid": "uid-c"}}
OTHER = {"claimRef": {"namespace": "default", "name": "c", "uid": "older"}}
FATES: list[tuple[Obj, Obj | None, planning.Fate]] = [
    (volume("v"), None, planning.Fate("Available")),
    (volume("v", **FOR_C), None, planning.Fate("Available", wake=True)),
    (volume("v", **HERS), claim("c", volumeName="v"), planning.Fate("Bound")),
    (volume("v", **HERS), claim("c"), planning.Fate("Available", wake=True)),
    (volume("v", **HERS), claim("c", volumeName="w"), planning.Fate("Available", loosen=True)),
    (volume("v", **HERS), None, planning.Fate("Released")),
    (volume("v", **OTHER), claim("c"), planning.Fate("Released")),
]


@pytest.mark.parametrize(("given", "of", "fate"), FATES)
def test_what_becomes_of_a_volume(given: Obj, of: Obj | None, fate: planning.Fate) -> None:
    assert planning.volume_fate(given, of) == fate


def test_reclaiming() -> None:
    def fate(**spec: Any) -> planning.Fate:
        return planning.volume_fate({**volume("v", **HERS, **spec), "status": {"phase": "Released"}}, None)

    assert fate() == planning.Fate("Released")
    assert fate(persistentVolumeReclaimPolicy="Recycle") == planning.Fate("Released", recycle=True)
    other = fate(persistentVolumeReclaimPolicy="Recycle", hostPath=None, local={"path": "/x"}).event
    assert other == ("Warning", "VolumeFailedRecycle", "No recycler plugin found for the volume!")
    refused = fate(persistentVolumeReclaimPolicy="Delete").event
    assert refused is not None and refused[2] == "host_path deleter only supports /tmp/.+ but received provided /data/v"
    temporary = fate(persistentVolumeReclaimPolicy="Delete", hostPath={"path": "/tmp/x"})
    assert temporary == planning.Fate("Released", delete=True)
    foreign = fate(persistentVolumeReclaimPolicy="Delete", hostPath=None, local={"path": "/x"})
    assert foreign.phase == "Failed"


def test_a_class_that_became_default_later_is_taken() -> None:
    marked = {"metadata": {"name": "std", "annotations": {storage.DEFAULT_MARKS[0]: "true"}}, "provisioner": "x/y"}
    without = claim("c")
    del without["spec"]["storageClassName"]
    assert planning.claim_step(without, {}, {"std": marked}).assign == "std"
    assert planning.claim_step(claim("c"), {}, {"std": marked}).assign == ""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made, controllers(made, "persistentvolume-binder", "ephemeral-volume"):
        await made.ok("POST", ACCOUNTS, account("default"))
        yield made


async def phase(server: Harness, url: str, wanted: str) -> Obj:
    async def look() -> Obj | None:
        found = await server.ok("GET", url)
        return found if (found.get("status") or {}).get("phase") == wanted else None

    found: Obj = await comes(look, f"{url}: {wanted}")
    return found


def new(obj: Obj) -> Obj:
    """Without what the server gives."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "uid"}
    return {key: value for key, value in {**obj, "metadata": metadata}.items() if key != "status"}


async def test_the_life_of_a_claim_and_its_volume(server: Harness) -> None:
    await server.ok("POST", CLAIMS, new(claim("c")))
    await phase(server, f"{CLAIMS}/c", "Pending")

    async def told() -> bool:
        return "FailedBinding" in {one["reason"] for one in (await server.ok("GET", EVENTS))["items"]}

    await comes(told, "an event")
    await server.ok("POST", VOLUMES, new(volume("v", "2Gi")))
    found = await phase(server, f"{CLAIMS}/c", "Bound")
    assert found["spec"]["volumeName"] == "v"
    assert found["status"] == {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}}
    assert found["metadata"]["annotations"] == {planning.BOUND_BY: "yes", storage.COMPLETED: "yes"}
    kept = await phase(server, f"{VOLUMES}/v", "Bound")
    assert kept["spec"]["claimRef"]["uid"] == found["metadata"]["uid"]
    await server.ok("PATCH", f"{CLAIMS}/c", {"metadata": {"finalizers": None}}, headers=MERGE)
    await server.ok("DELETE", f"{CLAIMS}/c")
    released = await phase(server, f"{VOLUMES}/v", "Released")
    await server.ok("POST", CLAIMS, new(claim("c")))
    await phase(server, f"{CLAIMS}/c", "Pending")
    assert released["spec"]["claimRef"]["name"] == "c"
    await server.ok("PATCH", f"{VOLUMES}/v", {"spec": {"claimRef": None}}, headers=MERGE)
    await phase(server, f"{CLAIMS}/c", "Bound")
    await server.ok("PATCH", f"{VOLUMES}/v", {"metadata": {"finalizers": None}}, headers=MERGE)
    await server.ok("DELETE", f"{VOLUMES}/v")
    await phase(server, f"{CLAIMS}/c", "Lost")


async def test_two_claims_never_share_a_volume(server: Harness) -> None:
    await server.ok("POST", VOLUMES, new(volume("v")))
    for name in ("a", "b"):
        await server.ok("POST", CLAIMS, new(claim(name)))

    async def settled() -> list[str] | None:
        items = (await server.ok("GET", CLAIMS))["items"]
        phases = sorted((one.get("status") or {}).get("phase", "") for one in items)
        return phases if phases == ["Bound", "Pending"] else None

    await comes(settled, "one bound and one pending")
    await server.ok("POST", VOLUMES, new(volume("w")))
    for name in ("a", "b"):
        await phase(server, f"{CLAIMS}/{name}", "Bound")


async def test_ephemeral_volumes_have_claims_of_their_own(server: Harness) -> None:
    await server.ok("POST", VOLUMES, new(volume("v")))
    body = pod("p")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": new(claim("x"))["spec"]}
    body["spec"]["volumes"] = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
    made = await server.ok("POST", PODS, body)

    async def claimed() -> Obj | None:
        code, found = await server.call("GET", f"{CLAIMS}/p-scratch")
        return found if code == 200 else None

    found = await comes(claimed, "the claim")
    assert found["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert found["metadata"]["labels"] == {"a": "b"}
    await phase(server, f"{CLAIMS}/p-scratch", "Bound")


def test_what_a_kubelet_makes_of_a_claim() -> None:
    assert claim_name(pod("p"), {"name": "v", "ephemeral": {}}) == "p-v"
    assert claim_name(pod("p"), {"name": "v", "persistentVolumeClaim": {"claimName": "c"}}) == "c"
    assert source_of(volume("v")) == ("hostPath", {"path": "/data/v"})
    other = volume("v", csi={"driver": "d"})
    del other["spec"]["hostPath"]
    assert source_of(other) == ("csi", {"driver": "d"})


async def test_a_kubelet_mounts_what_is_bound(tmp_path: Path) -> None:
    from netlab.client.client import Client
    from netlab.client.fake import FakeApi
    from netlab.node.kubelet.volumes.claims import mounted
    from netlab.node.kubelet.volumes.payload import VolumeError

    api = FakeApi()
    client, user = Client(api), pod("p", namespace="default")
    source = {"name": "data", "persistentVolumeClaim": {"claimName": "c"}}

    async def refused(why: str) -> None:
        with pytest.raises(VolumeError, match=why):
            await mounted(client, user, source, tmp_path)

    await refused("failed to fetch PVC from API server: .*not found")
    api.add({**claim("c"), "status": {"phase": "Pending"}})
    await refused("error processing PVC default/c: PVC is not bound")
    api.modify(
        ("v1", "persistentvolumeclaims"), "default/c", {"spec": {"volumeName": "v"}, "status": {"phase": "Bound"}}
    )
    api.add(volume("v", **OTHER))
    await refused("PVC is not bound to PV v")
    api.modify(("v1", "persistentvolumes"), "v", {"spec": {"claimRef": {"uid": "uid-c"}}})
    path, read_only = await mounted(client, user, source, tmp_path)
    assert path == str(tmp_path / "data" / "v") and not read_only
    source["persistentVolumeClaim"]["readOnly"] = True  # type: ignore[index]
    assert (await mounted(client, user, source, tmp_path))[1]
