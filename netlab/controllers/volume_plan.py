"""PURE. Which volume a claim gets, and what claims and volumes are to become.

Source followed: pkg/controller/volume/persistentvolume (pv_controller.go, index.go), component-helpers storage/volume.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.storage import (
    BOUND_BY,
    CLASS,
    COMPLETED,
    PROVISIONED_BY,
    PROVISIONER,
    SELECTED_NODE,
    best,
    class_of,
    default_class,
    mode_of,
    modes_fit,
    refers,
    requested,
    size,
    waits,
)
from netlab.api.types import Obj

IN_TREE = "kubernetes.io/"
_WAITING = "waiting for first consumer to be created before binding"
Event = tuple[str, str, str]
"""Type, reason and message."""


@dataclass(slots=True)
class Step:
    """What is to be done about a claim: bind it to a volume, or give it a phase; what to say; annotations to set.

    `assign`: the class that became the default after the claim was made."""

    bind: Obj | None = None
    assign: str = ""
    phase: str = ""
    event: Event | None = None
    annotations: dict[str, str] = field(default_factory=dict)


def mismatch(volume: Obj, claim: Obj) -> str:
    """Why a volume that was asked for by name will not do; "" where it will."""
    if size(volume["spec"].get("capacity")) < requested(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if mode_of(volume) != mode_of(claim):
        return "incompatible volumeMode"
    return "" if modes_fit(volume, claim) else "incompatible accessMode"


def claim_step(claim: Obj, volumes: Mapping[str, Obj], classes: Mapping[str, Obj], pods: Iterable[Obj] = ()) -> Step:
    """`volumes` and `classes` are all of them by name, `pods` those that use the claim."""
    name = claim["spec"].get("volumeName", "")
    if meta.annotations(claim).get(COMPLETED):
        return _bound(claim, name, volumes)
    if name:
        return _asked(claim, name, volumes)
    class_name = class_of(claim)
    found = classes.get(class_name)
    delayed = waits(found) and SELECTED_NODE not in meta.annotations(claim)
    volume = best(claim, volumes.values(), delayed=delayed)
    if volume is not None:
        return Step(bind=volume)
    if delayed:
        return Step(phase="Pending", event=_delay(pods))
    if class_name:
        return _provision(class_name, found)
    late = default_class(classes.values()) if _without_class(claim) else None
    if late is not None:
        return Step(phase="Pending", assign=meta.name(late))
    text = "no persistent volumes available for this claim and no storage class is set"
    return Step(phase="Pending", event=("Normal", "FailedBinding", text))


def _without_class(claim: Obj) -> bool:
    """Nobody chose a class, nor that there be none ("")."""
    return claim["spec"].get("storageClassName") is None and CLASS not in meta.annotations(claim)


def _delay(pods: Iterable[Obj]) -> Event:
    waiting = sorted(meta.name(pod) for pod in pods if not pod["spec"].get("nodeName") and not meta.deleting(pod))
    if not waiting:
        return "Normal", "WaitForFirstConsumer", _WAITING
    word = "pod" if len(waiting) == 1 else "pods"
    return "Normal", "WaitForPodScheduled", f"waiting for {word} {','.join(waiting)} to be scheduled"


def _provision(name: str, found: Obj | None) -> Step:
    if found is None:
        text = f'storageclass.storage.k8s.io "{name}" not found'
        return Step(phase="Pending", event=("Warning", "ProvisioningFailed", text))
    provisioner = str(found.get("provisioner", ""))
    if provisioner.startswith(IN_TREE):
        text = f"no volume plugin matched name: {provisioner}"
        return Step(phase="Pending", event=("Warning", "ProvisioningFailed", text))
    text = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    step = Step(phase="Pending", event=("Normal", "ExternalProvisioning", text))
    step.annotations = dict.fromkeys(PROVISIONER, provisioner)
    return step


def _asked(claim: Obj, name: str, volumes: Mapping[str, Obj]) -> Step:
    volume = volumes.get(name)
    if volume is None:
        return Step(phase="Pending")
    if not volume["spec"].get("claimRef"):
        why = mismatch(volume, claim)
        if why:
            text = f'Cannot bind to requested volume "{name}": {why}'
            return Step(phase="Pending", event=("Warning", "VolumeMismatch", text))
        return Step(bind=volume)
    if refers(volume, claim):
        return Step(bind=volume)
    text = f'volume "{name}" already bound to a different claim.'
    return Step(phase="Pending", event=("Warning", "FailedBinding", text))


def _bound(claim: Obj, name: str, volumes: Mapping[str, Obj]) -> Step:
    if not name:
        text = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        return Step(phase="Lost", event=("Warning", "ClaimLost", text))
    volume = volumes.get(name)
    if volume is None:
        text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        return Step(phase="Lost", event=("Warning", "ClaimLost", text))
    if not volume["spec"].get("claimRef") or refers(volume, claim):
        return Step(bind=volume)
    text = "Two claims are bound to the same volume, this one is bound incorrectly"
    return Step(phase="Lost", event=("Warning", "ClaimMisbound", text))


@dataclass(frozen=True, slots=True)
class Fate:
    """What is to be done about a volume: its phase; its claimRef taken away (`free`), or only its uid (`loosen`)."""

    phase: str = ""
    event: Event | None = None
    free: bool = False
    loosen: bool = False
    recycle: bool = False
    """Empty it, and offer it anew."""
    delete: bool = False
    wake: bool = False
    """The claim is to be looked at: it is being bound."""


def volume_fate(volume: Obj, claim: Obj | None) -> Fate:
    """`claim` is the one that claimRef names, whatever its uid is."""
    reference = volume["spec"].get("claimRef")
    if not reference or not reference.get("uid"):
        return Fate("Available", wake=bool(reference))
    phase = meta.get(volume, "status", "phase", default="")
    if claim is None or meta.uid(claim) != reference["uid"]:
        if phase not in ("Released", "Failed"):
            return Fate("Released")
        return _reclaimed(volume) if phase == "Released" else Fate(phase)
    name = claim["spec"].get("volumeName", "")
    if not name:
        return Fate(phase or "Available", wake=True)
    if name == meta.name(volume):
        return Fate("Bound")
    ours = BOUND_BY in meta.annotations(volume)
    return Fate("Available", free=ours, loosen=not ours)


def _reclaimed(volume: Obj) -> Fate:
    """What becomes of a released volume. Those of outside provisioners are theirs to delete."""
    policy = volume["spec"].get("persistentVolumeReclaimPolicy", "Retain")
    host_path = meta.get(volume, "spec", "hostPath", "path")
    if policy == "Recycle":
        if host_path:
            return Fate("Released", recycle=True)
        return Fate("Failed", ("Warning", "VolumeFailedRecycle", "No recycler plugin found for the volume!"))
    if policy == "Delete" and PROVISIONED_BY not in meta.annotations(volume):
        if host_path and _TEMPORARY.match(host_path):
            return Fate("Released", delete=True)
        if host_path:
            text = f"host_path deleter only supports /tmp/.+ but received provided {host_path}"
        else:
            text = f'error getting deleter volume plugin for volume "{meta.name(volume)}": no volume plugin matched'
        return Fate("Failed", ("Warning", "VolumeFailedDelete", text))
    return Fate("Released")


_TEMPORARY = re.compile("/tmp/.+")


def scrubber(volume: Obj) -> Obj:
    """The pod that empties a volume of type hostPath, as upstream's recycler pod does."""
    where = {"path": volume["spec"]["hostPath"]["path"]}
    clear = "rm -rf /scrub/..?* /scrub/.[!.]* /scrub/*"
    empty = f'test -e /scrub && {clear} && test -z "$(ls -A /scrub)" || exit 1'
    container = {
        "name": "pv-recycler",
        "image": "busybox",
        "command": ["/bin/sh"],
        "args": ["-c", empty],
        "volumeMounts": [{"name": "vol", "mountPath": "/scrub"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"recycler-for-{meta.name(volume)}", "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": _RECYCLE_SECONDS,
            "volumes": [{"name": "vol", "hostPath": where}],
            "containers": [container],
        },
    }


_RECYCLE_SECONDS = 60
"""Upstream's --pv-recycler-minimum-timeout-hostpath."""
