"""PURE. Topology spread constraints, the pod's own and the defaults (upstream plugins/podtopologyspread)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netlab.api import labels as labelling
from netlab.api.labels import Selector
from netlab.scheduler.model import HOSTNAME, ZONE, NodeInfo, PodInfo, tolerates

if TYPE_CHECKING:
    from netlab.scheduler.cache import Snapshot


@dataclass(frozen=True)
class Constraint:
    """One constraint, of a pod."""

    key: str
    max_skew: int
    selector: Selector
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


def constraints(pod: PodInfo, when: str) -> tuple[Constraint, ...]:
    """The pod's own constraints with this whenUnsatisfiable."""
    return tuple(
        Constraint(
            raw["topologyKey"],
            int(raw["maxSkew"]),
            _selector(raw, pod.labels),
            int(raw.get("minDomains") or 1),
            (raw.get("nodeAffinityPolicy") or "Honor") == "Honor",
            (raw.get("nodeTaintsPolicy") or "Ignore") == "Honor",
        )
        for raw in pod.spec.get("topologySpreadConstraints") or ()
        if raw.get("whenUnsatisfiable") == when
    )


def _selector(raw: Mapping[str, object], pod_labels: Mapping[str, str]) -> Selector:
    chosen = raw.get("labelSelector")
    if not isinstance(chosen, dict):
        return labelling.NOTHING
    keys = raw.get("matchLabelKeys")
    same = {k: pod_labels[k] for k in keys if k in pod_labels} if isinstance(keys, list) else {}
    return labelling.from_label_selector({**chosen, "matchLabels": {**(chosen.get("matchLabels") or {}), **same}})


def defaults(selector: Selector) -> tuple[Constraint, ...]:
    """The cluster's constraints for pods of a Service or a controller that have none of their own."""
    return (Constraint(HOSTNAME, 3, selector), Constraint(ZONE, 5, selector))


def eligible(constraint: Constraint, pod: PodInfo, node: NodeInfo) -> bool:
    """Whether a node's pods count, by the constraint's policies."""
    from netlab.scheduler.filters import matches_node

    if constraint.honor_affinity and not matches_node(pod, node):
        return False
    return not constraint.honor_taints or all(
        tolerates(pod.tolerations, taint) for taint in node.taints if taint.get("effect") != "PreferNoSchedule"
    )


def prepare_filter(pod: PodInfo, snapshot: Snapshot) -> Callable[[NodeInfo], str] | None:
    """A function that says "ok", "missing" (no such label) or "skewed" of a node; None without hard constraints."""
    hard = constraints(pod, "DoNotSchedule")
    if not hard:
        return None
    domains: list[dict[str, int]] = []
    for constraint in hard:
        counts: dict[str, int] = {}
        on_node = snapshot.matching(pod.namespace, constraint.selector)
        for node in snapshot.nodes:
            value = node.labels.get(constraint.key)
            if value is not None and all(c.key in node.labels for c in hard) and eligible(constraint, pod, node):
                counts[value] = counts.get(value, 0) + on_node.get(node.name, 0)
        domains.append(counts)

    def check(node: NodeInfo) -> str:
        for constraint, counts in zip(hard, domains, strict=True):
            value = node.labels.get(constraint.key)
            if value is None:
                return "missing"
            least = min(counts.values(), default=0) if len(counts) >= constraint.min_domains else 0
            own = 1 if constraint.selector.matches(pod.labels) else 0
            if counts.get(value, 0) + own - least > constraint.max_skew:
                return "skewed"
        return "ok"

    return check


def prepare_score(
    pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
) -> Callable[[NodeInfo], float | None] | None:
    """A function that gives a node's raw score (fewer is better; None: ignore the node); None without constraints."""
    soft = constraints(pod, "ScheduleAnyway")
    own = bool(soft) or bool(pod.spec.get("topologySpreadConstraints"))
    if not own:
        selector = snapshot.default_selector(pod)
        if selector is None:
            return None
        soft = defaults(selector)
    if not soft:
        return None
    tables: list[tuple[Constraint, Mapping[str, int], dict[str, int], float]] = []
    for constraint in soft:
        on_node = snapshot.matching(pod.namespace, constraint.selector)
        counts: dict[str, int] = {}
        if constraint.key == HOSTNAME:
            tables.append((constraint, on_node, counts, math.log(len(nodes) + 2)))
            continue
        for node in nodes:
            if constraint.key in node.labels:
                counts.setdefault(node.labels[constraint.key], 0)
        for node in snapshot.nodes:
            value = node.labels.get(constraint.key)
            if value in counts and (not own or eligible(constraint, pod, node)):
                counts[value] += on_node.get(node.name, 0)
        tables.append((constraint, on_node, counts, math.log(len(counts) + 2)))

    def score(node: NodeInfo) -> float | None:
        if own and any(constraint.key not in node.labels for constraint in soft):
            return None
        total = 0.0
        for constraint, on_node, counts, weight in tables:
            if constraint.key == HOSTNAME:
                total += on_node.get(node.name, 0) * weight + constraint.max_skew - 1
            elif constraint.key in node.labels:
                total += counts[node.labels[constraint.key]] * weight + constraint.max_skew - 1
        return round(total)

    return score
