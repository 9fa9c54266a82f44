"""A lab without a scheduler, and a scheduler that is an ordinary process with nothing but a kubeconfig."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.labs.tools import User, until

pytestmark = pytest.mark.timeout(400)
LAB = "parts"


def kubectl(user: User, *arguments: str) -> str:
    done = user.kubectl(*arguments, lab=LAB)
    assert done.returncode == 0, done.stderr
    return done.stdout


def phase(user: User, pod: str) -> str:
    return kubectl(user, "get", "pod", pod, "-o", "jsonpath={.status.phase}")


def run_pod(user: User, name: str) -> None:
    kubectl(user, "run", name, "--image=busybox", "--restart=Never", "--", "sleep", "1000")


def holder(user: User) -> str:
    found = user.kubectl("-n", "kube-system", "get", "lease", "kube-scheduler", "-o", "json", lab=LAB)
    return str(json.loads(found.stdout)["spec"].get("holderIdentity", "")) if found.returncode == 0 else ""


def components(user: User) -> set[str]:
    found = json.loads(user.klab("--lab", LAB, "status", "-o", "json").stdout)
    ids = [one["id"] for one in found["processes"] if one["id"].startswith("component/")]
    assert "component/apiserver" in ids
    return {one.removeprefix("component/") for one in ids}


@contextlib.contextmanager
def scheduler(user: User, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The scheduler outside of the lab; killed at the end."""
    command = [*user.prefix, *user.python[0], "-m", "netlab.scheduler", f"--kubeconfig={config}"]
    with (user.home / "scheduler.log").open("ab") as log:
        process = subprocess.Popen(command, env=user.environment, cwd="/", stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_a_scheduler_from_outside(caller: User) -> None:
    refused = caller.klab("up", "single", "--name", LAB, "--without", "scheduler,kubelet")
    assert refused.returncode == 2
    known = "known are scheduler, controller-manager, metrics-server (or none)"
    assert refused.stderr.strip() == f"Error: --without: no component 'kubelet'; {known}"

    up = caller.klab("up", "single", "--name", LAB, "--without", "scheduler")
    assert up.returncode == 0, up.stderr
    assert "scheduler" not in components(caller)
    run_pod(caller, "first")
    time.sleep(2)
    assert (phase(caller, "first"), holder(caller)) == ("Pending", "")

    config = caller.home / "scheduler.kubeconfig"
    made = caller.klab("--lab", LAB, "kubeconfig", "--as", "system:kube-scheduler")
    assert made.returncode == 0, made.stderr
    config.write_text(made.stdout)
    who = caller.run(
        "kubectl", f"--kubeconfig={config}", "auth", "can-i", "create", "pods", "--subresource=binding", "-A"
    )
    assert who.stdout.strip() == "yes", who.stderr
    with scheduler(caller, config):
        until("the first pod runs", lambda: phase(caller, "first") == "Running", 60)
        assert holder(caller)
    run_pod(caller, "second")
    time.sleep(2)
    assert phase(caller, "second") == "Pending"
    with scheduler(caller, config) as again:
        until("the second pod runs", lambda: phase(caller, "second") == "Running", 60)
        again.terminate()
        assert again.wait(10) == 0

    assert caller.klab("down", LAB).returncode == 0
    up = caller.klab("up", "--name", LAB)
    assert up.returncode == 0, up.stderr
    assert "scheduler" not in components(caller)
    assert caller.klab("down", LAB).returncode == 0
    up = caller.klab("up", "--name", LAB, "--without", "none")
    assert up.returncode == 0, up.stderr
    assert "scheduler" in components(caller)
    run_pod(caller, "third")
    until("the third pod runs", lambda: phase(caller, "third") == "Running", 60)
