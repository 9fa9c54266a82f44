"""A pod's status as the kubelet publishes it, and the smallest patch from what the API has. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from netlab.api.types import Obj
from netlab.node.kubelet.clock import rfc3339
from netlab.node.kubelet.conditions import OWNED, pod_conditions, with_times
from netlab.node.kubelet.containerstatus import container_statuses
from netlab.node.kubelet.model import PodState
from netlab.node.kubelet.phase import pod_phase
from netlab.node.kubelet.podspec import qos_class

_KEYS = (
    "phase",
    "reason",
    "message",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "qosClass",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
)


def pod_status(pod: Obj, state: PodState, host_ips: Sequence[str], now: float) -> Obj:
    """The whole status as it should be (only the kubelet's own conditions among `conditions`)."""
    old = pod.get("status") or {}
    existing: list[Obj] = old.get("conditions") or []
    phase = pod_phase(pod["spec"], state)
    if old.get("phase") in ("Succeeded", "Failed"):
        phase = old["phase"]
    conditions = pod_conditions(pod, state, phase, existing)
    status: Obj = {
        "phase": phase,
        "conditions": with_times(conditions, {c["type"]: c for c in existing}, rfc3339(now)),
        "hostIP": host_ips[0],
        "hostIPs": [{"ip": ip} for ip in host_ips],
        "qosClass": old.get("qosClass") or qos_class(pod["spec"]),
    }
    if state.verdict is not None:
        _, status["reason"], status["message"] = state.verdict
    elif old.get("reason") and phase == "Failed":
        status["reason"], status["message"] = old["reason"], old.get("message", "")
    if state.start_time:
        status["startTime"] = rfc3339(state.start_time)
    ips = list(state.ips or state.last_ips) or [entry["ip"] for entry in old.get("podIPs") or ()]
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]
    status.update(container_statuses(pod, state))
    return status


def status_patch(pod: Obj, status: Obj) -> Obj | None:
    """Strategic merge patch for the status subresource; None when the API's object says the same already.

    Carries the pod's uid, so that a namesake made since is not written to (409). Only conditions that changed are
    sent: other owners' conditions (readiness gates, DisruptionTarget) merge by type and stay.
    """
    old = pod.get("status") or {}
    changes: Obj = {}
    for key in _KEYS:
        value = status.get(key)
        if old.get(key) == value or (value is None and key not in old):
            continue
        changes[key] = _replaced(old.get(key), value) if key in ("podIPs", "hostIPs") else value
    existing = {c["type"]: c for c in old.get("conditions") or ()}
    conditions = [c for c in status["conditions"] if not _same(existing.get(c["type"]), c)]
    if conditions:
        changes["$setElementOrder/conditions"] = [{"type": kind} for kind in _order(existing)]
        changes["conditions"] = conditions
    return {"metadata": {"uid": pod["metadata"]["uid"]}, "status": changes} if changes else None


def _replaced(old: list[Obj] | None, new: list[Obj] | None) -> list[Obj] | None:
    """podIPs and hostIPs merge by `ip`: a changed address must replace, not join, the old one."""
    return [{"$patch": "replace"}, *new] if old and new else new


def _same(old: Obj | None, new: Obj) -> bool:
    return old is not None and all(
        (old.get(key) or "") == (new.get(key) or "") for key in ("status", "reason", "message", "lastTransitionTime")
    )


def _order(existing: dict[str, Obj]) -> list[str]:
    return [*(kind for kind in existing if kind not in OWNED), *OWNED]
