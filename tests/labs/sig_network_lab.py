"""One lab for the tests of sig-network's conformance names, a namespace for each, and the list of the names."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.labs.conftest import _short_directory
from tests.labs.sig_network_tools import LAB, Api, Space
from tests.labs.tools import User, until

NAMES = Path(__file__).with_name("sig_network.txt")
MARK = "conformance_names"
Test = TypeVar("Test", bound=Callable[..., None])
_spaces = itertools.count(1)


def conformance(*names: str) -> Callable[[Test], Test]:
    """The test does what upstream's tests of these names do. Names as listed, without "[sig-network]" and the rest."""

    def marked(test: Test) -> Test:
        setattr(test, MARK, names)
        return test

    return marked


def listed() -> list[str]:
    """Upstream's names for 1.33, in full."""
    return NAMES.read_text().splitlines()


def short(name: str) -> str:
    return name.removeprefix("[sig-network] ").removesuffix(" [Conformance]").removesuffix(" [NodeConformance]")


_running: list[User] = []
"""The one lab of this process. Each module that imports the fixture has a fixture of its own by that name."""


@pytest.fixture(scope="session")
def lab() -> Iterator[User]:
    if _running:
        yield _running[0]
        return
    user = User(_short_directory())
    user.prepare()
    try:
        up = user.klab("up", LAB, timeout=180)
        assert up.returncode == 0, up.stderr
        _running.append(user)
        yield user
    finally:
        _running.clear()
        user.klab("down", "--all", "--purge")
        shutil.rmtree(user.home, ignore_errors=True)


def new_space(lab: User) -> Space:
    """A namespace that lasts as long as the lab."""
    api = Api(lab)
    name = f"e2e-{next(_spaces)}"
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    until("its ServiceAccount", lambda: not api.gone(f"/api/v1/namespaces/{name}/serviceaccounts/default"))
    return Space(lab, api, name)


@pytest.fixture
def space(lab: User) -> Iterator[Space]:
    """A namespace, deleted afterwards without waiting."""
    found = new_space(lab)
    yield found
    found.api.call("DELETE", f"/api/v1/namespaces/{found.name}")
