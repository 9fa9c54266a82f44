"""Rates, times, shares and quantities as people write them, and back.

Rates follow tc(8)'s bit units; tc's `bps` (bytes per second) is refused, because hardly anyone who writes it means it.
"""

from __future__ import annotations

import re
from decimal import Decimal

_NUMBER = r"(\d+(?:\.\d+)?)"
_RATE = re.compile(rf"{_NUMBER}\s*([kmgt]?)bit", re.IGNORECASE)
_TIME = re.compile(rf"{_NUMBER}\s*(us|µs|μs|ms|s)")
_SHARE = re.compile(rf"{_NUMBER}\s*%")
_QUANTITY = re.compile(r"\d+(?:\.\d+)?(?:m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_RATE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_TIME_UNITS_US = {"us": 1, "µs": 1, "μs": 1, "ms": 1_000, "s": 1_000_000}

RATE_HELP = "a rate such as 100Mbit, 1.5Gbit or 512kbit"
TIME_HELP = "a time such as 10ms, 250us or 1s"
SHARE_HELP = "a share such as 1% or 0.1%"
QUANTITY_HELP = "a quantity such as 4, 500m, 8Gi or 512Mi"


def parse_rate(text: str) -> int | None:
    """Bits per second, or None where the text is no rate."""
    match = _RATE.fullmatch(text.strip())
    if match is None:
        return None
    rate = int(Decimal(match[1]) * _RATE_UNITS[match[2].lower()])
    return rate if rate > 0 else None


def format_rate(bps: int) -> str:
    for letter, unit in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if bps % unit == 0:
            return f"{bps // unit}{letter}bit"
    return f"{bps}bit"


def parse_time(text: str) -> float | None:
    """Seconds, in whole microseconds, or None where the text is no time."""
    match = _TIME.fullmatch(text.strip())
    return None if match is None else round(Decimal(match[1]) * _TIME_UNITS_US[match[2]]) / 1_000_000


def format_time(seconds: float) -> str:
    micros = round(seconds * 1_000_000)
    if micros % 1_000_000 == 0:
        return f"{micros // 1_000_000}s"
    return f"{micros // 1_000}ms" if micros % 1_000 == 0 else f"{micros}us"


def parse_share(text: str) -> float | None:
    """A fraction from 0 to 1, or None where the text is no percentage up to 100."""
    match = _SHARE.fullmatch(text.strip())
    if match is None or Decimal(match[1]) > 100:
        return None
    return float(Decimal(match[1]) / 100)


def format_share(fraction: float) -> str:
    return f"{(Decimal(str(fraction)) * 100).normalize():f}%"


def is_quantity(text: str) -> bool:
    """Whether the text is a non-negative Kubernetes quantity of a form that capacities use."""
    return _QUANTITY.fullmatch(text) is not None
