"""Storage: volumes, claims, classes, CSI objects."""

from __future__ import annotations

from typing import Any

from netlab.api import meta
from netlab.api.tables import human
from netlab.api.tables.human import text
from netlab.api.tables.model import AGE, NAME, Column, Printer, boolean, integer, string
from netlab.api.types import Obj

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_VOLUME_MODE = string("VolumeMode", "Filesystem or Block.", wide=True)


def _access_modes(modes: list[str] | None) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))


def _class(obj: Obj) -> str:
    return meta.annotations(obj).get(_BETA_CLASS) or text(obj, "spec", "storageClassName")


def _phase(obj: Obj) -> str:
    return "Terminating" if meta.deleting(obj) else text(obj, "status", "phase")


def _volume(obj: Obj, now: float) -> list[Any]:
    claim = meta.get(obj, "spec", "claimRef")
    return [
        meta.name(obj),
        text(obj, "spec", "capacity", "storage", default="0"),
        _access_modes(meta.get(obj, "spec", "accessModes")),
        text(obj, "spec", "persistentVolumeReclaimPolicy"),
        _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _class(obj),
        text(obj, "spec", "volumeAttributesClassName", default=human.UNSET),
        text(obj, "status", "reason"),
        human.age(obj, now),
        text(obj, "spec", "volumeMode", default=human.UNSET),
    ]


PERSISTENT_VOLUME = Printer(
    (
        NAME,
        string("Capacity"),
        string("Access Modes"),
        string("Reclaim Policy"),
        string("Status"),
        string("Claim"),
        string("StorageClass", "StorageClass of the pv"),
        string("VolumeAttributesClass"),
        string("Reason"),
        AGE,
        _VOLUME_MODE,
    ),
    _volume,
)


def _claim(obj: Obj, now: float) -> list[Any]:
    volume = text(obj, "spec", "volumeName")
    return [
        meta.name(obj),
        _phase(obj),
        volume,
        text(obj, "status", "capacity", "storage", default="0") if volume else "",
        _access_modes(meta.get(obj, "status", "accessModes")) if volume else "",
        _class(obj),
        text(obj, "spec", "volumeAttributesClassName", default=human.UNSET),
        human.age(obj, now),
        text(obj, "spec", "volumeMode", default=human.UNSET),
    ]


PERSISTENT_VOLUME_CLAIM = Printer(
    (
        NAME,
        string("Status"),
        string("Volume"),
        string("Capacity"),
        string("Access Modes"),
        string("StorageClass", "StorageClass of the pvc"),
        string("VolumeAttributesClass"),
        AGE,
        _VOLUME_MODE,
    ),
    _claim,
)


def _storage_class(obj: Obj, now: float) -> list[Any]:
    default = any(meta.annotations(obj).get(annotation) == "true" for annotation in _DEFAULT_CLASS)
    return [
        meta.name(obj) + (" (default)" if default else ""),
        obj.get("provisioner") or "",
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        human.age(obj, now),
    ]


STORAGE_CLASS = Printer(
    (
        NAME,
        string("Provisioner"),
        string("ReclaimPolicy"),
        string("VolumeBindingMode"),
        string("AllowVolumeExpansion"),
        AGE,
    ),
    _storage_class,
)


def _attachment(obj: Obj, now: float) -> list[Any]:
    return [
        meta.name(obj),
        text(obj, "spec", "attacher"),
        text(obj, "spec", "source", "persistentVolumeName"),
        text(obj, "spec", "nodeName"),
        bool(meta.get(obj, "status", "attached")),
        human.age(obj, now),
    ]


VOLUME_ATTACHMENT = Printer(
    (
        NAME,
        Column("Attacher", form="name"),
        string("PV"),
        string("Node"),
        boolean("Attached"),
        AGE,
    ),
    _attachment,
)
CSI_NODE = Printer(
    (NAME, integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node"), AGE),
    lambda obj, now: [meta.name(obj), len(meta.get(obj, "spec", "drivers", default=[])), human.age(obj, now)],
)


def _csi_driver(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    audiences = human.comma(request.get("audience", "") for request in spec.get("tokenRequests") or ())
    return [
        meta.name(obj),
        bool(spec.get("attachRequired", True)),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        audiences if spec.get("tokenRequests") else human.UNSET,
        bool(spec.get("requiresRepublish")),
        human.comma(spec.get("volumeLifecycleModes")) or human.NONE,
        human.age(obj, now),
    ]


CSI_DRIVER = Printer(
    (
        NAME,
        boolean("AttachRequired"),
        boolean("PodInfoOnMount"),
        boolean("StorageCapacity"),
        string("TokenRequests"),
        boolean("RequiresRepublish"),
        string("Modes"),
        AGE,
    ),
    _csi_driver,
)
CSI_STORAGE_CAPACITY = Printer(
    (NAME, string("StorageClassName"), string("Capacity")),
    lambda obj, now: [meta.name(obj), obj.get("storageClassName") or "", obj.get("capacity") or human.UNSET],
)
