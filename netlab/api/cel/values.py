"""CEL's values. JSON values are themselves; here is what JSON lacks, and what all values can do: compare and convert.

int is a Python int (never a bool) of 64 bits, double a float, a list a list, a map a dict. Sources followed: cel-go
`common/types`; errors have its texts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from netlab.api.cel.errors import CelError
from netlab.api.cel.types import Type

MAX_INT, MIN_INT, MAX_UINT = (1 << 63) - 1, -(1 << 63), (1 << 64) - 1
SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


class UInt(int):
    """An unsigned integer of 64 bits."""

    __slots__ = ()


class SetList(list[Any]):
    """A list of x-kubernetes-list-type set: the order does not count."""

    __slots__ = ()


class MapList(list[Any]):
    """A list of x-kubernetes-list-type map: `keys` tell its items apart, and the order does not count."""

    def __init__(self, items: Any, keys: tuple[str, ...]) -> None:
        super().__init__(items)
        self.keys = keys

    def key(self, item: Any) -> tuple[Any, ...]:
        return tuple(item.get(key) for key in self.keys) if isinstance(item, dict) else ()


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """Nanoseconds."""

    ns: int

    def __str__(self) -> str:
        """As CEL's string(): seconds."""
        seconds, rest = divmod(abs(self.ns), SECOND)
        digits = f".{rest:09d}".rstrip("0") if rest else ""
        return f"{'-' if self.ns < 0 else ''}{seconds}{digits}s"


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """Nanoseconds since the epoch."""

    ns: int

    def __str__(self) -> str:
        seconds, rest = divmod(self.ns, SECOND)
        digits = f".{rest:09d}".rstrip("0") if rest else ""
        return f"{self.moment():%Y-%m-%dT%H:%M:%S}{digits}Z" if seconds or rest else "1970-01-01T00:00:00Z"

    def moment(self) -> datetime:
        return _EPOCH + timedelta(seconds=self.ns // SECOND)


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be missing."""

    value: Any = None
    present: bool = False


NONE = Optional()


def parse_duration(text: str) -> Duration:
    """As Go's time.ParseDuration."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text[1:] if text.startswith("+") else text)
    if rest == "0":
        return Duration(0)
    total, at = 0, 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None:
            break
        whole, _, digits = match[1].partition(".")
        unit = _UNITS[match[2]]
        total += int(whole or 0) * unit + (int(digits) * unit // 10 ** len(digits) if digits else 0)
        at = match.end()
    if not rest or at < len(rest):
        raise CelError(f'time: invalid duration "{text}"')
    return Duration(sign * total)


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339."""
    match = _MOMENT.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        moment = datetime.fromisoformat(match[1] + ("+00:00" if match[3] == "Z" else match[3]))
    except ValueError:
        raise CelError(
            f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"'
        ) from None
    digits = (match[2] or ".0")[1:10].ljust(9, "0")
    return Timestamp(int((moment - _EPOCH).total_seconds()) * SECOND + int(digits))


# -- types at run time -------------------------------------------------------------------------------------------------


def type_name(value: Any) -> str:
    """The name of a value's type, as CEL's type() knows it."""
    known = _CLASSES.get(type(value))
    if known is not None:
        return known
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    if isinstance(value, Type):
        return "type"
    return str(getattr(type(value), "cel_type", type(value).__name__))


_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (UInt, "uint"),
    (int, "int"),
    (float, "double"),
    (str, "string"),
    (bytes, "bytes"),
    (type(None), "null_type"),
    (list, "list"),
    (dict, "map"),
    (Duration, "google.protobuf.Duration"),
    (Timestamp, "google.protobuf.Timestamp"),
    (Optional, "optional_type"),
)


_CLASSES: dict[type, str] = dict(_KINDS)


def is_a(value: Any, wanted: Type) -> bool:
    """Whether a value is of a type; parameters of lists and maps are not looked at."""
    if wanted.variable or wanted.name == "dyn":
        return True
    return wanted.name == type_name(value) or (wanted.fields is not None and isinstance(value, dict))


def equal(a: Any, b: Any) -> bool:
    """CEL's ==: numbers by value, whatever their type; what has different types is not equal."""
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and a == b
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list):
        return isinstance(b, list) and _lists_equal(a, b)
    if isinstance(a, dict):
        return (
            isinstance(b, dict)
            and len(a) == len(b)
            and all(key in b and equal(value, b[key]) for key, value in a.items())
        )
    if isinstance(a, Optional) and isinstance(b, Optional):
        return a.present == b.present and equal(a.value, b.value)
    return bool(a == b)


def _lists_equal(a: list[Any], b: list[Any]) -> bool:
    if len(a) != len(b):
        return False
    if isinstance(a, SetList) or isinstance(b, SetList):
        return all(contains(b, one) for one in a)
    if isinstance(a, MapList):
        known = {a.key(one): one for one in a}
        return all(a.key(one) in known and equal(known[a.key(one)], one) for one in b)
    return all(map(equal, a, b))


def contains(items: list[Any], wanted: Any) -> bool:
    return any(equal(one, wanted) for one in items)


def joined(a: list[Any], b: list[Any]) -> list[Any]:
    """`+` of lists: sets and maps keep their nature, as merges of server-side apply."""
    if isinstance(a, SetList):
        return SetList([*a, *(one for one in b if not contains(a, one))])
    if isinstance(a, MapList):
        newer = {a.key(one): one for one in b}
        kept = [newer.pop(a.key(one), one) for one in a]
        return MapList([*kept, *newer.values()], a.keys)
    return [*a, *b]


def whole_int(value: int) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise CelError("integer overflow")
    return value


def whole_uint(value: int) -> UInt:
    if not 0 <= value <= MAX_UINT:
        raise CelError("unsigned integer overflow")
    return UInt(value)


def quotient(a: int, b: int) -> int:
    """Towards zero, as Go."""
    if not b:
        raise CelError("division by zero")
    found = abs(a) // abs(b)
    return whole_int(found if (a < 0) == (b < 0) else -found)


def remainder(a: int, b: int) -> int:
    if not b:
        raise CelError("modulus by zero")
    return int(math.fmod(a, b)) if abs(a) < 1 << 53 else a - b * quotient(a, b)


def double_text(value: float) -> str:
    """As Go's strconv.FormatFloat with 'g' and the shortest precision."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    return text if not exponent else f"{mantissa.removesuffix('.0')}e{int(exponent):+03d}"


Convert = Callable[[Any], Any]
