"""What single kinds need on create and update. Source followed: the `strategy.go` of each registry."""

from __future__ import annotations

from collections.abc import Callable

from netlab.api import meta
from netlab.api.strategy import services
from netlab.api.strategy.qos import qos_class
from netlab.api.types import Obj

_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


# -- pods --------------------------------------------------------------------------------------------------------------


def _pod_create(pod: Obj) -> None:
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod["spec"])}
    if pod["spec"].get("schedulingGates"):
        now = meta.now_rfc3339()
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": None,
                "lastTransitionTime": now,
            }
        ]
    _apparmor_fields(pod)


def _apparmor_fields(pod: Obj) -> None:
    """`applyAppArmorVersionSkew`: the older annotations become fields."""
    annotations = pod["metadata"].get("annotations") or {}
    spec = pod["spec"]
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            given = annotations.get(_APPARMOR + container.get("name", ""))
            profile = _apparmor_profile(given) if given else None
            context = container.get("securityContext") or {}
            if profile is None or "appArmorProfile" in context:
                continue
            if (spec.get("securityContext") or {}).get("appArmorProfile") == profile:
                continue
            container["securityContext"] = {**context, "appArmorProfile": profile}


def _apparmor_profile(annotation: str) -> Obj | None:
    if annotation in ("unconfined", "runtime/default"):
        return {"type": "Unconfined" if annotation == "unconfined" else "RuntimeDefault"}
    if annotation.startswith("localhost/") and annotation != "localhost/":
        return {"type": "Localhost", "localhostProfile": annotation.removeprefix("localhost/")}
    return None


def _pod_status_update(new: Obj, old: Obj) -> None:
    new["metadata"].pop("deletionTimestamp", None)
    if "deletionTimestamp" in old["metadata"]:
        new["metadata"]["deletionTimestamp"] = old["metadata"]["deletionTimestamp"]
    if "qosClass" in old["status"] and "qosClass" not in new["status"]:
        new["status"]["qosClass"] = old["status"]["qosClass"]


# -- namespaces, volumes -----------------------------------------------------------------------------------------------


def _namespace_create(namespace: Obj) -> None:
    namespace["status"] = {"phase": "Active"}
    finalizers = namespace["spec"].setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def _namespace_update(new: Obj, old: Obj) -> None:
    new["spec"].pop("finalizers", None)
    if old["spec"].get("finalizers"):
        new["spec"]["finalizers"] = old["spec"]["finalizers"]


def _volume_create(volume: Obj) -> None:
    volume["status"] = {"phase": "Pending", "lastPhaseTransitionTime": meta.now_rfc3339()}


def _volume_status_update(new: Obj, old: Obj) -> None:
    if new["status"].get("phase") != old["status"].get("phase") and "lastPhaseTransitionTime" not in new["status"]:
        new["status"]["lastPhaseTransitionTime"] = meta.now_rfc3339()


def _claim_create(claim: Obj) -> None:
    claim["status"] = {"phase": "Pending"}
    spec = claim["spec"]
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and ref is None:
        spec["dataSourceRef"] = dict(source)
    elif ref is not None and source is None and not ref.get("namespace"):
        known = (None, "", "snapshot.storage.k8s.io")
        if ref.get("kind") in ("PersistentVolumeClaim", "VolumeSnapshot") and ref.get("apiGroup") in known:
            spec["dataSource"] = {key: ref[key] for key in ("apiGroup", "kind", "name") if key in ref}


# -- workloads ---------------------------------------------------------------------------------------------------------


def _daemon_set_create(daemon_set: Obj) -> None:
    annotations = daemon_set["metadata"].setdefault("annotations", {})
    annotations[_TEMPLATE_GENERATION] = "1"


def _daemon_set_update(new: Obj, old: Obj) -> None:
    before = int(meta.annotations(old).get(_TEMPLATE_GENERATION, "0"))
    changed = new["spec"]["template"] != old["spec"]["template"]
    meta.set_annotation(new, _TEMPLATE_GENERATION, str(before + 1 if changed else before))


def _job_create(job: Obj) -> None:
    """The server's own selector and labels, unless the user keeps them (`manualSelector`)."""
    spec = job["spec"]
    if spec.get("manualSelector"):
        return
    uid, name = job["metadata"].get("uid", ""), job["metadata"].get("name", "")
    labels = spec["template"]["metadata"].setdefault("labels", {})
    ours = {
        "batch.kubernetes.io/controller-uid": uid,
        "controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "job-name": name,
    }
    for key, value in ours.items():
        labels.setdefault(key, value)
    selector = spec.setdefault("selector", {})
    matched = selector.setdefault("matchLabels", {})
    matched.setdefault("batch.kubernetes.io/controller-uid", uid)
    if job["metadata"].get("labels") is labels or not job["metadata"].get("labels"):
        job["metadata"]["labels"] = dict(labels)


# -- definitions -------------------------------------------------------------------------------------------------------


def _definition_create(definition: Obj) -> None:
    status = definition["status"]
    stored = [one["name"] for one in definition["spec"].get("versions") or () if one.get("storage")]
    status["storedVersions"] = stored[:1]


def _definition_update(new: Obj, old: Obj) -> None:
    for version in new["spec"].get("versions") or ():
        stored = new["status"].get("storedVersions") or []
        if version.get("storage") and version.get("name") not in stored:
            new["status"] = {**new["status"], "storedVersions": [*stored, version["name"]]}


CREATE: dict[str, Callable[[Obj], None]] = {
    "Pod": _pod_create,
    "Namespace": _namespace_create,
    "Service": services.create,
    "PersistentVolume": _volume_create,
    "PersistentVolumeClaim": _claim_create,
    "DaemonSet": _daemon_set_create,
    "Job": _job_create,
    "CustomResourceDefinition": _definition_create,
}
UPDATE: dict[str, Callable[[Obj, Obj], None]] = {
    "Namespace": _namespace_update,
    "Service": services.update,
    "DaemonSet": _daemon_set_update,
    "CustomResourceDefinition": _definition_update,
}
STATUS_UPDATE: dict[str, Callable[[Obj, Obj], None]] = {
    "Pod": _pod_status_update,
    "PersistentVolume": _volume_status_update,
}
METADATA_KEPT_ON_STATUS: dict[str, tuple[str, ...]] = {
    "Pod": ("ownerReferences",),
    "Deployment": ("labels",),
    "DaemonSet": ("generation",),
    "CustomResourceDefinition": ("labels", "annotations", "ownerReferences", "finalizers"),
}
"""Metadata that the status subresource may not touch."""
