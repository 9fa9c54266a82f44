"""Rules of small kinds of several groups: leases, events, budgets, priority classes, runtime classes.

Source followed: `pkg/apis/{coordination,policy,scheduling,node}/validation/validation.go`,
`pkg/apis/core/validation/events.go`.
"""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, forbidden, invalid, not_supported, required
from netlab.api.validation.gofmt import GoSyntax
from netlab.api.validation.meta import (
    IMMUTABLE,
    NOT_POSITIVE,
    each,
    label_key,
    label_selector,
    metadata,
    metadata_update,
    nonnegative,
    unchanged,
)
from netlab.api.validation.pod_spec import preemption_policy
from netlab.api.validation.resources import requirements
from netlab.api.validation.scheduling import tolerations
from netlab.api.validation.workloads import not_more_than_100_percent, positive_int_or_percent

# -- leases ------------------------------------------------------------------------------------------------------------


def lease(obj: Obj) -> list[FieldError]:
    """`ValidateLease`."""
    spec = obj["spec"]
    found = metadata(obj, True)
    if "leaseDurationSeconds" in spec and spec["leaseDurationSeconds"] <= 0:
        found.append(invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], NOT_POSITIVE))
    if "leaseTransitions" in spec:
        found += nonnegative(spec["leaseTransitions"], "spec.leaseTransitions")
    strategy = spec.get("strategy")
    if strategy is not None:
        found += each("spec.strategy", strategy, names.qualified_name(strategy)) if "/" in strategy else []
    if "preferredHolder" in spec and not strategy:
        detail = "may only be specified if `strategy` is defined"
        found.append(forbidden("spec.preferredHolder", detail))
    return found


def _lease_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + lease(new)


# -- events ------------------------------------------------------------------------------------------------------------

_EVENT_FIELDS = ("involvedObject", "reason", "message", "source", "firstTimestamp", "count")


def event(obj: Obj) -> list[FieldError]:
    """`ValidateEventCreate`: the older rules for core/v1, and the stricter ones for events.k8s.io."""
    involved = obj.get("involvedObject") or obj.get("regarding") or {}
    found = _event_namespace(obj, involved)
    if obj.get("apiVersion") != "events.k8s.io/v1":
        return found or metadata(obj, True, names.path_segment_name)  # of these nothing else is asked (BeforeCreate)
    found += metadata(obj, True, names.subdomain_name)
    if not obj.get("eventTime"):
        found.append(required("eventTime"))
    if obj.get("type") not in ("Normal", "Warning"):
        found.append(invalid("type", obj.get("type", ""), "has invalid value: " + str(obj.get("type", ""))))
    controller = obj.get("reportingController", "")
    found += each("reportingController", controller, names.qualified_name(controller))
    if not controller:
        found.append(required("reportingController"))
    for key, limit in (("reportingInstance", 128), ("action", 128), ("reason", 128)):
        value = obj.get(key, "")
        if not value:
            found.append(required(key))
        elif len(value) > limit:
            found.append(invalid(key, "", f"can have at most {limit} characters"))
    if len(obj.get("note", "")) > 1024:
        found.append(invalid("message", "", "can have at most 1024 characters"))
    return found


def _event_namespace(obj: Obj, involved: Obj) -> list[FieldError]:
    """`legacyValidateEvent`: an event lives with the object it is about."""
    namespace, about = obj["metadata"].get("namespace", ""), involved.get("namespace", "")
    found: list[FieldError] = []
    if not about:
        if namespace not in ("", "default", "kube-system"):
            found.append(invalid("involvedObject.namespace", about, "does not match event.namespace"))
    elif namespace != about:
        found.append(invalid("involvedObject.namespace", about, "does not match event.namespace"))
    return found + each("namespace", namespace, names.dns_subdomain(namespace))


def _event_update(new: Obj, old: Obj) -> list[FieldError]:
    found = event(new)
    if new.get("apiVersion") == "events.k8s.io/v1":
        found += metadata_update(new, old)
        for key in ("regarding", "related", "reason", "type", "reportingController", "reportingInstance", "action"):
            if new.get(key) != old.get(key):
                found.append(invalid(key, new.get(key, ""), IMMUTABLE))
    return found


# -- disruption budgets ------------------------------------------------------------------------------------------------


def budget(obj: Obj) -> list[FieldError]:
    """`ValidatePodDisruptionBudget`."""
    return metadata(obj, True) + _budget_spec(obj["spec"])


def _budget_spec(spec: Obj) -> list[FieldError]:
    found: list[FieldError] = []
    if "minAvailable" in spec and "maxUnavailable" in spec:
        detail = "minAvailable and maxUnavailable cannot be both set"
        found.append(invalid("spec", GoSyntax("policy.PodDisruptionBudgetSpec{…}"), detail))
    for key in ("minAvailable", "maxUnavailable"):
        if key in spec:
            found += positive_int_or_percent(spec[key], f"spec.{key}")
            found += not_more_than_100_percent(spec[key], f"spec.{key}")
    found += label_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
        allowed = ("AlwaysAllow", "IfHealthyBudget")
        found.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, allowed))
    return found


def _budget_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _budget_spec(new["spec"])


def _budget_status(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    for key in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        found += nonnegative(new["status"].get(key, 0), f"status.{key}")
    return found


# -- priority classes --------------------------------------------------------------------------------------------------

_HIGHEST_USER_PRIORITY = 1_000_000_000
_SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


def priority_class(obj: Obj) -> list[FieldError]:
    """`ValidatePriorityClass`."""
    found = metadata(obj, False)
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith("system-"):
        known = _SYSTEM_CLASSES.get(name)
        if known is None or known != value:
            detail = "priority class names with 'system-' prefix are reserved for system use only"
            why = f". error: value of {name} PriorityClass must be {known}" if known is not None else ""
            why = why or f". error: {name} is not a known system priority class"
            found.append(forbidden("metadata.name", detail + why))
    elif value > _HIGHEST_USER_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        found.append(forbidden("value", detail))
    if "preemptionPolicy" in obj:
        found += preemption_policy(obj["preemptionPolicy"], "preemptionPolicy")
    return found


def _priority_class_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    if new.get("value", 0) != old.get("value", 0):
        found.append(forbidden("value", "may not be changed in an update."))
    return found + unchanged(new.get("preemptionPolicy"), old.get("preemptionPolicy"), "preemptionPolicy")


# -- runtime classes ---------------------------------------------------------------------------------------------------


def runtime_class(obj: Obj) -> list[FieldError]:
    """`ValidateRuntimeClass`."""
    handler = obj.get("handler", "")
    found = metadata(obj, False)
    found += each("handler", handler, names.dns_label(handler))
    if "overhead" in obj:
        found += requirements({"limits": obj["overhead"].get("podFixed") or {}}, "overhead")
    scheduling = obj.get("scheduling")
    if scheduling is not None:
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            field = "scheduling.nodeSelector"
            found += label_key(key, field) + each(field, value, names.label_value(value))
        found += tolerations(scheduling.get("tolerations") or (), "scheduling.tolerations")
    return found


def _runtime_class_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + unchanged(new.get("handler", ""), old.get("handler", ""), "handler")


RULES = {
    "RuntimeClass": Rules(runtime_class, _runtime_class_update, _runtime_class_update),
    "Lease": Rules(lease, _lease_update, _lease_update),
    "Event": Rules(event, _event_update, _event_update),
    "PodDisruptionBudget": Rules(budget, _budget_update, _budget_status),
    "PriorityClass": Rules(priority_class, _priority_class_update, _priority_class_update),
}
