"""Fields of features that Kubernetes 1.33 has switched off: not stored, unless the object has used them before.

Source followed: `dropDisabledFields` of pkg/api/pod/util.go and of each registry's strategy, with the default gates of
pkg/features/kube_features.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from netlab.api.types import Obj

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_TEMPLATED = ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "ReplicationController")


def drop_disabled(new: Obj, old: Obj | None = None) -> None:
    """In place on `new`; `old` is the stored object of an update."""
    kind = str(new.get("kind"))
    spec = _pod_spec(kind, new)
    if spec is not None:
        _of_pod(spec, (_pod_spec(kind, old) or {}) if old is not None else {})
    rule = _KINDS.get(kind)
    if rule is not None:
        rule(new, old or {})


_PATHS = {
    "Pod": ("spec",),
    "PodTemplate": ("template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys(_TEMPLATED, ("spec", "template", "spec")),
}


def _pod_spec(kind: str, obj: Obj) -> Obj | None:
    found: Obj | None = _at(obj, *_PATHS[kind]) if kind in _PATHS else None
    return found


def _at(obj: Any, *path: str) -> Any:
    """What is at a path, or None."""
    for key in path:
        obj = (obj or {}).get(key)
    return obj


# -- pods --------------------------------------------------------------------------------------------------------------


def _containers(spec: Obj) -> Iterator[Obj]:
    return (one for key in _CONTAINERS for one in spec.get(key) or ())


def _of_pod(new: Obj, old: Obj) -> None:
    if new.get("volumes"):
        _image_volumes(new, old)
        _trust_bundles(new, old)
    if "resourceClaims" in new and not old.get("resourceClaims"):  # DynamicResourceAllocation
        del new["resourceClaims"]
        for container in _containers(new):
            (container.get("resources") or {}).pop("claims", None)
    if "resources" in new and "resources" not in old:  # PodLevelResources
        del new["resources"]
    if not any(_at(one, "lifecycle", "stopSignal") for one in _containers(old)):  # ContainerStopSignals
        for container in _containers(new):
            if _at(container, "lifecycle", "stopSignal") is not None:
                del container["lifecycle"]["stopSignal"]
                if not container["lifecycle"]:
                    del container["lifecycle"]


def _image_volumes(new: Obj, old: Obj) -> None:
    """ImageVolume: such volumes go, and their mounts."""
    gone = {volume.get("name") for volume in new["volumes"] if volume.get("image") is not None}
    if not gone or any(volume.get("image") is not None for volume in old.get("volumes") or ()):
        return
    new["volumes"] = [volume for volume in new["volumes"] if volume.get("image") is None]
    for container in _containers(new):
        if container.get("volumeMounts"):
            container["volumeMounts"] = [one for one in container["volumeMounts"] if one.get("name") not in gone]


def _trust_bundles(new: Obj, old: Obj) -> None:
    """ClusterTrustBundleProjection."""

    def sources(spec: Obj) -> list[Obj]:
        return [one for volume in spec.get("volumes") or () for one in _at(volume, "projected", "sources") or ()]

    if not any("clusterTrustBundle" in one for one in sources(old)):
        for source in sources(new):
            source.pop("clusterTrustBundle", None)


# -- other kinds -------------------------------------------------------------------------------------------------------


def _unless_used(*path: str) -> Callable[[Obj, Obj], None]:
    *above, last = path

    def rule(new: Obj, old: Obj) -> None:
        holder = _at(new, *above)
        if holder and last in holder and _at(old, *path) is None:
            del holder[last]

    return rule


_ATTRIBUTES_CLASS = _unless_used("spec", "volumeAttributesClassName")


def _claim(new: Obj, old: Obj) -> None:
    """VolumeAttributesClass; CrossNamespaceVolumeDataSource."""
    _ATTRIBUTES_CLASS(new, old)
    if _at(new, "spec", "dataSourceRef", "namespace") and _at(old, "spec", "dataSourceRef") is None:
        del new["spec"]["dataSourceRef"]


def _autoscaler(new: Obj, old: Obj) -> None:
    """HPAConfigurableTolerance."""
    for way in ("scaleUp", "scaleDown"):
        _unless_used("spec", "behavior", way, "tolerance")(new, old)


def _lease(new: Obj, old: Obj) -> None:
    """CoordinatedLeaderElection."""
    for field in ("strategy", "preferredHolder"):
        _unless_used("spec", field)(new, old)


def _slice(new: Obj, old: Obj) -> None:
    """PreferSameTrafficDistribution."""
    if not any(_at(one, "hints", "forNodes") for one in old.get("endpoints") or ()):
        for endpoint in new.get("endpoints") or ():
            if endpoint.get("hints"):
                endpoint["hints"].pop("forNodes", None)


_KINDS: dict[str, Callable[[Obj, Obj], None]] = {
    "PersistentVolume": _ATTRIBUTES_CLASS,
    "PersistentVolumeClaim": _claim,
    "StatefulSet": _unless_used("spec", "updateStrategy", "rollingUpdate", "maxUnavailable"),
    "HorizontalPodAutoscaler": _autoscaler,
    "CSIDriver": _unless_used("spec", "nodeAllocatableUpdatePeriodSeconds"),
    "Lease": _lease,
    "EndpointSlice": _slice,
}
