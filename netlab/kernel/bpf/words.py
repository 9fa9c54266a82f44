"""Words and signs of a filter, each with its place, and the errors that name it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

_OUTSIDE = re.compile(r"\\?[A-Za-z0-9_][\w.:/-]*|::[0-9A-Fa-f:.]*(?:/\d+)?")
"""A word: addresses, prefixes, ranges and names with hyphens are one."""
_INSIDE = re.compile(r"[A-Za-z][\w-]*|\d\w*")
"""Between brackets a colon, a slash or a hyphen after a number is a sign."""
_SIGN = re.compile(r"&&|\|\||<<|>>|<=|>=|==|!=|[][()!=<>&|^+*/%:-]")
ALIASES = {"&&": "and", "||": "or", "==": "="}


class FilterError(ValueError):
    """An expression cannot be understood: where, and what to write."""

    def __init__(self, expression: str, why: str, at: int = -1) -> None:
        self.at = at
        super().__init__(f"filter {expression!r}: {why}")


@dataclass(frozen=True, slots=True)
class Word:
    """`at`: characters before it."""

    text: str
    at: int


def words(expression: str) -> list[Word]:
    """All of them. FilterError for a character that is of none."""
    found: list[Word] = []
    at = depth = 0
    while at < len(expression):
        if expression[at].isspace():
            at += 1
            continue
        match = (_INSIDE if depth else _OUTSIDE).match(expression, at) or _SIGN.match(expression, at)
        if match is None:
            raise FilterError(expression, f"{expression[at]!r} at character {at + 1} is not understood", at)
        text = match[0]
        depth += (text == "[") - (text == "]")
        found.append(Word(ALIASES.get(text, text.removeprefix("\\")), at))
        at = match.end()
    return found


def suggestion(word: str, known: list[str]) -> str:
    """What was meant, perhaps: "" or a sentence to put behind."""
    close = get_close_matches(word.lower(), known, 1, 0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
