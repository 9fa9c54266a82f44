"""Fixtures of the tests of the pytest plugin and the Python API: a home of their own for the labs, empty at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netlab.lab.lifecycle import down
from netlab.sandbox.paths import known_labs


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Labs of this module live here, also those that are started in this process; nothing of one is left."""
    place = Path(tempfile.mkdtemp(prefix="nl-"))  # pytest's own are too long for a Unix socket's address
    with pytest.MonkeyPatch.context() as patch:
        for variable, name in (
            ("HOME", ""),
            ("XDG_STATE_HOME", "state"),
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_DATA_HOME", "data"),
        ):
            (place / name).mkdir(mode=0o700, exist_ok=True)
            patch.setenv(variable, str(place / name))
        patch.delenv("KLAB_LAB", raising=False)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        try:
            yield place
            assert known_labs() == []
        finally:
            for name in known_labs():
                down(name, purge=True)
            shutil.rmtree(place, ignore_errors=True)
