"""Questions and answers on the wire (RFC 1035, EDNS0 RFC 6891), encoded and decoded by dnspython."""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

# dnspython imports a type's module when it first meets the type; in a pod there are no files of ours to import from.
from dns.rdtypes.ANY import CNAME, NS, OPT, PTR, SOA, TXT  # noqa: F401
from dns.rdtypes.IN import AAAA, SRV, A  # noqa: F401

from netlab.dns.answers import Answer, Record

PLAIN_UDP = 512
MAX_UDP = 4096
"""The most that an answer over UDP may fill, whatever the asker says it can take."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question: `name` as it was written, `type` as text ("A"), and the message that it came in."""

    name: str
    type: str
    message: dns.message.Message

    @property
    def udp_size(self) -> int:
        """How long an answer over UDP may be."""
        return min(MAX_UDP, max(PLAIN_UDP, self.message.payload)) if self.message.edns >= 0 else PLAIN_UDP


def decode(data: bytes) -> Question | bytes | None:
    """The question in a message; or, for one that cannot be answered, the error message to send; or None to stay
    silent (too short to have an id, or itself a response)."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    try:
        message = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):
        return data[:2] + bytes((0x80 | (data[2] & 0x79), dns.rcode.FORMERR)) + bytes(8)
    if message.opcode() != dns.opcode.QUERY:
        return _error(message, dns.rcode.NOTIMP)
    if len(message.question) != 1:
        return _error(message, dns.rcode.FORMERR)
    question = message.question[0]
    if question.rdclass not in (dns.rdataclass.IN, dns.rdataclass.ANY):
        return _error(message, dns.rcode.REFUSED)
    if message.edns > 0:
        return _error(message, dns.rcode.BADVERS)
    return Question(question.name.to_text(), dns.rdatatype.to_text(question.rdtype), message)


def encode(question: Question, answer: Answer, limit: int | None) -> bytes:
    """The response. Over `limit` bytes the additional section goes first, then the TC bit asks for TCP."""
    response = dns.message.make_response(question.message, recursion_available=True, our_payload=MAX_UDP)
    response.set_rcode(dns.rcode.Rcode(answer.rcode))
    if not answer.cname:
        response.flags |= dns.flags.AA
    for section, records in ((response.answer, answer.answer), (response.authority, answer.authority)):
        section.extend(_rrsets(records))
    response.additional.extend(_rrsets(answer.additional))
    wire = response.to_wire(max_size=65535)
    if limit is None or len(wire) <= limit:
        return wire
    response.additional.clear()
    wire = response.to_wire(max_size=65535)
    if len(wire) <= limit:
        return wire
    response.answer.clear()
    response.authority.clear()
    response.flags |= dns.flags.TC
    return response.to_wire(max_size=65535)


def truncated(question: Question, wire: bytes, limit: int) -> bytes:
    """A forwarded response as it may be sent over UDP."""
    if len(wire) <= limit:
        return wire
    response = dns.message.make_response(question.message, recursion_available=True)
    response.flags |= dns.flags.TC
    return response.to_wire()


def failure(question: Question, rcode: int) -> bytes:
    """A response that is nothing but its code."""
    return encode(question, Answer(rcode), None)


def _error(message: dns.message.Message, rcode: dns.rcode.Rcode) -> bytes:
    response = dns.message.make_response(message)
    response.set_rcode(rcode)
    return response.to_wire()


def _rrsets(records: tuple[Record, ...]) -> list[dns.rrset.RRset]:
    groups: dict[tuple[str, str, int], list[str]] = {}
    for record in records:
        groups.setdefault((record.name, record.type, record.ttl), []).append(record.data)
    return [dns.rrset.from_text_list(name, ttl, "IN", kind, texts) for (name, kind, ttl), texts in groups.items()]
