"""Handing a client's connection on to a node or a backend: request and answer pass through, then bytes both ways.

The other side is asked with the client's method, headers and body. If it answers 101 (SPDY/3.1, WebSocket), both
connections become one pipe and nobody looks at the bytes; otherwise its answer is passed on as it comes.
"""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Iterable, Mapping

from aiohttp import web

from netlab.api import errors
from netlab.apiserver.rewriting import rewrite_html, rewrite_url
from netlab.apiserver.transport import Ready
from netlab.apiserver.wire.message import TakeOver, error_response

_CONNECT_TIMEOUT = 5.0
_HEAD_LIMIT = 64 << 10
_CHUNK = 64 << 10
_HOP = frozenset({"host", "authorization", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer"})
"""Headers that are between the client and us; Connection and Upgrade go on, they are the point of an upgrade."""
_OF_BODY = frozenset({"content-length", "transfer-encoding", "content-encoding", "expect"})


async def hand_on(http: web.BaseRequest, target: TakeOver, tls: ssl.SSLContext) -> web.StreamResponse:
    """Serve the request from `target`. Failures to reach it are a Status; nothing is raised but cancellation."""
    chosen = (target.context or tls) if target.tls else None
    name = target.server_name if target.tls and target.server_name else None
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(target.host, target.port, ssl=chosen, server_hostname=name, limit=1 << 20),
            _CONNECT_TIMEOUT,
        )
    except (OSError, TimeoutError) as error:
        return _unreachable(http, target, error)
    try:
        writer.write(_request_head(http, target))
        sending = asyncio.create_task(_send_body(http, writer, target.body))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            status, headers = _parse_head(head)
            if status == 101:
                sending.cancel()
                return await _pipe(http, head, reader, writer)
            if target.prefix:
                headers = [_located(http, target, name, value) for name, value in headers]
            return await _relay(http, status, headers, reader, target)
        finally:
            sending.cancel()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        return _unreachable(http, target, error)
    finally:
        writer.close()


def _request_head(http: web.BaseRequest, target: TakeOver) -> bytes:
    lines = [f"{http.method} {target.path} HTTP/1.1", f"Host: {target.host}:{target.port}"]
    without = _HOP | target.without
    if target.body is not None:
        without |= _OF_BODY
    lines += [f"{name}: {value}" for name, value in http.headers.items() if name.lower() not in without]
    lines += [f"{name}: {value}" for name, value in (*target.headers.items(), *target.lines)]
    if target.body is not None:
        lines.append(f"Content-Length: {len(target.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


async def _send_body(http: web.BaseRequest, writer: asyncio.StreamWriter, known: bytes | None = None) -> None:
    if known is not None:
        writer.write(known)
        return
    if not http.body_exists:
        return
    chunked = "chunked" in http.headers.get("Transfer-Encoding", "").lower()
    with contextlib.suppress(OSError):
        async for part in http.content.iter_any():
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")


def _parse_head(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    """Status code and headers of an answer; ValueError when it is not one."""
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first.split(" ", 2)[1])
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip(), value.strip()))
    return status, headers


async def _relay(
    http: web.BaseRequest,
    status: int,
    headers: list[tuple[str, str]],
    reader: asyncio.StreamReader,
    target: TakeOver,
) -> web.StreamResponse:
    """Pass an ordinary answer on as it comes, so that followed logs flow; but HTML of a proxied pod is read whole."""
    named: Mapping[str, str] = {name.lower(): value for name, value in headers}
    if target.prefix and _has_links(http, status, named):
        return await _relay_html(http, status, headers, reader, target)
    response = web.StreamResponse(status=status)
    response.headers.extend(_end_to_end(headers))
    length = named.get("content-length")
    if length is not None:
        response.content_length = int(length)
    elif http.version >= (1, 1):
        response.enable_chunked_encoding()
    await response.prepare(http)
    if http.method == "HEAD" or status in (204, 304):
        return response
    if "chunked" in named.get("transfer-encoding", "").lower():
        await _relay_chunks(reader, response)
    else:
        left = int(length) if length is not None else -1
        while left and (data := await reader.read(_CHUNK if left < 0 else min(left, _CHUNK))):
            left -= len(data) if left > 0 else 0
            await response.write(data)
    await response.write_eof()
    return response


def _end_to_end(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without those that concern this one connection, and the length, which is told anew."""
    hop = ("transfer-encoding", "connection", "content-length", "keep-alive")
    return [(name, value) for name, value in headers if name.lower() not in hop]


def _located(http: web.BaseRequest, target: TakeOver, name: str, value: str) -> tuple[str, str]:
    if name.lower() != "location":
        return name, value
    return name, rewrite_url(value, target.prefix, _hosts(http, target))


def _hosts(http: web.BaseRequest, target: TakeOver) -> tuple[str, ...]:
    return (http.host, f"{target.host}:{target.port}", target.host)


def _has_links(http: web.BaseRequest, status: int, named: Mapping[str, str]) -> bool:
    """An encoded body is left alone: clients of kubectl proxy ask for none."""
    kind = named.get("content-type", "").partition(";")[0].strip()
    body = http.method != "HEAD" and status not in (204, 304)
    return body and kind == "text/html" and not named.get("content-encoding") and "location" not in named


async def _relay_html(
    http: web.BaseRequest,
    status: int,
    headers: list[tuple[str, str]],
    reader: asyncio.StreamReader,
    target: TakeOver,
) -> web.StreamResponse:
    named: Mapping[str, str] = {name.lower(): value for name, value in headers}
    if "chunked" in named.get("transfer-encoding", "").lower():
        body = _Collected()
        await _relay_chunks(reader, body)
        text = bytes(body.data)
    elif "content-length" in named:
        text = await reader.readexactly(int(named["content-length"]))
    else:
        text = await reader.read(-1)
    hosts = _hosts(http, target)
    html = rewrite_html(text.decode("utf-8", "surrogateescape"), lambda url: rewrite_url(url, target.prefix, hosts))
    response = web.Response(status=status, body=html.encode("utf-8", "surrogateescape"))
    response.headers.update(_end_to_end(headers))
    await response.prepare(http)
    await response.write_eof()
    return response


class _Collected:
    """A body that is kept."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, data: bytes) -> None:
        self.data += data


async def _relay_chunks(reader: asyncio.StreamReader, response: web.StreamResponse | _Collected) -> None:
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        while size:
            data = await reader.read(min(size, _CHUNK))
            if not data:
                raise asyncio.IncompleteReadError(b"", size)
            size -= len(data)
            await response.write(data)
        await reader.readuntil(b"\r\n")


class _Upstream:
    """What aiohttp feeds with the client's bytes once the connection is no longer HTTP."""

    def __init__(self, transport: asyncio.Transport, writer: asyncio.StreamWriter) -> None:
        self._transport, self._writer = transport, writer
        self._waking: asyncio.Task[None] | None = None

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._writer.write(bytes(data))
        if self._writer.transport.get_write_buffer_size() > 4 * _CHUNK and self._waking is None:
            self._transport.pause_reading()
            self._waking = asyncio.create_task(self._wake())
        return False, b""

    def feed_eof(self) -> None:
        if self._writer.can_write_eof():
            self._writer.write_eof()
        else:
            self._writer.close()

    async def _wake(self) -> None:
        with contextlib.suppress(OSError):
            await self._writer.drain()
        self._waking = None
        if not self._transport.is_closing():
            self._transport.resume_reading()


async def _pipe(
    http: web.BaseRequest, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> web.StreamResponse:
    """Both connections become one: the client's bytes by a parser in aiohttp's place, the other's by this loop."""
    transport = http.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    http.protocol.set_parser(_Upstream(transport, writer))  # type: ignore[arg-type]
    transport.write(head)
    try:
        while not transport.is_closing() and (data := await reader.read(_CHUNK)):
            transport.write(data)
            await _drained(transport)
    except OSError:
        pass
    finally:
        # closing flushes what is buffered; nothing of HTTP may follow on this connection
        transport.close()
    return web.Response()


async def _drained(transport: asyncio.Transport) -> None:
    """Wait for a slow client; aiohttp keeps the transport's own flow control to itself."""
    while transport.get_write_buffer_size() > 16 * _CHUNK and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def _unreachable(http: web.BaseRequest, target: TakeOver, error: Exception) -> web.StreamResponse:
    """Upstream's words for a node that does not answer."""
    url = f"{'https' if target.tls else 'http'}://{target.host}:{target.port}{target.path.partition('?')[0]}"
    if isinstance(error, TimeoutError):
        why = f"dial tcp {target.host}:{target.port}: i/o timeout"
    elif isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else str(error)
        why = f"dial tcp {target.host}:{target.port}: connect: {reason.lower()}"
    else:
        why = "EOF"
    if target.unreachable is not None:
        return Ready(target.unreachable(f"error trying to reach service: {why}"), http)
    return Ready(error_response(errors.internal(f'error dialing backend: Get "{url}": {why}')), http)
