"""Pods: READY, STATUS and RESTARTS are summaries of the container states; the rules are upstream's printPod."""

from __future__ import annotations

from typing import Any

from netlab.api import meta
from netlab.api.tables import human
from netlab.api.tables.model import AGE, NAME, Printer, string
from netlab.api.types import Obj

COLUMNS = (
    NAME,
    string("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    string("Status", "The aggregate status of the containers in this pod."),
    string("Restarts", "How often the containers in this pod have been restarted and when the last one was."),
    AGE,
    string("IP", "The pod's address.", wide=True),
    string("Node", "The node that the pod is scheduled to.", wide=True),
    string("Nominated Node", "The node on which lower-priority pods are preempted for it.", wide=True),
    string("Readiness Gates", "True conditions of the readiness gates, of how many.", wide=True),
)

_DONE = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}
NODE_LOST = "NodeLost"


class _Tally:
    """What one pass over the container statuses adds up."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.ready = 0
        self.restarts = 0
        self.last_restart = ""

    def restarted(self, status: Obj) -> None:
        self.restarts += status.get("restartCount") or 0
        finished = meta.get(status, "lastState", "terminated", "finishedAt", default="")
        self.last_restart = max(self.last_restart, finished)


def _ended(terminated: Obj) -> str:
    """Why a container ended: its reason, else its signal, else its exit code."""
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _init_containers(pod: Obj, tally: _Tally, sidecars: frozenset[str]) -> tuple[bool, _Tally]:
    """(still initialising?, what the sidecars among them count)."""
    of_sidecars = _Tally("")
    total = len(meta.get(pod, "spec", "initContainers", default=[]))
    for index, status in enumerate(meta.get(pod, "status", "initContainerStatuses", default=[])):
        state = status.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        tally.restarted(status)
        is_sidecar = status.get("name") in sidecars
        if is_sidecar:
            of_sidecars.restarted(status)
        if terminated and not terminated.get("exitCode"):
            continue
        if is_sidecar and status.get("started"):
            tally.ready += bool(status.get("ready"))
            continue
        if terminated:
            tally.reason = f"Init:{_ended(terminated)}"
        elif waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            tally.reason = f"Init:{waiting['reason']}"
        else:
            tally.reason = f"Init:{index}/{total}"
        return True, of_sidecars
    return False, of_sidecars


def _app_containers(pod: Obj, tally: _Tally) -> None:
    running = False
    for status in reversed(meta.get(pod, "status", "containerStatuses", default=[])):
        state = status.get("state") or {}
        tally.restarted(status)
        if (state.get("waiting") or {}).get("reason"):
            tally.reason = state["waiting"]["reason"]
        elif state.get("terminated") is not None:
            tally.reason = _ended(state["terminated"])
        elif status.get("ready") and state.get("running") is not None:
            running = True
            tally.ready += 1
    if tally.reason == "Completed" and running:
        tally.reason = "Running" if meta.condition_true(pod, "Ready") else "NotReady"


def summary(pod: Obj) -> tuple[int, int, str, int, str]:
    """(ready, total, STATUS, restarts, time of the last restart or "")."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    phase = status.get("phase") or ""
    tally = _Tally(status.get("reason") or phase)
    scheduled = meta.condition(pod, "PodScheduled") or {}
    if scheduled.get("reason") == "SchedulingGated":
        tally.reason = "SchedulingGated"
    sidecars = frozenset(c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")
    total = len(spec.get("containers") or ()) + len(sidecars)
    initialising, of_sidecars = _init_containers(pod, tally, sidecars)
    if not initialising or meta.condition_true(pod, "Initialized"):
        tally.restarts, tally.last_restart = of_sidecars.restarts, of_sidecars.last_restart
        _app_containers(pod, tally)
    if meta.deleting(pod):
        if status.get("reason") == NODE_LOST:
            tally.reason = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            tally.reason = "Terminating"
    return tally.ready, total, tally.reason, tally.restarts, tally.last_restart


def _gates(pod: Obj) -> str:
    gates = meta.get(pod, "spec", "readinessGates", default=[])
    if not gates:
        return human.NONE
    fulfilled = sum(meta.condition_true(pod, gate.get("conditionType", "")) for gate in gates)
    return f"{fulfilled}/{len(gates)}"


def cells(pod: Obj, now: float) -> list[Any]:
    """One row."""
    ready, total, reason, restarts, last = summary(pod)
    shown = f"{restarts} ({human.since(last, now)} ago)" if restarts and last else str(restarts)
    return [
        meta.name(pod),
        f"{ready}/{total}",
        reason,
        shown,
        human.age(pod, now),
        meta.get(pod, "status", "podIPs", 0, "ip", default="") or human.text(pod, "status", "podIP") or human.NONE,
        human.text(pod, "spec", "nodeName", default=human.NONE),
        human.text(pod, "status", "nominatedNodeName", default=human.NONE),
        _gates(pod),
    ]


def conditions(pod: Obj) -> list[Obj] | None:
    """Marks completed pods, which kubectl can hide."""
    phase = meta.get(pod, "status", "phase", default="")
    if phase not in _DONE:
        return None
    return [{"type": "Completed", "status": "True", "reason": phase, "message": _DONE[phase]}]


POD = Printer(COLUMNS, cells, conditions)
