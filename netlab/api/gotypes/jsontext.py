"""JSON text read without losing anything: order, duplicate keys, the digits of numbers; and Go's syntax errors."""

from __future__ import annotations

import json
import re
from typing import Any


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()

    def value(self) -> int | float:
        """The number itself."""
        # Python reads no whole number of more than 4,300 digits, nor has anybody a use for it
        return int(self) if len(self) < 4000 and re.fullmatch(r"-?\d+", self) else float(self)


class Pairs(list[tuple[str, Any]]):
    """A JSON object: its members in order, duplicates included."""

    __slots__ = ()


class JSONSyntaxError(ValueError):
    """Not JSON; str() is Go's message."""


def parse(raw: bytes) -> Any:
    """Parse to Pairs, lists, str, Number, bool, None. Raises JSONSyntaxError."""
    try:
        text = raw.decode("utf-8", "replace")
        if "\\ud" in text or "\\uD" in text:
            text = _ESCAPE.sub(_whole, text)
        return json.loads(text, object_pairs_hook=Pairs, parse_int=Number, parse_float=Number, parse_constant=_refuse)
    except ValueError:
        raise JSONSyntaxError(_Scanner(raw.decode("utf-8", "replace")).problem()) from None
    except RecursionError:
        raise JSONSyntaxError("exceeded max depth") from None


_ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
"""An escape in a string: two halves of a character, a half without its other one, anything else."""


def _whole(escape: re.Match[str]) -> str:
    """As Go: half a character is none, and shown as U+FFFD."""
    text = escape[0]
    return "\\ufffd" if len(text) == 6 and text[1] == "u" else text


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def lift(value: Any) -> Any:
    """A plain object in the shape of `parse`."""
    if isinstance(value, dict):
        return Pairs((str(key), lift(one)) for key, one in value.items())
    if isinstance(value, list):
        return [lift(one) for one in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return Number(value if isinstance(value, int) else repr(value))


def go_kind(node: Any) -> str:
    """What Go calls a JSON value in a mismatch."""
    if isinstance(node, Pairs):
        return "object"
    if isinstance(node, list):
        return "array"
    if isinstance(node, bool):
        return "bool"
    return "number" if isinstance(node, Number) else "string"


def text_of(node: Any) -> str:
    """The JSON text of a value of `parse`."""
    if isinstance(node, Number):
        return str(node)
    if isinstance(node, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{text_of(one)}" for key, one in node) + "}"
    if isinstance(node, list):
        return "[" + ",".join(text_of(one) for one in node) + "]"
    return json.dumps(node)


class _Scanner:
    """Finds the first syntax error as Go's scanner words it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def problem(self) -> str:
        """The message; for a text that is not JSON."""
        try:
            self._space()
            self._value()
            self._space()
            if self.at < len(self.text):
                self._fail("after top-level value")
        except JSONSyntaxError as error:
            return str(error)
        return "unexpected end of JSON input"

    def _fail(self, where: str) -> None:
        if self.at >= len(self.text):
            raise JSONSyntaxError("unexpected end of JSON input")
        char = self.text[self.at]
        shown = {"'": "'\\''", '"': "'\"'"}.get(char) or f"'{json.dumps(char, ensure_ascii=False)[1:-1]}'"
        raise JSONSyntaxError(f"invalid character {shown} {where}")

    def _peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def _space(self) -> None:
        while self._peek() and self._peek() in " \t\r\n":
            self.at += 1

    def _value(self) -> None:
        char = self._peek()
        if char == "{":
            self._object()
        elif char == "[":
            self._array()
        elif char == '"':
            self._string()
        elif char == "-" or char.isdigit():
            self._number()
        else:
            for literal in ("true", "false", "null"):
                if char == literal[0]:
                    self._literal(literal)
                    return
            self._fail("looking for beginning of value")

    def _literal(self, literal: str) -> None:
        self.at += 1
        for expected in literal[1:]:
            if self._peek() != expected:
                self._fail(f"in literal {literal} (expecting '{expected}')")
            self.at += 1

    def _number(self) -> None:
        if self._peek() == "-":
            self.at += 1
        if not self._peek().isdigit():
            self._fail("in numeric literal")
        match = re.compile(r"(?:0|[1-9]\d*)").match(self.text, self.at)
        self.at = match.end() if match else self.at
        if self._peek() == ".":
            self.at += 1
            self._digits("after decimal point in numeric literal")
        if self._peek() in ("e", "E"):
            self.at += 1
            if self._peek() in ("+", "-"):
                self.at += 1
            self._digits("in exponent of numeric literal")

    def _digits(self, where: str) -> None:
        if not self._peek().isdigit():
            self._fail(where)
        while self._peek().isdigit():
            self.at += 1

    def _string(self) -> None:
        self.at += 1
        while True:
            char = self._peek()
            if not char or char < " ":
                self._fail("in string literal")
            self.at += 1
            if char == '"':
                return
            if char == "\\":
                self._escape()

    def _escape(self) -> None:
        char = self._peek()
        if not char or char not in '"\\/bfnrtu':
            self._fail("in string escape code")
        self.at += 1
        if char == "u":
            for _ in range(4):
                if not self._peek() or self._peek() not in "0123456789abcdefABCDEF":
                    self._fail("in \\u hexadecimal character escape")
                self.at += 1

    def _array(self) -> None:
        self.at += 1
        self._space()
        if self._peek() == "]":
            self.at += 1
            return
        while True:
            self._space()
            self._value()
            self._space()
            if self._peek() == "]":
                self.at += 1
                return
            if self._peek() != ",":
                self._fail("after array element")
            self.at += 1

    def _object(self) -> None:
        self.at += 1
        self._space()
        if self._peek() == "}":
            self.at += 1
            return
        while True:
            self._space()
            if self._peek() != '"':
                self._fail("looking for beginning of object key string")
            self._string()
            self._space()
            if self._peek() != ":":
                self._fail("after object key")
            self.at += 1
            self._space()
            self._value()
            self._space()
            if self._peek() == "}":
                self.at += 1
                return
            if self._peek() != ",":
                self._fail("after object key:value pair")
            self.at += 1
