"""How long the proxies of one process rest between two syncs."""

import pytest

from netlab.node.proxy import _Turns


@pytest.mark.parametrize(
    ("members", "spent", "endpoints", "rest"),
    [
        (1, 0.001, 10, 0.0),
        (1, 0.200, 10000, 0.0),
        (3, 0.010, 10, 0.020),
        (3, 0.010, 1000, 0.125),
        (20, 0.002, 6, 0.038),
        (20, 0.010, 200, 0.25),
        (20, 0.020, 800, 1.0),
        (20, 0.020, 1000, 2.0),
        (200, 3.0, 10000, 2.0),
    ],
)
def test_the_more_all_cost_the_longer_each_rests(members: int, spent: float, endpoints: int, rest: float) -> None:
    turns = _Turns()
    turns.members = members
    assert turns.rest(spent, endpoints, 100.0) == pytest.approx(rest)


def test_long_rests_end_together() -> None:
    turns = _Turns()
    turns.members = 20
    ends = {now + turns.rest(0.02, 800, now) for now in (7.03, 7.2, 7.5, 7.96)}
    assert ends == {8.0}
    assert {now + turns.rest(0.01, 200, now) for now in (7.8, 7.9, 7.95)} == {8.0}
