"""One DNS question as bytes, and the addresses in its answer (RFC 1035): the look-up that a trace makes. PURE."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

A, AAAA = 1, 28
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


@dataclass(frozen=True, slots=True)
class Answer:
    """`code` by name; `addresses` of the type that was asked for."""

    code: str
    addresses: tuple[str, ...]


def question(name: str, identity: int, *, ipv6: bool = False) -> bytes:
    """A query with recursion desired."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.rstrip(".").split(".") if label)
    return (
        struct.pack("!6H", identity & 0xFFFF, 0x0100, 1, 0, 0, 0)
        + labels
        + struct.pack("!BHH", 0, AAAA if ipv6 else A, 1)
    )


def answer(data: bytes) -> Answer:
    """ValueError where the bytes are no DNS message."""
    try:
        _, flags, questions, answers, _, _ = struct.unpack_from("!6H", data)
        at = 12
        for _ in range(questions):
            at = _skip(data, at) + 4
        found: list[str] = []
        for _ in range(answers):
            at = _skip(data, at)
            kind, _, _, length = struct.unpack_from("!HHIH", data, at)
            raw = data[at + 10 : at + 10 + length]
            at += 10 + length
            if kind == A and len(raw) == 4:
                found.append(str(IPv4Address(raw)))
            elif kind == AAAA and len(raw) == 16:
                found.append(str(IPv6Address(raw)))
    except (struct.error, IndexError):
        raise ValueError("a DNS message that is cut short") from None
    return Answer(CODES.get(flags & 15, str(flags & 15)), tuple(found))


def _skip(data: bytes, at: int) -> int:
    """Behind a name."""
    while data[at]:
        if data[at] & 0xC0:
            return at + 2
        at += data[at] + 1
    return at + 1
