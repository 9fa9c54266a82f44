"""Which periods a lab gets, by what was asked for and by how fast the machine computes."""

from __future__ import annotations

import pytest

from netlab.lab import speed
from netlab.lab.lifecycle import START_TIMEOUT, UpOptions, _pace

LONGER = START_TIMEOUT * speed.PATIENCE


@pytest.mark.parametrize(
    ("slow", "upstream", "timeout", "expected"),
    [
        (False, None, None, (False, START_TIMEOUT)),
        (True, None, None, (True, LONGER)),
        (True, False, None, (False, LONGER)),
        (False, True, None, (True, START_TIMEOUT)),
        (True, None, 7.0, (True, 7.0)),
        (True, False, 7.0, (False, 7.0)),
    ],
)
def test_what_is_asked_for_comes_first_then_the_machine(
    monkeypatch: pytest.MonkeyPatch,
    slow: bool,
    upstream: bool | None,
    timeout: float | None,
    expected: tuple[bool, float],
) -> None:
    monkeypatch.setattr(speed, "is_slow", lambda: slow)
    assert _pace(UpOptions(upstream_timing=upstream, timeout=timeout)) == expected


@pytest.mark.parametrize(("turn", "slow"), [(40e-9, False), (60e-9, False), (200e-9, True)])
def test_a_slow_machine_is_one_that_computes_slowly(monkeypatch: pytest.MonkeyPatch, turn: float, slow: bool) -> None:
    clock = iter(value for start in range(3) for value in (float(start), start + turn * speed.LOOPS))
    monkeypatch.setattr(speed.time, "thread_time", lambda: next(clock))
    assert speed.is_slow() is slow


def test_one_bad_try_does_not_make_it_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([9e-6, 50e-9, 9e-6])
    monkeypatch.setattr(speed, "_turn", lambda: next(turns))
    assert not speed.is_slow()
