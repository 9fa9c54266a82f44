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
    source = REPOSITORY
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
        python, source = _python_for_nobody(prefix)
        user = User(home, (*prefix, "--no-new-privs"), python, source)
    user.prepare()
    if user.prefix:
        for path in (home, *home.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    yield user
    try:
        _clean(user)
    finally:
        if source != REPOSITORY:
            shutil.rmtree(source)


def _clean(user: User) -> None:
    """Every lab down; nothing of it may be left in the user's directories, nor a control group."""
    groups = [Path(file.read_text()) for file in user.home.glob("run/netlab/*/cgroup")]
    try:
        result = user.klab("down", "--all", "--purge")
        assert result.returncode == 0, result.stderr
        left = [str(entry) for name in ("run", "state") for entry in user.home.glob(f"{name}/netlab/*")]
        assert left == []
        assert [group for group in groups if group.exists()] == []
    finally:
        shutil.rmtree(user.home, ignore_errors=True)


def _python_for_nobody(prefix: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], dict[str, str]], Path]:
    """An interpreter that finds netlab, and a checkout, that `nobody` may read: ours, or a copy of what is needed."""
    probe = [*prefix, sys.executable, "-c", "import netlab.cli, yaml"]
    if subprocess.run(probe, cwd="/", capture_output=True, check=False).returncode == 0:
        return ((sys.executable,), {}), REPOSITORY
    copy = _short_directory()
    copy.chmod(0o755)
    for name in ("netlab", "topologies", "scripts", "labs"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(sysconfig.get_paths()["purelib"], copy / "site")
    subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)
    interpreter = os.path.realpath(sys.executable)
    return ((interpreter,), {"PYTHONPATH": f"{copy}:{copy / 'site'}"}), copy


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
