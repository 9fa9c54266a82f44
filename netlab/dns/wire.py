"""Questions and answers as bytes (RFC 1035; EDNS0 RFC 6891). Pure.

Questions and the records of a cluster are coded here; answers of other resolvers, and records of rarer types, by
dnspython. Limits and truncation are those of CoreDNS: the buffer size that the asker gives, records dropped from the
end, TC when an answer had to go.
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address

import dns.exception
import dns.message
import dns.rdata
import dns.rdataclass
import dns.rdatatype

# dnspython imports a type's module when it first meets the type; in a pod there are no files of ours to import from.
from dns.rdtypes.ANY import CNAME, HINFO, MX, NS, OPT, PTR, SOA, TXT  # noqa: F401
from dns.rdtypes.IN import AAAA, SRV, A  # noqa: F401

from netlab.dns.message import FORMERR, NOTIMP, Query, Record, Reply

PLAIN_UDP = 512
MOST = 65535
BADVERS = 16
_HEADER = struct.Struct("!HHHHHH")
_FIXED = struct.Struct("!HHIH")
OPT_TYPE = 41
ECHOED_OPTIONS = frozenset({3, 9, 10, 11, 12})
"""NSID, EXPIRE, COOKIE, KEEPALIVE and PADDING come back as they came, as CoreDNS does."""
_SPECIAL = re.compile(rb"[^!#-\'*-\-/-:<-?A-\[\]-~]")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A response, and where in it the addresses of the answer are: (offset, how many, bytes of each)."""

    data: bytes
    addresses: tuple[int, int, int] = (0, 0, 0)


@lru_cache(maxsize=512)
def type_text(number: int) -> str:
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(number))


@lru_cache(maxsize=512)
def type_number(text: str) -> int:
    return int(dns.rdatatype.from_text(text))


def decode(data: bytes, proto: str = "udp", client: tuple[str, int] = ("", 0)) -> Query | bytes | None:
    """The question in a message; or, for one that cannot be answered, the error to send; or None to stay silent (too
    short to have an id, or itself a response)."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    ident, flags, questions, answers, authority, additional = _HEADER.unpack_from(data)
    if flags & 0x7800:
        return _bare(data, NOTIMP)
    if questions != 1:
        return _bare(data, FORMERR)
    try:
        name, at = _name(data, 12)
        kind, cls = struct.unpack_from("!HH", data, at)
        at += 4
        options = _find_opt(data, at, answers + authority, additional)
    except (struct.error, IndexError, ValueError):
        return _bare(data, FORMERR)
    size, extended, rdata = options or (0, 0, b"")
    query = Query(
        name,
        type_text(kind),
        {1: "IN", 3: "CH", 4: "HS", 255: "ANY"}.get(cls, f"CLASS{cls}"),
        ident,
        bool(flags & 0x100),
        bool(flags & 0x10),
        max(size, PLAIN_UDP) if options else 0,
        bool(extended & 0x8000),
        rdata,
        proto,
        client,
        len(data),
    )
    if (extended >> 16) & 0xFF:
        return encode(query, Reply(BADVERS, aa=False), None).data
    return query


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name that is not compressed, in presentation format, and where it ends."""
    labels: list[str] = []
    start = at
    while length := data[at]:
        if length > 63 or at + 1 + length - start > 254:
            raise ValueError("a label or the name is too long")
        label = data[at + 1 : at + 1 + length]
        if len(label) < length:
            raise IndexError
        if _SPECIAL.search(label):
            label = _SPECIAL.sub(lambda match: _escaped(match[0]), label)
        labels.append(label.decode("ascii"))
        at += 1 + length
    return ".".join(labels) + ".", at + 1


def _escaped(character: bytes) -> bytes:
    return (
        b"\\" + character
        if character in (b".", b"\\", b'"', b";", b"(", b")", b"@", b"$")
        else b"\\%03d" % character[0]
    )


def _skip_name(data: bytes, at: int) -> int:
    while length := data[at]:
        if length >= 0xC0:
            return at + 2
        at += 1 + length
    return at + 1


def _find_opt(data: bytes, at: int, others: int, additional: int) -> tuple[int, int, bytes] | None:
    """(buffer size, extended flags, options) of the OPT record."""
    found = None
    for index in range(others + additional):
        start, at = at, _skip_name(data, at)
        kind, cls, ttl, length = _FIXED.unpack_from(data, at)
        at += _FIXED.size
        rdata = data[at : at + length]
        at += length
        if at > len(data):
            raise IndexError
        if kind == OPT_TYPE and index >= others:
            if found is not None or data[start]:
                raise ValueError("one OPT record, of the root's name")
            found = cls, ttl, rdata
    return found


def _bare(data: bytes, rcode: int) -> bytes:
    """A header that is nothing but the code: with the asker's id, opcode and RD."""
    return data[:2] + bytes((0x80 | (data[2] & 0x79), rcode)) + bytes(8)


class _Writer:
    """Bytes of a message with compressed names. `start`: where the records begin."""

    def __init__(self) -> None:
        self.out = bytearray(12)
        self._names: dict[str, int] = {}

    def name(self, text: str) -> None:
        """A name, compressed against all before it."""
        out, names = self.out, self._names
        rest = text
        while rest not in (".", ""):
            known = names.get(rest)
            if known is not None:
                out += struct.pack("!H", 0xC000 | known)
                return
            if len(out) < 0x3FFF:
                names[rest] = len(out)
            label, rest = _first_label(rest)
            out.append(len(label))
            out += label
        out.append(0)

    def record(self, record: Record) -> None:
        self.name(record.name)
        number = type_number(record.type)
        self.out += _FIXED.pack(number, 1, record.ttl, 0)
        start = len(self.out)
        self._data(record)
        struct.pack_into("!H", self.out, start - 2, len(self.out) - start)

    def _data(self, record: Record) -> None:
        data = record.data
        match record.type:
            case "A":
                self.out += socket.inet_aton(data)
            case "AAAA":
                self.out += IPv6Address(data).packed
            case "CNAME" | "PTR" | "NS":
                self.name(data)
            case "SRV":
                *numbers, target = data.split(" ")
                self.out += struct.pack("!HHH", *map(int, numbers)) + plain_name(target)
            case "SOA":
                server, mailbox, *numbers = data.split(" ")
                self.name(server)
                self.name(mailbox)
                self.out += struct.pack("!5I", *(int(number) & 0xFFFFFFFF for number in numbers))
            case kind:
                self.out += dns.rdata.from_text("IN", kind, data, relativize=False).to_wire() or b""

    def cut(self, length: int) -> None:
        """Take back what was written after `length` bytes."""
        del self.out[length:]
        self._names = {name: at for name, at in self._names.items() if at < length}


def _first_label(text: str) -> tuple[bytes, str]:
    if "\\" not in text:
        label, _, rest = text.partition(".")
        return label.encode("ascii"), rest
    match = re.match(r"((?:[^.\\]|\\\d{3}|\\.)*)\.?", text)
    assert match is not None  # noqa: S101
    raw = re.sub(
        rb"\\(\d{3}|.)", lambda m: bytes((int(m[1]),)) if m[1].isdigit() and len(m[1]) == 3 else m[1], match[1].encode()
    )
    return raw, text[match.end() :]


def plain_name(text: str) -> bytes:
    """A name without compression, as SRV targets must be (RFC 2782)."""
    out = bytearray()
    while text not in (".", ""):
        label, text = _first_label(text)
        out.append(len(label))
        out += label
    return bytes(out) + b"\0"


def encode_query(query: Query, ident: int) -> bytes:
    """The question as it is asked of another server, with the asker's own EDNS."""
    writer = _Writer()
    writer.name(query.name)
    writer.out += struct.pack("!HH", type_number(query.type), _class(query.cls))
    if query.edns:
        writer.out += _opt(query.edns, query.do, 0, query.options)
    flags = 0x100 * query.rd | 0x10 * query.cd
    _HEADER.pack_into(writer.out, 0, ident, flags, 1, 0, 0, bool(query.edns))
    return bytes(writer.out)


def _class(text: str) -> int:
    return int(dns.rdataclass.from_text(text))


def _opt(size: int, do: bool, rcode: int, options: bytes) -> bytes:
    return b"\0" + _FIXED.pack(OPT_TYPE, size, (rcode >> 4) << 24 | 0x8000 * do, len(options)) + options


def echoed(options: bytes) -> bytes:
    """The options of the question that come back in the answer."""
    out, at = b"", 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from("!HH", options, at)
        if code in ECHOED_OPTIONS:
            out += options[at : at + 4 + length]
        at += 4 + length
    return out


def udp_limit(query: Query) -> int:
    """How long an answer over UDP may be."""
    return query.edns or PLAIN_UDP


def encode(query: Query, reply: Reply, limit: int | None) -> Encoded:
    """The response; `limit` is the most bytes it may have, None for TCP."""
    writer, most = _Writer(), limit or MOST
    writer.name(query.name)
    writer.out += struct.pack("!HH", type_number(query.type), _class(query.cls))
    opt = _opt(query.edns, query.do, reply.rcode, echoed(query.options)) if query.edns else b""
    counts, spans = [0, 0, 0], []
    for section, records in enumerate((reply.answer, reply.authority, reply.additional)):
        for record in records:
            before = len(writer.out)
            writer.record(record)
            if len(writer.out) + len(opt) > most:
                writer.cut(before)
                break
            counts[section] += 1
            if section == 0 and record.type in ("A", "AAAA"):
                spans.append((before, len(writer.out) - before))
        else:
            continue
        break
    cut = counts[0] < len(reply.answer)
    flags = 0x8000 | 0x400 * reply.aa | 0x200 * cut | 0x100 * query.rd | 0x80 * reply.ra | 0x20 * reply.ad
    flags |= 0x10 * query.cd | (reply.rcode & 0xF)
    writer.out += opt
    _HEADER.pack_into(writer.out, 0, query.id, flags, 1, *counts[:2], counts[2] + bool(opt))
    return Encoded(bytes(writer.out), _shuffled_part(spans))


def _shuffled_part(spans: list[tuple[int, int]]) -> tuple[int, int, int]:
    """Of addresses that may stand in any order: equally long, one after the other."""
    if len(spans) < 2 or len({length for _, length in spans}) > 1:
        return (0, 0, 0)
    start, length = spans[0]
    if any(at != start + index * length for index, (at, _) in enumerate(spans)):
        return (0, 0, 0)
    return (start, len(spans), length)


def decode_reply(data: bytes, plugin: str) -> Reply | None:
    """Another server's response; None where it cannot be read."""
    try:
        message = dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
    answer, authority, additional = (
        tuple(
            Record(rrset.name.to_text(), dns.rdatatype.to_text(rrset.rdtype), rrset.ttl, item.to_text())
            for rrset in section
            for item in rrset
        )
        for section in (message.answer, message.authority, message.additional)
    )
    flags = int(message.flags)
    return Reply(
        int(message.rcode()),
        answer,
        authority,
        additional,
        aa=bool(flags & 0x400),
        ra=bool(flags & 0x80),
        ad=bool(flags & 0x20),
        plugin=plugin,
    )
