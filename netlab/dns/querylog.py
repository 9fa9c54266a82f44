"""The `log` plugin's lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from netlab.dns.config import LogRule, longest
from netlab.dns.message import NOERROR, NXDOMAIN, Query, Reply, rcode_text

COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" '
    "{rcode} {>rflags} {rsize} {duration}"
)
COMBINED = COMMON.replace("{>id} ", "{>id} {>opcode} ")
_PLACE = re.compile(r"\{([^{}]+)\}")


def class_of(reply: Reply) -> str:
    """success, denial or error."""
    if reply.rcode == NXDOMAIN or (reply.rcode == NOERROR and not reply.answer):
        return "denial"
    return "success" if reply.rcode == NOERROR else "error"


def lines(rules: Sequence[LogRule], query: Query, reply: Reply, data: bytes, seconds: float, local: str) -> list[str]:
    """What is to be written about one question and its answer (`data`: the response, `local`: our address)."""
    found = []
    for rule in rules:
        if longest(rule.zones, query.lower) is None or not rule.classes & {"all", class_of(reply)}:
            continue
        template = rule.format.replace("{common}", COMMON).replace("{combined}", COMBINED)
        values = _values(query, reply, data, seconds, local)
        found.append(_PLACE.sub(lambda place: values.get(place[1], "-"), template))  # noqa: B023
    return found


def _values(query: Query, reply: Reply, data: bytes, seconds: float, local: str) -> dict[str, str]:
    bits = (data[2] << 8) | data[3]
    flags = [name for bit, name in _FLAGS if bits & bit]
    return {
        "type": query.type,
        "class": query.cls,
        "name": query.lower,
        "proto": query.proto,
        "remote": _host(query.client[0]),
        "local": _host(local),
        "port": str(query.client[1]),
        "size": str(query.size),
        "duration": f"{seconds:.9f}".rstrip("0").rstrip(".") + "s",
        "rcode": rcode_text(reply.rcode),
        "rsize": str(len(data)),
        ">rflags": ",".join(flags),
        ">bufsize": str(query.edns or 512) if query.proto == "udp" else "65535",
        ">do": "true" if query.do else "false",
        ">id": str(query.id),
        ">opcode": "0",
    }


_FLAGS = (
    (0x8000, "qr"),
    (0x400, "aa"),
    (0x200, "tc"),
    (0x100, "rd"),
    (0x80, "ra"),
    (0x20, "ad"),
    (0x10, "cd"),
)


def _host(text: str) -> str:
    return f"[{text}]" if ":" in text else text
