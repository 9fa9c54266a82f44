"""The strings extension, version 2. Source followed: cel-go `ext/strings.go`, `ext/formatting.go`."""

from __future__ import annotations

import math
from typing import Any

from netlab.api.cel.errors import CelError
from netlab.api.cel.library import costs
from netlab.api.cel.types import Overload, Type, overload
from netlab.api.cel.values import Duration, Timestamp, UInt, double_text, type_name

_ASCII_LOWER = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_ASCII_UPPER = {ord(c): c.upper() for c in "abcdefghijklmnopqrstuvwxyz"}
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise CelError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if not 0 <= start <= len(text):
        raise CelError(f"index out of range: {start}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, end: int | None = None) -> int:
    if end is None:
        return text.rfind(part)
    if not 0 <= end <= len(text):
        raise CelError(f"index out of range: {end}")
    return text.rfind(part, 0, end + len(part))


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count if count >= 0 else -1)


def _split(text: str, by: str, count: int = -1) -> list[str]:
    if not count:
        return []
    if not by:
        return list(text) if count < 0 or count >= len(text) else [*text[: count - 1], text[count - 1 :]]
    return text.split(by, count - 1 if count > 0 else -1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise CelError(f"index out of range: {start}")
    if not 0 <= end <= len(text):
        raise CelError(f"index out of range: {end}")
    if start > end:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def _join(parts: list[Any], by: str = "") -> str:
    for one in parts:
        if not isinstance(one, str):
            raise CelError(f"no such overload: join({type_name(one)})")
    return by.join(parts)


_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def quote(text: str) -> str:
    """`strings.quote`."""
    return '"' + "".join(_QUOTED.get(c, "\\" + c if c in '\\"' else c) for c in text) + '"'


def format_text(text: str, args: list[Any]) -> str:
    """`'…%s…'.format([…])`. Raises CelError."""
    out: list[str] = []
    at = used = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char != "%":
            out.append(char)
            continue
        if text[at : at + 1] == "%":
            out.append("%")
            at += 1
            continue
        precision: int | None = None
        if text[at : at + 1] == ".":
            end = at + 1
            while end < len(text) and text[end].isdigit():
                end += 1
            if end == at + 1:
                raise CelError("could not parse formatting clause: error while parsing precision: could not find end")
            precision, at = int(text[at + 1 : end]), end
        if at >= len(text):
            raise CelError("could not parse formatting clause: unexpected end of string")
        if used >= len(args):
            raise CelError(f"index {used} out of range")
        out.append(_clause(text[at], args[used], precision))
        at, used = at + 1, used + 1
    return "".join(out)


def _clause(kind: str, value: Any, precision: int | None) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "s":
            return shown(value)
        case "d" if number:
            if isinstance(value, float) and not math.isfinite(value):
                return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
            if isinstance(value, int):
                return str(int(value))
        case "f" if number:
            return _finite(value) or f"{float(value):.{6 if precision is None else precision}f}"
        case "e" if number:
            return _finite(value) or f"{float(value):.{6 if precision is None else precision}e}"
        case "b" if isinstance(value, int):
            return f"{int(value):b}"
        case "o" if isinstance(value, int) and not isinstance(value, bool):
            return f"{int(value):o}"
        case "x" | "X" if isinstance(value, str | bytes) or (isinstance(value, int) and not isinstance(value, bool)):
            text = (
                f"{value:x}" if isinstance(value, int) else (value.encode() if isinstance(value, str) else value).hex()
            )
            return text.upper() if kind == "X" else text
        case _ if kind not in "sdfebxoX":
            raise CelError(f'could not parse formatting clause: unrecognized formatting clause "{kind}"')
    wanted = {"d": "integers", "f": "doubles", "e": "doubles", "b": "integers and bools", "o": "integers"}
    allowed = wanted.get(kind, "integers, byte buffers, and strings")
    raise CelError(
        f"error during formatting: {_VERBS.get(kind, kind)} clause can only be used on {allowed}, was given "
        f"{type_name(value)}"
    )


_VERBS = {"d": "decimal", "f": "fixed-point", "e": "scientific", "b": "binary", "o": "octal", "x": "hex", "X": "hex"}


def _finite(value: float) -> str:
    if math.isfinite(value):
        return ""
    return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"


def shown(value: Any, inside: bool = False) -> str:
    """A value by %s; texts within lists and maps are quoted."""
    if isinstance(value, str):
        return quote(value) if inside else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, UInt | int):
        return str(int(value))
    if isinstance(value, float):
        if inside or math.isfinite(value):
            return double_text(value) if not inside else f"{value:f}"
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return "[" + ", ".join(shown(one, True) for one in value) + "]"
    if isinstance(value, dict):
        pairs = sorted((shown(key, True), shown(one, True)) for key, one in value.items())
        return "{" + ", ".join(f"{key}:{one}" if inside else f"{key}: {one}" for key, one in pairs) + "}"
    if isinstance(value, Duration | Timestamp):
        return f'{type_name(value).rpartition(".")[2].lower()}("{value}")' if inside else str(value)
    if isinstance(value, Type):
        return value.name
    raise CelError(
        f"string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, "
        f"durations, and timestamps, was given {type_name(value)}"
    )


def overloads() -> list[Overload]:
    rows: list[tuple[str, Any]] = [
        ("string.charAt(int) -> string", _char_at),
        ("string.indexOf(string) -> int", _index_of),
        ("string.indexOf(string, int) -> int", _index_of),
        ("string.lastIndexOf(string) -> int", _last_index_of),
        ("string.lastIndexOf(string, int) -> int", _last_index_of),
        ("string.lowerAscii() -> string", lambda a: a.translate(_ASCII_LOWER)),
        ("string.upperAscii() -> string", lambda a: a.translate(_ASCII_UPPER)),
        ("string.trim() -> string", lambda a: a.strip(_SPACE)),
        ("string.replace(string, string) -> string", _replace),
        ("string.replace(string, string, int) -> string", _replace),
        ("string.split(string) -> list(string)", _split),
        ("string.split(string, int) -> list(string)", _split),
        ("string.substring(int) -> string", _substring),
        ("string.substring(int, int) -> string", _substring),
        ("list(string).join() -> string", _join),
        ("list(string).join(string) -> string", _join),
        ("string.format(list(dyn)) -> string", format_text),
        ("!strings.quote(string) -> string", quote),
    ]
    return [overload(signature, call, costs.first) for signature, call in rows]
