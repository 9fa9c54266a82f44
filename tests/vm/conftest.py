"""A lab under the stock kernel of scripts/vm-test: the shipped three sites, started by a user without privileges.

One lab for all tests that want one: a start takes a minute or two there, where every instruction is emulated.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.labs.tools import User

REPOSITORY = Path(__file__).resolve().parents[2]
CGROUPS = Path("/sys/fs/cgroup")
ORDINARY = 12345
"""A user that /etc/passwd does not know."""
START = 540


class Lab:
    """A lab that runs, and `klab` for it."""

    def __init__(self, user: User, topology: str) -> None:
        self.user = user
        result = user.klab("up", topology, "--timeout", str(START), timeout=START + 120)
        if result.returncode != 0:
            logs = sorted(self.user.home.glob("state/netlab/*/logs/*"))
            ends = "".join(f"== {log.name}\n{log.read_text(errors='replace')[-2000:]}\n" for log in logs)
            pytest.fail(f"klab up {topology}: {result.stdout}{result.stderr}\n{ends}", pytrace=False)
        self.said = result.stderr

    def klab(self, *arguments: str, stdin: str = "") -> str:
        """What `klab` wrote; it must have worked."""
        return self._checked(self.user.klab(*arguments, stdin=stdin, timeout=300))

    def kubectl(self, *arguments: str) -> str:
        """What kubectl wrote; it must have worked. (By itself: `klab kubectl` takes seconds more here.)"""
        config = next(self.user.home.glob("state/netlab/*/kubeconfig"))
        return self._checked(self.user.run("kubectl", f"--kubeconfig={config}", *arguments, timeout=400))

    @staticmethod
    def _checked(result: subprocess.CompletedProcess[str]) -> str:
        assert result.returncode == 0, f"{result.args}: {result.stdout}{result.stderr}"
        return result.stdout

    def get(self, what: str) -> Any:
        """Objects, as `kubectl get -o json` has them."""
        return json.loads(self.kubectl("get", *what.split(), "-o", "json"))


def _delegated_session() -> Path:
    """A cgroup that was given to the ordinary user, as systemd does for a session."""
    group = CGROUPS / "ordinary"
    session = group / "session"
    session.mkdir(parents=True, exist_ok=True)
    (group / "cgroup.subtree_control").write_text("+memory")
    for path in (group, group / "cgroup.procs", group / "cgroup.subtree_control", session, session / "cgroup.procs"):
        os.chown(path, ORDINARY, ORDINARY)
    return session


def _readable() -> Path:
    """The checkout at a place whose directories everybody may enter, wherever it lies."""
    place = Path("/var/tmp/checkout")
    if not place.exists():
        place.mkdir()
        subprocess.run(["mount", "--bind", str(REPOSITORY), str(place)], check=True)
    return place


@pytest.fixture(scope="session")
def ordinary() -> Iterator[User]:
    """A user without privileges and capabilities, whose session's cgroup is delegated."""
    home = Path(tempfile.mkdtemp(prefix="nl-"))
    ids = (f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    session = _delegated_session()
    prefix = ("sh", "-c", f'echo $$ >{session}/cgroup.procs; exec "$@"', "sh", "setpriv", *ids, "--no-new-privs")
    checkout = _readable()
    packages = checkout / Path(sysconfig.get_paths()["purelib"]).relative_to(REPOSITORY)
    python = (os.path.realpath(sys.executable),), {"PYTHONPATH": f"{checkout}:{packages}"}
    user = User(home, prefix, python, checkout)
    user.prepare()
    for path in (home, *home.iterdir()):
        os.chown(path, ORDINARY, ORDINARY)
    yield user
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def wan(ordinary: User) -> Iterator[Lab]:
    """The shipped wide area network as a cluster, rootless."""
    try:
        yield Lab(ordinary, "wan")
    finally:
        ended = ordinary.klab("down", "--all", "--purge", timeout=120)
    assert ended.returncode == 0, ended.stderr
