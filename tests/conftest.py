"""Of all tests: the table of kubectl's verbs and versions, printed at the end by whoever gathers the reports."""

from __future__ import annotations

import pytest

# the chapters are not test modules, and their asserts must say as much
pytest.register_assert_rewrite("tests.kubectl")


def pytest_configure() -> None:
    """Property tests: a machine that is busy with other things is slow, and nothing is wrong with that."""
    from hypothesis import HealthCheck, settings

    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from tests.kubectl.matrix import CELLS, table

    cells = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == CELLS
    ]
    if cells:
        terminalreporter.section("kubectl: verbs and versions")
        terminalreporter.write_line(table(cells))
