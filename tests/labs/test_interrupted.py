"""An interrupted `klab up` leaves a running lab that `klab down` ends, or nothing; the next one works at once."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.labs.tools import Namespaces, User, init_pid

pytestmark = pytest.mark.timeout(300)

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that klab can answer: it ends what it has started, says so, and ends as a shell expects."""
MOMENTS = (0.15, 0.5, 0.9, 1.4)
"""Seconds after the call: importing, making namespaces, waiting for the API server, waiting for pods."""


def state(user: User) -> str:
    listed = json.loads(user.klab("ls", "-o", "json").stdout)
    return str(listed[0]["state"]) if listed else "unknown"


@pytest.mark.parametrize("number", ASKED, ids=lambda number: number.name)
def test_a_signal_while_it_starts(caller: User, machine_unchanged: dict[str, str], number: signal.Signals) -> None:
    for moment in MOMENTS:
        process = caller.popen("up", "single")
        time.sleep(moment)
        init = init_pid(caller)
        namespaces = Namespaces(init)
        os.killpg(process.pid, number)  # as a terminal does: to the whole foreground process group
        output, _ = process.communicate(timeout=30)
        if process.returncode == 0:  # it was quicker than the interruption
            assert caller.klab("down").returncode == 0
            continue
        assert process.returncode in (128 + number, -number), output
        assert "Traceback" not in output or process.returncode < 0  # Python speaks so while it starts
        assert state(caller) in ("stopped", "unknown")
        assert namespaces.processes() == []
    up = caller.klab("up", "single")
    assert up.returncode == 0, up.stderr


def test_a_kill_while_it_starts(caller: User, machine_unchanged: dict[str, str]) -> None:
    for moment in MOMENTS:
        process = caller.popen("up", "single")
        time.sleep(moment)
        process.kill()
        process.communicate(timeout=30)
        init = init_pid(caller)
        namespaces = Namespaces(init)
        again = caller.klab("up", "single")
        if again.returncode == 0:
            assert init is None, "the first lab was running, and there is another now"
        else:  # it was too late to take the lab with it: that one goes on
            assert "already runs" in again.stderr
            assert state(caller) == "running"
        assert caller.klab("down").returncode == 0
        assert namespaces.processes() == []


def test_a_second_up_while_the_first_is_at_work(caller: User) -> None:
    first = caller.popen("up", "single")
    while init_pid(caller) is None:
        time.sleep(0.02)
    second = caller.klab("up", "single")
    assert second.returncode == 1
    assert "'single'" in second.stderr and "Traceback" not in second.stderr
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 0, output


def test_down_while_it_starts(caller: User, machine_unchanged: dict[str, str]) -> None:
    process = caller.popen("up", "single")
    while (init := init_pid(caller)) is None:
        time.sleep(0.02)
    namespaces = Namespaces(init)
    assert caller.klab("down", "single").returncode == 0
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert namespaces.processes() == []
    assert caller.klab("up", "single").returncode == 0
