"""The side doors of the server over HTTP: /health, /ready, /metrics, on the ports that the Corefile names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

Answer = Callable[[], Awaitable[tuple[int, str]]]
_REASONS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}


class Doors:
    """Listening sockets by (host, port); each has a path and who answers it."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], asyncio.Server] = {}
        self._answers: dict[tuple[str, int], tuple[str, Answer]] = {}

    async def want(self, wanted: dict[tuple[str, int], tuple[str, Answer]]) -> None:
        """Have these open, and no others. OSError where one cannot be bound: then all is as before."""
        made: dict[tuple[str, int], asyncio.Server] = {}
        try:
            for key in wanted:
                if key not in self._open:
                    made[key] = await asyncio.start_server(self._door(key), key[0] or None, key[1])
        except OSError:
            for server in made.values():
                server.close()
            raise
        for key in set(self._open) - set(wanted):
            self._open.pop(key).close()
        self._open |= made
        self._answers = wanted

    def close(self) -> None:
        for server in self._open.values():
            server.close()
        self._open.clear()

    def port(self, key: tuple[str, int]) -> int:
        """The port that was bound (for port 0)."""
        return int(self._open[key].sockets[0].getsockname()[1])

    def _door(self, key: tuple[str, int]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(5):
                    head = await reader.readuntil(b"\r\n\r\n")
                asked = head.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
                path, answer = self._answers[key]
                status, text = await answer() if asked == path else (404, "404 page not found\n")
                body = text.encode()
                kind = "text/plain; version=0.0.4; charset=utf-8" if path == "/metrics" else "text/plain; charset=utf-8"
                writer.write(
                    f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
            except (
                OSError,
                TimeoutError,
                asyncio.IncompleteReadError,
                asyncio.LimitOverrunError,
                IndexError,
                KeyError,
            ):
                return
            finally:
                writer.close()

        return serve
