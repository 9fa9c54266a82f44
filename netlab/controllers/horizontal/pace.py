"""PURE. How fast an autoscaler may follow its metrics: limits, policies, stabilization (upstream horizontal.go)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from netlab.api.types import Obj

SCALE_UP_FACTOR, SCALE_UP_MINIMUM = 2.0, 4.0
MOST = 2**31 - 1

Condition = tuple[str, str, str, str]
"""Type, status, reason, message."""


@dataclass(slots=True)
class History:
    """What an autoscaler remembers: recommendations (replicas, when) and changes (by how many, when)."""

    recommendations: list[tuple[int, float]] = field(default_factory=list)
    ups: list[tuple[int, float]] = field(default_factory=list)
    downs: list[tuple[int, float]] = field(default_factory=list)

    def scaled(self, behavior: Obj | None, before: int, after: int, now: float) -> None:
        """Remember a change for as long as a policy may ask for it."""
        if behavior is None:
            return
        kept, rules = (self.ups, behavior["scaleUp"]) if after > before else (self.downs, behavior["scaleDown"])
        longest = max((policy["periodSeconds"] for policy in rules.get("policies") or ()), default=0)
        kept[:] = [*(one for one in kept if one[1] >= now - longest), (abs(after - before), now)]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one decision: what runs now, and the spec's limits."""

    current: int
    least: int
    most: int


def paced(
    bounds: Bounds, wanted: int, behavior: Obj | None, history: History, window: float, now: float
) -> tuple[int, list[Condition]]:
    """(replicas, conditions AbleToScale and ScalingLimited). `window` is the scale-down stabilization in seconds."""
    if behavior is None:
        stable = _highest(wanted, history, window, now)
        reason, message = _DOWN
        limited = _simple(bounds, stable)
    else:
        down = behavior["scaleDown"].get("stabilizationWindowSeconds")
        down_window = window if down is None else float(down)
        up_window = float(behavior["scaleUp"].get("stabilizationWindowSeconds") or 0)
        stable = _between(bounds.current, wanted, history, up_window, down_window, now)
        reason, message = _UP if wanted >= bounds.current else _DOWN
        limited = _by_policies(bounds, stable, behavior, history, now)
    able: Condition = ("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size")
    if stable != wanted:
        able = ("AbleToScale", "True", reason, message)
    replicas, why, text = limited
    return replicas, [able, ("ScalingLimited", "False" if replicas == stable else "True", why, text)]


_UP = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
_DOWN = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
_WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
_FAST_UP = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
_FAST_DOWN = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")


def _highest(wanted: int, history: History, window: float, now: float) -> int:
    """The highest recommendation of the window."""
    kept = [one for one in history.recommendations if one[1] >= now - window]
    history.recommendations[:] = [*kept, (wanted, now)]
    return max([wanted, *(replicas for replicas, _ in kept)])


def _between(current: int, wanted: int, history: History, up: float, down: float, now: float) -> int:
    """As near to the current count as the recommendations of both windows allow."""
    known = history.recommendations
    lowest = min([wanted, *(replicas for replicas, when in known if when > now - up)])
    highest = max([wanted, *(replicas for replicas, when in known if when > now - down)])
    history.recommendations[:] = [*(one for one in known if one[1] >= now - max(up, down)), (wanted, now)]
    return min(max(current, lowest), highest)


def _simple(bounds: Bounds, wanted: int) -> tuple[int, str, str]:
    """Without a behavior: at most twice as many, or four."""
    fastest = int(max(SCALE_UP_FACTOR * bounds.current, SCALE_UP_MINIMUM))
    most, why = (fastest, _FAST_UP) if bounds.most > fastest else (bounds.most, _MANY)
    if wanted < bounds.least:
        return bounds.least, *_FEW
    if wanted > most:
        return most, *why
    return wanted, *_WITHIN


def _by_policies(bounds: Bounds, wanted: int, behavior: Obj, history: History, now: float) -> tuple[int, str, str]:
    if wanted > bounds.current:
        limit = max(bounds.current, up_limit(bounds.current, history, behavior["scaleUp"], now))
        most, why = (limit, _FAST_UP) if bounds.most > limit else (bounds.most, _MANY)
        if wanted > most:
            return most, *why
    elif wanted < bounds.current:
        limit = min(bounds.current, down_limit(bounds.current, history, behavior["scaleDown"], now))
        least, why = (limit, _FAST_DOWN) if bounds.least < limit else (bounds.least, _FEW)
        if wanted < least:
            return least, *why
    return wanted, *_WITHIN


def up_limit(current: int, history: History, rules: Obj, now: float) -> int:
    """The most pods that the policies allow now."""
    choice = rules.get("selectPolicy", "Max")
    if choice == "Disabled":
        return current
    found: list[int] = []
    for policy in rules["policies"]:
        began = _at_start(current, history, policy["periodSeconds"], now)
        if policy["type"] == "Pods":
            found.append(began + policy["value"])
        else:
            # upstream computes in floating point, so 10 and 10 % are 11.000000000000002, thus 12: kept
            found.append(ceil(began * (1 + policy["value"] / 100)))
    return (min if choice == "Min" else max)(found)


def down_limit(current: int, history: History, rules: Obj, now: float) -> int:
    """The fewest pods that the policies allow now."""
    choice = rules.get("selectPolicy", "Max")
    if choice == "Disabled":
        return current
    found: list[int] = []
    for policy in rules["policies"]:
        began = _at_start(current, history, policy["periodSeconds"], now)
        if policy["type"] == "Pods":
            found.append(began - policy["value"])
        else:
            found.append(int(began * (1 - policy["value"] / 100)))
    return (max if choice == "Min" else min)(found)


def _at_start(current: int, history: History, period: float, now: float) -> int:
    """How many there were when the policy's period began."""
    return current - _changes(history.ups, period, now) + _changes(history.downs, period, now)


def _changes(changes: Sequence[tuple[int, float]], period: float, now: float) -> int:
    return sum(count for count, when in changes if when > now - period)
