"""Fixtures of the tests that start whole labs: who starts them, and that the machine is as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.labs.tools import User, host_state

NOBODY = 65534
REPOSITORY = Path(__file__).resolve().parents[2]


def _short_directory() -> Path:
    """pytest's own temporary paths are too long for a Unix socket's address."""
    return Path(tempfile.mkdtemp(prefix="nl-"))


@pytest.fixture
def caller() -> Iterator[User]:
    """Whoever runs the tests."""
    home = _short_directory()
    user = User(home)
    user.prepare()
    yield user
    _clean(user)


@pytest.fixture
def ordinary() -> Iterator[User]:
    """A user without any privilege: the caller, or `nobody` without capabilities where the caller is root."""
    home = _short_directory()
    if os.getuid() != 0:
        user = User(home)
    else:
        prefix = (
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all",
        )
        user = User(home, (*prefix, "--no-new-privs"), python=_python_for_nobody(prefix))
    user.prepare()
    if user.prefix:
        for path in (home, *home.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    yield user
    _clean(user)


def _clean(user: User) -> None:
    try:
        result = user.klab("down", "--all", "--purge")
        assert result.returncode == 0, result.stderr
    finally:
        shutil.rmtree(user.home, ignore_errors=True)


def _python_for_nobody(prefix: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
    """An interpreter that finds netlab and that `nobody` may read: this one, or a copy of what it needs."""
    probe = [*prefix, sys.executable, "-c", "import netlab.cli, yaml"]
    if subprocess.run(probe, cwd="/", capture_output=True, check=False).returncode == 0:
        return (sys.executable,), {}
    copy = _short_directory()
    copy.chmod(0o755)
    shutil.copytree(REPOSITORY / "netlab", copy / "netlab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "topologies", copy / "topologies")
    shutil.copytree(sysconfig.get_paths()["purelib"], copy / "site")
    subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)
    interpreter = os.path.realpath(sys.executable)
    return (interpreter,), {"PYTHONPATH": f"{copy}:{copy / 'site'}"}


@pytest.fixture(params=["caller", "ordinary"])
def anyone(request: pytest.FixtureRequest) -> User:
    """The test runs twice: as the caller, and as a user without any privilege."""
    user: User = request.getfixturevalue(request.param)
    return user


@pytest.fixture
def machine_unchanged() -> Iterator[dict[str, str]]:
    """The machine's own network before the test; the same afterwards, to the byte."""
    before = host_state()
    yield before
    assert host_state() == before
