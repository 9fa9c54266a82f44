"""PURE. Scores: which of the feasible nodes is best? Upstream's plugins and weights; each gives 0 to 100."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from netlab.api.labels import node_selector_matches
from netlab.scheduler import affinity, spread
from netlab.scheduler.model import NodeInfo, PodInfo, tolerates

if TYPE_CHECKING:
    from netlab.scheduler.cache import Snapshot

Score = Callable[[PodInfo, Sequence[NodeInfo], "Snapshot"], "list[float] | None"]


def taint_toleration(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> list[float] | None:
    """Fewer PreferNoSchedule taints that the pod does not tolerate."""
    if not any(node.taints for node in nodes):
        return None
    soft = [t for t in pod.tolerations if not t.get("effect") or t["effect"] == "PreferNoSchedule"]
    raw = [
        sum(1.0 for taint in node.taints if taint.get("effect") == "PreferNoSchedule" and not tolerates(soft, taint))
        for node in nodes
    ]
    most = max(raw)
    return [100 - value * 100 // most for value in raw] if most else None


def node_affinity(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> list[float] | None:
    """The weights of the preferred terms that hold."""
    terms = pod.node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution")
    if not terms:
        return None
    raw = [
        sum(float(t["weight"]) for t in terms if node_selector_matches([t["preference"]], node.labels, node.name))
        for node in nodes
    ]
    most = max(raw)
    return [value * 100 // most for value in raw] if most else None


def pod_topology_spread(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> list[float] | None:
    """Fewer matching pods in the node's domains."""
    score = spread.prepare_score(pod, nodes, snapshot)
    if score is None:
        return None
    raw = [score(node) for node in nodes]
    counted = [value for value in raw if value is not None]
    if not counted:
        return None
    least, most = min(counted), max(counted)
    if most == 0:
        return [0.0 if value is None else 100.0 for value in raw]
    return [0.0 if value is None else 100 * (most + least - value) // most for value in raw]


def inter_pod_affinity(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> list[float] | None:
    """Preferred affinity and anti-affinity, both ways."""
    score = affinity.prepare_score(pod, snapshot)
    if score is None:
        return None
    raw = [score(node) for node in nodes]
    least, most = min(raw), max(raw)
    return [100 * (value - least) // (most - least) for value in raw] if most > least else None


def least_allocated(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> list[float] | None:
    """More free cpu and memory (NodeResourcesFit)."""
    cpu, memory = pod.nonzero.get("cpu", 0), pod.nonzero.get("memory", 0)
    result = []
    for node in nodes:
        total, weight = 0, 0
        for used, allocatable in (
            (node.nonzero_cpu + cpu, node.allocatable.get("cpu", 0)),
            (node.nonzero_memory + memory, node.allocatable.get("memory", 0)),
        ):
            if allocatable:
                weight += 1
                total += max(0, allocatable - used) * 100 // allocatable
        result.append(float(total // weight) if weight else 0.0)
    return result


def balanced_allocation(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> list[float] | None:
    """Cpu and memory used in like proportion. Says nothing about a pod that asks for neither."""
    cpu, memory = pod.requests.get("cpu", 0), pod.requests.get("memory", 0)
    if not cpu and not memory:
        return None
    result = []
    for node in nodes:
        fractions = [
            min(1.0, (node.requested.get(name, 0) + more) / node.allocatable[name])
            for name, more in (("cpu", cpu), ("memory", memory))
            if node.allocatable.get(name)
        ]
        spread_ = abs(fractions[0] - fractions[1]) / 2 if len(fractions) == 2 else 0.0
        result.append(float(int((1 - spread_) * 100)))
    return result


def image_locality(pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> list[float] | None:
    """Images are there everywhere in a lab: said only where nodes list images of some size."""
    if not any(node.images for node in nodes):
        return None
    containers = pod.spec.get("containers") or ()
    least, most = 23 * 2**20, 1000 * 2**20 * max(1, len(containers))
    names = [c.get("image", "") if ":" in c.get("image", "") else f"{c.get('image', '')}:latest" for c in containers]
    result = []
    for node in nodes:
        size = sum(node.images.get(name, 0) for name in names)
        result.append(float(100 * (min(most, max(least, size)) - least) // (most - least)))
    return result


SCORES: tuple[tuple[Score, int], ...] = (
    (taint_toleration, 3),
    (node_affinity, 2),
    (pod_topology_spread, 2),
    (inter_pod_affinity, 2),
    (least_allocated, 1),
    (balanced_allocation, 1),
    (image_locality, 1),
)
"""With upstream's default weights. A score that says None is the same for all nodes."""
