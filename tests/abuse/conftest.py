"""One API server, a process of its own, for all abuse in a worker; after each test it must be whole and silent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.abuse.server import Server


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(Path(tmp_path_factory.mktemp("abuse"))) as made:
        yield made


@pytest.fixture
def server(process: Server) -> Iterator[Server]:
    """The server; unharmed afterwards."""
    process.forget_log()
    yield process
    process.unharmed()
