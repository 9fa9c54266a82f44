"""pcapng: captures of many interfaces in one file, with their names. Pure: values to bytes.

Source followed: draft-ietf-opsawg-pcapng. Little-endian, nanoseconds; one section, an Interface Description Block for
each place (it may come in the middle of a file, when a place is first seen), Name Resolution, Enhanced Packets,
Interface Statistics at the end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, ip_address

ETHERNET, RAW_IP, NULL = 1, 101, 0
LINK_TYPES = {1: ETHERNET, 772: ETHERNET, 768: RAW_IP, 769: RAW_IP, 776: RAW_IP, 778: RAW_IP, 65534: RAW_IP}
"""ARPHRD_… (if_arp.h) → LINKTYPE_…; loopback frames have an Ethernet header of zeros."""

SECTION, INTERFACE, NAMES, STATISTICS, PACKET = 0x0A0D0D0A, 1, 4, 5, 6
BYTE_ORDER = 0x1A2B3C4D
OPT_COMMENT = 1
IF_NAME, IF_DESCRIPTION, IF_TSRESOL, IF_FILTER, IF_OS = 2, 3, 9, 11, 12
SHB_OS, SHB_APPLICATION = 3, 4
ISB_RECEIVED, ISB_DROPPED = 4, 5
EPB_FLAGS = 2
FLAGS = {0: 0x05, 1: 0x0D, 2: 0x09, 3: 0x11, 4: 0x02}
"""PACKET_HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING → direction and kind of reception of epb_flags."""

HEAD = struct.Struct("<7I")
"""An Enhanced Packet Block up to its data: type, length, interface, time high and low, captured, on the wire."""
U32 = struct.Struct("<I")
_OPTION = struct.Struct("<HH")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) & 3)


def option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + _padded(value)


def options(pairs: Iterable[tuple[int, bytes]]) -> bytes:
    """A list of options with its end; nothing where there are none."""
    found = b"".join(option(code, value) for code, value in pairs if value)
    return found + b"\0\0\0\0" if found else b""


def block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return U32.pack(kind) + U32.pack(length) + body + U32.pack(length)


def section(application: str, system: str = "", comment: str = "") -> bytes:
    """The Section Header Block with which a file begins; its length is left open."""
    body = struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1)
    told = options(
        ((OPT_COMMENT, comment.encode()), (SHB_OS, system.encode()), (SHB_APPLICATION, application.encode()))
    )
    return block(SECTION, body + told)


def interface(name: str, description: str = "", *, comment: str = "", expression: str = "", hardware: int = 1) -> bytes:
    """An Interface Description Block. `hardware`: ARPHRD_…; `expression`: the filter with which it was captured."""
    body = struct.pack("<HHI", LINK_TYPES.get(hardware, ETHERNET), 0, 0)
    told = options(
        (
            (OPT_COMMENT, comment.encode()),
            (IF_NAME, name.encode()),
            (IF_DESCRIPTION, description.encode()),
            (IF_TSRESOL, b"\x09"),
            (IF_FILTER, b"\0" + expression.encode() if expression else b""),
            (IF_OS, b"Linux"),
        )
    )
    return block(INTERFACE, body + told)


def name_resolution(names: Mapping[str, str]) -> bytes:
    """A Name Resolution Block: address → name, so that Wireshark shows pods and Services. b"" where none is known."""
    records = b""
    for address, name in sorted(names.items()):
        parsed = ip_address(address)
        kind = 1 if isinstance(parsed, IPv4Address) else 2
        records += option(kind, parsed.packed + name.encode() + b"\0")
    return block(NAMES, records + b"\0\0\0\0") if records else b""


def tail(size: int, kind: int, comment: str = "") -> bytes:
    """What follows a packet's data: padding, flags, comment, and the block's length again."""
    told = options(((EPB_FLAGS, U32.pack(FLAGS.get(kind, 0))), (OPT_COMMENT, comment.encode())))
    rest = bytes(-size & 3) + told
    return rest + U32.pack(HEAD.size + size + len(rest) + 4)


def packet(number: int, time: int, data: bytes, length: int, kind: int = 0, comment: str = "") -> bytes:
    """An Enhanced Packet Block. `number` of the interface in order of description, `time` in ns since the epoch."""
    end = tail(len(data), kind, comment)
    head = HEAD.pack(PACKET, HEAD.size + len(data) + len(end), number, time >> 32, time & 0xFFFFFFFF, len(data), length)
    return head + data + end


def statistics(number: int, time: int, received: int, dropped: int) -> bytes:
    """An Interface Statistics Block: frames that the filter passed, and those lost because the reader was too slow."""
    body = struct.pack("<III", number, time >> 32, time & 0xFFFFFFFF)
    told = options(((ISB_RECEIVED, struct.pack("<Q", received)), (ISB_DROPPED, struct.pack("<Q", dropped))))
    return block(STATISTICS, body + told)
