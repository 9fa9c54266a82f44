"""Times as the kubelet writes them into the API."""

from __future__ import annotations

import time
from functools import lru_cache


@lru_cache(maxsize=256)
def _format(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def rfc3339(moment: float) -> str:
    """metav1.Time: whole seconds, UTC. `moment` is in seconds since the epoch."""
    return _format(int(moment))


def rfc3339_nano(moment_ns: int) -> str:
    """CRI log time stamp: nanoseconds, UTC."""
    second, nano = divmod(moment_ns, 1_000_000_000)
    return f"{_format(second)[:-1]}.{nano:09d}Z"


def rfc3339_micro(moment: float) -> str:
    """metav1.MicroTime, as in Leases."""
    second = int(moment)
    return f"{_format(second)[:-1]}.{int((moment - second) * 1_000_000):06d}Z"


def parse(text: str | None) -> float:
    """Seconds since the epoch; 0.0 for a missing time."""
    if not text:
        return 0.0
    whole, _, rest = text.rstrip("Z").partition(".")
    seconds = _calendar(whole)
    return seconds + (float("0." + rest) if rest.isdigit() else 0.0)


@lru_cache(maxsize=256)
def _calendar(whole: str) -> float:
    import calendar

    base, sign, offset = whole, 0, ""
    if len(whole) > 19 and whole[19] in "+-":
        base, sign, offset = whole[:19], (1 if whole[19] == "-" else -1), whole[20:]
    seconds = float(calendar.timegm(time.strptime(base, "%Y-%m-%dT%H:%M:%S")))
    if offset:
        hours, _, minutes = offset.partition(":")
        seconds += sign * (int(hours) * 3600 + int(minutes or 0) * 60)
    return seconds


def go_duration(seconds: float) -> str:
    """A duration as Go's time.Duration prints whole seconds: 10s, 1m20s, 2m40s, 5m0s."""
    total = int(seconds)
    hours, rest = divmod(total, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{secs}s"
    if minutes:
        return f"{minutes}m{secs}s"
    return f"{secs}s"
