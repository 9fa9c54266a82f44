"""A DNS question and the little of its answer that a diagnosis needs (RFC 1035, 4). PURE."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

A, CNAME, AAAA, IN = 1, 5, 28, 1
RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_HEADER = struct.Struct("!6H")


@dataclass(frozen=True, slots=True)
class Answer:
    id: int
    rcode: str
    addresses: tuple[str, ...]


def encode(number: int, name: str, kind: int = A) -> bytes:
    """The question for a name's addresses, recursion desired."""
    labels = [
        label.encode("idna" if not label.isascii() else "ascii") for label in name.rstrip(".").split(".") if label
    ]
    body = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    return _HEADER.pack(number, 0x0100, 1, 0, 0, 0) + body + struct.pack("!HH", kind, IN)


def decode(data: bytes) -> Answer | None:
    """None for what is no answer."""
    if len(data) < _HEADER.size:
        return None
    number, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    if not flags & 0x8000:
        return None
    rcode = RCODES[flags & 15] if flags & 15 < len(RCODES) else str(flags & 15)
    addresses = []
    try:
        at = _HEADER.size
        for _ in range(questions):
            at = _after_name(data, at) + 4
        for _ in range(answers):
            at = _after_name(data, at)
            kind, _, _, length = struct.unpack_from("!HHIH", data, at)
            at += 10
            if kind in (A, AAAA):
                addresses.append(str(ip_address(data[at : at + length])))
            at += length
    except (struct.error, IndexError, ValueError):
        return Answer(number, "FORMERR", ())
    return Answer(number, rcode, tuple(addresses))


def _after_name(data: bytes, at: int) -> int:
    while data[at]:
        if data[at] & 0xC0:
            return at + 2
        at += data[at] + 1
    return at + 1
