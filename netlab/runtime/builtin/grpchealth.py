"""agnhost grpc-health-checking: grpc.health.v1.Health on one port, and HTTP to turn it (agnhost/grpc-health-checking).

Cleartext HTTP/2 by hand (RFC 9113): only Check is asked of it, so requests' header fields are never decoded.
"""

import _thread
import socket
import struct
import time

from netlab.runtime.builtin.common import integer, listen, log, parse_flags
from netlab.runtime.builtin.web import Request, Response, Server, error

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
SERVING, NOT_SERVING = 1, 2


class Health:
    """`turned` 0: as time says, else what the last HTTP request said."""

    def __init__(self, delay: float) -> None:
        self.delay, self.started, self.turned = delay, time.monotonic(), 0

    def status(self) -> int:
        if self.turned:
            return self.turned
        return NOT_SERVING if 0 <= self.delay <= time.monotonic() - self.started else SERVING


def main(*arguments: str) -> int:
    flags = {"port": "5000", "http-port": "8080", "delay-unhealthy-sec": "-1", "service": ""}
    parse_flags(arguments, flags)
    health = Health(float(integer(flags, "delay-unhealthy-sec")))

    def answer(request: Request) -> Response:
        turns = {"/make-serving": SERVING, "/make-not-serving": NOT_SERVING}
        if request.path not in turns:
            return error("404 page not found", 404)
        health.turned = turns[request.path]
        return Response("")

    server = Server(answer)
    server.add(listen(socket.SOCK_STREAM, integer(flags, "http-port")))
    listener = listen(socket.SOCK_STREAM, integer(flags, "port"))

    def accept() -> None:
        sock, _address = listener.accept()
        _thread.start_new_thread(serve, (sock, health))

    server.watch(listener, accept)
    log(f"Http server starting to listen on :{flags['http-port']}")
    log(f"gRPC server starting to listen on :{flags['port']}")
    server.run()
    return 0


def serve(sock: socket.socket, health: Health) -> None:
    """One connection, to its end."""
    sock.settimeout(300)
    with sock, sock.makefile("rb") as stream:
        try:
            if stream.read(len(PREFACE)) != PREFACE:
                return
            sock.sendall(frame(SETTINGS, 0, 0))
            while len(head := stream.read(9)) == 9:
                length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                payload = stream.read(length)
                sock.sendall(reply(kind, flags, int.from_bytes(head[5:], "big"), payload, health))
        except OSError:
            return


def reply(kind: int, flags: int, stream: int, payload: bytes, health: Health) -> bytes:
    """What a frame is answered with; a request is answered when it has ended."""
    if kind == SETTINGS and not flags & ACK:
        return frame(SETTINGS, ACK, 0)
    if kind == PING and not flags & ACK:
        return frame(PING, ACK, 0, payload)
    if kind not in (DATA, HEADERS) or not flags & END_STREAM:
        return b""
    message = bytes((0x08, health.status()))
    return (
        frame(HEADERS, END_HEADERS, stream, b"\x88" + field("content-type", "application/grpc"))
        + frame(DATA, 0, stream, b"\x00" + struct.pack(">I", len(message)) + message)
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, field("grpc-status", "0"))
    )


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def field(name: str, value: str) -> bytes:
    """A header field without indexing (RFC 7541); 0x88 before it is ":status: 200" of the static table."""
    return b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
