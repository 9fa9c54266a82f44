"""PURE. One round of an autoscaler: from the scale, the pods and what the metrics APIs said to all that is written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from netlab.api import meta, quantity
from netlab.api.types import Obj
from netlab.controllers.horizontal.calculator import (
    CannotError,
    Proposal,
    Rules,
    Samples,
    by_average,
    by_share,
    by_utilization,
    by_value,
)
from netlab.controllers.horizontal.pace import Bounds, Condition, History, paced


@dataclass(frozen=True, slots=True)
class Reading:
    """What an API said of one metric: a sample per pod, or one value; else `problem` says why there is none."""

    samples: Samples | None = None
    value: int = 0
    problem: str = ""


@dataclass(slots=True)
class Round:
    """What came out. `replicas` None: the scale is not written. `error` ends the round after the status is written."""

    status: Obj
    events: list[tuple[str, str, str]] = field(default_factory=list)
    replicas: int | None = None
    reason: str = ""
    error: str = ""

    def condition(self, new: Condition, now: float) -> None:
        """Set a condition; its time is when its status changed."""
        kind, status, reason, message = new
        conditions: list[Obj] = self.status.setdefault("conditions", [])
        found = next((one for one in conditions if one["type"] == kind), None)
        if found is None:
            conditions.append(found := {"type": kind, "status": ""})
        if found["status"] != status:
            found["lastTransitionTime"] = meta.rfc3339(now)
        found |= {"status": status, "reason": reason, "message": message}


def begin(hpa: Obj) -> Round:
    """A round that has changed nothing yet."""
    return Round({"currentMetrics": None, "desiredReplicas": 0, **copy.deepcopy(hpa.get("status") or {})})


def cannot_scale(hpa: Obj, problem: str, now: float) -> Round:
    """The target has no scale, or it cannot be read."""
    found = begin(hpa)
    found.events.append(("Warning", "FailedGetScale", problem))
    text = f"the HPA controller was unable to get the target's current scale: {problem}"
    found.condition(("AbleToScale", "False", "FailedGetScale", text), now)
    found.error = problem
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """What a round looks at; `readings` in the order of spec.metrics. `window`: scale-down stabilization, seconds."""

    scale: Obj
    pods: Sequence[Obj]
    readings: Sequence[Reading]
    rules: Rules
    window: float
    now: float
    rivals: tuple[str, ...] = ()
    """Names of all autoscalers that select some of these pods, where there are several."""


def needs_metrics(hpa: Obj, scale: Obj) -> bool:
    """Whether the metrics decide, and not the limits alone."""
    current, (least, most) = _replicas(scale), _limits(hpa)
    return least <= current <= most and not (current == 0 and least != 0)


def decide(hpa: Obj, seen: Seen, history: History) -> Round:
    """`history` is changed: the recommendation of this round is remembered."""
    found, now = begin(hpa), seen.now
    able = "the HPA controller was able to get the target's current scale"
    found.condition(("AbleToScale", "True", "SucceededGetScale", able), now)
    current, (least, most) = _replicas(seen.scale), _limits(hpa)
    if not history.recommendations:
        history.recommendations.append((current, now))
    statuses: list[Obj] = []
    wanted = current
    if current == 0 and least != 0:
        text = "scaling is disabled since the replica count of the target is zero"
        found.condition(("ScalingActive", "False", "ScalingDisabled", text), now)
    elif current > most:
        wanted, found.reason = most, "Current number of replicas above Spec.MaxReplicas"
    elif current < least:
        wanted, found.reason = least, "Current number of replicas below Spec.MinReplicas"
    else:
        asked, statuses = _ask(hpa, seen, found)
        if asked is None:
            found.status |= {"currentReplicas": current, "currentMetrics": statuses or None}
            found.events.append(("Warning", "FailedComputeMetricsReplicas", found.error))
            return found
        replicas, metric = asked
        found.reason = f"{metric} above target" if replicas > current else "All metrics below target"
        bounds = Bounds(current, least, most)
        wanted, conditions = paced(bounds, replicas, hpa["spec"].get("behavior"), history, seen.window, now)
        for one in conditions:
            found.condition(one, now)
    found.status |= {"currentReplicas": current, "desiredReplicas": wanted, "currentMetrics": statuses or None}
    if wanted != current:
        found.replicas = wanted
    return found


def rescaled(hpa: Obj, found: Round, current: int, history: History, problem: str, now: float) -> None:
    """Note how the writing of the scale went; `problem` is empty where it went well."""
    wanted = found.replicas
    assert wanted is not None  # noqa: S101
    if problem:
        text = f"New size: {wanted}; reason: {found.reason}; error: {problem}"
        found.events.append(("Warning", "FailedRescale", text))
        text = f"the HPA controller was unable to update the target scale: {problem}"
        found.condition(("AbleToScale", "False", "FailedUpdateScale", text), now)
        old = hpa.get("status") or {}
        found.status |= {"desiredReplicas": old.get("desiredReplicas", 0), "currentMetrics": old.get("currentMetrics")}
        found.error = problem
        return
    text = f"the HPA controller was able to update the target scale to {wanted}"
    found.condition(("AbleToScale", "True", "SucceededRescale", text), now)
    found.events.append(("Normal", "SuccessfulRescale", f"New size: {wanted}; reason: {found.reason}"))
    found.status["lastScaleTime"] = meta.rfc3339(now)
    history.scaled(hpa["spec"].get("behavior"), current, wanted, now)


def _replicas(scale: Obj) -> int:
    return int(meta.get(scale, "spec", "replicas", default=0))


def _limits(hpa: Obj) -> tuple[int, int]:
    least = hpa["spec"].get("minReplicas")
    return 1 if least is None else int(least), int(hpa["spec"]["maxReplicas"])


def _ask(hpa: Obj, seen: Seen, found: Round) -> tuple[tuple[int, str] | None, list[Obj]]:
    """((replicas, the metric that asks for most) or None, the status of each metric)."""
    if not meta.get(seen.scale, "status", "selector"):
        found.events.append(("Warning", "SelectorRequired", "selector is required"))
        text = "the HPA target's scale is missing a selector"
        found.condition(("ScalingActive", "False", "InvalidSelector", text), seen.now)
        found.error = "selector is required"
        return None, []
    if len(seen.rivals) > 1:
        space = seen.scale["metadata"].get("namespace", "")
        listed = " ".join(f"{{{name} {space}}}" for name in seen.rivals)
        selector = seen.scale["status"]["selector"]
        found.error = f"pods by selector {selector} are controlled by multiple HPAs: [{listed}]"
        found.events.append(("Warning", "AmbiguousSelector", found.error))
        found.condition(("ScalingActive", "False", "AmbiguousSelector", found.error), seen.now)
        return None, []
    best: tuple[int, str] | None = None
    statuses: list[Obj] = []
    wrong: list[tuple[str, str, str]] = []
    specs = hpa["spec"].get("metrics") or []
    for spec, reading in zip(specs, seen.readings, strict=True):
        try:
            proposal, metric = _proposal(spec, seen, reading)
        except CannotError as error:
            reason, text, outer = _failure(spec, str(error))
            found.events.append(("Warning", reason, text))
            wrong.append((reason, text, outer))
            statuses.append({"type": ""})
            continue
        statuses.append(_status(spec, proposal))
        if best is None or proposal.replicas > best[0]:
            best = (proposal.replicas, metric)
    if wrong:
        found.error = f"invalid metrics ({len(wrong)} invalid out of {len(specs)}), first error is: {wrong[0][2]}"
    if best is None or (wrong and best[0] < _replicas(seen.scale)):
        reason, text, _ = wrong[0]
        message = f"the HPA was unable to compute the replica count: {text}"
        found.condition(("ScalingActive", "False", reason, message), seen.now)
        return None, statuses
    message = f"the HPA was able to successfully calculate a replica count from {best[1]}"
    found.condition(("ScalingActive", "True", "ValidMetricFound", message), seen.now)
    return best, statuses


def _proposal(spec: Obj, seen: Seen, reading: Reading) -> tuple[Proposal, str]:
    """What one metric asks for, and its name in events. Raises CannotError."""
    return _PROPOSALS[spec["type"]](spec, seen, reading)


def _resource(spec: Obj, seen: Seen, reading: Reading) -> tuple[Proposal, str]:
    contained = spec["type"] == "ContainerResource"
    source = spec["containerResource" if contained else "resource"]
    name, target = source["name"], source["target"]
    percent, current = target.get("averageUtilization"), _replicas(seen.scale)
    what = "usage" if target.get("averageValue") is not None else "utilization"
    try:
        if reading.samples is None:
            raise CannotError(f"unable to get metrics for resource {name}: {reading.problem}")
        if what == "usage":
            value = quantity.milli(target["averageValue"])
            found = by_average(current, value, name, seen.pods, reading.samples, seen.rules, seen.now)
            return found, f"{name} resource"
        if percent is None:
            raise CannotError("neither an average utilization target nor an average value (usage) target was set")
        inside = source["container"] if contained else ""
        found = by_utilization(current, percent, name, inside, seen.pods, reading.samples, seen.rules, seen.now)
    except CannotError as error:
        raise CannotError(f"failed to get {name} {what}: {error}") from None
    return found, f"{name} {'container ' if contained else ''}resource utilization (percentage of request)"


def _pods(spec: Obj, seen: Seen, reading: Reading) -> tuple[Proposal, str]:
    name, target = spec["pods"]["metric"]["name"], quantity.milli(spec["pods"]["target"]["averageValue"])
    if reading.samples is None:
        raise CannotError(f"unable to get metric {name}: {reading.problem}")
    found = by_average(_replicas(seen.scale), target, "", seen.pods, reading.samples, seen.rules, seen.now)
    return found, f"pods metric {name}"


def _object(spec: Obj, seen: Seen, reading: Reading) -> tuple[Proposal, str]:
    source = spec["object"]
    name, about, target = source["metric"]["name"], source["describedObject"], source["target"]
    if reading.problem:
        where = f"{about['kind']} {seen.scale['metadata'].get('namespace', '')}/{about['name']}"
        raise CannotError(f"unable to get metric {name}: {where}/{reading.problem}")
    if target["type"] == "Value":
        value = quantity.milli(target["value"])
        found = by_value(_replicas(seen.scale), reading.value, value, seen.pods, seen.rules)
        return found, f"{about['kind']} metric {name}"
    found = by_share(_status_replicas(seen), reading.value, quantity.milli(target["averageValue"]), seen.rules)
    return found, f"external metric {name}({_selector(source)})"


def _external(spec: Obj, seen: Seen, reading: Reading) -> tuple[Proposal, str]:
    source = spec["external"]
    name, target = source["metric"]["name"], source["target"]
    where = f"{seen.scale['metadata'].get('namespace', '')}/{name}/{_selector(source)}"
    shared = target.get("averageValue") is not None
    if reading.problem:
        before = f"failed to get {name} external metric" if shared else f"failed to get external metric {name}"
        raise CannotError(f"{before}: unable to get external metric {where}: {reading.problem}")
    if shared:
        found = by_share(_status_replicas(seen), reading.value, quantity.milli(target["averageValue"]), seen.rules)
    else:
        value = quantity.milli(target["value"])
        found = by_value(_replicas(seen.scale), reading.value, value, seen.pods, seen.rules)
    return found, f"external metric {name}({_selector(source)})"


_PROPOSALS: dict[str, Callable[[Obj, Seen, Reading], tuple[Proposal, str]]] = {
    "Resource": _resource,
    "ContainerResource": _resource,
    "Pods": _pods,
    "Object": _object,
    "External": _external,
}


def _status_replicas(seen: Seen) -> int:
    return int(meta.get(seen.scale, "status", "replicas", default=0))


def _selector(source: Obj) -> str:
    """Go's %+v of a pointer to a LabelSelector."""
    found = source["metric"].get("selector")
    if found is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((found.get("matchLabels") or {}).items()))
    terms = "".join(
        f"LabelSelectorRequirement{{Key:{one['key']},Operator:{one['operator']},"
        f"Values:[{' '.join(one.get('values') or ())}],}},"
        for one in found.get("matchExpressions") or ()
    )
    expressions = f"MatchExpressions:[]LabelSelectorRequirement{{{terms}}}"
    return f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},{expressions},}}"


def _failure(spec: Obj, problem: str) -> tuple[str, str, str]:
    """(reason, what the event says, what the error of the whole says)."""
    kind = spec["type"]
    what = {"Pods": "pods metric", "Object": "object metric"}.get(kind, "")
    if kind == "Resource":
        what = f"{spec['resource']['name']} resource metric"
    elif kind == "ContainerResource":
        what = f"{spec['containerResource']['container']} container metric"
    elif kind == "External":
        what = f"{spec['external']['metric']['name']} external metric"
    before = f"failed to get {what} value"
    return f"FailedGet{kind}Metric", problem, f"{before}: {problem}"


def _status(spec: Obj, proposal: Proposal) -> Obj:
    """The entry of status.currentMetrics."""
    kind = spec["type"]
    key = kind[0].lower() + kind[1:]
    source = spec[key]
    current: Obj = {}
    if proposal.percent is not None:
        current["averageUtilization"] = proposal.percent
    if proposal.average is not None:
        current["averageValue"] = quantity.render(Fraction(proposal.average, 1000))
    if proposal.value is not None:
        current["value"] = quantity.render(Fraction(proposal.value, 1000))
    named = {field: source[field] for field in ("name", "container", "metric", "describedObject") if field in source}
    return {"type": kind, key: {"current": current, **named}}
