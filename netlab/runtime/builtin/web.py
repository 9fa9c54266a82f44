# ruff: noqa: SIM105
# (Imported by PID 1: no contextlib.)
"""A small HTTP/1.1 server and client on plain sockets: one thread, one poll; slow handlers run beside it.

Enough for test pods: keep-alive, HEAD, query and form values, bodies with a length or in chunks, TLS where asked.
"""

import _thread
import json
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from netlab.runtime.builtin.common import format_address, log

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024
IDLE = 120.0

REASONS = {
    200: "OK", 201: "Created", 204: "No Content", 301: "Moved Permanently", 302: "Found", 303: "See Other",
    304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 412: "Precondition Failed",
    413: "Request Entity Too Large", 417: "Expectation Failed", 418: "I'm a teapot", 429: "Too Many Requests",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
}  # fmt: skip


class Request:
    __slots__ = ("body", "headers", "local", "method", "path", "query", "remote", "target", "version")

    def __init__(self, method: str, target: str, version: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.target, self.version, self.headers, self.body = method, target, version, headers, body
        path, _, query = target.partition("?")
        self.path = unquote(path)
        self.query = parse_query(query)
        self.remote = self.local = ""

    def value(self, name: str) -> str:
        """Go's FormValue: the form's first, then the query's."""
        if self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            form = parse_query(self.body.decode(errors="replace"))
            if form.get(name):
                return form[name]
        return self.query.get(name, "")


class Response:
    __slots__ = ("body", "headers", "status")

    def __init__(self, body: str | bytes = b"", status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.body = body.encode(errors="surrogateescape") if isinstance(body, str) else body
        self.status = status
        self.headers = headers or {}


def error(text: str, status: int) -> Response:
    """Go's http.Error."""
    return Response(text + "\n", status, {"Content-Type": "text/plain; charset=utf-8"})


def as_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


Handler = Callable[[Request], Response]


def unquote(text: str, *, plus: bool = False) -> str:
    if plus:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    head, *parts = text.encode().split(b"%")
    out = bytearray(head)
    for part in parts:
        try:
            out.append(int(part[:2].decode(), 16))
            out += part[2:]
        except ValueError:
            out += b"%" + part
    return out.decode(errors="replace")


def quote(text: str) -> str:
    keep = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"
    return "".join(chr(byte) if byte in keep else f"%{byte:02X}" for byte in text.encode())


def parse_query(text: str) -> dict[str, str]:
    """First value of each name."""
    values: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if name:
            values.setdefault(unquote(name, plus=True), unquote(value, plus=True))
    return values


class BadRequest(Exception):  # noqa: N818
    def __init__(self, status: int = 400) -> None:
        super().__init__(str(status))
        self.status = status


def parse(buffer: bytearray) -> Request | None:
    """Take one request off the buffer; None when it is not whole yet. Raises BadRequest."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        first, line_end, _ = buffer.partition(b"\n")
        if len(buffer) > MAX_HEAD or (line_end and b" HTTP/1." not in first):
            raise BadRequest
        return None
    lines = buffer[:end].decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest
        headers[name.strip().lower()] = value.strip()
    start = end + 4
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parsed = _chunks(buffer, start)
        if parsed is None:
            return None
        body, stop = parsed
    else:
        try:
            length = int(headers.get("content-length") or 0)
        except ValueError:
            raise BadRequest from None
        if length < 0 or length > MAX_BODY:
            raise BadRequest(413)
        if len(buffer) < start + length:
            return None
        body, stop = bytes(buffer[start : start + length]), start + length
    del buffer[:stop]
    return Request(words[0], words[1], words[2], headers, body)


def _chunks(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    body = bytearray()
    while True:
        end = buffer.find(b"\r\n", start)
        if end < 0:
            return None
        try:
            size = int(bytes(buffer[start:end]).split(b";")[0], 16)
        except ValueError:
            raise BadRequest from None
        if len(body) + size > MAX_BODY:
            raise BadRequest(413)
        if len(buffer) < end + 2 + size + 2:
            return None
        body += buffer[end + 2 : end + 2 + size]
        start = end + 2 + size + 2
        if size == 0:
            return bytes(body), start


def render(request: Request, response: Response, keep: bool) -> bytes:
    headers = {"Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()), **response.headers}
    headers["Content-Length"] = str(len(response.body))
    headers.setdefault("Content-Type", "text/plain; charset=utf-8")
    if not keep:
        headers["Connection"] = "close"
    reason = REASONS.get(response.status, "status code")
    head = f"HTTP/1.1 {response.status} {reason}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
    return head.encode("latin-1", "replace") + (b"" if request.method == "HEAD" else response.body)


class _Connection:
    __slots__ = ("buffer", "busy", "remote", "seen", "sock")

    def __init__(self, sock: socket.socket, remote: str) -> None:
        self.sock, self.remote = sock, remote
        self.buffer = bytearray()
        self.busy = False
        self.seen = time.monotonic()


class Server:
    """`handle` answers; `slow` says which requests are answered beside the loop (they may block)."""

    def __init__(self, handle: Handler, slow: Callable[[Request], bool] = lambda _request: False) -> None:
        self.handle, self.slow = handle, slow
        self.poll = select.poll()
        self.listeners: dict[int, tuple[socket.socket, Any]] = {}
        self.connections: dict[int, _Connection] = {}
        self.others: dict[int, Callable[[], None]] = {}
        self.done: list[_Connection] = []  # appended to by other threads; list operations are atomic
        self.waker, self.wakened = socket.socketpair()
        self.watch(self.wakened, self._reclaim)
        self.swept = time.monotonic()

    def add(self, listener: socket.socket, tls: Any = None) -> None:
        listener.setblocking(False)
        self.listeners[listener.fileno()] = (listener, tls)
        self.poll.register(listener.fileno(), select.POLLIN)

    def watch(self, sock: socket.socket, call: Callable[[], None]) -> None:
        """Something else to wait for in the same loop (a UDP socket)."""
        self.others[sock.fileno()] = call
        self.poll.register(sock.fileno(), select.POLLIN)

    def run(self) -> None:
        while True:
            for fd, _event in self.poll.poll(IDLE * 1000 if self.connections else None):
                if fd in self.listeners:
                    self._accept(*self.listeners[fd])
                elif fd in self.others:
                    self.others[fd]()
                elif fd in self.connections:
                    self._readable(self.connections[fd])
            if self.connections:
                self._sweep()

    def _sweep(self) -> None:
        now = time.monotonic()
        if now - self.swept > IDLE / 2:
            self.swept = now
            for connection in [c for c in self.connections.values() if not c.busy and now - c.seen > IDLE]:
                self._drop(connection)

    def _accept(self, listener: socket.socket, tls: Any) -> None:
        while True:
            try:
                sock, address = listener.accept()
            except OSError:
                return
            connection = _Connection(sock, format_address(address))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                _thread.start_new_thread(self._serve_tls, (connection, tls))
                continue
            sock.settimeout(30)
            self.connections[sock.fileno()] = connection
            self.poll.register(sock.fileno(), select.POLLIN)

    def _readable(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        connection.seen = time.monotonic()
        connection.buffer += data
        self._serve(connection)

    def _serve(self, connection: _Connection) -> None:
        while not connection.busy:
            request = self._next(connection)
            if request is None:
                return
            if self.slow(request):
                connection.busy = True
                self.poll.unregister(connection.sock.fileno())
                _thread.start_new_thread(self._beside, (connection, request))
            elif not self._answer(connection, request):
                self._drop(connection)
                return

    def _next(self, connection: _Connection) -> Request | None:
        try:
            request = parse(connection.buffer)
        except BadRequest as bad:
            text = f"HTTP/1.1 {bad.status} {REASONS[bad.status]}\r\nConnection: close\r\n\r\n{bad.status} Bad Request"
            self._send(connection, text.encode())
            self._drop(connection)
            return None
        if request is not None:
            request.remote = connection.remote
            request.local = format_address(connection.sock.getsockname())
        return request

    def _answer(self, connection: _Connection, request: Request) -> bool:
        """True when the connection stays open."""
        try:
            response = self.handle(request)
        except Exception as problem:
            log(f"http: panic serving {request.remote}: {problem!r}")
            return False
        wish = request.headers.get("connection", "").lower()
        keep = wish == "keep-alive" if request.version == "HTTP/1.0" else wish != "close"
        return self._send(connection, render(request, response, keep)) and keep

    def _send(self, connection: _Connection, data: bytes) -> bool:
        try:
            connection.sock.sendall(data)
        except OSError:
            return False
        return True

    def _beside(self, connection: _Connection, request: Request) -> None:
        if not self._answer(connection, request):
            connection.buffer.clear()
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.done.append(connection)
        self.waker.send(b"x")

    def _reclaim(self) -> None:
        self.wakened.recv(4096)
        while self.done:
            connection = self.done.pop()
            connection.busy = False
            self.poll.register(connection.sock.fileno(), select.POLLIN)
            self._serve(connection)

    def _drop(self, connection: _Connection) -> None:
        fd = connection.sock.fileno()
        if self.connections.pop(fd, None) is not None:
            self.poll.unregister(fd)
        connection.sock.close()

    def _serve_tls(self, connection: _Connection, tls: Any) -> None:
        """TLS: a thread for each connection, blocking."""
        try:
            connection.sock.settimeout(IDLE)
            connection.sock = tls.wrap_socket(connection.sock, server_side=True)
            while True:
                request = self._next(connection)
                if request is not None:
                    if not self._answer(connection, request):
                        return
                    continue
                data = connection.sock.recv(65536)
                if not data:
                    return
                connection.buffer += data
        except OSError as problem:
            log(f"http: TLS handshake error from {connection.remote}: {problem}")
        finally:
            connection.sock.close()


def fetch(
    address: tuple[str, int], family: int, host: str, path: str, timeout: float, method: str = "GET"
) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body. Raises OSError (TimeoutError, …)."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        sock.connect(address)
        text = (
            f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nConnection: close\r\n\r\n"
        )
        sock.sendall(text.encode("latin-1", "replace"))
        data = bytearray()
        while part := sock.recv(65536):
            data += part
    return parse_response(data)


def parse_response(data: bytearray) -> tuple[int, bytes]:
    """A whole response, to the end of its connection. Raises ConnectionError when it is none."""
    head, blank, body = bytes(data).partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if not blank or len(words) < 2 or not words[1][:3].isdigit():
        raise ConnectionError("malformed HTTP response")
    if b"transfer-encoding: chunked" in head.lower():
        parsed = _chunks(bytearray(body), 0)
        body = parsed[0] if parsed else body
    return int(words[1][:3]), body
