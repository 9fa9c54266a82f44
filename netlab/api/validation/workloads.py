"""Rules of the workloads that keep pods of a template. Source followed: `pkg/apis/apps/validation/validation.go`,
`pkg/apis/core/validation/validation.go`, and the strategies of both."""

from __future__ import annotations

from netlab.api import labels as selectors
from netlab.api.gotypes.fast import was_empty
from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, forbidden, invalid, not_supported, required
from netlab.api.validation.gofmt import GoSyntax, go_syntax, quote
from netlab.api.validation.meta import (
    IMMUTABLE,
    annotation_map,
    each,
    label_selector,
    labels,
    metadata,
    metadata_update,
    nonnegative,
)
from netlab.api.validation.pod_spec import pod_annotations, pod_template

_MISMATCH = "`selector` does not match template `labels`"
_MORE_THAN_REPLICAS = "cannot be greater than status.replicas"


# -- selectors ---------------------------------------------------------------------------------------------------------


def go_labels(holder: Obj, key: str = "labels") -> GoSyntax:
    """A label map as Go shows it: nil and empty differ."""
    given = holder.get(key)
    if given:
        return GoSyntax(go_syntax(given))
    return GoSyntax("map[string]string{}" if was_empty(holder, key) else "map[string]string(nil)")


def go_selector(selector: Obj) -> GoSyntax:
    """A LabelSelector as Go shows it."""
    expressions = selector.get("matchExpressions") or []
    inner = ", ".join(
        f"v1.LabelSelectorRequirement{{Key:{quote(one.get('key', ''))}, Operator:{quote(one.get('operator', ''))}, "
        f"Values:{go_syntax(one.get('values')) if one.get('values') else '[]string(nil)'}}}"
        for one in expressions
    )
    kind = "[]v1.LabelSelectorRequirement"
    empty = f"{kind}{{}}" if was_empty(selector, "matchExpressions") else f"{kind}(nil)"
    shown = f"{kind}{{{inner}}}" if expressions else empty
    return GoSyntax(f"v1.LabelSelector{{MatchLabels:{go_labels(selector, 'matchLabels')}, MatchExpressions:{shown}}}")


def _selector_rules(selector: Obj | None, kind: str) -> list[FieldError]:
    """The selector of an apps/v1 workload."""
    if selector is None:
        return [required("spec.selector")]
    found = label_selector(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        detail = f"empty selector is invalid for {kind}"
        found.append(invalid("spec.selector", go_selector(selector), detail))
    return found


def _parsed(selector: Obj | None) -> selectors.Selector | None:
    """The selector, None where it cannot be one (the findings say so elsewhere)."""
    try:
        return selectors.from_label_selector(selector)
    except (selectors.SelectorError, ValueError):
        return None


def _well_formed(selector: Obj | None) -> str:
    """What `LabelSelectorAsSelector` says against it, "" where nothing."""
    for key, value in ((selector or {}).get("matchLabels") or {}).items():
        wrong = names.qualified_name(key)
        if wrong:
            return f"key: Invalid value: {quote(key)}: {'; '.join(wrong)}"
        wrong = names.label_value(value)
        if wrong:
            return f"values[0][{key}]: Invalid value: {quote(value)}: {'; '.join(wrong)}"
    return ""


def _matches(template: Obj, selector: Obj | None) -> list[FieldError]:
    """Template labels must satisfy the selector."""
    parsed = _parsed(selector)
    if parsed is not None and not parsed.empty and not parsed.matches(template["metadata"].get("labels")):
        return [invalid("spec.template.metadata.labels", go_labels(template["metadata"]), _MISMATCH)]
    if selector is None:
        return [invalid("spec.template.metadata.labels", go_labels(template["metadata"]), _MISMATCH)]
    return []


def _template(template: Obj, selector: Obj | None, owner: str) -> list[FieldError]:
    """`ValidatePodTemplateSpecForReplicaSet` and its likes: always restarted, no deadline."""
    found = _matches(template, selector) + pod_template(template, "spec.template")
    return found + _restarts_always(template["spec"], owner)


def _restarts_always(spec: Obj, owner: str) -> list[FieldError]:
    found: list[FieldError] = []
    if spec.get("restartPolicy") != "Always":
        found.append(not_supported("spec.template.spec.restartPolicy", spec.get("restartPolicy", ""), ("Always",)))
    if "activeDeadlineSeconds" in spec:
        detail = f"activeDeadlineSeconds in {owner} is not Supported"
        found.append(forbidden("spec.template.spec.activeDeadlineSeconds", detail))
    return found


def same_selector(new: Obj, old: Obj) -> list[FieldError]:
    """apps/v1: a selector never changes."""
    after, before = new["spec"].get("selector"), old["spec"].get("selector")
    return [] if after == before else [invalid("spec.selector", go_selector(after or {}), IMMUTABLE)]


def _counts(status: Obj, keys: tuple[str, ...]) -> list[FieldError]:
    found: list[FieldError] = []
    for key in keys:
        found += nonnegative(status.get(key) or 0, f"status.{key}")
    return found


def _at_most_replicas(status: Obj, keys: tuple[str, ...], ready_as: str = "readyReplicas") -> list[FieldError]:
    total, ready, available = (status.get(key, 0) for key in ("replicas", "readyReplicas", "availableReplicas"))
    found = [
        invalid(f"status.{key}", status.get(key, 0), _MORE_THAN_REPLICAS) for key in keys if status.get(key, 0) > total
    ]
    if available > ready:
        found.append(invalid("status.availableReplicas", available, f"cannot be greater than {ready_as}"))
    return found


# -- replication controllers -------------------------------------------------------------------------------------------


def _controller_spec(spec: Obj) -> list[FieldError]:
    selector, template = spec.get("selector"), spec.get("template")
    found = nonnegative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    if not selector:
        found.append(required("spec.selector"))
    found += nonnegative(spec.get("replicas", 0), "spec.replicas")
    if template is None:
        return [*found, required("spec.template")]
    given = template["metadata"].get("labels") or {}
    if selector and any(given.get(key) != value for key, value in selector.items()):
        found.append(invalid("spec.template.metadata.labels", go_labels(template["metadata"]), _MISMATCH))
    found += pod_template(template, "spec.template")
    return found + _restarts_always(template["spec"], "ReplicationController")


def _controller_create(obj: Obj) -> list[FieldError]:
    return metadata(obj, True) + _controller_spec(obj["spec"])


def _controller_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _controller_spec(new["spec"])


def _controller_status(new: Obj, old: Obj) -> list[FieldError]:
    status = new["status"]
    counted = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
    found = metadata_update(new, old) + _counts(status, counted)
    return found + _at_most_replicas(status, counted[1:4])


# -- replica sets ------------------------------------------------------------------------------------------------------


def _replica_set_spec(spec: Obj) -> list[FieldError]:
    found = nonnegative(spec.get("replicas", 0), "spec.replicas")
    found += nonnegative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    selector = spec.get("selector")
    found += _selector_rules(selector, "replicaset")
    wrong = _well_formed(selector)
    if wrong:
        return [*found, invalid("spec.selector", go_selector(selector or {}), "invalid label selector")]
    return found + _template(spec["template"], selector, "ReplicaSet")


def _replica_set_create(obj: Obj) -> list[FieldError]:
    return metadata(obj, True) + _replica_set_spec(obj["spec"])


def _replica_set_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _replica_set_spec(new["spec"]) + same_selector(new, old)


# -- deployments -------------------------------------------------------------------------------------------------------


def _deployment_spec(spec: Obj) -> list[FieldError]:
    """`ValidateDeploymentSpec`."""
    found = nonnegative(spec.get("replicas", 0), "spec.replicas")
    selector = spec.get("selector")
    found += _selector_rules(selector, "deployment")
    if _well_formed(selector):
        found.append(invalid("spec.selector", go_selector(selector or {}), "invalid label selector"))
    else:
        found += _template(spec["template"], selector, "ReplicaSet")
    found += _deployment_strategy(spec["strategy"])
    found += nonnegative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    if "revisionHistoryLimit" in spec:
        found += nonnegative(spec["revisionHistoryLimit"], "spec.revisionHistoryLimit")
    rollback = (spec.get("rollbackTo") or {}).get("revision", 0)
    found += nonnegative(rollback, "spec.rollback.revision")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        found += nonnegative(deadline, "spec.progressDeadlineSeconds")
        if deadline <= spec.get("minReadySeconds", 0):
            found.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return found


def _deployment_strategy(strategy: Obj) -> list[FieldError]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    field = "spec.strategy"
    if kind == "Recreate":
        if rolling is None:
            return []
        return [forbidden(f"{field}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")]
    if kind == "RollingUpdate":
        if rolling is None:
            return [required(f"{field}.rollingUpdate", "this should be defaulted and never be nil")]
        return rolling_update(rolling, f"{field}.rollingUpdate")
    shown = go_strategy("DeploymentStrategy", "RollingUpdateDeployment", strategy)
    return [not_supported(field, shown, ("Recreate", "RollingUpdate"))]


def go_strategy(name: str, rolling: str, strategy: Obj) -> GoSyntax:
    """An update strategy as Go shows it (a pointer that is set shows an address, which no two runs share)."""
    pointer = "0xc000000000" if "rollingUpdate" in strategy else "nil"
    kind = quote(strategy.get("type", ""))
    return GoSyntax(f"apps.{name}{{Type:{kind}, RollingUpdate:(*apps.{rolling})({pointer})}}")


def rolling_update(rolling: Obj, field: str) -> list[FieldError]:
    """`ValidateRollingUpdateDeployment`."""
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    found = positive_int_or_percent(unavailable, f"{field}.maxUnavailable")
    found += positive_int_or_percent(surge, f"{field}.maxSurge")
    if percent_or_int(unavailable) == 0 and percent_or_int(surge) == 0:
        shown = go_int_or_string(unavailable)
        found.append(invalid(f"{field}.maxUnavailable", shown, "may not be 0 when `maxSurge` is 0"))
    return found + not_more_than_100_percent(unavailable, f"{field}.maxUnavailable")


def percent_or_int(value: int | str) -> int:
    """The number of a percentage, or the number; 0 where it is neither (said elsewhere)."""
    if isinstance(value, int):
        return value
    if not names.percent(value):
        return int(value[:-1])
    digits = value[1:] if value[:1] in ("+", "-") else value
    return int(value) if digits.isascii() and digits.isdigit() else 0


def go_int_or_string(value: int | str) -> GoSyntax:
    """An IntOrString as Go shows it."""
    if isinstance(value, int):
        return GoSyntax(f'intstr.IntOrString{{Type:0, IntVal:{value}, StrVal:""}}')
    return GoSyntax(f"intstr.IntOrString{{Type:1, IntVal:0, StrVal:{quote(value)}}}")


def positive_int_or_percent(value: int | str, field: str) -> list[FieldError]:
    """`ValidatePositiveIntOrPercent`."""
    if isinstance(value, int):
        return nonnegative(value, field)
    return each(field, go_int_or_string(value), names.percent(value))


def not_more_than_100_percent(value: int | str, field: str) -> list[FieldError]:
    """`IsNotMoreThan100Percent`."""
    if isinstance(value, str) and not names.percent(value) and int(value[:-1]) > 100:
        return [invalid(field, go_int_or_string(value), "must not be greater than 100%")]
    return []


def _deployment_create(obj: Obj) -> list[FieldError]:
    return metadata(obj, True) + _deployment_spec(obj["spec"])


def _deployment_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _deployment_spec(new["spec"]) + same_selector(new, old)


def _deployment_status(new: Obj, old: Obj) -> list[FieldError]:
    status = new["status"]
    counted = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    found = metadata_update(new, old) + _counts(status, (*counted, "unavailableReplicas"))
    found += _at_most_replicas(status, ("updatedReplicas", "readyReplicas", "availableReplicas"))
    collisions, before = status.get("collisionCount"), old["status"].get("collisionCount")
    if collisions is not None:
        found += nonnegative(collisions, "status.collisionCount")
    if before is not None and (collisions is None or collisions < before):
        found.append(invalid("status.collisionCount", collisions, "cannot be decremented"))
    return found


# -- daemon sets -------------------------------------------------------------------------------------------------------


def _daemon_set_spec(spec: Obj) -> list[FieldError]:
    """`ValidateDaemonSetSpec`."""
    selector, template = spec.get("selector"), spec["template"]
    found = label_selector(selector, "spec.selector")
    parsed = _parsed(selector)
    if selector is None or (parsed is not None and not parsed.matches(template["metadata"].get("labels"))):
        found.append(invalid("spec.template.metadata.labels", go_labels(template["metadata"]), _MISMATCH))
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        found.append(invalid("spec.selector", go_selector(selector), "empty selector is invalid for daemonset"))
    found += pod_template(template, "spec.template")
    found += _restarts_always(template["spec"], "DaemonSet")
    found += nonnegative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    found += _daemon_set_strategy(spec["updateStrategy"])
    if "revisionHistoryLimit" in spec:
        found += nonnegative(spec["revisionHistoryLimit"], "spec.revisionHistoryLimit")
    return found


def _daemon_set_strategy(strategy: Obj) -> list[FieldError]:
    kind, rolling, field = strategy.get("type", ""), strategy.get("rollingUpdate"), "spec.updateStrategy"
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        shown = go_strategy("DaemonSetUpdateStrategy", "RollingUpdateDaemonSet", strategy)
        return [not_supported(field, shown, ("RollingUpdate", "OnDelete"))]
    if rolling is None:
        return [required(f"{field}.rollingUpdate")]
    return _daemon_set_rolling(rolling, f"{field}.rollingUpdate")


def _daemon_set_rolling(rolling: Obj, field: str) -> list[FieldError]:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    found = positive_int_or_percent(unavailable, f"{field}.maxUnavailable")
    found += positive_int_or_percent(surge, f"{field}.maxSurge")
    has_unavailable, has_surge = percent_or_int(unavailable) != 0, percent_or_int(surge) != 0
    found += not_more_than_100_percent(unavailable, f"{field}.maxUnavailable")
    found += not_more_than_100_percent(surge, f"{field}.maxSurge")
    if has_unavailable and has_surge:
        shown = go_int_or_string(surge)
        found.append(invalid(f"{field}.maxSurge", shown, "may not be set when maxUnavailable is non-zero"))
    if not has_unavailable and not has_surge:
        found.append(required(f"{field}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return found


def _daemon_set_create(obj: Obj) -> list[FieldError]:
    return metadata(obj, True) + _daemon_set_spec(obj["spec"])


def _daemon_set_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _daemon_set_spec(new["spec"]) + same_selector(new, old)


def _daemon_set_status(new: Obj, old: Obj) -> list[FieldError]:
    counted = (
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
    )
    return metadata_update(new, old) + _counts(new["status"], counted)


# -- stateful sets -----------------------------------------------------------------------------------------------------


def _stateful_set_spec(spec: Obj) -> list[FieldError]:
    """`ValidateStatefulSetSpec`."""
    found: list[FieldError] = []
    policy = spec.get("podManagementPolicy", "")
    if not policy:
        found.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        detail = "must be 'OrderedReady' or 'Parallel'"
        found.append(invalid("spec.podManagementPolicy", policy, detail))
    found += _stateful_set_strategy(spec["updateStrategy"])
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for key in ("whenDeleted", "whenScaled"):
        if key in retention and retention[key] not in ("Retain", "Delete"):
            field = f"spec.persistentVolumeClaimRetentionPolicy.{key}"
            found.append(not_supported(field, retention[key], ("Retain", "Delete")))
    found += nonnegative(spec.get("replicas", 0), "spec.replicas")
    found += nonnegative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    if "ordinals" in spec:
        found += nonnegative(spec["ordinals"].get("start", 0), "spec.ordinals.start")
    selector = spec.get("selector")
    found += _selector_rules(selector, "statefulset")
    if _well_formed(selector):
        found.append(invalid("spec.selector", go_selector(selector or {}), ""))
    else:
        found += _stateful_set_template(spec["template"], selector)
    found += _restarts_always(spec["template"]["spec"], "StatefulSet")
    return found


def _stateful_set_template(template: Obj, selector: Obj | None) -> list[FieldError]:
    """The pod spec itself is not judged: its mounts may name volume claim templates (as upstream)."""
    metadata, field = template["metadata"], "spec.template"
    annotations = metadata.get("annotations") or {}
    found = _matches(template, selector) + labels(metadata.get("labels"), f"{field}.labels")
    found += annotation_map(annotations, f"{field}.annotations")
    return found + pod_annotations(annotations, template["spec"], f"{field}.annotations")


def _stateful_set_strategy(strategy: Obj) -> list[FieldError]:
    kind, rolling, field = strategy.get("type", ""), strategy.get("rollingUpdate"), "spec.updateStrategy"
    if not kind:
        return [required(field)]
    if kind == "OnDelete":
        if rolling is None:
            return []
        detail = "only allowed for updateStrategy 'RollingUpdate'"
        return [invalid(f"{field}.rollingUpdate", GoSyntax("apps.RollingUpdateStatefulSetStrategy{…}"), detail)]
    if kind != "RollingUpdate":
        detail = "must be 'RollingUpdate' or 'OnDelete'"
        shown = go_strategy("StatefulSetUpdateStrategy", "RollingUpdateStatefulSetStrategy", strategy)
        return [invalid(field, shown, detail)]
    if rolling is None:
        return []
    return nonnegative(rolling.get("partition", 0), f"{field}.rollingUpdate.partition")


def _stateful_set_create(obj: Obj) -> list[FieldError]:
    found = metadata(obj, True, names.label_name)
    return found + _stateful_set_spec(obj["spec"])


_STATEFUL_SET_MAY_CHANGE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "revisionHistoryLimit",
)


def _stateful_set_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateStatefulSetUpdate`."""
    found = metadata_update(new, old) + _stateful_set_spec(new["spec"])
    after, before = (
        {key: value for key, value in one["spec"].items() if key not in _STATEFUL_SET_MAY_CHANGE} for one in (new, old)
    )
    if after != before:
        detail = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        found.append(forbidden("spec", detail))
    return found


def _stateful_set_status(new: Obj, old: Obj) -> list[FieldError]:
    status = new["status"]
    counted = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    found = _counts(status, (*counted, "observedGeneration", "collisionCount"))
    found += _at_most_replicas(status, counted[1:], "status.readyReplicas")
    return found + metadata_update(new, old)


def _revision_create(obj: Obj) -> list[FieldError]:
    found = metadata(obj, True)
    if obj.get("data") is None:
        found.append(required("data", "data is mandatory"))
    return found + nonnegative(obj.get("revision", 0), "revision")


def _revision_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old) + nonnegative(new.get("revision", 0), "revision")
    if new.get("data") != old.get("data"):
        found.append(invalid("data", GoSyntax("runtime.RawExtension{…}"), IMMUTABLE))
    return found


RULES = {
    "ReplicationController": Rules(_controller_create, _controller_update, _controller_status),
    "ReplicaSet": Rules(_replica_set_create, _replica_set_update, _controller_status),
    "Deployment": Rules(_deployment_create, _deployment_update, _deployment_status),
    "DaemonSet": Rules(_daemon_set_create, _daemon_set_update, _daemon_set_status),
    "StatefulSet": Rules(_stateful_set_create, _stateful_set_update, _stateful_set_status),
    "ControllerRevision": Rules(_revision_create, _revision_update, _revision_update),
}
