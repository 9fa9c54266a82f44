"""Faults that need the kernel's network emulator, under the stock kernel, rootless, on the shipped wide area network:
each is seen in the round trips, and after healing the interface is as the topology says."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from netlab.topology import load
from tests.vm.conftest import Lab

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

NODE = "ams1"


@contextmanager
def _broken(lab: Lab, *words: str) -> Iterator[None]:
    record = json.loads(lab.klab("fault", *words, "-o", "json"))
    try:
        yield
    finally:
        assert lab.klab("fault", "heal", record["id"]).startswith("healed ")


def _ping(lab: Lab, count: int = 40) -> str:
    """To the router on the same segment."""
    gate = next(
        end.ip
        for segment in load("wan").segments
        if any(end.node == NODE for end in segment.attachments)
        for end in segment.attachments
        if end.node.startswith("gw-")
    )
    return lab.klab("exec", NODE, "--", "sh", "-c", f"ping -i 0.02 -c {count} {gate}; true")


def _median(said: str) -> float:
    return statistics.median(float(value) for value in re.findall(r"time=([\d.]+)", said))


def _queues(lab: Lab) -> str:
    """The disciplines of the node and of the switches' ports, without what counts by itself."""
    return re.sub(r"refcnt \d+ ", "", lab.klab("exec", NODE, "--", "tc", "qdisc", "show"))


def test_delay_and_duplicates_and_overtaking(wan: Lab) -> None:
    before = _queues(wan)
    usual = _median(_ping(wan))
    with _broken(wan, "delay", NODE, "--delay", "60ms"):
        assert _median(_ping(wan, 10)) >= 120, "60 ms there and 60 ms back"
    with _broken(wan, "delay", NODE, "--delay", "60ms", "--jitter", "40ms"):
        times = [float(value) for value in re.findall(r"time=([\d.]+)", _ping(wan, 30))]
        assert min(times) >= 40
        assert max(times) - min(times) >= 20, times
    with _broken(wan, "duplicate", NODE, "--percent", "50%"):
        assert "DUP!" in _ping(wan)
    with _broken(wan, "reorder", NODE, "--percent", "50%", "--delay", "100ms"):
        times = [float(value) for value in re.findall(r"time=([\d.]+)", _ping(wan))]
        assert min(times) < 100 <= max(times), times
    with (
        _broken(wan, "delay", NODE, "--delay", "30ms", "--way", "out"),
        _broken(wan, "delay", NODE, "--delay", "30ms", "--way", "out"),
    ):
        assert _median(_ping(wan, 10)) >= 60, "two faults of one interface add up"
    assert _queues(wan) == before
    assert _median(_ping(wan)) < usual + 50
    assert wan.klab("fault", "ls").strip() == "nothing is broken"
