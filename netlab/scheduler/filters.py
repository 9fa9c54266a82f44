"""PURE. Filters: may this pod run on this node? Upstream's plugins, order, and words.

A filter is prepared once for a pod (`prepare` returns None when it has nothing to say about it) and then asked node by
node. A rejection says why, and whether evicting other pods could help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netlab.api.labels import node_selector_matches
from netlab.scheduler import affinity, spread, volumes
from netlab.scheduler.model import NodeInfo, PodInfo, tolerates

if TYPE_CHECKING:
    from netlab.scheduler.cache import Snapshot


@dataclass(frozen=True)
class Rejection:
    """Why not. `resolvable`: another pod's going could change it."""

    plugin: str
    reasons: tuple[str, ...]
    resolvable: bool


Check = Callable[[NodeInfo], Rejection | None]
Prepare = Callable[[PodInfo, "Snapshot"], Check | None]


def _fixed(plugin: str, reason: str, resolvable: bool = False) -> Rejection:
    return Rejection(plugin, (reason,), resolvable)


def node_unschedulable(pod: PodInfo, snapshot: Snapshot) -> Check | None:
    """A cordoned node, unless the pod tolerates that."""
    if tolerates(pod.tolerations, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}):
        return None
    rejection = _fixed("NodeUnschedulable", "node(s) were unschedulable")
    return lambda node: rejection if node.unschedulable else None


def node_name(pod: PodInfo, snapshot: Snapshot) -> Check | None:
    """The node named in the spec."""
    if not pod.node:
        return None
    rejection = _fixed("NodeName", "node(s) didn't match the requested node name")
    return lambda node: rejection if node.name != pod.node else None


def taint_toleration(pod: PodInfo, snapshot: Snapshot) -> Check | None:
    """Taints with NoSchedule or NoExecute that the pod does not tolerate; the first one is named."""

    def check(node: NodeInfo) -> Rejection | None:
        for taint in node.taints:
            if taint.get("effect") in ("NoSchedule", "NoExecute") and not tolerates(pod.tolerations, taint):
                text = f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"
                return _fixed("TaintToleration", text)
        return None

    return check


def node_affinity(pod: PodInfo, snapshot: Snapshot) -> Check | None:
    """nodeSelector and required node affinity."""
    if not pod.node_selector and "requiredDuringSchedulingIgnoredDuringExecution" not in pod.node_affinity:
        return None
    rejection = _fixed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    return lambda node: None if matches_node(pod, node) else rejection


def matches_node(pod: PodInfo, node: NodeInfo) -> bool:
    """nodeSelector and required node affinity hold."""
    if any(node.labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    required = pod.node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or node_selector_matches(required.get("nodeSelectorTerms") or (), node.labels, node.name)


def node_ports(pod: PodInfo, snapshot: Snapshot) -> Check | None:
    """Host ports must be free; 0.0.0.0 conflicts with every address."""
    if not pod.ports:
        return None
    rejection = _fixed("NodePorts", "node(s) didn't have free ports for the requested pod ports", True)

    def check(node: NodeInfo) -> Rejection | None:
        for address, protocol, port in pod.ports:
            for used_address, used_protocol, used_port in node.ports:
                if (protocol, port) == (used_protocol, used_port) and (
                    address == used_address or "0.0.0.0" in (address, used_address)
                ):
                    return rejection
        return None

    return check


def node_resources_fit(pod: PodInfo, snapshot: Snapshot) -> Check | None:
    """Room for the pod's requests, and for one more pod."""
    wanted = [(name, value) for name, value in pod.requests.items() if value > 0]

    def check(node: NodeInfo) -> Rejection | None:
        allocatable = node.allocatable
        if len(node.pods) + 1 <= allocatable.get("pods", 0):
            for name, value in wanted:
                if value > allocatable.get(name, 0) - node.requested.get(name, 0):
                    break
            else:
                return None
        reasons = [] if len(node.pods) + 1 <= allocatable.get("pods", 0) else ["Too many pods"]
        resolvable = True
        for name, value in wanted:
            if value > allocatable.get(name, 0) - node.requested.get(name, 0):
                reasons.append(f"Insufficient {name}")
                resolvable = resolvable and value <= allocatable.get(name, 0)
        return Rejection("NodeResourcesFit", tuple(reasons), resolvable)

    return check


def volume_restrictions(pod: PodInfo, snapshot: Snapshot) -> Check | None:
    """A claim of mode ReadWriteOncePod is for one pod, wherever that is."""
    claims = [key for key in pod.claim_keys if "ReadWriteOncePod" in volumes.modes(key, snapshot.storage)]
    used = {key: count for key in claims if (count := snapshot.users(key))}
    if not used:
        return None
    reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    rejection = _fixed("VolumeRestrictions", reason, True)

    def gone(node: NodeInfo, key: str) -> int:
        """Users of the claim that preemption has taken from the node, to try it."""
        return sum(
            key in one.claim_keys for uid, one in snapshot.by_name[node.name].pods.items() if uid not in node.pods
        )

    return lambda node: rejection if any(count > gone(node, key) for key, count in used.items()) else None


def volume_binding(pod: PodInfo, snapshot: Snapshot) -> Check | None:
    """The pod's volumes are within the node's reach, or can be bound or made there."""
    reasons = volumes.conflict(pod, snapshot.storage) if pod.claims else None
    if reasons is None:
        return None

    def check(node: NodeInfo) -> Rejection | None:
        why = reasons(node)
        return Rejection("VolumeBinding", tuple(why), False) if why else None

    return check


def pod_topology_spread(pod: PodInfo, snapshot: Snapshot) -> Check | None:
    """topologySpreadConstraints with DoNotSchedule."""
    hard = spread.prepare_filter(pod, snapshot)
    if hard is None:
        return None
    missing = _fixed(
        "PodTopologySpread", "node(s) didn't match pod topology spread constraints (missing required label)"
    )
    skewed = _fixed("PodTopologySpread", "node(s) didn't match pod topology spread constraints", True)

    def check(node: NodeInfo) -> Rejection | None:
        verdict = hard(node)
        return None if verdict == "ok" else missing if verdict == "missing" else skewed

    return check


def inter_pod_affinity(pod: PodInfo, snapshot: Snapshot) -> Check | None:
    """Required pod affinity and anti-affinity, the pod's own and that of pods that are there."""
    hard = affinity.prepare_filter(pod, snapshot)
    if hard is None:
        return None
    rejections = {
        "affinity": _fixed("InterPodAffinity", "node(s) didn't match pod affinity rules"),
        "anti": _fixed("InterPodAffinity", "node(s) didn't match pod anti-affinity rules", True),
        "existing": _fixed("InterPodAffinity", "node(s) didn't satisfy existing pods anti-affinity rules", True),
    }
    return lambda node: rejections.get(hard(node))


FILTERS: tuple[Prepare, ...] = (
    node_unschedulable,
    node_name,
    taint_toleration,
    node_affinity,
    node_ports,
    node_resources_fit,
    volume_restrictions,
    volume_binding,
    pod_topology_spread,
    inter_pod_affinity,
)
"""In upstream's order; a node's first rejection is the one reported."""
