"""PURE. The head of an ordinary request, read at once: what clients send a thousand times a second.

Anything out of the ordinary (another version, a body without a length, an upgrade, a repeated or folded header, a byte
that is no printable ASCII) is not judged here: `plain_head` answers None, and aiohttp's parser says what it is. What
was read is remembered by its text, since a client sends the same lines with every request.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from yarl import URL

_LARGEST, _REMEMBERED = 16 << 10, 2 << 10
_REQUEST = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) (/[!-\"$-~]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~](?:[\t -~]*[!-~])?)?)[ \t]*")
_EXTRAORDINARY = frozenset({"transfer-encoding", "content-encoding", "upgrade", "expect", "trailer", "te"})
_NO_QUERY: Mapping[str, str] = {}


class Head(NamedTuple):
    """`size` and `length` are bytes: of the head itself, and of the body behind it.

    `query` holds the first value of each parameter; header names are in lower case, a repeated Impersonate-Group has a
    line for each value.
    """

    method: str
    path: str
    query: Mapping[str, str]
    raw_query: str
    headers: Mapping[str, str]
    size: int
    length: int


def plain_head(data: bytes) -> Head | None:
    """The head that `data` begins with; None where it is not whole or not ordinary."""
    end = data.find(b"\r\n\r\n", 0, _LARGEST)
    first = data.find(b"\r\n", 0, end + 2)
    if end < 0:
        return None
    asked = _asked(data[:first]) if first <= _REMEMBERED else _read_asked(data[:first])
    rest = data[first + 2 : end]
    fields = _fields(rest) if len(rest) <= _REMEMBERED else _read_fields(rest)
    if asked is None or fields is None:
        return None
    method, path, query, raw_query = asked
    headers, length = fields
    if method == "GET" and length:
        return None
    return Head(method, path, query, raw_query, headers, end + 4, length)


def _read_asked(line: bytes) -> tuple[str, str, Mapping[str, str], str] | None:
    """Method, path, query and the query's text."""
    found = _REQUEST.fullmatch(line)
    if found is None:
        return None
    method, target = found[1].decode(), found[2].decode()
    return (method, target, _NO_QUERY, "") if "?" not in target and "%" not in target else (method, *_parts(target))


def _read_fields(block: bytes) -> tuple[Mapping[str, str], int] | None:
    """The headers, and the body's length."""
    headers: dict[str, str] = {}
    for line in block.split(b"\r\n"):
        field = _field(line) if len(line) <= _REMEMBERED else _read_field(line)
        if field is None:
            return None
        name, value = field
        if name in headers:
            if name != "impersonate-group":
                return None
            value = f"{headers[name]}\n{value}"
        headers[name] = value
    length = headers.get("content-length", "0")
    if "host" not in headers or not length.isdecimal() or len(length) > 9:
        return None
    return headers, int(length)


def _read_field(line: bytes) -> tuple[str, str] | None:
    """Name (in lower case) and value; None where this is no ordinary header."""
    found = _FIELD.fullmatch(line)
    if found is None:
        return None
    name, value = found[1].decode().lower(), found[2].decode()
    if name in _EXTRAORDINARY or (name == "connection" and value.lower() != "keep-alive"):
        return None
    return name, value


def _parts(target: str) -> tuple[str, Mapping[str, str], str]:
    """Path, query and the query's text, as aiohttp reads them."""
    path, _, query = target.partition("?")
    url = URL.build(path=path, query_string=query, encoded=True)
    first: dict[str, str] = {}
    for name, value in url.query.items():
        first.setdefault(name, value)
    return url.path, first, url.raw_query_string


_field = lru_cache(maxsize=2048)(_read_field)
_fields = lru_cache(maxsize=512)(_read_fields)
_asked = lru_cache(maxsize=1024)(_read_asked)

__all__ = ["Head", "plain_head"]
