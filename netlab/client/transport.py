"""The narrow protocol over which the client speaks, and its implementation on aiohttp.

`socket_factory` opens every connection's socket: pass one that opens it in a node's network namespace and the node's
requests and watches cross the emulated underlay. aiohttp is imported when the first request is made.

A cut cable leaves a connection that never says so. Sockets therefore probe an idle peer (TCP keep-alive) and give up
unacknowledged data (TCP_USER_TIMEOUT), so that a watch ends, and is resumed, soon after the path is dead or back.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import aiohttp

SocketFactory: TypeAlias = Callable[[Any], socket.socket]
"""(family, type, proto, canonname, sockaddr) → a non-blocking socket, as aiohttp's TCPConnector calls it."""


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


class _AiohttpStream:
    def __init__(self, response: aiohttp.ClientResponse, what: str, idle: float | None) -> None:
        self._response, self._what, self._idle = response, what, idle

    @property
    def status(self) -> int:
        return self._response.status

    async def chunks(self) -> AsyncIterator[bytes]:
        content = self._response.content
        try:
            while chunk := await content.readany():
                yield chunk
        except TimeoutError as error:
            raise TransportError(f"{self._what}: nothing received for {self._idle} s") from error
        except OSError as error:
            raise TransportError(f"{self._what}: {error}") from error
        except Exception as error:
            raise _translated(self._what, error) from error

    async def read_all(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])


class AiohttpTransport:
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
        self._ssl = ssl_context
        self._factory = watchful(socket_factory, keepalive)
        self._request_timeout = request_timeout
        self._connect_timeout = connect_timeout
        self._headers = {"Accept": "application/json", "User-Agent": user_agent}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._slots = asyncio.Semaphore(limit)
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=self._ssl if self._ssl is not None else True,
                keepalive_timeout=60.0,
                socket_factory=self._factory,
                happy_eyeballs_delay=None,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept-Encoding",),
                requote_redirect_url=False,
            )
        return self._session

    def _url(self, path: str, params: Mapping[str, str] | None) -> Any:
        from urllib.parse import urlencode

        from yarl import URL

        text = f"{self.base_url}{path}?{urlencode(params)}" if params else self.base_url + path
        return URL(text, encoded=True)

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
        import aiohttp

        limit = self._request_timeout if timeout is None else timeout
        session = self._session or self._open()
        limits = aiohttp.ClientTimeout(total=limit, sock_connect=self._connect_timeout)
        try:
            async with (
                self._slots,
                session.request(
                    method,
                    self._url(path, params),
                    data=body,
                    headers=headers,
                    timeout=limits,
                    allow_redirects=False,
                ) as response,
            ):
                return Response(response.status, response.headers, await response.read())
        except TimeoutError as error:
            raise TransportError(f"{method} {self.base_url}{path}: no answer within {limit} s") from error
        except (OSError, aiohttp.ClientError) as error:
            raise _translated(f"{method} {self.base_url}{path}", error) from error

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
        import aiohttp

        session = self._session or self._open()
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout, sock_read=idle_timeout)
        what = f"{method} {self.base_url}{path}"
        try:
            response = await asyncio.wait_for(
                session.request(
                    method, self._url(path, params), headers=headers, timeout=limits, allow_redirects=False
                ),
                self._request_timeout,
            )
        except TimeoutError as error:
            raise TransportError(f"{what}: no answer within {self._request_timeout} s") from error
        except (OSError, aiohttp.ClientError) as error:
            raise _translated(what, error) from error
        try:
            yield _AiohttpStream(response, what, idle_timeout)
        finally:
            response.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _translated(what: str, error: Exception) -> Exception:
    """aiohttp's errors as ours; anything else stays what it is."""
    import aiohttp

    if isinstance(error, (OSError, aiohttp.ClientError)):
        return TransportError(f"{what}: {error or type(error).__name__}")
    return error
