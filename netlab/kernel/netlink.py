"""Netlink messages as bytes: just enough of the codec for what netlab sends and reads.

A message is a 16-byte header (length, type, flags, sequence, port), a fixed body whose layout depends on the type, and
attributes: (length, type, payload) padded to 4 bytes, possibly nested. Everything is in host byte order except where a
payload is an address. pyroute2 knows all of it and costs 320 ms to import and about 0.5 ms per message; here a message
is built from a few `struct` calls, or is a prepared template with a handful of bytes patched (see `pods`). Rejected:
generating code from the kernel's YAML specs (more code than what it would replace), ctypes structures (slower than
bytes). Tests hold these encoders equal to pyroute2's, byte by byte.

Everything in this file is arithmetic on bytes; the socket is in `nlsocket`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import NamedTuple

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_MIN_TYPE = 16

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_DUMP_INTR = 0x10

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

NLMSGERR_ATTR_MSG = 1

HEADER = struct.Struct("=IHHII")
ATTR = struct.Struct("=HH")
U8 = struct.Struct("=B")
U16 = struct.Struct("=H")
U32 = struct.Struct("=I")
U64 = struct.Struct("=Q")
BE16 = struct.Struct("!H")
ERRNO = struct.Struct("=i")

_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Message(NamedTuple):
    """A received message; `body` starts after the header."""

    type: int
    flags: int
    seq: int
    body: bytes


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    return ATTR.pack(len(payload) + 4, kind) + payload + _PADDING[len(payload) & 3]


def u8(kind: int, value: int) -> bytes:
    """An attribute of one byte."""
    return attr(kind, U8.pack(value))


def u16(kind: int, value: int) -> bytes:
    """An attribute of two bytes, host order."""
    return attr(kind, U16.pack(value))


def u32(kind: int, value: int) -> bytes:
    """An attribute of four bytes, host order."""
    return attr(kind, U32.pack(value))


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string attribute."""
    return attr(kind, value.encode() + b"\0")


def nested(kind: int, *attributes: bytes, flag: bool = False) -> bytes:
    """An attribute that holds attributes; `flag` sets NLA_F_NESTED, which some families demand."""
    return attr(kind | NLA_F_NESTED if flag else kind, b"".join(attributes))


def message(kind: int, flags: int, body: bytes, *attributes: bytes) -> bytes:
    """A request; its sequence number is filled in when it is sent."""
    payload = body + b"".join(attributes)
    return HEADER.pack(16 + len(payload), kind, flags | NLM_F_REQUEST, 0, 0) + payload


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, seq, _ = HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield Message(kind, flags, seq, data[offset + 16 : offset + length])
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes from `offset` on, by type without flags; of equal types the last one stays."""
    found: dict[int, bytes] = {}
    end = len(data)
    while offset + 4 <= end:
        length, kind = ATTR.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def attribute_list(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes from `offset` on, in order, equal types kept."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = ATTR.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def error(reply: Message) -> tuple[int, str]:
    """An NLMSG_ERROR's errno (0 for an acknowledgement) and the kernel's extended message, if it gave one."""
    code = -ERRNO.unpack_from(reply.body)[0]
    if not reply.flags & NLM_F_ACK_TLVS:
        return code, ""
    offset = 4 + (16 if reply.flags & NLM_F_CAPPED else (U32.unpack_from(reply.body, 4)[0] + 3) & ~3)
    note = attributes(reply.body, offset).get(NLMSGERR_ATTR_MSG, b"")
    return code, note.rstrip(b"\0").decode("utf-8", "replace")


def cstring(payload: bytes) -> str:
    """A string attribute's text."""
    return payload.partition(b"\0")[0].decode("utf-8", "replace")


def ip_bytes(address: str) -> bytes:
    """IPv4 text to four bytes, IPv6 text to sixteen."""
    if ":" in address:
        return IPv6Address(address).packed
    a, b, c, d = address.split(".")
    return bytes((int(a), int(b), int(c), int(d)))


def ip_text(payload: bytes) -> str:
    """Four bytes to IPv4 text, sixteen to IPv6 text."""
    if len(payload) == 16:
        return str(IPv6Address(payload))
    return "%d.%d.%d.%d" % tuple(payload)  # noqa: UP031 — three times faster than join, and hot in dumps


def mac_bytes(address: str) -> bytes:
    """A MAC address's six bytes."""
    return bytes.fromhex(address.replace(":", ""))


def mac_text(payload: bytes) -> str:
    """A MAC address with colons."""
    return payload.hex(":")
