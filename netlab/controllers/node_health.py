"""PURE. What a Node's heartbeats say: conditions, taints, disruption (upstream pkg/controller/nodelifecycle)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netlab.api import meta
from netlab.api.types import Obj

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
"""Conditions that become Unknown when the kubelet falls silent."""

CONDITION_TAINTS: Mapping[str, Mapping[str, str]] = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
}

SMALL_ZONE, UNHEALTHY_SHARE = 50, 0.55


@dataclass(frozen=True)
class Heartbeat:
    """What was last seen of a node: values that only its kubelet changes, and when (our clock) they changed."""

    lease: str
    ready: str
    at: float


def heartbeat(node: Obj, lease: Obj | None, known: Heartbeat | None, now: float) -> Heartbeat:
    """The heartbeat after a look; `at` moves only when the kubelet's own stamps did."""
    renewed = str(meta.get(lease, "spec", "renewTime", default="")) if lease else ""
    beat = str((meta.condition(node, "Ready") or {}).get("lastHeartbeatTime") or "")
    if known is not None and (known.lease, known.ready) == (renewed, beat):
        return known
    return Heartbeat(renewed, beat, now)


def excuse(elapsed: float, period: float, connected: bool) -> float:
    """How much of the time since the last look must not count as a node's silence.

    All of it while we could not hear (the API server was away), and what we ourselves came late by: a machine too busy
    to run this loop on time is too busy to renew leases on time, and that is no node's failure.
    """
    return elapsed if not connected else max(0.0, elapsed - 2 * period)


def lost(silence: float, grace: float, delay: float) -> bool:
    """Whether a node that was not heard of for `silence` seconds is lost.

    `delay`: how long the API server took just now to say that it has nothing newer; a heartbeat may wait as long."""
    return silence > grace + delay


def silent_conditions(node: Obj, now: float) -> list[Obj]:
    """The conditions to write for a node whose kubelet is silent; [] where they are written already."""
    changed = []
    stamp = meta.rfc3339(now)
    for kind in WATCHED:
        old = meta.condition(node, kind)
        if old is None:
            created = meta.get(node, "metadata", "creationTimestamp", default=stamp)
            changed.append(
                {
                    "type": kind,
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": created,
                    "lastTransitionTime": stamp,
                }
            )
        elif old["status"] != "Unknown":
            silent = {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            changed.append({**old, "status": "Unknown", **silent, "lastTransitionTime": stamp})
    return changed


def ready_status(node: Obj) -> str:
    """True, False or Unknown; a node that never said is Unknown."""
    return str((meta.condition(node, "Ready") or {}).get("status") or "Unknown")


def no_schedule_taints(node: Obj) -> list[str]:
    """Keys of the NoSchedule taints that the node's conditions and its cordon ask for."""
    keys = []
    for kind, by_status in CONDITION_TAINTS.items():
        condition = meta.condition(node, kind)
        key = by_status.get(condition["status"]) if condition else None
        if key:
            keys.append(key)
    if meta.get(node, "spec", "unschedulable"):
        keys.append(UNSCHEDULABLE)
    return keys


OURS: Mapping[str, frozenset[str]] = {
    "NoSchedule": frozenset({key for by in CONDITION_TAINTS.values() for key in by.values()} | {UNSCHEDULABLE}),
    "NoExecute": frozenset({NOT_READY, UNREACHABLE}),
}
"""Keys of the taints that this controller sets and removes, by effect."""


def taints(node: Obj, *, evict: bool, now: float) -> list[Obj] | None:
    """The node's taints as they should be; None where they are. `evict` False takes NoExecute taints away.

    Taints that are not ours are left where they are.
    """
    current: list[Obj] = meta.get(node, "spec", "taints", default=[])
    wanted = {("NoSchedule", key) for key in no_schedule_taints(node)}
    status = ready_status(node)
    if evict and status != "True":
        wanted.add(("NoExecute", NOT_READY if status == "False" else UNREACHABLE))
    kept, have = [], set()
    for taint in current:
        identity = (taint.get("effect", ""), taint["key"])
        if taint["key"] in OURS.get(identity[0], ()) and identity not in wanted:
            continue
        kept.append(taint)
        have.add(identity)
    missing = sorted(wanted - have)
    if not missing and len(kept) == len(current):
        return None
    stamp = meta.rfc3339(now)
    return kept + [{"key": key, "effect": effect, "timeAdded": stamp} for effect, key in missing]


def eviction_stopped(nodes: Sequence[Obj]) -> bool:
    """Whether so many nodes are silent that it is rather we who are cut off: then nobody is evicted.

    All nodes not ready (upstream's full disruption), or most of a small cluster (partial disruption).
    """
    if not nodes:
        return False
    bad = sum(ready_status(node) != "True" for node in nodes)
    if bad == len(nodes):
        return True
    return len(nodes) <= SMALL_ZONE and bad > 2 and bad / len(nodes) >= UNHEALTHY_SHARE
