"""From the text of an expression to its tokens. Source followed: cel-spec doc/langdef.md (Syntax), cel-go's grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from netlab.api.cel.errors import CompileError, Issue
from netlab.api.cel.values import MAX_INT, MAX_UINT, UInt

_TOKEN = re.compile(
    r"""(?P<space>[\t\n\f\r ]+|//[^\n]*)
      | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
      | (?P<uint>(?:0x[0-9a-fA-F]+|\d+)[uU])
      | (?P<int>0x[0-9a-fA-F]+|\d+)
      | (?P<text>(?:[bB][rR]?|[rR][bB]?)?(?:\"\"\"|'''|\"|'))
      | (?P<ident>[_a-zA-Z][_a-zA-Z0-9]*)
      | (?P<quoted>`[a-zA-Z0-9_.\-/ ]+`)
      | (?P<op>==|!=|<=|>=|&&|\|\||[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"""\\(?:([abfnrtv\\\"'`?])|x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})"""
    r"""|([0-3][0-7]{2})|(.|\n|$))"""
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is an operator itself, or ident, quoted, int, uint, float, string, bytes, end."""

    kind: str
    text: str
    offset: int
    value: Any = None


def tokens(source: str) -> tuple[list[Token], list[Issue]]:
    """The tokens, an end at last, and what was not recognised (and left out)."""
    found: list[Token] = []
    issues: list[Issue] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            # the text that cel-go's lexer had looked at when it gave up
            length = 2 if source[at] in "=&|" else 1
            issues.append(Issue(at, f"Syntax error: token recognition error at: '{source[at : at + length]}'"))
            at += length
            continue
        kind, text = str(match.lastgroup), match[0]
        if kind == "text":
            token = _text(source, at, text)
            if token is None:
                bad = source[at:].partition("\n")[0]
                issues.append(Issue(at, f"Syntax error: token recognition error at: '{bad}'"))
                at += len(bad)
                continue
            found.append(token)
            at += len(token.text)
            continue
        if kind != "space":
            found.append(_token(kind, text, at, source))
        at = match.end()
    found.append(Token("end", "<EOF>", len(source)))
    return found, issues


def _token(kind: str, text: str, at: int, source: str) -> Token:
    if kind == "op":
        return Token(text, text, at)
    if kind == "int":
        value = int(text, 0) if text.startswith("0x") else int(text)
        # one more than the largest may stand behind a minus
        if value > MAX_INT + 1:
            raise CompileError(source, [Issue(at, "invalid int literal")])
        return Token(kind, text, at, value)
    if kind == "uint":
        digits = text[:-1]
        number = int(digits, 0) if digits.startswith("0x") else int(digits)
        if number > MAX_UINT:
            raise CompileError(source, [Issue(at, "invalid uint literal")])
        return Token(kind, text, at, UInt(number))
    if kind == "float":
        return Token(kind, text, at, float(text))
    if kind == "quoted":
        return Token(kind, text, at, text[1:-1])
    return Token(kind, text, at, text)


def _text(source: str, at: int, opening: str) -> Token | None:
    prefix = opening.rstrip("\"'").lower()
    quote = opening[len(prefix) :]
    raw, start = "r" in prefix, at + len(opening)
    end = start
    while True:
        if end >= len(source) or (len(quote) == 1 and source[end] in "\r\n"):
            return None
        if source.startswith(quote, end):
            break
        end += 1 if raw or source[end] != "\\" else 2
    inner, whole = source[start:end], source[at : end + len(quote)]
    if "b" in prefix:
        return Token("bytes", whole, at, inner.encode() if raw else _bytes(inner))
    return Token("string", whole, at, inner if raw else _unescaped(source, inner, at))


def _unescaped(source: str, inner: str, at: int) -> str:
    def one(match: re.Match[str]) -> str:
        simple, x, upper_x, u, long, octal, bad = match.groups()
        if simple:
            return _SIMPLE.get(simple, simple)
        if bad is not None:
            raise CompileError(source, [Issue(at, "Syntax error: unable to unescape string")])
        digits = x or upper_x or u or long
        return chr(int(digits, 16) if digits else int(octal, 8))

    return _ESCAPE.sub(one, inner) if "\\" in inner else inner


def _bytes(inner: str) -> bytes:
    out, at = bytearray(), 0
    for match in _ESCAPE.finditer(inner):
        out += inner[at : match.start()].encode()
        simple, x, upper_x, u, long, octal, _ = match.groups()
        if x or upper_x or octal:
            out.append(int(x or upper_x, 16) if not octal else int(octal, 8))
        elif u or long:
            out += chr(int(u or long, 16)).encode()
        elif simple:
            out += _SIMPLE.get(simple, simple).encode()
        at = match.end()
    return bytes(out + inner[at:].encode())
