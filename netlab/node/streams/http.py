"""The little of HTTP/1.1 that the kubelet's port needs: read a request head, answer it, or take the connection over.

A framework would cost more memory than the whole server, and what matters here (exec, attach, port-forward) leaves HTTP
after the first line anyway.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from netlab.api.types import Obj

MAX_HEAD = 64 * 1024
REASONS = {
    301: "Moved Permanently",
    101: "Switching Protocols",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
}


class BadRequestError(Exception):
    """What came is not HTTP."""


@dataclass(slots=True)
class Request:
    """A request's head; header names are lower-case, repeated ones joined with ", "."""

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    raw_headers: Sequence[tuple[str, str]] = field(default=())

    def get(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        return next((value for key, value in reversed(self.query) if key == name), default)

    def flag(self, name: str) -> bool:
        return self.get(name).lower() in ("1", "true", "t")

    def wants(self, protocol: str) -> bool:
        """Whether it asks for an upgrade to `protocol`."""
        return protocol.lower() in self.headers.get("upgrade", "").lower()

    def values(self, header: str) -> list[str]:
        """All comma-separated values of a header."""
        return [part.strip() for part in self.headers.get(header, "").split(",") if part.strip()]


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request's head, its body left out (and read away); None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise BadRequestError("the connection ended inside a request") from end
        return None
    except asyncio.LimitOverrunError as problem:
        raise BadRequestError("request head too long") from problem
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequestError(f"not an HTTP/1.1 request: {lines[0]!r}")
    raw = [(name.strip(), value.strip()) for line in lines[1:] if line for name, _, value in (line.partition(":"),)]
    headers: dict[str, str] = {}
    for name, value in raw:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    target = urlsplit(words[1])
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length):
        await reader.readexactly(min(int(length), 1 << 20))
    query = parse_qsl(target.query, keep_blank_values=True)
    return Request(words[0], unquote(target.path), query, headers, raw)


def head(status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    """A response head."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def respond(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    content_type: str = "text/plain",
    more: Sequence[tuple[str, str]] = (),
) -> None:
    """A whole response."""
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), *more]
    writer.write(head(status, headers) + body)


def respond_json(writer: asyncio.StreamWriter, status: int, obj: Obj) -> None:
    respond(writer, status, json.dumps(obj, separators=(",", ":")).encode(), "application/json")


class Chunked:
    """A response body of unknown length."""

    def __init__(self, writer: asyncio.StreamWriter, content_type: str = "text/plain") -> None:
        self._writer = writer
        writer.write(head(200, [("Content-Type", content_type), ("Transfer-Encoding", "chunked")]))

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when nobody reads any more."""
        if self._writer.is_closing():
            raise ConnectionResetError("the client is gone")
        if data:
            self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await self._writer.drain()

    def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
