"""The few packets that probing needs, as bytes, and what an answer says. PURE.

ICMP echo (RFC 792, RFC 4443), SCTP INIT (RFC 9260), a DNS query for an A or AAAA record (RFC 1035).
"""

from __future__ import annotations

import struct
from functools import cache
from ipaddress import ip_address

ECHO_REPLY, UNREACHABLE, ECHO, TIME_EXCEEDED = 0, 3, 8, 11
UNREACHABLE6, TIME_EXCEEDED6, ECHO6, ECHO_REPLY6 = 1, 3, 128, 129
HOST_UNREACHABLE, PROTOCOL_UNREACHABLE, PORT_UNREACHABLE = 1, 2, 3

CODES = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    4: "fragmentation needed",
    9: "network prohibited",
    10: "host prohibited",
    13: "administratively prohibited",
}
"""Of ICMP's destination unreachable."""
INIT, INIT_ACK, ABORT = 1, 2, 6


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo(ident: int, sequence: int, *, ipv6: bool = False) -> bytes:
    """An echo request. The kernel fills in the checksum of ICMPv6."""
    if ipv6:
        return struct.pack("!BBHHH", ECHO6, 0, 0, ident, sequence)
    head = struct.pack("!BBHHH", ECHO, 0, 0, ident, sequence)
    return struct.pack("!BBHHH", ECHO, 0, checksum(head), ident, sequence)


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """SCTP's checksum (RFC 9260, appendix A)."""
    value, table = 0xFFFFFFFF, _crc_table()
    for byte in data:
        value = (value >> 8) ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def sctp_init(source_port: int, port: int, tag: int) -> bytes:
    """An SCTP packet with one INIT chunk."""
    chunk = struct.pack("!BBHIIHHI", INIT, 0, 20, tag, 65536, 1, 1, tag)
    head = struct.pack("!HHI", source_port, port, 0)
    total = crc32c(head + bytes(4) + chunk)
    return head + struct.pack("<I", total) + chunk


def dns_query(name: str, ident: int, *, ipv6: bool = False) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.rstrip(".").split("."))
    return struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 28 if ipv6 else 1, 1)


RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")


def dns_answer(data: bytes, ident: int, expect: str) -> str:
    """Empty where the answer is right; else what is wrong with it."""
    if len(data) < 12 or struct.unpack_from("!H", data)[0] != ident:
        return "not an answer to the question"
    code = data[3] & 15
    if code:
        return RCODES[code] if code < len(RCODES) else f"RCODE {code}"
    if expect and ip_address(expect).packed not in data[12:]:
        return f"the answer has not {expect}"
    return ""
