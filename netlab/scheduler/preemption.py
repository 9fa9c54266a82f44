"""PURE. Which pods to evict so that a more important one fits (upstream framework/preemption, defaultpreemption).

Only what evicting from the same node can cure is tried: resources and host ports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from netlab.api import meta
from netlab.scheduler.cache import Snapshot
from netlab.scheduler.cycle import Failure, Nominations, judge, prepare, with_nominated
from netlab.scheduler.filters import Check
from netlab.scheduler.model import NodeInfo, PodInfo

CURABLE = ("NodeResourcesFit", "NodePorts", "VolumeRestrictions")
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclass(frozen=True)
class Preemption:
    """Evict `victims` from `node`."""

    node: str
    victims: tuple[PodInfo, ...]


def preempt(pod: PodInfo, failure: Failure, snapshot: Snapshot, nominations: Nominations) -> Preemption | str:
    """What to evict; or the sentence that says why nothing is."""
    if pod.spec.get("preemptionPolicy") == "Never":
        return "not eligible due to preemptionPolicy=Never."
    nominated = meta.get(pod.obj, "status", "nominatedNodeName", default="")
    where = snapshot.by_name.get(nominated)
    if where and any(p.priority < pod.priority and meta.deleting(p.obj) for p in where.pods.values()):
        return "not eligible due to a terminating pod on the nominated node."
    checks = prepare(pod, snapshot)
    reasons: Counter[str] = Counter()
    candidates: list[Preemption] = []
    for node in snapshot.nodes:
        rejection = failure.rejections.get(node.name)
        if rejection is None or not rejection.resolvable:
            reasons[NOT_HELPFUL] += 1
            continue
        victims = None
        if rejection.plugin in CURABLE:
            victims = _victims(pod, with_nominated(node, pod, nominations), checks)
        if victims is None:
            reasons[NO_VICTIMS] += 1
        else:
            candidates.append(Preemption(node.name, victims))
    if not candidates:
        text = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
        return f"0/{failure.total} nodes are available: {text}."
    return min(candidates, key=_cost)


def _victims(pod: PodInfo, node: NodeInfo, checks: Sequence[Check]) -> tuple[PodInfo, ...] | None:
    """The least important pods of a node without which the pod fits; None where there are none."""
    lower = [other for other in node.pods.values() if other.priority < pod.priority]
    if not lower:
        return None
    trial = node.copy()
    for other in lower:
        trial.remove(other)
    if judge(checks, trial) is not None:
        return None
    victims = []
    lower.sort(key=lambda p: (-p.priority, meta.get(p.obj, "status", "startTime", default="")))
    for other in lower:  # give back the most important ones first, as long as the pod still fits
        trial.add(other)
        if judge(checks, trial) is not None:
            trial.remove(other)
            victims.append(other)
    return tuple(victims)


def _cost(candidate: Preemption) -> tuple[int, int, int]:
    priorities = [victim.priority for victim in candidate.victims]
    return (max(priorities), sum(p + 2**31 for p in priorities), len(priorities))
