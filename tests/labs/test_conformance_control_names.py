"""That every conformance name of the control plane's groups has its test, or a reason why it is not kept."""

from __future__ import annotations

import pytest

from tests.labs.conformance_names import check

NOT_KEPT: dict[str, dict[str, str]] = {}


@pytest.mark.parametrize(
    ("group", "count"),
    [("api-machinery", 94), ("auth", 10), ("cli", 17), ("instrumentation", 4), ("architecture", 1), ("scheduling", 11)],
)
def test_every_name(group: str, count: int) -> None:
    check(group, count, NOT_KEPT.get(group, {}))
