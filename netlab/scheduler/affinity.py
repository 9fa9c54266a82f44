"""PURE. Inter-pod affinity and anti-affinity (upstream plugins/interpodaffinity)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from netlab.scheduler.model import AffinityTerm, NodeInfo, PodInfo

if TYPE_CHECKING:
    from netlab.scheduler.cache import Snapshot

Pair = tuple[str, str]
"""(topology key, value): a domain."""

HARD_WEIGHT = 1
"""hardPodAffinityWeight: what a required term of a pod that is there counts for in the score."""


def _count(terms: tuple[AffinityTerm, ...], snapshot: Snapshot, *, together: bool) -> dict[Pair, int]:
    """How many pods match in each domain; `together`: a pod counts only if it matches all terms."""
    counts: dict[Pair, int] = {}
    for node in snapshot.nodes:
        for pod in node.pods.values():
            matching = [term for term in terms if term.matches(pod, snapshot.namespace_labels)]
            if together and len(matching) < len(terms):
                continue
            for term in matching:
                value = node.labels.get(term.key)
                if value is not None:
                    counts[term.key, value] = counts.get((term.key, value), 0) + 1
    return counts


def prepare_filter(pod: PodInfo, snapshot: Snapshot) -> Callable[[NodeInfo], str] | None:
    """A function that says "ok", "affinity", "anti" or "existing" of a node; None where no term is in play."""
    blocked: set[Pair] = set()
    for other in snapshot.with_anti_affinity:
        where = snapshot.by_name.get(other.node)
        if where is None:
            continue
        for term in other.anti_affinity.required:
            if term.key in where.labels and term.matches(pod, snapshot.namespace_labels):
                blocked.add((term.key, where.labels[term.key]))
    wants, shuns = pod.affinity.required, pod.anti_affinity.required
    if not blocked and not wants and not shuns:
        return None
    near = _count(wants, snapshot, together=True) if wants else {}
    far = _count(shuns, snapshot, together=False) if shuns else {}
    first = not near and all(term.matches(pod, snapshot.namespace_labels) for term in wants)

    def check(node: NodeInfo) -> str:
        for term in wants:
            value = node.labels.get(term.key)
            # the first pod of a group that wants its own company may start anywhere with the key
            if value is None or (not near.get((term.key, value)) and not first):
                return "affinity"
        for term in shuns:
            value = node.labels.get(term.key)
            if value is not None and far.get((term.key, value)):
                return "anti"
        if any((key, value) in blocked for key, value in node.labels.items()):
            return "existing"
        return "ok"

    return check


def prepare_score(pod: PodInfo, snapshot: Snapshot) -> Callable[[NodeInfo], float] | None:
    """A function that gives a node's raw score; None where no preference is in play."""
    scores: dict[Pair, int] = {}

    def credit(where: NodeInfo, term: AffinityTerm, weight: int) -> None:
        value = where.labels.get(term.key)
        if value is not None:
            scores[term.key, value] = scores.get((term.key, value), 0) + weight

    likes, dislikes = pod.affinity.preferred, pod.anti_affinity.preferred
    if likes or dislikes:
        for node in snapshot.nodes:
            for other in node.pods.values():
                for term in likes:
                    if term.matches(other, snapshot.namespace_labels):
                        credit(node, term, term.weight)
                for term in dislikes:
                    if term.matches(other, snapshot.namespace_labels):
                        credit(node, term, -term.weight)
    for other in snapshot.with_affinity:
        where = snapshot.by_name.get(other.node)
        if where is None:
            continue
        weighted = [(term, HARD_WEIGHT) for term in other.affinity.required]
        weighted += [(term, term.weight) for term in other.affinity.preferred]
        weighted += [(term, -term.weight) for term in other.anti_affinity.preferred]
        for term, weight in weighted:
            if term.matches(pod, snapshot.namespace_labels):
                credit(where, term, weight)
    if not scores:
        return None
    return lambda node: sum(scores.get(pair, 0) for pair in node.labels.items())
