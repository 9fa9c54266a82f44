"""grpc.health.v1.Health/Check over cleartext HTTP/2, by hand: one stream, no compression, no flow to speak of.

RFC 9113 for the frames, RFC 7541 for header fields (literals only are sent; what comes back is told apart without
decoding: a DATA frame holds the answer, trailers without one mean an error).
"""

from __future__ import annotations

import asyncio
import struct

from netlab.node.kubelet.ports import Sockets
from netlab.node.kubelet.probeactions import AGENT, connect, go_error
from netlab.node.kubelet.probes import Result

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_SERVING = 1


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing, new name, no Huffman coding; lengths below 127."""
    return b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def _request(service: str) -> bytes:
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("user-agent", AGENT),
        ("te", "trailers"),
    )
    body = b"\x0a" + bytes((len(service),)) + service.encode()[:127] if service else b""
    message = b"\x00" + struct.pack(">I", len(body)) + body
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, 0)
        + _frame(_HEADERS, _END_HEADERS, 1, b"".join(_literal(n, v) for n, v in fields))
        + _frame(_DATA, _END_STREAM, 1, message)
    )


async def _status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int | None:
    """The serving status of the answer; None when the call failed (no message before the stream's end)."""
    data = b""
    while True:
        head = await reader.readexactly(9)
        length, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        payload = await reader.readexactly(length)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA:
            data += payload
        elif kind in (_RST, _GOAWAY):
            return None
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            break
    message = data[5:]
    if len(data) < 5:
        return None
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


async def run_grpc(sockets: Sockets, host: str, port: int, service: str, timeout: float) -> Result:
    """SERVING is success."""
    try:
        async with asyncio.timeout(timeout):
            sock = await connect(sockets, host, port)
            reader, writer = await asyncio.open_connection(sock=sock)
            try:
                writer.write(_request(service))
                status = await _status(reader, writer)
            finally:
                writer.close()
    except TimeoutError:
        return Result(
            False, f'timeout: failed to connect service "{host}:{port}" within {timeout:g}s: context deadline exceeded'
        )
    except (OSError, asyncio.IncompleteReadError) as problem:
        reason = go_error(problem) if isinstance(problem, OSError) else "EOF"
        return Result(False, f'error: failed to connect service at "{host}:{port}": {reason}')
    if status is None:
        return Result(False, "error: health rpc probe failed")
    if status != _SERVING:
        name = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}.get(status, str(status))
        return Result(False, f'service unhealthy (responded with "{name}")')
    return Result(True, "service healthy")
