"""CEL's standard library. Source followed: cel-spec doc/langdef.md, cel-go `common/stdlib` and `common/types`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from netlab.api.cel.errors import CelError
from netlab.api.cel.library import costs
from netlab.api.cel.types import NAMES, Overload, Type, overload
from netlab.api.cel.values import (
    MAX_INT,
    MAX_UINT,
    MIN_INT,
    SECOND,
    Duration,
    Timestamp,
    UInt,
    contains,
    double_text,
    equal,
    joined,
    parse_duration,
    parse_timestamp,
    quotient,
    remainder,
    type_name,
    whole_int,
    whole_uint,
)

if TYPE_CHECKING:
    from netlab.api.goregexp import Regexp


def _int(function: Callable[[int, int], int]) -> Callable[[int, int], int]:
    return lambda a, b: whole_int(function(a, b))


def _uint(function: Callable[[int, int], int]) -> Callable[[int, int], UInt]:
    return lambda a, b: whole_uint(function(a, b))


def _float_quotient(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def _bounded(a: Duration | Timestamp, ns: int) -> Any:
    found = type(a)(ns)
    if isinstance(found, Timestamp) and not -62135596800 * SECOND <= ns < 253402300800 * SECOND:
        raise CelError("timestamp overflow")
    if isinstance(found, Duration) and not MIN_INT <= ns <= MAX_INT:
        raise CelError("duration overflow")
    return found


def _arithmetic() -> list[Overload]:
    found = [
        overload("_+_(string, string) -> string", operator.add, costs.together),
        overload("_+_(bytes, bytes) -> bytes", operator.add, costs.together),
        overload("_+_(list(A), list(A)) -> list(A)", joined, None),
        overload("_+_(duration, duration) -> duration", lambda a, b: _bounded(a, a.ns + b.ns)),
        overload("_+_(timestamp, duration) -> timestamp", lambda a, b: _bounded(a, a.ns + b.ns)),
        overload("_+_(duration, timestamp) -> timestamp", lambda a, b: _bounded(b, a.ns + b.ns)),
        overload("_-_(duration, duration) -> duration", lambda a, b: _bounded(a, a.ns - b.ns)),
        overload("_-_(timestamp, duration) -> timestamp", lambda a, b: _bounded(a, a.ns - b.ns)),
        overload("_-_(timestamp, timestamp) -> duration", lambda a, b: Duration(a.ns - b.ns)),
        overload("_/_(double, double) -> double", _float_quotient),
        overload("_/_(int, int) -> int", quotient),
        overload("_/_(uint, uint) -> uint", _uint(quotient)),
        overload("_%_(int, int) -> int", remainder),
        overload("_%_(uint, uint) -> uint", _uint(remainder)),
        overload("-_(int) -> int", lambda a: whole_int(-a)),
        overload("-_(double) -> double", operator.neg),
        overload("!_(bool) -> bool", operator.not_),
    ]
    for name, function in (("+", operator.add), ("-", operator.sub), ("*", operator.mul)):
        found.append(overload(f"_{name}_(int, int) -> int", _int(function)))
        found.append(overload(f"_{name}_(uint, uint) -> uint", _uint(function)))
        found.append(overload(f"_{name}_(double, double) -> double", function))
    return found


def _comparisons() -> list[Overload]:
    found = [
        overload("_==_(A, A) -> bool", equal, costs.shortest),
        overload("_!=_(A, A) -> bool", lambda a, b: not equal(a, b), costs.shortest),
    ]
    numbers = ("int", "uint", "double")
    alike = ("bool", "string", "bytes", "duration", "timestamp")
    pairs = [(a, b) for a in numbers for b in numbers] + [(one, one) for one in alike]
    compare: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = (
        ("<", operator.lt),
        ("<=", operator.le),
        (">", operator.gt),
        (">=", operator.ge),
    )
    for name, function in compare:
        for a, b in pairs:
            cost = costs.shortest if a in ("string", "bytes") else None
            found.append(overload(f"_{name}_({a}, {b}) -> bool", function, cost))
    return found


# -- conversions -------------------------------------------------------------------------------------------------------


def _int_of_text(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII) or not MIN_INT <= int(text) <= MAX_INT:
        raise CelError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _int_of_double(value: float) -> int:
    if math.isnan(value) or not -(2.0**63) < value < 2.0**63:
        raise CelError("integer overflow")
    return int(value)


def _uint_of_text(text: str) -> UInt:
    if not re.fullmatch(r"\d+", text, re.ASCII) or int(text) > MAX_UINT:
        raise CelError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return UInt(text)


def _uint_of_double(value: float) -> UInt:
    if math.isnan(value) or not 0 <= value < 2.0**64:
        raise CelError("unsigned integer overflow")
    return UInt(int(value))


def _double_of_text(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CelError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from None


def _bool_of_text(text: str) -> bool:
    if text in ("1", "t", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "false", "FALSE", "False"):
        return False
    raise CelError(f'type conversion error from "string" to "bool": {text}')


def _text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None


def _type_of(value: Any) -> Type:
    name = type_name(value)
    return NAMES.get(name) or Type(name)


def _conversions() -> list[Overload]:
    same: Callable[[Any], Any] = lambda a: a  # noqa: E731 - a row of a table
    rows: list[tuple[str, Callable[..., Any]]] = [
        ("int(int) -> int", same),
        ("int(uint) -> int", lambda a: whole_int(int(a))),
        ("int(double) -> int", _int_of_double),
        ("int(string) -> int", _int_of_text),
        ("int(timestamp) -> int", lambda a: a.ns // SECOND),
        ("int(duration) -> int", lambda a: a.ns),
        ("uint(uint) -> uint", same),
        ("uint(int) -> uint", whole_uint),
        ("uint(double) -> uint", _uint_of_double),
        ("uint(string) -> uint", _uint_of_text),
        ("double(double) -> double", same),
        ("double(int) -> double", float),
        ("double(uint) -> double", float),
        ("double(string) -> double", _double_of_text),
        ("bool(bool) -> bool", same),
        ("bool(string) -> bool", _bool_of_text),
        ("string(string) -> string", same),
        ("string(bool) -> string", lambda a: "true" if a else "false"),
        ("string(int) -> string", str),
        ("string(uint) -> string", str),
        ("string(double) -> string", double_text),
        ("string(bytes) -> string", _text_of_bytes),
        ("string(duration) -> string", str),
        ("string(timestamp) -> string", str),
        ("bytes(bytes) -> bytes", same),
        ("bytes(string) -> bytes", str.encode),
        ("duration(duration) -> duration", same),
        ("duration(string) -> duration", parse_duration),
        ("duration(int) -> duration", Duration),
        ("timestamp(timestamp) -> timestamp", same),
        ("timestamp(string) -> timestamp", parse_timestamp),
        ("timestamp(int) -> timestamp", lambda a: _bounded(Timestamp(0), a * SECOND)),
        ("dyn(A) -> dyn", same),
        ("type(A) -> type(A)", _type_of),
    ]
    return [overload(text, call, costs.first if "(string)" in text else None) for text, call in rows]


# -- texts, lists, maps ------------------------------------------------------------------------------------------------


def pattern(text: str) -> Regexp:
    """A regular expression of Go. Raises CelError."""
    from netlab.api.goregexp import RegexpError, regexp

    try:
        return regexp(text)
    except RegexpError as error:
        raise CelError(str(error)) from None


def _matches(text: str, expression: str) -> bool:
    return pattern(expression).matches(text)


def _collections() -> list[Overload]:
    found = [
        overload("string.contains(string) -> bool", lambda a, b: b in a, costs.search),
        overload("string.startsWith(string) -> bool", str.startswith, costs.last),
        overload("string.endsWith(string) -> bool", str.endswith, costs.last),
        overload("string.matches(string) -> bool", _matches, costs.regex),
        overload("matches(string, string) -> bool", _matches, costs.regex),
        overload("@in(A, list(A)) -> bool", lambda a, b: contains(b, a), costs.items_of_last),
        overload("@in(A, map(A, B)) -> bool", _in_map),
        overload("_[_](list(A), int) -> A", at),
        overload("_[_](map(A, B), A) -> B", value_of),
    ]
    for kind in ("string", "bytes", "list(A)", "map(A, B)"):
        found.append(overload(f"size({kind}) -> int", len))
        found.append(overload(f"{kind}.size() -> int", len))
    return found


def _in_map(key: Any, where: dict[Any, Any]) -> bool:
    try:
        return key in where
    except TypeError:
        return False


def at(items: list[Any], index: Any) -> Any:
    """Raises CelError."""
    if isinstance(index, float) and index.is_integer():
        index = int(index)
    if isinstance(index, bool) or not isinstance(index, int):
        raise CelError(f"unsupported index type '{type_name(index)}' in list")
    if not 0 <= index < len(items):
        raise CelError(f"index out of bounds: {index}")
    return items[index]


def value_of(where: dict[Any, Any], key: Any) -> Any:
    """Raises CelError."""
    try:
        return where[key]
    except (KeyError, TypeError):
        raise CelError(f"no such key: {key}") from None


# -- times -------------------------------------------------------------------------------------------------------------


def _zone(name: str) -> Any:
    match = re.fullmatch(r"([+-]?)(\d\d):(\d\d)", name)
    if match:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise CelError(f"unknown time zone {name}") from None


def _times() -> list[Overload]:
    parts: dict[str, Callable[[datetime], int]] = {
        "getFullYear": lambda t: t.year,
        "getMonth": lambda t: t.month - 1,
        "getDayOfMonth": lambda t: t.day - 1,
        "getDate": lambda t: t.day,
        "getDayOfWeek": lambda t: t.isoweekday() % 7,
        "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
        "getHours": lambda t: t.hour,
        "getMinutes": lambda t: t.minute,
        "getSeconds": lambda t: t.second,
    }
    found: list[Overload] = []
    for name, part in parts.items():
        found.append(overload(f"timestamp.{name}() -> int", lambda t, part=part: part(t.moment())))
        found.append(
            overload(f"timestamp.{name}(string) -> int", lambda t, z, part=part: part(t.moment().astimezone(_zone(z))))
        )
    millis: Callable[..., int] = lambda t, z="": t.ns % SECOND // 10**6  # noqa: E731 - a row of a table
    found.append(overload("timestamp.getMilliseconds() -> int", millis))
    found.append(overload("timestamp.getMilliseconds(string) -> int", millis))
    for name, unit in (("getHours", 3600 * SECOND), ("getMinutes", 60 * SECOND), ("getSeconds", SECOND)):
        found.append(overload(f"duration.{name}() -> int", lambda d, unit=unit: quotient(d.ns, unit)))
    found.append(overload("duration.getMilliseconds() -> int", lambda d: quotient(d.ns, 10**6)))
    return found


def overloads() -> list[Overload]:
    """All of them. The logical operators are part of the language: see `plan`."""
    never: Callable[..., Any] = lambda *args: None  # noqa: E731 - never called
    logic = [
        overload("_&&_(bool, bool) -> bool", never),
        overload("_||_(bool, bool) -> bool", never),
        overload("_?_:_(bool, A, A) -> A", never),
    ]
    return [*logic, *_arithmetic(), *_comparisons(), *_conversions(), *_collections(), *_times()]
