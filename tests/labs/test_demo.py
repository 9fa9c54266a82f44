"""scripts/demo shows what it promises, and says so when it does not."""

from __future__ import annotations

import json

import pytest

from tests.labs import watch
from tests.labs.tools import User

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_every_step_is_as_expected(anyone: User, machine_unchanged: dict[str, str]) -> None:
    with watch.nothing_of_a_lab():
        result = anyone.script(str(anyone.source / "scripts" / "demo.py"), "--name", "shown")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr
    assert "All 8 steps as expected" in result.stdout
    assert json.loads(anyone.klab("ls", "-o", "json").stdout) == []


def test_a_step_that_fails(caller: User, machine_unchanged: dict[str, str]) -> None:
    """A topology without what the demonstration shows: the failed step and the reason, and nothing left running."""
    result = caller.script(str(caller.source / "scripts" / "demo.py"), "--topology", "single", "--name", "shown")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "scripts/demo: step 1 failed: " in result.stderr
    assert "expected ['client', 'node1', 'node2'], saw ['client']" in result.stderr
    assert [lab["state"] for lab in json.loads(caller.klab("ls", "-o", "json").stdout)] == ["stopped"]


def test_a_demonstration_that_cannot_start(caller: User) -> None:
    result = caller.script(str(caller.source / "scripts" / "demo.py"), "--topology", "nonesuch")
    assert result.returncode == 1
    assert result.stderr.startswith("scripts/demo: ")
    assert "nonesuch" in result.stderr
