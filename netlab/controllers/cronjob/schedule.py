"""PURE. Cron schedules as upstream's library reads them (robfig/cron v3, `ParseStandard` and `Schedule.Next`).

The libraries for Python follow Vixie's or Debian's cron, which differ where it shows: `*/2` counts as a restriction
when day of month and day of week are joined by "or", `@every 90m` exists, and around a change of the clock hours are
walked one by one, so that what lies in the hour that is left out does not run, and what lies in the hour that comes
twice runs twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
"""Lowest, highest and named values of minute, hour, day of month, month and day of week."""
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_YEARS = 5
"""A schedule without a time in so many years has none (31 February)."""


class ScheduleError(ValueError):
    """The text is no schedule, or names no time zone; the message is upstream's."""


class Schedule(Protocol):
    """Times are seconds since the epoch."""

    def next(self, after: float) -> float | None:
        """The first time later than `after`; None where there is none within five years."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """`@every <duration>`: whole seconds, at least one."""

    seconds: int

    def next(self, after: float) -> float:
        return float(int(after) + self.seconds)


@dataclass(frozen=True, slots=True)
class Times:
    """Five fields. `any_day`: day of month or of week was left open, so the other alone decides."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    zone: tzinfo

    def next(self, after: float) -> float | None:
        now = datetime.fromtimestamp(int(after) // 60 * 60 + 60, UTC)
        last = now.astimezone(self.zone).year + _YEARS
        while True:
            local = now.astimezone(self.zone)
            if local.year > last:
                return None
            if local.month not in self.months:
                now = self._midnight((local.date().replace(day=1) + timedelta(days=32)).replace(day=1))
            elif not self._day(local.date()):
                now = self._midnight(local.date() + timedelta(days=1))
            elif local.hour not in self.hours:
                now += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.minutes:
                now += timedelta(minutes=1)
            else:
                return now.timestamp()

    def _midnight(self, day: date) -> datetime:
        """Where a day begins, in UTC; where the clock leaves midnight out, one o'clock."""
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)

    def _day(self, day: date) -> bool:
        of_month, of_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        return (of_month and of_week) if self.any_day else (of_month or of_week)


def zone_of(name: str) -> tzinfo:
    """The time zone of that name, UTC for none. Raises ScheduleError."""
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(f"unknown time zone {name}") from None


@lru_cache(maxsize=1024)
def parse(text: str, zone: str = "") -> Schedule:
    """A schedule in a time zone. `TZ=` and `CRON_TZ=` before it win. Raises ScheduleError."""
    prefix = re.match(r"(?:CRON_)?TZ=(\S*)\s*", text)
    if prefix:
        text, zone = text[prefix.end() :], prefix.group(1)
    place = zone_of(zone)
    if text.startswith("@every "):
        return Every(_every(text.removeprefix("@every ")))
    if text.startswith("@") and text not in _DESCRIPTORS:
        raise ScheduleError(f"unrecognized descriptor: {text}")
    given = _DESCRIPTORS.get(text, text).split()
    if len(given) != len(_FIELDS):
        raise ScheduleError(f"expected exactly {len(_FIELDS)} fields, found {len(given)}: [{' '.join(given)}]")
    sets, stars = zip(
        *(_field(one, *bounds) for one, bounds in zip(given, _FIELDS, strict=True)),
        strict=True,
    )
    minutes, hours, days, months, weekdays = sets
    return Times(minutes, hours, days, months, weekdays, stars[2] or stars[4], place)


def _every(text: str) -> int:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ScheduleError(f'failed to parse duration @every {text}: time: invalid duration "{text}"')
    return max(1, int(sum(float(number) * _UNITS[unit] for number, unit in parts)))


def _field(text: str, low: int, high: int, words: tuple[str, ...]) -> tuple[frozenset[int], bool]:
    """The values a field allows, and whether it is left open (`*` or `?`, not in steps)."""
    values: set[int] = set()
    star = False
    for part in text.split(","):
        found, is_open = _part(part, low, high, words)
        values |= found
        star = star or is_open
    return frozenset(values), star


def _part(part: str, low: int, high: int, words: tuple[str, ...]) -> tuple[set[int], bool]:
    body, *steps = part.split("/")
    ends = body.split("-")
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {part}")
    if len(ends) > 2:
        raise ScheduleError(f"too many hyphens: {part}")
    step = _number(steps[0], ()) if steps else 1
    is_open = body in ("*", "?")
    if is_open:
        first, last = low, high
    else:
        first = _number(ends[0], words, low)
        last = _number(ends[1], words, low) if len(ends) == 2 else high if steps else first
    if first < low:
        raise ScheduleError(f"beginning of range ({first}) below minimum ({low}): {part}")
    if last > high:
        raise ScheduleError(f"end of range ({last}) above maximum ({high}): {part}")
    if first > last:
        raise ScheduleError(f"beginning of range ({first}) beyond end of range ({last}): {part}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {part}")
    return set(range(first, last + 1, step)), is_open and step == 1


def _number(text: str, words: tuple[str, ...], low: int = 0) -> int:
    if text.lower() in words:
        return words.index(text.lower()) + low
    if not text.isdecimal():
        raise ScheduleError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
