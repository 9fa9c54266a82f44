"""A client of the in-process API server: controllers run against it without sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from apiserver_harness import ADMIN, Harness

from netlab.apiserver.dispatch import answer
from netlab.apiserver.wire.message import Request, Response, Streaming
from netlab.apiserver.wire.path import parse
from netlab.client import transport
from netlab.client.client import Client


class _Stream:
    """A watch as a queue of pieces; HTTP's chunk sizes are taken off."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        self.status, self._body = status, body
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed, self.buffered, self.initial = False, 0, 0

    def write(self, data: bytes) -> None:
        while data:
            size, _, rest = data.partition(b"\r\n")
            length = int(size, 16)
            self.pieces.put_nowait(rest[:length])
            data = rest[length + 2 :]

    def abort(self) -> None:
        self.closed = True

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.pieces.get()

    async def read_all(self) -> bytes:
        return self._body


async def _run(found: Streaming, sink: _Stream) -> None:
    await found.run(sink)


class InProcess:
    """netlab.client's Transport over `dispatch.answer`."""

    def __init__(self, server: Harness, token: str = ADMIN) -> None:
        self._server, self._token = server, token

    def _request(
        self, method: str, path: str, params: Mapping[str, str] | None, body: bytes | None, headers: Any
    ) -> Request:
        query = dict(params or {})
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        sent["authorization"] = f"Bearer {self._token}"
        sent.setdefault("content-type", "application/json")
        info = parse(method, path, query.get("watch") == "true")
        return Request(info, method, query, urlencode(query), sent, body or b"")

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> transport.Response:
        found = await answer(self._server.api, self._request(method, path, params, body, headers), None)
        assert isinstance(found, Response), found
        return transport.Response(found.code, found.headers, found.text)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        idle_timeout: float | None = None,
    ) -> AsyncIterator[_Stream]:
        found = await answer(self._server.api, self._request(method, path, params, None, headers), None)
        if isinstance(found, Response):
            yield _Stream(found.code, found.text)
            return
        assert isinstance(found, Streaming)
        made = _Stream(200)
        task = asyncio.create_task(_run(found, made))
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        return None


def client_of(server: Harness, token: str = ADMIN) -> Client:
    return Client(InProcess(server, token))


@asynccontextmanager
async def controllers(server: Harness, *names: str, **settings: Any) -> AsyncIterator[None]:
    """These controllers, at work."""
    from netlab.controllers import ControllersConfig
    from netlab.controllers.manager import run

    config = ControllersConfig(controllers=names, **settings)
    task = asyncio.create_task(run(client_of(server), config))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def comes(ask: Callable[[], Awaitable[Any]], what: str, timeout: float = 15.0) -> Any:
    """The first true answer to `ask`. Raises TimeoutError that says what never came."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while loop.time() < deadline:
        found = await ask()
        if found:
            return found
        await asyncio.sleep(0.01)
    raise TimeoutError(f"not within {timeout} s: {what}")
