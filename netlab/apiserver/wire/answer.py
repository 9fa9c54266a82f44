"""The head of an answer, from constants as far as possible."""

import time
from http import HTTPStatus

from netlab.apiserver.wire.message import Response

_fixed: dict[tuple[int, str], bytes] = {}
_date = (0, b"")


def head_of(found: Response, *, keep_alive: bool) -> bytes:
    """Status line and headers, up to the empty line."""
    fixed = _fixed.get((found.code, found.content_type))
    if fixed is None:
        fixed = _fixed[(found.code, found.content_type)] = _status_line(found.code) + (
            f"Content-Type: {found.content_type}\r\nContent-Length: ".encode()
        )
    more = b"".join([f"{name}: {_one_line(value)}\r\n".encode() for name, value in found.headers.items()])
    if "Cache-Control" not in found.headers:
        more += b"Cache-Control: no-cache, private\r\n"
    if not keep_alive:
        more += b"Connection: close\r\n"
    return b"%b%d\r\n%b%b\r\n" % (fixed, len(found.body) + sum(map(len, found.more)), date_line(), more)


def _status_line(code: int) -> bytes:
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        phrase = "Unknown"
    return f"HTTP/1.1 {code} {phrase}\r\n".encode()


def _one_line(value: str) -> str:
    """A header's value cannot end its line, whatever went into it."""
    return value.replace("\r", " ").replace("\n", " ")


def date_line() -> bytes:
    """RFC 9110 section 6.6.1; made once a second."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(now)).encode())
    return _date[1]
