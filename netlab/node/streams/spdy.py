"""SPDY/3.1 frames, as bytes and as data. Pure. Source: the SPDY Protocol draft 3.1, sections 2.2 and 2.6.

Kubernetes uses of it: SYN_STREAM and SYN_REPLY with headers, DATA, RST_STREAM, PING, GOAWAY. Flow control windows are
not kept, because upstream's library (spdystream) keeps none either.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN, UNIDIRECTIONAL = 1, 2
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5
MAX_HEADERS = 64 << 10
"""A header block, bytes; unpacked."""

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age "
    "allow authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status "
)
_MORE = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.encode() for word in (*_WORDS.split(), *_MORE)) + _TAIL.encode()
)
"""The header compression dictionary of the draft (section 2.6.10.1); its Adler-32 is 0xe3c6a7c2."""


class SpdyError(Exception):
    """The peer broke the protocol."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`kind` 0 is DATA. `headers` for SYN_STREAM, SYN_REPLY, HEADERS; `code` for RST_STREAM, PING (its id), GOAWAY."""

    kind: int
    stream: int = 0
    flags: int = 0
    data: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    code: int = 0


class Encoder:
    """Frames to bytes; keeps the compression state of one direction."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(level=1, zdict=DICTIONARY)

    def _block(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += [struct.pack(">I", len(text)), text]
        return self._zlib.compress(b"".join(parts)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)

    def encode(self, frame: Frame) -> bytes:
        """The bytes of one frame."""
        if frame.kind == 0:
            return struct.pack(">II", frame.stream, frame.flags << 24 | len(frame.data)) + frame.data
        match frame.kind:
            case 1:
                body = struct.pack(">IIBB", frame.stream, 0, 0, 0) + self._block(frame.headers)
            case 2 | 8:
                body = struct.pack(">I", frame.stream) + self._block(frame.headers)
            case 3 | 7:
                body = struct.pack(">II", frame.stream, frame.code)
            case 6:
                body = struct.pack(">I", frame.code)
            case _:
                raise SpdyError(f"no encoding for frame type {frame.kind}")
        return struct.pack(">HHI", 0x8003, frame.kind, frame.flags << 24 | len(body)) + body


class Decoder:
    """Bytes to frames, in whatever pieces the bytes come."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterable[Frame]:
        """The frames that are complete now. Raises SpdyError."""
        self._buffer += data
        return list(self._frames())

    def _frames(self) -> Iterator[Frame]:
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & 0xFFFFFF
            if len(self._buffer) < 8 + length:
                return
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            flags = second >> 24
            if not first & 0x80000000:
                yield Frame(0, first, flags, body)
                continue
            if first >> 16 != 0x8003:
                raise SpdyError(f"SPDY version {first >> 16 & 0x7FFF} is not spoken here")
            yield self._control(first & 0xFFFF, flags, body)

    def _control(self, kind: int, flags: int, body: bytes) -> Frame:
        try:
            match kind:
                case 1:
                    return Frame(kind, _u31(body), flags, headers=self._headers(body[10:]))
                case 2 | 8:
                    return Frame(kind, _u31(body), flags, headers=self._headers(body[4:]))
                case 3 | 7 | 9:
                    return Frame(kind, _u31(body), flags, code=int.from_bytes(body[4:8]))
                case 6:
                    return Frame(kind, code=int.from_bytes(body[:4]))
        except (struct.error, zlib.error, UnicodeDecodeError) as problem:
            raise SpdyError(f"frame of type {kind}: {problem}") from problem
        return Frame(kind, 0, flags, body)

    def _headers(self, block: bytes) -> dict[str, str]:
        raw = self._zlib.decompress(block, MAX_HEADERS)
        if self._zlib.unconsumed_tail:
            raise SpdyError(f"more than {MAX_HEADERS} bytes of headers")
        count, at = struct.unpack_from(">I", raw)[0], 4
        found: dict[str, str] = {}
        for _ in range(count):
            texts = []
            for _ in range(2):
                length = struct.unpack_from(">I", raw, at)[0]
                if at + 4 + length > len(raw):
                    raise SpdyError("a header is cut off")
                texts.append(raw[at + 4 : at + 4 + length].decode())
                at += 4 + length
            found[texts[0].lower()] = texts[1]
        return found


def _u31(body: bytes) -> int:
    return int.from_bytes(body[:4]) & 0x7FFFFFFF
