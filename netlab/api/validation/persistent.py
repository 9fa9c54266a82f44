"""Rules of persistent volumes and claims. Source followed: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

import copy
import posixpath

from netlab.api.types import Obj
from netlab.api.validation import names, paths, resources, volumes
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, forbidden, invalid, not_supported, required
from netlab.api.validation.godiff import diff
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import (
    annotation_map,
    each,
    label_selector,
    labels,
    metadata,
    metadata_update,
    unchanged,
)
from netlab.api.validation.scheduling import node_selector

_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_RECLAIM = ("Delete", "Recycle", "Retain")
_VOLUME_MODES = ("Block", "Filesystem")
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_ONE_TYPE = "may not specify more than 1 volume type"


def _csi(source: Obj, field: str) -> list[FieldError]:
    found = volumes.csi_driver_name(source.get("driver", ""), f"{field}.driver")
    if not source.get("volumeHandle"):
        found.append(required(f"{field}.volumeHandle"))
    secrets = ("controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef")
    for key in secrets:
        if key in source:
            found += _secret_reference(source[key], f"{field}.{key}")
    return found


def _secret_reference(ref: Obj, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key, rule in (("name", names.dns_subdomain), ("namespace", names.dns_label)):
        given = ref.get(key, "")
        found += each(f"{field}.{key}", given, rule(given)) if given else [required(f"{field}.{key}")]
    return found


def _local(source: Obj, field: str) -> list[FieldError]:
    if not source.get("path"):
        return [required(f"{field}.path")]
    return paths.no_backsteps(source["path"], f"{field}.path")


def _azure_file(source: Obj, field: str) -> list[FieldError]:
    found = [required(f"{field}.{key}") for key in ("secretName", "shareName") if not source.get(key)]
    if source.get("secretNamespace") == "":
        found.append(required(f"{field}.secretNamespace"))
    return found


_SOURCES = {
    "hostPath": volumes.host_path,
    "gcePersistentDisk": volumes.disk,
    "awsElasticBlockStore": volumes.disk,
    "glusterfs": volumes.SOURCES["glusterfs"],
    "flocker": volumes.flocker,
    "nfs": volumes.nfs,
    "rbd": volumes.SOURCES["rbd"],
    "quobyte": volumes.quobyte,
    "cephfs": volumes.ceph_fs,
    "iscsi": volumes.iscsi,
    "cinder": volumes.cinder,
    "fc": volumes.fibre_channel,
    "flexVolume": volumes.flex_volume,
    "azureFile": _azure_file,
    "vsphereVolume": volumes.SOURCES["vsphereVolume"],
    "photonPersistentDisk": volumes.SOURCES["photonPersistentDisk"],
    "portworxVolume": volumes.SOURCES["portworxVolume"],
    "azureDisk": volumes.azure_disk,
    "scaleIO": volumes.SOURCES["scaleIO"],
    "local": _local,
    "storageos": volumes.storage_os,
    "csi": _csi,
}
"""In upstream's order."""


def volume_create(volume: Obj) -> list[FieldError]:
    """`ValidatePersistentVolume`."""
    return metadata(volume, False) + _volume_spec(volume["spec"])


def _volume_spec(spec: Obj) -> list[FieldError]:
    found = [] if spec.get("accessModes") else [required("spec.accessModes")]
    found += _access_modes(spec)
    capacity = spec.get("capacity") or {}
    if not capacity:
        found.append(required("spec.capacity"))
    if "storage" not in capacity or len(capacity) > 1:
        inner = ", ".join(f"{quote(key)}:{resources.go_quantity(capacity[key])}" for key in sorted(capacity))
        shown = GoSyntax(f"core.ResourceList{{{inner}}}" if capacity else "core.ResourceList(nil)")
        found.append(not_supported("spec.capacity", shown, ("storage",)))
    for name, amount in capacity.items():
        here = f"spec.capacity[{name}]"
        found += resources.basic_resource(amount, here) + resources.positive_quantity(amount, here)
    reclaim = spec.get("persistentVolumeReclaimPolicy", "")
    if reclaim and reclaim not in _RECLAIM:
        found.append(not_supported("spec.persistentVolumeReclaimPolicy", reclaim, _RECLAIM))
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        if affinity.get("required") is None:
            found.append(required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            found += node_selector(affinity["required"], "spec.nodeAffinity.required")
    found += _volume_source(spec)
    host_path = (spec.get("hostPath") or {}).get("path", "-")
    if posixpath.normpath(host_path) == "/" and reclaim == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        found.append(forbidden("spec.persistentVolumeReclaimPolicy", detail))
    return found + _class_and_mode(spec, "spec")


def _volume_source(spec: Obj) -> list[FieldError]:
    found: list[FieldError] = []
    count = 0
    for key, rule in _SOURCES.items():
        if key not in spec:
            continue
        if count and key != "flexVolume":
            found.append(forbidden(f"spec.{'cephFS' if key == 'cephfs' else key}", _ONE_TYPE))
            continue
        count += 1
        found += rule(spec[key], f"spec.{'persistentDisk' if key == 'gcePersistentDisk' else key}")
        if key == "local" and spec.get("nodeAffinity") is None:
            found.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    if not count:
        found.append(required("spec", "must specify a volume type"))
    return found


def _access_modes(spec: Obj, field: str = "spec") -> list[FieldError]:
    modes = spec.get("accessModes") or []
    here = f"{field}.accessModes"
    found: list[FieldError] = [not_supported(here, one, _ACCESS_MODES) for one in modes if one not in _ACCESS_MODES]
    known = {one for one in modes if one in _ACCESS_MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        found.append(forbidden(here, "may not use ReadWriteOncePod with other access modes"))
    return found


def _class_and_mode(spec: Obj, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    name = spec.get("storageClassName")
    if name:
        found += each(f"{field}.storageClassName", name, names.dns_subdomain(name))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in _VOLUME_MODES:
        found.append(not_supported(f"{field}.volumeMode", mode, _VOLUME_MODES))
    return found


def volume_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidatePersistentVolumeUpdate`."""
    found = volume_create(new)
    after = {key: new["spec"][key] for key in _SOURCES if key in new["spec"]}
    before = {key: old["spec"][key] for key in _SOURCES if key in old["spec"]}
    if "csi" in after and "csi" in before and "controllerExpandSecretRef" not in before["csi"]:
        csi = {key: value for key, value in after["csi"].items() if key != "controllerExpandSecretRef"}
        after["csi"] = csi
    if after != before:
        detail = f"spec.persistentvolumesource is immutable after creation\n{diff(before, after)}"
        found.append(forbidden("spec.persistentvolumesource", detail))
    found += unchanged(new["spec"].get("volumeMode"), old["spec"].get("volumeMode"), "volumeMode")
    affinity = old["spec"].get("nodeAffinity")
    if affinity is not None and new["spec"].get("nodeAffinity") != affinity:
        detail = "field is immutable, except for updating from beta label to GA"
        found.append(invalid("nodeAffinity", GoSyntax("core.VolumeNodeAffinity{…}"), detail))
    return found


def _status_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    if not new["metadata"].get("resourceVersion"):
        found.append(required("resourceVersion"))
    return found


# -- claims ------------------------------------------------------------------------------------------------------------


def claim_create(claim: Obj) -> list[FieldError]:
    """`ValidatePersistentVolumeClaim`."""
    return metadata(claim, True) + claim_spec(claim["spec"], "spec")


def claim_spec(spec: Obj, field: str) -> list[FieldError]:
    """`ValidatePersistentVolumeClaimSpec`."""
    found: list[FieldError] = []
    if not spec.get("accessModes"):
        found.append(required(f"{field}.accessModes", "at least 1 access mode is required"))
    found += label_selector(spec.get("selector"), f"{field}.selector")
    found += _access_modes(spec, field)
    here = f"{field}.resources[storage]"
    amount = (spec["resources"].get("requests") or {}).get("storage")
    if amount is None:
        found.append(required(here))
    else:
        wrong = resources.positive_quantity(amount, here)
        found += wrong or resources.quantity_value("storage", amount, here)
    found += _class_and_mode(spec, field)
    return found + _data_source(spec, field)


def _data_source(spec: Obj, field: str) -> list[FieldError]:
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    found: list[FieldError] = []
    for key, one in (("dataSource", source), ("dataSourceRef", ref)):
        if one is None:
            continue
        here, group = f"{field}.{key}", one.get("apiGroup") or ""
        found += [required(f"{here}.{part}") for part in ("name", "kind") if not one.get(part)]
        if not group and one.get("kind") != "PersistentVolumeClaim":
            detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            found.append(invalid(here, one.get("kind", ""), detail))
        if group:
            found += each(f"{here}.apiGroup", group, names.dns_subdomain(group))
        if one.get("namespace"):
            found += each(f"{here}.namespace", one["namespace"], names.dns_label(one["namespace"]))
    if source is None or ref is None:
        return found
    if ref.get("namespace"):
        detail = "may not be specified when dataSourceRef.namespace is specified"
        found.append(invalid(field, GoSyntax(f"{field}.dataSource"), detail))
    elif any((source.get(key) or "") != (ref.get(key) or "") for key in ("apiGroup", "kind", "name")):
        found.append(invalid(field, GoSyntax(f"{field}.dataSource"), "must match dataSourceRef"))
    return found


def claim_template(claim: Obj, field: str) -> list[FieldError]:
    """`ValidatePersistentVolumeClaimTemplate` of an ephemeral volume."""
    meta = claim["metadata"]
    found = annotation_map(meta.get("annotations"), f"{field}.metadata.annotations")
    found += labels(meta.get("labels"), f"{field}.metadata.labels")
    for key, value in meta.items():
        if value and key not in ("labels", "annotations"):
            found.append(forbidden(f"{field}.metadata.{key}", "cannot be set"))
    return found + claim_spec(claim["spec"], f"{field}.spec")


def claim_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidatePersistentVolumeClaimUpdate`: a bound claim may only grow."""
    found = metadata_update(new, old) + claim_create(new)
    after, before = copy.deepcopy(new["spec"]), copy.deepcopy(old["spec"])
    if not before.get("volumeName"):
        before.pop("volumeName", None)
        if "volumeName" in after:
            before["volumeName"] = after["volumeName"]
    was, now = (one["metadata"].get("annotations") or {} for one in (old, new))
    if was.get(_BETA_CLASS, "") != now.get(_BETA_CLASS, ""):
        field = f"metadata.annotations.{_BETA_CLASS}"
        found.append(invalid(field, now.get(_BETA_CLASS, ""), "field is immutable"))
    chosen = after.get("storageClassName")
    if chosen is not None and "storageClassName" not in before and was.get(_BETA_CLASS) in (None, chosen):
        before["storageClassName"] = chosen
    requests = after["resources"].get("requests")
    new_size = (requests or {}).get("storage", "0")
    old_size = (before["resources"].get("requests") or {}).get("storage", "0")
    if new["status"].get("phase") == "Bound" and requests is not None:
        requests["storage"] = old_size
    if after != before:
        detail = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        found.append(forbidden("spec", f"{detail}\n{diff(before, after)}"))
    if resources.value(new_size) < resources.value(old_size):
        capacity = (old["status"].get("capacity") or {}).get("storage", "0")
        if resources.value(new_size) <= resources.value(capacity):
            detail = "field can not be less than status.capacity"
            found.append(forbidden("spec.resources.requests.storage", detail))
    return found + unchanged(new["spec"].get("volumeMode"), old["spec"].get("volumeMode"), "volumeMode")


RULES = {
    "PersistentVolume": Rules(volume_create, volume_update, _status_update),
    "PersistentVolumeClaim": Rules(claim_create, claim_update, _status_update),
}
