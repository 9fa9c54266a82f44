"""SIGKILL of any process of a lab at random moments of start, run and stop: more than 30 in all, from fixed seeds.

Afterwards nothing of a lab that is down remains, a lab that is up converges, and the next start brings back every
object whose creation was acknowledged. Pods outlive everything but themselves.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import pytest

from netlab.api.types import Obj
from tests.labs.tools import Namespaces, User, descendants, init_pid, picture, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COMPONENTS = ("labd", "netlab-zygote", "apiserver", "controller-mana", "scheduler", "agent-0")
"""The names under which the kernel knows them (15 characters)."""
STARTS = ("any",) * 8 + COMPONENTS
RUNS = {
    100: ("labd", "apiserver", "scheduler", "pause", "any", "any"),
    101: ("netlab-zygote", "controller-mana", "agent-0", "sleep", "any", "any"),
}
"""Seed → whom to kill, one after the other."""
DEATHS, STOPS = 4, 6


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def kill(pid: int) -> str:
    """SIGKILL; what it was, for the failure message."""
    name = name_of(pid)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return "gone already"
    return f"{name} ({pid})"


def gone(namespaces: Namespaces) -> None:
    until("every process of the lab is gone", lambda: namespaces.processes() == [], 10)


def items(user: User, *what: str) -> list[Obj]:
    """`kubectl get`; nothing while the API server does not answer."""
    answer = user.kubectl("get", *what, "-o", "json")
    return list(json.loads(answer.stdout)["items"]) if answer.returncode == 0 else []


def ready(obj: Obj) -> bool:
    conditions = obj["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def all_ready(user: User) -> bool:
    """All nodes and pods, the metrics server's among them: it starts after all else."""
    found = items(user, "nodes,pods", "-A")
    names = [obj["metadata"]["name"] for obj in found]
    return any(name.startswith("metrics-server-") for name in names) and all(ready(obj) for obj in found)


def converged(user: User, after: str) -> None:
    until(f"all components run after the end of {after}", lambda: user.klab("status").returncode == 0)
    until(f"nodes and pods are Ready after the end of {after}", lambda: all_ready(user), found=lambda: picture(user))


@dataclass
class Workloads:
    """The processes of pods that PID 1 keeps: the pod of each, and what may not change while others die."""

    pods: dict[str, str] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, user: User) -> Workloads:
        found = cls()
        for process in json.loads(user.klab("status", "-o", "json").stdout)["processes"]:
            kind, _, rest = process["id"].partition("/")
            if process["exit"] is None and kind in ("pod", "ctr"):
                meta = json.loads(process["meta"])
                sandbox = rest.partition("/")[2] if kind == "pod" else meta["config"]["sandbox_id"]
                found.pods[process["id"]] = sandbox
                found.pids[process["id"]] = process["pid"]
        for pod in items(user, "pods", "-A"):
            found.restarts[pod["metadata"]["name"]] = sum(c["restartCount"] for c in pod["status"]["containerStatuses"])
        return found

    def without(self, victim: int | None) -> dict[str, int]:
        """The processes of all pods but the victim's (a pid as the lab's PID 1 counts)."""
        hit = {self.pods[name] for name, pid in self.pids.items() if pid == victim}
        return {name: pid for name, pid in self.pids.items() if self.pods[name] not in hit}


def pid_inside(pid: int) -> int | None:
    """The number by which the lab's PID 1 knows a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[2])


def victim_of(chance: random.Random, init: int, name: str) -> int | None:
    """A process of the lab by that name ("any": PID 1 is none of them)."""
    found = [pid for pid in descendants(init) if name in ("any", name_of(pid))]
    return chance.choice(found) if found else None


def victim_of_start(chance: random.Random, user: User, process: Popen[str], name: str) -> int:
    """At a random moment after `klab up`, or after the named component has begun: klab itself before there is a lab."""
    if name == "any":
        time.sleep(chance.uniform(0.1, 2.0))
        init = init_pid(user)
        return chance.choice([init, *descendants(init)]) if init else process.pid
    found: list[int | None] = []

    def begun() -> bool:
        init = init_pid(user)
        found.append(victim_of(chance, init, name) if init else None)
        return found[-1] is not None

    until(f"{name} begins", begun, 30)
    time.sleep(chance.uniform(0.0, 0.4))
    assert found[-1] is not None
    return found[-1]


@pytest.mark.parametrize(("seed", "name"), list(enumerate(STARTS)))
def test_while_it_starts(caller: User, machine_unchanged: dict[str, str], seed: int, name: str) -> None:
    chance = random.Random(seed)
    process = caller.popen("up", "single")
    victim = victim_of_start(chance, caller, process, name)
    init = init_pid(caller)
    namespaces = Namespaces(init)
    what = kill(victim)
    output, _ = process.communicate(timeout=90)
    if victim not in (init, process.pid):
        assert process.returncode == 0, f"after the end of {what}: {output}"
    if victim == init:
        gone(namespaces)
    if process.returncode != 0 or victim == init:  # klab may have been done when PID 1 ended
        assert caller.klab("down", "single").returncode == 0
        gone(namespaces)
        again = caller.klab("up", "single")
        assert again.returncode == 0, f"after the end of {what}: {again.stderr}"
    until(f"nodes and pods are Ready after the end of {what}", lambda: all_ready(caller), found=lambda: picture(caller))


@pytest.mark.parametrize("seed", RUNS)
def test_while_it_runs(ordinary: User, machine_unchanged: dict[str, str], seed: int) -> None:
    """As a user without any privilege: nothing of this needs one."""
    assert ordinary.klab("up", "single").returncode == 0
    init = init_pid(ordinary)
    assert init is not None
    made = ordinary.kubectl("create", "deployment", "web", "--image=busybox", "--", "sleep", "100000")
    assert made.returncode == 0, made.stderr
    converged(ordinary, "nothing")
    chance = random.Random(seed)
    for number, name in enumerate(RUNS[seed]):
        made = ordinary.kubectl("create", "configmap", f"kept-{number}")
        assert made.returncode == 0, made.stderr
        before = Workloads.of(ordinary)
        victim = victim_of(chance, init, name)
        assert victim is not None, f"there is no process {name}"
        inside = pid_inside(victim)
        what = kill(victim)
        time.sleep(chance.uniform(0.0, 0.5))
        converged(ordinary, what)
        kept = ordinary.kubectl("get", "configmaps", "-o", "name").stdout.split()
        assert {f"configmap/kept-{n}" for n in range(number + 1)} <= set(kept)
        after = Workloads.of(ordinary)
        others = before.without(inside)
        assert {pod: after.pids.get(pod) for pod in others} == others, f"other pods' processes after the end of {what}"
        if len(others) == len(before.pids):
            assert after.restarts == before.restarts, f"restarts after the end of {what}"


def test_the_end_of_pid_1(caller: User, machine_unchanged: dict[str, str]) -> None:
    chance = random.Random(200)
    for number in range(DEATHS):
        up = caller.klab("up", "--name", "single", *(["single"] if number == 0 else []))
        assert up.returncode == 0, up.stderr
        kept = set(caller.kubectl("get", "configmaps", "-o", "name").stdout.split())
        assert {f"configmap/kept-{n}" for n in range(number)} <= kept
        assert caller.kubectl("create", "configmap", f"kept-{number}").returncode == 0
        time.sleep(chance.uniform(0.0, 1.0))
        init = init_pid(caller)
        assert init is not None
        namespaces = Namespaces(init)
        kill(init)
        gone(namespaces)
        assert json.loads(caller.klab("ls", "-o", "json").stdout)[0]["state"] == "stopped"


def test_while_it_stops(caller: User, machine_unchanged: dict[str, str]) -> None:
    chance = random.Random(300)
    for number in range(STOPS):
        up = caller.klab("up", "--name", "single", *(["single"] if number == 0 else []))
        assert up.returncode == 0, up.stderr
        kept = set(caller.kubectl("get", "configmaps", "-o", "name").stdout.split())
        assert {f"configmap/kept-{n}" for n in range(number)} <= kept
        assert caller.kubectl("create", "configmap", f"kept-{number}").returncode == 0
        init = init_pid(caller)
        assert init is not None
        namespaces = Namespaces(init)
        process = caller.popen("down")
        time.sleep(chance.uniform(0.1, 1.0))
        kill(chance.choice([process.pid, init, *descendants(init)]))
        process.communicate(timeout=60)
        down = caller.klab("down", "single")
        assert down.returncode == 0, down.stderr
        gone(namespaces)
