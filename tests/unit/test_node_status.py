"""What the kubelet says of a pod: phase, conditions, container states, and the patch that says it."""

from __future__ import annotations

from typing import Any

import pytest
from node_fakes import pod

from netlab.node.kubelet.actions import plan
from netlab.node.kubelet.backoff import Backoff
from netlab.node.kubelet.model import ContainerState, Exit, Kind, PodState
from netlab.node.kubelet.phase import pod_phase
from netlab.node.kubelet.records import sync_containers
from netlab.node.kubelet.status import pod_status, status_patch

Obj = dict[str, Any]
NOW = 1_700_000_000.0


def ended(code: int, at: float = NOW) -> Exit:
    return Exit("id", code, "Completed" if code == 0 else "Error", "", at - 5, at)


def state_of(text: str, kind: Kind = Kind.MAIN, name: str = "c") -> ContainerState:
    """`new`, `running`, `0`, `1` (ended so), `waiting 1` (ended so, to be restarted)."""
    state = ContainerState(name, kind)
    if text == "new":
        return state
    state.id, state.attempt = "id", 0
    if text == "running":
        state.running = state.started = state.ready = True
        state.started_at = NOW
    elif text.startswith("waiting"):
        state.exit, state.waiting = ended(int(text.split()[1])), ("CrashLoopBackOff", "")
    else:
        state.exit = ended(int(text))
    return state


PHASES = [
    # policy, main containers, plain init containers, terminal → phase
    ("Always", ["new"], [], False, "Pending"),
    ("Always", ["running"], [], False, "Running"),
    ("Always", ["running", "new"], [], False, "Pending"),
    ("Always", ["running", "waiting 1"], [], False, "Running"),
    ("Always", ["0"], [], False, "Running"),
    ("Always", ["waiting 1"], [], False, "Running"),
    ("OnFailure", ["0"], [], False, "Succeeded"),
    ("OnFailure", ["1"], [], False, "Running"),
    ("Never", ["0", "0"], [], False, "Succeeded"),
    ("Never", ["0", "1"], [], False, "Failed"),
    ("Never", ["0", "running"], [], False, "Running"),
    ("Always", ["new"], ["running"], False, "Pending"),
    ("Always", ["new"], ["0"], False, "Pending"),
    ("Always", ["new"], ["waiting 1"], False, "Pending"),
    ("Never", ["new"], ["1"], False, "Failed"),
    ("Always", ["running"], ["0"], False, "Running"),
    ("Always", ["0"], [], True, "Succeeded"),
    ("Always", ["1"], [], True, "Failed"),
    ("Always", ["new"], [], True, "Failed"),
]


@pytest.mark.parametrize(("policy", "mains", "inits", "terminal", "phase"), PHASES)
def test_phase(policy: str, mains: list[str], inits: list[str], terminal: bool, phase: str) -> None:
    state = PodState("u", terminal=terminal)
    for index, text in enumerate(inits):
        state.containers[f"i{index}"] = state_of(text, Kind.INIT, f"i{index}")
    for index, text in enumerate(mains):
        state.containers[f"c{index}"] = state_of(text, Kind.MAIN, f"c{index}")
    assert pod_phase({"restartPolicy": policy}, state) == phase


def running_pod() -> tuple[Obj, PodState]:
    obj = pod()
    obj["metadata"]["uid"] = "u"
    state = PodState("u", sandbox_id="s", sandbox_ready=True, ips=("10.244.1.2",), start_time=NOW, initialized=True)
    state.containers["c"] = state_of("running")
    return obj, state


def test_a_running_pods_status() -> None:
    obj, state = running_pod()
    status = pod_status(obj, state, ("192.168.0.2",), NOW)
    assert status["phase"] == "Running" and status["startTime"] == "2023-11-14T22:13:20Z"
    assert status["containerStatuses"] == [
        {
            "name": "c",
            "state": {"running": {"startedAt": "2023-11-14T22:13:20Z"}},
            "lastState": {},
            "ready": True,
            "restartCount": 0,
            "image": "busybox",
            "imageID": "",
            "started": True,
            "containerID": "netlab://id",
            "resources": {},
            "user": {"linux": {"uid": 0, "gid": 0, "supplementalGroups": [0]}},
        }
    ]


def test_saying_it_again_is_not_needed() -> None:
    obj, state = running_pod()
    status = pod_status(obj, state, ("192.168.0.2",), NOW)
    patch = status_patch(obj, status)
    assert patch is not None and patch["metadata"] == {"uid": "u"}
    obj["status"] = status
    assert status_patch(obj, pod_status(obj, state, ("192.168.0.2",), NOW + 60)) is None


def test_a_patch_says_only_what_changed() -> None:
    obj, state = running_pod()
    obj["status"] = pod_status(obj, state, ("192.168.0.2",), NOW)
    state.containers["c"].ready = False
    patch = status_patch(obj, pod_status(obj, state, ("192.168.0.2",), NOW + 60))
    assert patch is not None
    assert set(patch["status"]) == {"containerStatuses", "conditions", "$setElementOrder/conditions"}
    assert [c["type"] for c in patch["status"]["conditions"]] == ["Ready", "ContainersReady"]
    assert patch["status"]["conditions"][0] == {
        "type": "Ready",
        "status": "False",
        "reason": "ContainersNotReady",
        "message": "containers with unready status: [c]",
        "lastTransitionTime": "2023-11-14T22:14:20Z",
    }


def test_others_conditions_are_left_alone_and_readiness_gates_are_read() -> None:
    obj, state = running_pod()
    obj["spec"]["readinessGates"] = [{"conditionType": "example.com/ok"}]
    status = pod_status(obj, state, ("192.168.0.2",), NOW)
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "ReadinessGatesNotReady"
    assert ready["message"] == 'corresponding condition of pod readiness gate "example.com/ok" does not exist.'
    obj["status"] = {"conditions": [{"type": "example.com/ok", "status": "True"}]}
    status = pod_status(obj, state, ("192.168.0.2",), NOW)
    assert next(c for c in status["conditions"] if c["type"] == "Ready")["status"] == "True"
    patch = status_patch(obj, status)
    assert patch is not None and "example.com/ok" not in [c["type"] for c in patch["status"]["conditions"]]


def test_a_new_address_replaces_the_old_one() -> None:
    obj, state = running_pod()
    obj["status"] = pod_status(obj, state, ("192.168.0.2",), NOW)
    state.ips = ("10.244.1.9",)
    patch = status_patch(obj, pod_status(obj, state, ("192.168.0.2",), NOW))
    assert patch is not None
    assert patch["status"]["podIPs"] == [{"$patch": "replace"}, {"ip": "10.244.1.9"}]


def test_a_container_that_was_running_before_the_machine_stopped() -> None:
    obj, state = running_pod()
    obj["status"] = pod_status(obj, state, ("192.168.0.2",), NOW)
    again = PodState("u")
    sync_containers(obj, again)
    record = again.containers["c"]
    assert record.exit is not None and record.exit.exit_code == 255 and record.exit.reason == "Unknown"
    actions = plan(obj, again, Backoff(), NOW + 1)
    assert [c["name"] for c in actions.start] == ["c"]


RESTARTS = [
    ("Always", 0, True),
    ("Always", 1, True),
    ("OnFailure", 0, False),
    ("OnFailure", 1, True),
    ("Never", 0, False),
    ("Never", 1, False),
]


@pytest.mark.parametrize(("policy", "code", "restarts"), RESTARTS)
def test_restart_policy(policy: str, code: int, restarts: bool) -> None:
    obj, state = running_pod()
    obj["spec"]["restartPolicy"] = policy
    state.containers["c"] = state_of(str(code))
    actions = plan(obj, state, Backoff(), NOW)
    assert bool(actions.start) is restarts and actions.finished is not restarts


def test_backoff_doubles_and_is_forgotten_after_a_long_run() -> None:
    backoff, now, seen = Backoff(10, 300, 600), NOW, []
    for _ in range(8):
        seen.append(backoff.remaining("k", now, now))
        now += seen[-1]
        backoff.next("k", now, now)
    assert seen == [0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.remaining("k", now + 601, now + 601) == 0
