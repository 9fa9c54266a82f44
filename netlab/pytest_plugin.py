"""pytest fixtures for tests of networks: loaded by the `pytest11` entry point wherever netlab is installed.

Imports nothing of a lab until a fixture is used: a test run that needs none pays nothing.
"""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Declare our marker, so that --strict-markers knows it in every project."""
    config.addinivalue_line(
        "markers", "topology(name_or_path): the topology that the `lab` fixture of this test or module starts"
    )
