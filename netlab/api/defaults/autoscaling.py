"""Defaults of horizontal pod autoscalers. Source followed: `pkg/apis/autoscaling/{v1,v2}/defaults.go`."""

from __future__ import annotations

from netlab.api.types import Obj

_METRICS = "autoscaling.alpha.kubernetes.io/metrics"


def autoscaler_v1(obj: Obj) -> None:
    """At least one replica; 80 % CPU unless other metrics are given (v1 keeps those in an annotation)."""
    obj["spec"].setdefault("minReplicas", 1)
    if _METRICS not in (obj["metadata"].get("annotations") or ()):
        obj["spec"].setdefault("targetCPUUtilizationPercentage", 80)


def autoscaler_v2(obj: Obj) -> None:
    """At least one replica, 80 % CPU, and complete behaviour rules where any are given."""
    spec = obj["spec"]
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        behavior["scaleUp"] = _rules(behavior.get("scaleUp"), _SCALE_UP)
        behavior["scaleDown"] = _rules(behavior.get("scaleDown"), _SCALE_DOWN)


_SCALE_UP: Obj = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_SCALE_DOWN: Obj = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}


def _rules(given: Obj | None, default: Obj) -> Obj:
    kept = {key: value for key, value in (given or {}).items() if value is not None}
    merged = {**default, **kept}
    merged["policies"] = [dict(one) for one in merged["policies"]]
    return merged


DEFAULTS = {
    "autoscaling/v1.HorizontalPodAutoscaler": autoscaler_v1,
    "autoscaling/v2.HorizontalPodAutoscaler": autoscaler_v2,
}
