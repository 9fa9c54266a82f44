"""The narrow protocol over which the client speaks, and its implementation on aiohttp.

`socket_factory` opens every connection's socket: pass one that opens it in a node's network namespace and the node's
requests and watches cross the emulated underlay. aiohttp is imported when the first transport is made.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

SocketFactory: TypeAlias = Callable[[Any], Any]
"""(family, type, proto, canonname, sockaddr) → a non-blocking socket.socket, as aiohappyeyeballs wants it."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer: status code, headers (names lower-case), body bytes."""

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


class AiohttpTransport:
    """A keep-alive pool of connections to one API server."""

    def __init__(
        self,
        base_url: str,
        ssl_context: ssl.SSLContext | None = None,
        token: str | None = None,
        socket_factory: SocketFactory | None = None,
        *,
        request_timeout: float = 30.0,
        connect_timeout: float = 5.0,
        limit: int = 64,
        user_agent: str = "netlab",
    ) -> None:
        raise NotImplementedError

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
        raise NotImplementedError

    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        idle_timeout: float | None = None,
    ) -> AbstractAsyncContextManager[ByteStream]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
