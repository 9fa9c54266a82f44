"""exec and attach over SPDY/3.1 or WebSocket: the same five streams, told apart by headers or by a channel byte.

Protocols v1 to v5 of `channel.k8s.io` (upstream staging/src/k8s.io/kubelet/pkg/cri/streaming/remotecommand): v2 ends
stdin properly, v3 adds resizing, v4 a Status on the error stream, v5 (WebSocket only) the closing of stdin.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass

from netlab.api.types import Obj
from netlab.node.streams import websocket
from netlab.node.streams.http import Request, head
from netlab.node.streams.pipe import Channel, Wire
from netlab.node.streams.spdysession import SpdySession, Stream

SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
WEBSOCKET_PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)
STREAMS_TIMEOUT = 30.0
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


@dataclass(frozen=True, slots=True)
class Options:
    """What the client asked for."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    @classmethod
    def of(cls, request: Request) -> Options:
        tty = request.flag("tty")
        return cls(
            request.flag("input") or request.flag("stdin"),
            request.flag("output") or request.flag("stdout"),
            (request.flag("error") or request.flag("stderr")) and not tty,
            tty,
        )

    @property
    def any(self) -> bool:
        return self.stdin or self.stdout or self.stderr


def success() -> Obj:
    return {"metadata": {}, "status": "Success"}


def exited(code: int) -> Obj:
    """The Status of a command that ended with a code other than 0."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: command terminated with exit code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failed(message: str) -> Obj:
    """The Status of a command that could not be run."""
    text = f"Internal error occurred: {message}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": text,
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


def _size(data: bytes) -> tuple[int, int] | None:
    try:
        found = json.loads(data)
        return int(found["Width"]), int(found["Height"])
    except (ValueError, KeyError, TypeError):
        return None


class SpdyStreams:
    """Over SPDY: one SPDY stream per name."""

    def __init__(self, session: SpdySession, protocol: str) -> None:
        self._session, self._protocol = session, protocol
        self._streams: dict[str, Stream] = {}
        self._reader: asyncio.Task[None] | None = None

    async def open(self, options: Options) -> None:
        """Wait until the client has opened all the streams it must. Raises TimeoutError, ConnectionError."""
        self._reader = asyncio.get_running_loop().create_task(self._session.run())
        wanted = {"error"}
        wanted |= {name for name, asked in (("stdin", options.stdin), ("stdout", options.stdout)) if asked}
        wanted |= {"stderr"} if options.stderr else set()
        wanted |= {"resize"} if options.tty and self._protocol[:2] in ("v3", "v4") else set()
        async with asyncio.timeout(STREAMS_TIMEOUT):
            while not wanted <= set(self._streams):
                stream = await self._session.accept()
                if stream is None:
                    raise ConnectionResetError("the client went away before it had opened its streams")
                self._streams[stream.headers.get("streamtype", "")] = stream

    async def read_stdin(self) -> bytes:
        stream = self._streams.get("stdin")
        return await stream.read() if stream else b""

    async def write(self, name: str, data: bytes) -> None:
        stream = self._streams.get(name)
        if stream is not None:
            await stream.write(data)

    async def resize(self) -> tuple[int, int] | None:
        stream = self._streams.get("resize")
        while stream is not None and (data := await stream.read()):
            for part in data.replace(b"}", b"}\n").split(b"\n"):
                if size := _size(part):
                    return size
        return None

    async def finish(self, status: Obj) -> None:
        error = self._streams.get("error")
        try:
            for name in ("stdout", "stderr"):
                if name in self._streams:
                    await self._streams[name].end()
            if error is not None:
                text = b""
                if self._protocol.startswith("v4"):
                    text = json.dumps(status, separators=(",", ":")).encode()
                elif status["status"] != "Success":
                    text = str(status.get("message", "")).encode()
                await error.write(text)
                await error.end()
            await self._session.close()
        except ConnectionError:
            return

    def abort(self) -> None:
        if self._reader is not None:
            self._reader.cancel()


class WebSocketStreams:
    """Over WebSocket: one message per piece, its first byte (or, in base64 protocols, digit) the channel."""

    def __init__(self, socket: websocket.WebSocket, protocol: str, options: Options) -> None:
        self._socket, self._protocol, self._options = socket, protocol, options
        self._base64 = "base64" in protocol
        self._stdin = Channel()
        self._sizes: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Tell the client that we are there (an empty message, as upstream), and listen."""
        self._reader = asyncio.get_running_loop().create_task(self._read())
        first = STDOUT if self._options.stdout else STDERR if self._options.stderr else ERROR
        await self._send(first, b"")

    async def _read(self) -> None:
        try:
            while (message := await self._socket.receive()) is not None:
                self._received(message[1])
                await self._stdin.room()
        except ConnectionError:
            pass
        finally:
            self._stdin.end()
            self._sizes.put_nowait(None)

    def _received(self, data: bytes) -> None:
        if not data:
            return
        if self._base64:
            try:
                channel, payload = data[0] - ord("0"), base64.b64decode(data[1:])
            except ValueError:
                raise ConnectionResetError("a message is no base64") from None
        else:
            channel, payload = data[0], data[1:]
        if channel == STDIN and self._options.stdin:
            self._stdin.feed(payload)
        elif channel == RESIZE:
            if size := _size(payload):
                self._sizes.put_nowait(size)
        elif channel == CLOSE and self._protocol.startswith("v5") and payload[:1] == b"\0":
            self._stdin.end()

    async def _send(self, channel: int, data: bytes) -> None:
        if self._base64:
            await self._socket.send(str(channel).encode() + base64.b64encode(data), websocket.TEXT)
        else:
            await self._socket.send(bytes((channel,)) + data)

    async def read_stdin(self) -> bytes:
        return await self._stdin.read() if self._options.stdin else b""

    async def write(self, name: str, data: bytes) -> None:
        asked = self._options.stdout if name == "stdout" else self._options.stderr
        if asked:
            await self._send(STDOUT if name == "stdout" else STDERR, data)

    async def resize(self) -> tuple[int, int] | None:
        return await self._sizes.get()

    async def finish(self, status: Obj) -> None:
        try:
            if self._protocol.startswith(("v4", "v5")):
                await self._send(ERROR, json.dumps(status, separators=(",", ":")).encode())
            elif status["status"] != "Success":
                await self._send(ERROR, str(status.get("message", "")).encode())
            await self._socket.close()
        except ConnectionError:
            return

    def abort(self) -> None:
        if self._reader is not None:
            self._reader.cancel()


class RefusedError(Exception):
    """There will be no streams: HTTP status and plain text."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


async def accept(
    request: Request, wire: Wire, options: Options, write: Callable[[bytes], None]
) -> SpdyStreams | WebSocketStreams:
    """Answer the upgrade and get the streams. Raises RefusedError, TimeoutError, ConnectionError."""
    if request.wants("websocket"):
        protocol = websocket.choose(request, WEBSOCKET_PROTOCOLS)
        if protocol is None:
            asked = request.headers.get("sec-websocket-protocol", "")
            raise RefusedError(403, f"unable to negotiate a WebSocket protocol: client asked for {asked}")
        write(websocket.handshake(request, protocol))
        channels = WebSocketStreams(websocket.WebSocket(wire), protocol or "channel.k8s.io", options)
        await channels.open()
        return channels
    if not request.wants("spdy/3.1"):
        raise RefusedError(400, "unable to upgrade: missing upgrade headers in request")
    wanted = request.values("x-stream-protocol-version") or ["channel.k8s.io"]
    chosen = next((protocol for protocol in wanted if protocol in SPDY_PROTOCOLS), None)
    if chosen is None:
        raise RefusedError(403, f"unable to upgrade: unable to negotiate protocol: client supports {wanted}")
    headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", chosen)]
    write(head(101, headers))
    streams = SpdyStreams(SpdySession(wire), chosen)
    await streams.open(options)
    return streams
