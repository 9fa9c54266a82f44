"""PURE. One stored object, served in several versions: Events (core and events.k8s.io), autoscaling v1 and v2.

Custom kinds have a rule of their own; every other kind with several versions has the same shape in all of them.
Source followed: upstream's conversion functions (pkg/apis/core/v1, pkg/apis/events/v1, pkg/apis/autoscaling/v1).
"""

from collections.abc import Callable

import orjson

from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.extensions.kinds import CustomResource
from netlab.apiserver.extensions.values import converted as custom

_EVENT_TO_V1 = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_EVENT_TO_CORE = {new: old for old, new in _EVENT_TO_V1.items()}
_HPA_METRICS = "autoscaling.alpha.kubernetes.io/metrics"


def convert(obj: Obj, source: Resource, target: Resource) -> Obj:
    """`obj` of `source` as `target` shows it; the same object where nothing differs. Never fails."""
    if source.api_version == target.api_version:
        return obj
    if isinstance(target, CustomResource):
        return custom(obj, target)
    change = _CONVERSIONS.get((source.api_version, target.api_version, source.kind))
    converted = change(obj) if change is not None else dict(obj)
    return {**converted, "apiVersion": target.api_version}


def _renamed(names: dict[str, str]) -> Callable[[Obj], Obj]:
    def rename(obj: Obj) -> Obj:
        return {names.get(key, key): value for key, value in obj.items()}

    return rename


def _hpa_to_v1(obj: Obj) -> Obj:
    spec = {**obj.get("spec", {})}
    metrics = spec.pop("metrics", None) or []
    spec.pop("behavior", None)
    kept = []
    for metric in metrics:
        resource = metric.get("resource") or {}
        target = resource.get("target") or {}
        if (
            resource.get("name") == "cpu"
            and "averageUtilization" in target
            and "targetCPUUtilizationPercentage" not in spec
        ):
            spec["targetCPUUtilizationPercentage"] = target["averageUtilization"]
        else:
            kept.append(metric)
    converted = {**obj, "spec": spec}
    if kept:
        metadata = {**obj.get("metadata", {})}
        metadata["annotations"] = {**metadata.get("annotations", {}), _HPA_METRICS: orjson.dumps(kept).decode()}
        converted["metadata"] = metadata
    status = {**obj.get("status", {})}
    for metric in status.pop("currentMetrics", None) or []:
        resource = metric.get("resource") or {}
        if resource.get("name") == "cpu" and "averageUtilization" in (resource.get("current") or {}):
            status["currentCPUUtilizationPercentage"] = resource["current"]["averageUtilization"]
    status.pop("conditions", None)
    if "status" in obj:
        converted["status"] = {"currentReplicas": 0, "desiredReplicas": 0, **status}
    return converted


def _hpa_to_v2(obj: Obj) -> Obj:
    spec = {**obj.get("spec", {})}
    metadata = {**obj.get("metadata", {})}
    annotations = {**(metadata.get("annotations") or {})}
    metrics = orjson.loads(annotations.pop(_HPA_METRICS, "[]"))
    if "annotations" in metadata:
        metadata["annotations"] = annotations
        if not annotations:
            del metadata["annotations"]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    status = {**obj.get("status", {})}
    status.pop("currentCPUUtilizationPercentage", None)
    converted = {**obj, "metadata": metadata, "spec": spec}
    if "status" in obj:
        converted["status"] = status
    return converted


_CONVERSIONS: dict[tuple[str, str, str], Callable[[Obj], Obj]] = {
    ("v1", "events.k8s.io/v1", "Event"): _renamed(_EVENT_TO_V1),
    ("events.k8s.io/v1", "v1", "Event"): _renamed(_EVENT_TO_CORE),
    ("autoscaling/v2", "autoscaling/v1", "HorizontalPodAutoscaler"): _hpa_to_v1,
    ("autoscaling/v1", "autoscaling/v2", "HorizontalPodAutoscaler"): _hpa_to_v2,
}
