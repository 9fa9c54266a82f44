"""The default class' provisioner: what it makes, what it refuses; and who owns a StatefulSet's claims."""

from typing import Any

import pytest

from netlab.controllers import local_path, statefulset_claims, volume_expand

Obj = dict[str, Any]
STANDARD: Obj = {"metadata": {"name": "standard"}, "provisioner": local_path.NAME, "reclaimPolicy": "Delete"}
SHARED: Obj = {**STANDARD, "metadata": {"name": "shared"}}
NODE: Obj = {"metadata": {"name": "n1", "labels": {local_path.HOSTNAME: "host-1"}}}
SET: Obj = {"metadata": {"name": "web", "namespace": "d", "uid": "s"}, "spec": {}}
POD: Obj = {"metadata": {"name": "web-0", "namespace": "d", "uid": "p"}}


def claim(**spec: Any) -> Obj:
    full = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    metadata = {"name": "c", "namespace": "d", "uid": "u", "resourceVersion": "7"}
    return {"metadata": metadata, "spec": {"storageClassName": "standard", **full}}


def test_a_volume_on_the_chosen_node() -> None:
    wanted = local_path.provisioned(claim(), STANDARD, NODE)
    assert wanted.node == "n1" and wanted.path == "/var/local-path-provisioner/pvc-u_d_c"
    assert wanted.volume["metadata"] == {
        "name": "pvc-u",
        "annotations": {"pv.kubernetes.io/provisioned-by": "rancher.io/local-path"},
    }
    assert wanted.volume["spec"]["hostPath"] == {"path": wanted.path, "type": "DirectoryOrCreate"}
    assert local_path.place(wanted.volume) == (wanted.path, "host-1")


def test_a_shared_volume_is_of_no_node() -> None:
    wanted = local_path.provisioned(claim(accessModes=["ReadWriteMany"]), SHARED, None)
    assert wanted.node == "" and "nodeAffinity" not in wanted.volume["spec"]
    assert local_path.place(wanted.volume) == ("/var/shared-path-provisioner/pvc-u_d_c", "")


@pytest.mark.parametrize(
    ("spec", "node", "why"),
    [
        ({"selector": {"matchLabels": {"a": "b"}}}, NODE, "claim.Spec.Selector is not supported"),
        ({"accessModes": ["ReadWriteMany"]}, NODE, "NodePath only supports ReadWriteOnce and ReadWriteOncePod"),
        ({}, None, "configuration error, no node was specified"),
    ],
)
def test_what_is_refused(spec: Obj, node: Obj | None, why: str) -> None:
    with pytest.raises(local_path.RefusedError, match=why):
        local_path.provisioned(claim(**spec), STANDARD, node)


def ref(kind: str, name: str, uid: str) -> Obj:
    version = "v1" if kind == "Pod" else "apps/v1"
    return {
        "apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True, "blockOwnerDeletion": True
    }  # fmt: skip


OF_SET, OF_POD, OF_OTHER = ref("StatefulSet", "web", "s"), ref("Pod", "web-0", "p"), ref("Job", "j", "x")
OWNERS: list[tuple[str, str, bool, list[Obj], list[Obj]]] = [
    ("Retain", "Retain", False, [], []),
    ("Retain", "Retain", True, [OF_SET], []),
    ("Delete", "Retain", False, [], [OF_SET]),
    ("Delete", "Retain", True, [OF_POD], [OF_SET]),
    ("Retain", "Delete", False, [OF_POD], []),
    ("Retain", "Delete", True, [], [OF_POD]),
    ("Delete", "Delete", False, [OF_POD], [OF_SET]),
    ("Delete", "Delete", True, [OF_SET], [OF_POD]),
    ("Delete", "Delete", True, [OF_OTHER], [OF_OTHER]),
]


@pytest.mark.parametrize(("deleted", "scaled", "away", "before", "after"), OWNERS)
def test_who_owns_a_claim(deleted: str, scaled: str, away: bool, before: list[Obj], after: list[Obj]) -> None:
    owner = {**SET, "spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}}
    mine = claim()
    mine["metadata"]["ownerReferences"] = before
    assert statefulset_claims.references(mine, owner, POD, scaled_away=away) == after
    assert statefulset_claims.matches(mine, owner, POD, scaled_away=away) == (before == after)


def test_a_claim_of_an_earlier_pod_is_stale() -> None:
    mine = claim()
    assert not statefulset_claims.stale(mine, "web-0")
    mine["metadata"]["ownerReferences"] = [OF_POD]
    assert statefulset_claims.stale(mine, "web-0") and not statefulset_claims.stale(mine, "web-0", "p")


def test_claims_that_grow() -> None:
    mine = claim(volumeName="v", resources={"requests": {"storage": "2Gi"}})
    mine["metadata"]["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
    assert volume_expand.grows({**mine, "status": {"capacity": {"storage": "1Gi"}}})
    assert not volume_expand.grows({**mine, "status": {"capacity": {"storage": "2Gi"}}})
    assert not volume_expand.grows({**claim(), "status": {}})
