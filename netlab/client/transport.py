"""The narrow protocol over which the client speaks, and its implementation: a pool of HTTP/1.1 connections.

`socket_factory` opens every connection's socket: pass one that opens it in a node's network namespace and the node's
requests and watches cross the emulated underlay.

A cut cable leaves a connection that never says so. Sockets therefore probe an idle peer (TCP keep-alive) and give up
unacknowledged data (TCP_USER_TIMEOUT), so that a watch ends, and is resumed, soon after the path is dead or back.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlencode, urlsplit

from netlab.client.http1 import Connection, Exchange, request_bytes

SocketFactory: TypeAlias = Callable[[Any], socket.socket]
"""(family, type, proto, canonname, sockaddr), as getaddrinfo gives it → a socket that is not connected yet."""

IDLE = 60.0
"""Seconds after which a connection that nobody used is not used again; the API server closes it later."""
IDEMPOTENT = ("GET", "HEAD", "PUT", "DELETE")
"""What may be sent again where a kept connection turned out to be dead (RFC 9110, section 9.2.2)."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer: status code, headers (looked up case-insensitively), body bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ByteStream(Protocol):
    """An answer whose body arrives in pieces. `status` other than 2xx: `read_all` gives the Status object's bytes."""

    @property
    def status(self) -> int: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    async def read_all(self) -> bytes: ...


class TransportError(OSError):
    """No answer: connection refused, reset, timed out. The text says what was asked for and what was waited for."""


class Transport(Protocol):
    """Requests to one API server."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send one request, read the whole answer. Raises TransportError; an HTTP error status is a Response."""
        ...

    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        idle_timeout: float | None = None,
    ) -> AbstractAsyncContextManager[ByteStream]:
        """Send one request, read its answer piece by piece; `idle_timeout` bounds the wait for each piece."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def watchful(factory: SocketFactory | None, keepalive: float) -> SocketFactory:
    """A factory whose sockets notice a dead peer within about two times `keepalive` seconds."""

    def make(info: Any) -> socket.socket:
        sock = factory(info) if factory else socket.socket(info[0], info[1], info[2])
        sock.setblocking(False)
        if info[0] in (socket.AF_INET, socket.AF_INET6):
            period = max(1, int(keepalive))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, period)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, period // 3))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, period * 2000)
        return sock

    return make


class _Stream:
    def __init__(self, connection: Connection, exchange: Exchange, what: str, idle: float | None) -> None:
        self._connection, self._exchange, self._what, self._idle = connection, exchange, what, idle

    @property
    def status(self) -> int:
        return self._exchange.status

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._next():
                yield chunk
        except TimeoutError as error:
            raise TransportError(f"{self._what}: nothing received for {self._idle} s") from error
        except OSError as error:
            raise TransportError(f"{self._what}: {error}") from error

    async def _next(self) -> bytes:
        if self._idle is None:
            return await self._connection.piece(self._exchange)
        async with asyncio.timeout(self._idle):
            return await self._connection.piece(self._exchange)

    async def read_all(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])


class Told(Protocol):
    """Who hears of a transport's requests."""

    def note(self, method: str, code: str, seconds: float, sent: int, received: int) -> None: ...


class HttpTransport:
    """A keep-alive pool of connections to one API server. Watches do not count against `limit`."""

    def __init__(
        self,
        base_url: str,
        ssl_context: ssl.SSLContext | None = None,
        token: str | None = None,
        socket_factory: SocketFactory | None = None,
        *,
        request_timeout: float = 30.0,
        connect_timeout: float = 5.0,
        keepalive: float = 5.0,
        limit: int = 32,
        user_agent: str = "netlab",
    ) -> None:
        self.base_url = base_url.rstrip("/")
        url = urlsplit(self.base_url)
        secure = url.scheme == "https"
        self._tls = (ssl_context or ssl.create_default_context()) if secure else None
        self._host, self._port = url.hostname or "", url.port or (443 if secure else 80)
        self._prefix = url.path
        self._factory = watchful(socket_factory, keepalive)
        self._request_timeout = request_timeout
        self._connect_timeout = connect_timeout
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        self._fixed = (
            f"Host: {url.netloc}\r\nAccept: application/json\r\nUser-Agent: {user_agent}\r\n{authorization}".encode()
        )
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = False
        self.host = url.netloc
        self.told: Told | None = None

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> bytes:
        target = f"{self._prefix}{path}?{urlencode(params)}" if params else self._prefix + path
        return request_bytes(method, target, self._fixed, headers, body)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """See Transport."""
        limit = self._request_timeout if timeout is None else timeout
        began, code, received = time.perf_counter(), "<error>", 0
        try:
            data = self._request(method, path, params, headers, body)
            async with asyncio.timeout(limit), self._slots:
                found = await self._exchange(method, data)
                code, received = str(found.status), len(found.body)
                return found
        except TimeoutError as error:
            raise TransportError(f"{method} {self.base_url}{path}: no answer within {limit} s") from error
        except (OSError, ValueError) as error:
            raise TransportError(f"{method} {self.base_url}{path}: {error}") from error
        finally:
            if self.told is not None:
                self.told.note(method, code, time.perf_counter() - began, len(body or b""), received)

    async def _exchange(self, method: str, data: bytes) -> Response:
        while (kept := self._kept()) is not None:
            exchange = kept.send(method, data)
            try:
                return await self._finish(kept, exchange)
            except OSError:
                if exchange.status or method not in IDEMPOTENT:
                    raise
        fresh = await self._connect()
        return await self._finish(fresh, fresh.send(method, data))

    async def _finish(self, connection: Connection, exchange: Exchange) -> Response:
        try:
            body = await connection.body(exchange)
        finally:
            self._release(connection)
        return Response(exchange.status, exchange.headers, body)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        idle_timeout: float | None = None,
    ) -> AsyncIterator[ByteStream]:
        """See Transport. A stream has a connection of its own."""
        what = f"{method} {self.base_url}{path}"
        connection: Connection | None = None
        try:
            try:
                data = self._request(method, path, params, headers, None)
                async with asyncio.timeout(self._request_timeout):
                    connection = await self._connect()
                    exchange = connection.send(method, data, streaming=True)
                    await connection.head(exchange)
            except TimeoutError as error:
                raise TransportError(f"{what}: no answer within {self._request_timeout} s") from error
            except (OSError, ValueError) as error:
                raise TransportError(f"{what}: {error}") from error
            yield _Stream(connection, exchange, what, idle_timeout)
        finally:
            if connection is not None:
                self._release(connection)

    # connections

    def _kept(self) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < IDLE:
                return connection
            self._drop(connection)
        return None

    def _release(self, connection: Connection) -> None:
        """Keep a connection whose exchange ended properly; end any other."""
        if connection.usable and not self._closed:
            connection.idle_since = now = asyncio.get_running_loop().time()
            self._idle.append(connection)
            while now - self._idle[0].idle_since > IDLE:
                self._drop(self._idle.pop(0))
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.abort()

    async def _connect(self) -> Connection:
        problem: OSError | None = None
        for info in await self._addresses():
            try:
                async with asyncio.timeout(self._connect_timeout):
                    return await self._connect_to(info)
            except TimeoutError:
                problem = ConnectionError(f"no connection within {self._connect_timeout} s")
            except OSError as error:
                problem = error
        raise problem or ConnectionError(f"{self._host}: no address")

    async def _connect_to(self, info: Any) -> Connection:
        loop = asyncio.get_running_loop()
        sock = self._factory(info)
        try:
            await loop.sock_connect(sock, info[4])
            name = self._host if self._tls else None
            _, connection = await loop.create_connection(Connection, sock=sock, ssl=self._tls, server_hostname=name)
        except BaseException:
            sock.close()
            raise
        self._open.add(connection)
        return connection

    async def _addresses(self) -> list[Any]:
        for family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):
                socket.inet_pton(family, self._host)
                return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (self._host, self._port))]
        loop = asyncio.get_running_loop()
        return list(await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP))

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        for connection in list(self._open):
            self._drop(connection)
        self._idle.clear()
