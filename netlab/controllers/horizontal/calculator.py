"""PURE. How many replicas one metric asks for (upstream pkg/controller/podautoscaler/replica_calculator.go).

All values are thousandths, as integers: millicores, thousandths of bytes, of requests per second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from netlab.api import meta, quantity
from netlab.api.types import Obj
from netlab.controllers.pods import is_ready, phase


class CannotError(Exception):
    """No replica count can be computed; the text is upstream's."""


NO_PODS = "no pods returned by selector while calculating replica count"


@dataclass(frozen=True, slots=True)
class Sample:
    """One pod's value, measured at `stamp` (seconds) over the `window` seconds before."""

    value: int
    stamp: float = 0.0
    window: float = 60.0


Samples = Mapping[str, Sample]
"""By pod name."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The flags of kube-controller-manager: `tolerance` is a ratio, the others are seconds."""

    tolerance: float = 0.1
    cpu_initialization: float = 300.0
    initial_readiness_delay: float = 30.0

    def close(self, ratio: float) -> bool:
        """Whether a ratio is too near to 1 to act."""
        return 1.0 - self.tolerance <= ratio <= 1.0 + self.tolerance


@dataclass(frozen=True, slots=True)
class Proposal:
    """`replicas`; what was measured: `average` per pod or `value` in all, and `percent` of the requests."""

    replicas: int
    average: int | None = None
    percent: int | None = None
    value: int | None = None


@dataclass(slots=True)
class Groups:
    """Pods by what their metric is worth: names, but for the number that are ready."""

    ready: int
    unready: set[str]
    missing: set[str]
    ignored: set[str]


def group(pods: Sequence[Obj], samples: Samples, resource: str, rules: Rules, now: float) -> Groups:
    """`groupPods`. `resource` is "" for metrics that are no resource."""
    found = Groups(0, set(), set(), set())
    for pod in pods:
        name = meta.name(pod)
        if meta.deleting(pod) or phase(pod) == "Failed":
            found.ignored.add(name)
        elif phase(pod) == "Pending":
            found.unready.add(name)
        elif name not in samples:
            found.missing.add(name)
        elif resource == "cpu" and _warming_up(pod, samples[name], rules, now):
            found.unready.add(name)
        else:
            found.ready += 1
    return found


def _warming_up(pod: Obj, sample: Sample, rules: Rules, now: float) -> bool:
    """Whether a pod's CPU says nothing yet: it only starts, or was never ready."""
    ready, started = meta.condition(pod, "Ready"), meta.get(pod, "status", "startTime")
    if ready is None or not started:
        return True
    begun, changed = meta.parse_time(started), meta.parse_time(ready.get("lastTransitionTime") or started)
    unready = ready.get("status") == "False"
    if begun + rules.cpu_initialization > now:
        return unready or sample.stamp < changed + sample.window
    return unready and begun + rules.initial_readiness_delay > changed


def by_utilization(
    current: int,
    percent: int,
    resource: str,
    container: str,
    pods: Sequence[Obj],
    samples: Samples,
    rules: Rules,
    now: float,
) -> Proposal:
    """For a percentage of what the pods request (`GetResourceReplicas`). Raises CannotError."""
    groups, kept = _sorted_out(pods, samples, resource, rules, now)
    requests = pod_requests(pods, resource, container)
    if not kept:
        raise CannotError("did not receive metrics for any ready pods")
    ratio, utilization, average = _utilization(kept, requests, percent)
    shown = Proposal(current, average=average, percent=utilization)
    # a scale-down may not rest on what is missing: it counts as using what it asked for, or the target if that is more
    fallback = max(100, percent)
    worst = {name: requests[name] * fallback // 100 for name in groups.missing}

    def again(filled: Samples) -> float:
        return _utilization(filled, requests, percent)[0]

    return _weigh(shown, ratio, kept, groups, worst, again, rules)


def by_average(
    current: int, target: int, resource: str, pods: Sequence[Obj], samples: Samples, rules: Rules, now: float
) -> Proposal:
    """For an average per pod (`calcPlainMetricReplicas`). Raises CannotError."""
    groups, kept = _sorted_out(pods, samples, resource, rules, now)
    if not kept:
        raise CannotError("did not receive metrics for any ready pods")

    def again(filled: Samples) -> float:
        return _average(filled) / target

    shown = Proposal(current, average=_average(kept))
    worst = dict.fromkeys(groups.missing, target)
    return _weigh(shown, again(kept), kept, groups, worst, again, rules)


def by_value(current: int, value: int, target: int, pods: Sequence[Obj], rules: Rules) -> Proposal:
    """For one value that all pods work on (`getUsageRatioReplicaCount`). Raises CannotError."""
    ratio = value / target
    if current == 0:
        return Proposal(ceil(ratio), value=value)
    if rules.close(ratio):
        return Proposal(current, value=value)
    if not pods:
        raise CannotError(f"unable to calculate ready pods: {NO_PODS}")
    ready = sum(phase(pod) == "Running" and is_ready(pod) for pod in pods)
    return Proposal(ceil(ratio * ready), value=value)


def by_share(replicas: int, value: int, target: int, rules: Rules) -> Proposal:
    """For one value shared by all pods (`GetExternalPerPodMetricReplicas`)."""
    wanted = replicas
    if replicas == 0 or not rules.close(value / (target * replicas)):
        wanted = ceil(value / target)
    return Proposal(wanted, average=ceil(value / replicas) if replicas else 0)


def pod_requests(pods: Sequence[Obj], resource: str, container: str = "") -> dict[str, int]:
    """What each pod, or its one container, requests. Raises CannotError where a container requests nothing."""
    found: dict[str, int] = {}
    for pod in pods:
        spec = pod["spec"]
        sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
        total = 0
        for one in [*(spec.get("containers") or ()), *sidecars]:
            if container and one["name"] != container:
                continue
            asked = meta.get(one, "resources", "requests", resource)
            if asked is None:
                text = f"missing request for {resource} in container {one['name']} of Pod {meta.name(pod)}"
                raise CannotError(text)
            total += quantity.milli(asked)
        found[meta.name(pod)] = total
    return found


def _sorted_out(
    pods: Sequence[Obj], samples: Samples, resource: str, rules: Rules, now: float
) -> tuple[Groups, dict[str, Sample]]:
    """The groups, and the samples that count."""
    if not pods:
        raise CannotError(NO_PODS)
    groups = group(pods, samples, resource, rules, now)
    aside = groups.ignored | groups.unready
    return groups, {name: sample for name, sample in samples.items() if name not in aside}


def _utilization(samples: Samples, requests: Mapping[str, int], percent: int) -> tuple[float, int, int]:
    """(ratio to the target, percent of the requests, average)."""
    counted = [name for name in samples if name in requests]
    used = sum(samples[name].value for name in counted)
    asked = sum(requests[name] for name in counted)
    if asked == 0:
        raise CannotError("no metrics returned matched known pods")
    utilization = used * 100 // asked
    return utilization / percent, utilization, used // len(counted)


def _average(samples: Samples) -> int:
    return sum(sample.value for sample in samples.values()) // len(samples)


def _weigh(
    shown: Proposal,
    ratio: float,
    samples: dict[str, Sample],
    groups: Groups,
    worst: Mapping[str, int],
    again: Callable[[Samples], float],
    rules: Rules,
) -> Proposal:
    """From a ratio to a count. What is missing or not ready damps the change, and never turns it around."""
    current = shown.replicas
    warming = bool(groups.unready) and ratio > 1.0
    if not warming and not groups.missing:
        return shown if rules.close(ratio) else replace(shown, replicas=ceil(ratio * groups.ready))
    filled = dict(samples)
    if ratio < 1.0:
        filled.update({name: Sample(value) for name, value in worst.items()})
    elif ratio > 1.0:
        filled.update({name: Sample(0) for name in worst})
    if warming:
        filled.update({name: Sample(0) for name in groups.unready})
    anew = again(filled)
    if rules.close(anew) or (ratio < 1.0 < anew) or (anew < 1.0 < ratio):
        return shown
    wanted = ceil(anew * len(filled))
    if (anew < 1.0 and wanted > current) or (anew > 1.0 and wanted < current):
        return shown
    return replace(shown, replicas=wanted)
