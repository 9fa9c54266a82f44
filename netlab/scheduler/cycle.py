"""PURE. One decision: filter, score, choose; and what to say when no node will do (upstream schedule_one.go)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from netlab.scheduler import volumes
from netlab.scheduler.cache import Snapshot
from netlab.scheduler.filters import FILTERS, Check, Rejection
from netlab.scheduler.model import NodeInfo, PodInfo
from netlab.scheduler.scores import SCORES

SAMPLE_FROM = 100
"""Clusters of at most so many nodes are looked at whole."""

Nominations = Mapping[str, Sequence[PodInfo]]
"""By node: pods for which others were evicted there, and which have not arrived yet."""


@dataclass(frozen=True)
class Placement:
    """The node to bind to."""

    node: str


@dataclass(frozen=True)
class Failure:
    """Why no node will do, by node."""

    total: int
    rejections: Mapping[str, Rejection] = field(default_factory=dict)
    everywhere: Rejection | None = None
    """What is wrong with the pod itself; no node was looked at then."""

    @property
    def plugins(self) -> frozenset[str]:
        if self.everywhere is not None:
            return frozenset((self.everywhere.plugin,))
        return frozenset(rejection.plugin for rejection in self.rejections.values())

    def message(self, preemption: str = "") -> str:
        """Upstream's sentence, as it stands in the event and the PodScheduled condition."""
        if not self.total:
            return "no nodes available to schedule pods"
        reasons = Counter(reason for rejection in self.rejections.values() for reason in rejection.reasons)
        text = f"0/{self.total} nodes are available"
        if self.everywhere is not None:
            text += f": {', '.join(self.everywhere.reasons)}."
        elif reasons:
            text += ": " + ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items())) + "."
        return f"{text} preemption: {preemption}" if preemption else text


def prepare(pod: PodInfo, snapshot: Snapshot) -> list[Check]:
    """The filters that have something to say about this pod."""
    return [check for make in FILTERS if (check := make(pod, snapshot)) is not None]


def judge(checks: Sequence[Check], node: NodeInfo) -> Rejection | None:
    """The first rejection of a node."""
    for check in checks:
        rejection = check(node)
        if rejection is not None:
            return rejection
    return None


def enough(total: int) -> int:
    """How many feasible nodes are worth scoring (upstream's numFeasibleNodesToFind)."""
    if total < SAMPLE_FROM:
        return total
    percent = max(5, 50 - total // 125)
    return max(SAMPLE_FROM, total * percent // 100)


def schedule(
    pod: PodInfo,
    snapshot: Snapshot,
    *,
    start: int = 0,
    nominations: Nominations | None = None,
    passed: Callable[[str], None] | None = None,
) -> Placement | Failure:
    """Where the pod goes. `start` is the node to look at first: rotate it, so that large clusters are used evenly.

    `passed` is told of each of upstream's extension points that was gone through.
    """
    nodes = snapshot.nodes
    why = volumes.problem(pod, snapshot.storage) if pod.claims and nodes else ""
    checks = prepare(pod, snapshot) if not why else []
    if passed is not None:
        passed("PreFilter")
    if why:
        return Failure(len(nodes), everywhere=Rejection("VolumeBinding", (why,), False))
    feasible: list[NodeInfo] = []
    rejections: dict[str, Rejection] = {}
    limit = enough(len(nodes))
    for position in range(len(nodes)):
        node = nodes[(start + position) % len(nodes)]
        rejection = judge(checks, with_nominated(node, pod, nominations))
        if rejection is not None:
            rejections[node.name] = rejection
            continue
        feasible.append(node)
        if len(feasible) >= limit:
            break
    if passed is not None:
        passed("Filter")
    if not feasible:
        return Failure(len(nodes), rejections)
    chosen = choose(pod, feasible, snapshot)
    if passed is not None:
        passed("Score")
    return Placement(chosen.name)


def with_nominated(node: NodeInfo, pod: PodInfo, nominations: Nominations | None) -> NodeInfo:
    """The node as it will be once the pods nominated to it, of at least this pod's priority, are there."""
    waiting = nominations.get(node.name, ()) if nominations else ()
    more = [other for other in waiting if other.uid != pod.uid and other.priority >= pod.priority]
    if not more:
        return node
    node = node.copy()
    for other in more:
        node.add(other)
    return node


def choose(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> NodeInfo:
    """The best node; of equally good ones any."""
    if len(nodes) == 1:
        return nodes[0]
    totals = [0.0] * len(nodes)
    for score, weight in SCORES:
        values = score(pod, nodes, snapshot)
        if values is not None:
            for position, value in enumerate(values):
                totals[position] += value * weight
    best = max(totals)
    return random.choice([node for node, value in zip(nodes, totals, strict=True) if value == best])
