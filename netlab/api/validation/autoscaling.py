"""Rules of horizontal pod autoscalers. Source followed: `pkg/apis/autoscaling/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Callable

from netlab.api.types import Obj
from netlab.api.validation import names, resources
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, forbidden, invalid, not_supported, required
from netlab.api.validation.meta import NOT_POSITIVE, each, metadata, metadata_update, nonnegative

_LONGEST_PERIOD, _LONGEST_WINDOW = 1800, 3600
_SELECT = ("Disabled", "Max", "Min")
_POLICIES = ("Percent", "Pods")
_ABOVE_ZERO = "must be greater than zero"


def autoscaler(obj: Obj) -> list[FieldError]:
    """`ValidateHorizontalPodAutoscaler`."""
    return metadata(obj, True) + _spec(obj["spec"], 1)


def _update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _spec(new["spec"], 0 if old["spec"].get("minReplicas") == 0 else 1)


def _status_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    for key in ("currentReplicas", "desiredReplicas"):
        found += nonnegative(new["status"].get(key, 0), f"status.{key}")
    return found


def _spec(spec: Obj, least: int) -> list[FieldError]:
    low, high = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    found: list[FieldError] = []
    if low is not None and low < least:
        found.append(invalid("spec.minReplicas", low, f"must be greater than or equal to {least}"))
    if high < 1:
        found.append(invalid("spec.maxReplicas", high, NOT_POSITIVE))
    if low is not None and high < low:
        found.append(invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    found += _reference(spec["scaleTargetRef"], "spec.scaleTargetRef")
    found += _metrics(spec, low)
    for way in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(way)
        found += _scaling(rules, f"spec.behavior.{way}") if rules is not None else []
    return found


def _reference(ref: Obj, field: str) -> list[FieldError]:
    """`ValidateCrossVersionObjectReference`."""
    found: list[FieldError] = []
    for key in ("kind", "name"):
        value, here = ref.get(key, ""), f"{field}.{key}"
        found += each(here, value, names.path_segment(value)) if value else [required(here)]
    return found


def _scaling(rules: Obj, field: str) -> list[FieldError]:
    """`validateScalingRules`."""
    window, select, policies = (rules.get(key) for key in ("stabilizationWindowSeconds", "selectPolicy", "policies"))
    found: list[FieldError] = []
    if window is not None and window < 0:
        found.append(invalid(f"{field}.stabilizationWindowSeconds", window, "must be greater than or equal to zero"))
    if window is not None and window > _LONGEST_WINDOW:
        detail = f"must be less than or equal to {_LONGEST_WINDOW}"
        found.append(invalid(f"{field}.stabilizationWindowSeconds", window, detail))
    if select is not None and select not in _SELECT:
        found.append(not_supported(f"{field}.selectPolicy", select, _SELECT))
    if not policies:
        found.append(required(f"{field}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(policies or ()):
        found += _policy(policy, f"{field}.policies[{index}]")
    return found


def _policy(policy: Obj, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    if policy.get("type", "") not in _POLICIES:
        found.append(not_supported(f"{field}.type", policy.get("type", ""), _POLICIES))
    amounts = {key: policy.get(key, 0) for key in ("value", "periodSeconds")}
    found += [invalid(f"{field}.{key}", amount, _ABOVE_ZERO) for key, amount in amounts.items() if amount <= 0]
    if policy.get("periodSeconds", 0) > _LONGEST_PERIOD:
        detail = f"must be less than or equal to {_LONGEST_PERIOD}"
        found.append(invalid(f"{field}.periodSeconds", policy["periodSeconds"], detail))
    return found


# -- metrics -----------------------------------------------------------------------------------------------------------


def _metrics(spec: Obj, low: int | None) -> list[FieldError]:
    found: list[FieldError] = []
    metrics = spec.get("metrics") or []
    percent = spec.get("targetCPUUtilizationPercentage")  # v1's way to say it
    if percent is not None and percent < 1:
        field = "spec.metrics[0].resource.target.averageUtilization"
        found.append(invalid(field, percent, NOT_POSITIVE))
    for index, metric in enumerate(metrics):
        found += _metric(metric, f"spec.metrics[{index}]")
    if low == 0 and not {one.get("type") for one in metrics} & {"Object", "External"}:
        detail = "must specify at least one Object or External metric to support scaling to zero replicas"
        found.append(forbidden("spec.metrics", detail))
    return found


def _metric(metric: Obj, field: str) -> list[FieldError]:
    """`validateMetricSpec`."""
    kind, found = metric.get("type", ""), list[FieldError]()
    wanted, known = _FIELDS.get(kind, ""), tuple(sorted(_FIELDS))
    if not kind:
        found.append(required(f"{field}.type", "must specify a metric source type"))
    if not wanted:
        found.append(not_supported(f"{field}.type", kind, known))
    present = [key for key in _SOURCES if metric.get(key) is not None]
    if present:
        found += _SOURCES[present[0]](metric[present[0]], f"{field}.{present[0]}")
    if wanted and wanted not in present:
        found.append(required(f"{field}.{wanted}", "must populate information for the given metric source"))
    if not wanted:
        found.append(not_supported(f"{field}.type", kind, known))
    if len(present) != 1:
        detail = "must populate the given metric source only"
        found += [forbidden(f"{field}.{key}", detail) for key in present if key != wanted]
    return found


def _object(source: Obj, field: str) -> list[FieldError]:
    target = source.get("target") or {}
    found = _reference(source.get("describedObject") or {}, f"{field}.describedObject")
    found += _identifier(source, field) + _target(target, f"{field}.target")
    if "value" not in target and "averageValue" not in target:
        found.append(required(f"{field}.target.averageValue", "must set either a target value or averageValue"))
    return found


def _external(source: Obj, field: str) -> list[FieldError]:
    target = source.get("target") or {}
    found = _identifier(source, field) + _target(target, f"{field}.target")
    if "value" not in target and "averageValue" not in target:
        detail = "must set either a target value for metric or a per-pod target"
        found.append(required(f"{field}.target.averageValue", detail))
    if "value" in target and "averageValue" in target:
        detail = "may not set both a target value for metric and a per-pod target"
        found.append(forbidden(f"{field}.target.value", detail))
    return found


def _pods(source: Obj, field: str) -> list[FieldError]:
    target = source.get("target") or {}
    found = _identifier(source, field) + _target(target, f"{field}.target")
    if "averageValue" not in target:
        found.append(required(f"{field}.target.averageValue", "must specify a positive target averageValue"))
    return found


def _resource(source: Obj, field: str) -> list[FieldError]:
    name = source.get("name", "")
    found = [] if name else [required(f"{field}.name", "must specify a resource name")]
    return found + _resource_target(source.get("target") or {}, f"{field}.target")


def _container_resource(source: Obj, field: str) -> list[FieldError]:
    name, container = source.get("name", ""), source.get("container", "")
    found = [required(f"{field}.name", "must specify a resource name")] if not name else []
    found += resources.container_resource_name(name, f"{field}.name") if name else []
    if not container:
        found.append(required(f"{field}.container", "must specify a container"))
    else:
        found += each(f"{field}.container", container, names.dns_label(container))
    return found + _resource_target(source.get("target") or {}, f"{field}.target")


def _resource_target(target: Obj, field: str) -> list[FieldError]:
    found = _target(target, field)
    if "averageUtilization" not in target and "averageValue" not in target:
        detail = "must set either a target raw value or a target utilization"
        found.append(required(f"{field}.averageUtilization", detail))
    if "averageUtilization" in target and "averageValue" in target:
        detail = "may not set both a target raw value and a target utilization"
        found.append(forbidden(f"{field}.averageValue", detail))
    return found


def _target(target: Obj, field: str) -> list[FieldError]:
    """`validateMetricTarget`."""
    kind, found = target.get("type", ""), list[FieldError]()
    if not kind:
        found.append(required(f"{field}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        found.append(invalid(f"{field}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for key in ("value", "averageValue"):
        if key in target and resources.value(target[key]) <= 0:
            found.append(invalid(f"{field}.{key}", resources.go_quantity(target[key]), "must be positive"))
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        found.append(invalid(f"{field}.averageUtilization", percent, NOT_POSITIVE))
    return found


def _identifier(source: Obj, field: str) -> list[FieldError]:
    """`validateMetricIdentifier`."""
    name, here = (source.get("metric") or {}).get("name", ""), f"{field}.metric.name"
    return each(here, name, names.path_segment(name)) if name else [required(here, "must specify a metric name")]


_SOURCES: dict[str, Callable[[Obj, str], list[FieldError]]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _container_resource,
}
"""In the order in which upstream looks for them: only the first is examined."""
_FIELDS = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "External": "external",
}

RULES = {"HorizontalPodAutoscaler": Rules(autoscaler, _update, _status_update)}
