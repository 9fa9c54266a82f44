"""SIGKILL of any process of a lab at random moments of start, run and stop: 30 in all, from fixed seeds.

Afterwards nothing of a lab that is down remains, a lab that is up converges, and the next start brings back every
object whose creation was acknowledged.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.labs.tools import User, descendants, pid_namespace, processes_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STARTS, RUNS, DEATHS, STOPS = 8, 12, 5, 5
CONVERGE = 60.0


def init_pid(user: User, lab: str = "single") -> int | None:
    """The lab's PID 1 as the machine sees it."""
    try:
        return int((user.home / "run" / "netlab" / lab / "pid").read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def until(what: str, holds: Callable[[], bool], timeout: float = CONVERGE) -> None:
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {timeout:.0f} s"
        time.sleep(0.1)


def kill(pid: int) -> str:
    """SIGKILL; what it was, for the failure message."""
    try:
        name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:60]
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return "gone already"
    return f"{pid} {name}"


def gone(namespace: str) -> None:
    until("every process of the lab is gone", lambda: processes_of(namespace) == [], 10)


def nodes_ready(user: User) -> bool:
    answer = user.klab("kubectl", "get", "nodes", "-o", "json", "--request-timeout=5s")
    if answer.returncode != 0:
        return False
    conditions = [c for node in json.loads(answer.stdout)["items"] for c in node["status"]["conditions"]]
    return all(c["status"] == "True" for c in conditions if c["type"] == "Ready")


def pods_running(user: User) -> bool:
    answer = user.klab("kubectl", "get", "pods", "-A", "-o", "json", "--request-timeout=5s")
    if answer.returncode != 0:
        return False
    pods = json.loads(answer.stdout)["items"]
    states = [c["status"] for pod in pods for c in pod["status"].get("conditions", []) if c["type"] == "Ready"]
    return len(states) == len(pods) > 0 and set(states) == {"True"}


def components_run(user: User) -> bool:
    return user.klab("status").returncode == 0


@pytest.mark.parametrize("seed", range(STARTS))
def test_while_it_starts(caller: User, seed: int) -> None:
    chance = random.Random(seed)
    process = caller.popen("up", "single")
    time.sleep(chance.uniform(0.1, 2.0))
    init = init_pid(caller)
    victims = [init, *descendants(init)] if init else []
    victim = chance.choice(victims) if victims else process.pid
    namespace = pid_namespace(init) if init else None
    what = kill(victim)
    output, _ = process.communicate(timeout=90)
    if victim == init or victim == process.pid:
        if process.returncode != 0 and namespace is not None:
            gone(namespace)
    else:
        assert process.returncode == 0, f"after the end of {what}: {output}"
    if process.returncode != 0:
        again = caller.klab("up", "single")
        assert again.returncode == 0, f"after the end of {what}: {again.stderr}"
    until("nodes are Ready", lambda: nodes_ready(caller))


def test_while_it_runs(caller: User) -> None:
    assert caller.klab("up", "single").returncode == 0
    init = init_pid(caller)
    assert init is not None
    chance = random.Random(100)
    for number in range(RUNS):
        made = caller.klab("kubectl", "create", "configmap", f"kept-{number}")
        assert made.returncode == 0, made.stderr
        what = kill(chance.choice(descendants(init)))
        time.sleep(chance.uniform(0.0, 0.5))
        for description, holds in (
            ("nodes are Ready", nodes_ready),
            ("pods run", pods_running),
            ("components", components_run),
        ):
            until(f"{description} again after the end of {what}", lambda holds=holds: holds(caller))
        kept = caller.klab("kubectl", "get", "configmaps", "-o", "name").stdout.split()
        assert {f"configmap/kept-{n}" for n in range(number + 1)} <= set(kept)


def test_the_end_of_pid_1(caller: User) -> None:
    chance = random.Random(200)
    for number in range(DEATHS):
        up = caller.klab("up", "--name", "single", *(["single"] if number == 0 else []))
        assert up.returncode == 0, up.stderr
        kept = set(caller.klab("kubectl", "get", "configmaps", "-o", "name").stdout.split())
        assert {f"configmap/kept-{n}" for n in range(number)} <= kept
        assert caller.klab("kubectl", "create", "configmap", f"kept-{number}").returncode == 0
        time.sleep(chance.uniform(0.0, 1.0))
        init = init_pid(caller)
        assert init is not None
        namespace = pid_namespace(init)
        kill(init)
        gone(namespace)
        assert json.loads(caller.klab("ls", "-o", "json").stdout)[0]["state"] == "stopped"


@pytest.mark.parametrize("seed", range(STOPS))
def test_while_it_stops(caller: User, seed: int) -> None:
    chance = random.Random(300 + seed)
    assert caller.klab("up", "single").returncode == 0
    init = init_pid(caller)
    assert init is not None
    namespace = pid_namespace(init)
    process = caller.popen("down")
    time.sleep(chance.uniform(0.1, 0.6))
    kill(chance.choice([process.pid, init, *descendants(init)]))
    process.communicate(timeout=60)
    assert caller.klab("down", "single").returncode == 0
    gone(namespace)
    assert caller.klab("up", "--name", "single").returncode == 0
