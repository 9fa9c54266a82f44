"""sig-node's conformance names about probes, as upstream's test/e2e/common/node/container_probe.go, but quicker."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.labs.conformance_tools import condition, create, items, pod, sh, status_of
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import AGNHOST, Obj, Space
from tests.labs.tools import until

pytestmark = pytest.mark.timeout(300)

WHILE = 4.0
"""How long nothing may happen: several periods of a probe."""


def _agnhost(*arguments: str, **more: Any) -> Obj:
    return {"name": "main", "image": AGNHOST, "args": list(arguments), **more}


def _http(path: str, port: int = 8080) -> Obj:
    return {"httpGet": {"path": path, "port": port}}


def _liveness(action: Obj, failures: int = 1) -> Obj:
    return {"livenessProbe": {**action, "periodSeconds": 1, "failureThreshold": failures, "timeoutSeconds": 5}}


def _restarts(ns: Space, path: str) -> int:
    return int(status_of(ns.api.get(path)).get("restartCount", 0))


def _never(ns: Space, container: Obj) -> None:
    path = ns.path("pods", create(ns, pod(container)))
    ns.ready("pod")
    end = time.monotonic() + WHILE
    while time.monotonic() < end:
        assert _restarts(ns, path) == 0
        time.sleep(0.3)


def _once(ns: Space, container: Obj) -> None:
    path = ns.path("pods", create(ns, pod(container)))
    until("a restart", lambda: _restarts(ns, path) >= 1, 90, ns.picture)
    events = items(ns.api, ns.path("events") + "?fieldSelector=reason%3DKilling")
    assert "Container main failed liveness probe, will be restarted" in {one["message"] for one in events}


NEVER = "Probing container should *not* be restarted with a"
TEST_FILE = {"exec": {"command": ["cat", "/tmp/health"]}}


@conformance(
    f"{NEVER} /healthz http liveness probe",
    f"{NEVER} GRPC liveness probe",
    f'{NEVER} exec "cat /tmp/health" liveness probe',
    f"{NEVER} tcp:8080 liveness probe",
)
@pytest.mark.parametrize("how", ["http", "grpc", "exec", "tcp"])
def test_left_alone(space: Space, how: str) -> None:  # noqa: F811
    _never(
        space,
        {
            "http": _agnhost("netexec", **_liveness(_http("/healthz"), 5)),
            "grpc": _agnhost("grpc-health-checking", **_liveness({"grpc": {"port": 5000}}, 5)),
            "exec": sh("echo ok > /tmp/health; sleep 600", **_liveness(TEST_FILE, 5)),
            "tcp": _agnhost("netexec", **_liveness({"tcpSocket": {"port": 8080}}, 5)),
        }[how],
    )


RESTARTED = "Probing container should be restarted with a"


@conformance(
    f"{RESTARTED} /healthz http liveness probe",
    f"{RESTARTED} GRPC liveness probe",
    f'{RESTARTED} exec "cat /tmp/health" liveness probe',
)
@pytest.mark.parametrize("how", ["http", "grpc", "exec"])
def test_restarted(space: Space, how: str) -> None:  # noqa: F811
    _once(
        space,
        {
            "http": _agnhost("liveness", **_liveness(_http("/healthz"))),
            "grpc": _agnhost("grpc-health-checking", "--delay-unhealthy-sec=2", **_liveness({"grpc": {"port": 5000}})),
            "exec": sh("echo ok > /tmp/health; sleep 2; rm -f /tmp/health; sleep 600", **_liveness(TEST_FILE)),
        }[how],
    )


@conformance("Probing container should have monotonically increasing restart count")
def test_counted(space: Space) -> None:  # noqa: F811
    path = space.path("pods", create(space, pod(sh("sleep 600", **_liveness(TEST_FILE)))))
    seen = [0]

    def enough() -> bool:
        seen.append(_restarts(space, path))
        return seen[-1] >= 2

    space.wait("two restarts", enough)
    assert seen == sorted(seen)


@conformance("Probing container with readiness probe should not be ready before initial delay and never restart")
def test_initial_delay(space: Space) -> None:  # noqa: F811
    delay = 3
    probe = {**_http("/"), "initialDelaySeconds": delay, "periodSeconds": 1}
    path = space.path("pods", create(space, pod(_agnhost("netexec", readinessProbe=probe))))
    found = space.ready("pod")
    started = _seconds(status_of(found)["state"]["running"]["startedAt"])
    assert _seconds(condition(found, "Ready")["lastTransitionTime"]) - started >= delay - 1
    assert _restarts(space, path) == 0


def _seconds(stamp: str) -> float:
    return time.mktime(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


@conformance("Probing container with readiness probe that fails should never be ready and never restart")
def test_never_ready(space: Space) -> None:  # noqa: F811
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    path = space.path("pods", create(space, pod(sh("sleep 600", readinessProbe=probe))))
    space.wait("it runs", lambda: space.api.get(path)["status"].get("phase") == "Running")
    end = time.monotonic() + WHILE
    while time.monotonic() < end:
        found = space.api.get(path)
        assert condition(found, "Ready")["status"] == "False"
        assert status_of(found)["restartCount"] == 0
        time.sleep(0.3)
