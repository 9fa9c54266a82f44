"""How upstream prints a bad value: Go's `%v`, `%q` and `%#v`.

Source followed: `field.Error.ErrorBody` of 1.33: numbers and booleans plainly, strings quoted, all else in Go syntax.
"""

from __future__ import annotations

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b"}
_ESCAPES |= {"\f": "\\f", "\v": "\\v"}


class GoSyntax(str):
    """A value already written in Go syntax; printed as it is."""

    __slots__ = ()


def quote(text: str) -> str:
    """Go's `strconv.Quote`."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_quote_rune(char) for char in text) + '"'


def _quote_rune(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def go_body(value: object) -> str:
    """The value as `field.Error` shows it. Maps of strings, lists of strings, numbers, strings, None and `GoSyntax`."""
    if isinstance(value, GoSyntax):
        return str(value)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        return '"null"'
    return go_syntax(value)


def go_syntax(value: object) -> str:
    """`%#v` of a JSON-shaped value; maps print with sorted keys, as Go does."""
    if isinstance(value, GoSyntax):
        return str(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{quote(str(key))}:{go_syntax(value[key])}" for key in sorted(value))
        return f"map[string]string{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[]string{{{', '.join(go_syntax(one) for one in value)}}}"
    return go_body(value)


def go_print(value: object) -> str:
    """`%v` of a JSON value within an `interface{}`: true, text as it is, [a b], map[k:v] with sorted keys, <nil>."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_print(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_print, value)) + "]"
    return "<nil>" if value is None else str(value)
