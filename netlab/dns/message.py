"""Questions and answers as the plugins see them. Pure; `wire` makes bytes of them."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
RCODES = tuple(
    "NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED YXDOMAIN YXRRSET NXRRSET NOTAUTH NOTZONE".split()  # noqa: SIM905
)


def rcode_text(rcode: int) -> str:
    """NOERROR, NXDOMAIN, …"""
    return RCODES[rcode] if rcode < len(RCODES) else {16: "BADVERS", 23: "BADCOOKIE"}.get(rcode, str(rcode))


@dataclass(frozen=True, slots=True)
class Record:
    """`data` in presentation format: "10.96.0.1", "0 100 443 web.default.svc.cluster.local."."""

    name: str
    type: str
    ttl: int
    data: str


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `name` as it was written, with its final dot; `lower` the same in lower case.

    `edns` is the buffer size that the asker gave, 0 without EDNS; `options` are the options of its OPT record as bytes.
    """

    name: str
    type: str
    cls: str = "IN"
    id: int = 0
    rd: bool = True
    cd: bool = False
    edns: int = 0
    do: bool = False
    options: bytes = b""
    proto: str = "udp"
    client: tuple[str, int] = ("", 0)
    size: int = 0
    lower: str = ""

    def __post_init__(self) -> None:
        if not self.lower:
            object.__setattr__(self, "lower", self.name.lower())


@dataclass(frozen=True, slots=True)
class Reply:
    """The sections of an answer. `plugin` is who gave it; `keep` how many seconds the same bytes may be given again
    (infinity: as long as the zone does not change)."""

    rcode: int = NOERROR
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    aa: bool = True
    ra: bool = False
    ad: bool = False
    plugin: str = ""
    keep: float = 0.0
    counted: tuple[str, ...] = field(default=())
    """Which of the cache's counters this answer raised: "hit success", "hit denial", "miss"."""


Handled = Reply | Awaitable[Reply | None] | None
"""What a plugin says: an answer, one that has to be waited for, or None to pass the question on."""
