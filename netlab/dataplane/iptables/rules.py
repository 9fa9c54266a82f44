"""An iptables rule as typed, frozen data that prints as `iptables-save` prints it.

Every match and target is a class of its own, because the trace walks them: a rule it cannot interpret must not exist.
Only the extensions that kube-proxy and flanneld use are here. `iptables-restore` accepts what is printed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

State = Literal["INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"]

PROBABILITY_ONE = 0x80000000
"""xt_statistic counts probability in 2^-31."""

_PLAIN = re.compile(r"[-_0-9A-Za-z]+")
_ESCAPED = str.maketrans({character: f"\\{character}" for character in "\"\\'"})


@lru_cache(maxsize=16384)
def quote(text: str) -> str:
    """A string option as xtables_save_string writes it: quoted unless it is one plain word."""
    if _PLAIN.fullmatch(text):
        return text
    return f'"{text.translate(_ESCAPED)}"'


def _not(negated: bool) -> str:
    return "! " if negated else ""


@dataclass(frozen=True, slots=True)
class Comment:
    text: str

    def __str__(self) -> str:
        return f"-m comment --comment {quote(self.text)}"


@dataclass(frozen=True, slots=True)
class Ports:
    """The match of a transport protocol: `-m tcp --dport 80`; without a port it says only the protocol."""

    protocol: str
    dport: int | None = None
    sport: int | None = None

    def __str__(self) -> str:
        sport = f" --sport {self.sport}" if self.sport is not None else ""
        dport = f" --dport {self.dport}" if self.dport is not None else ""
        return f"-m {self.protocol}{sport}{dport}"


@dataclass(frozen=True, slots=True)
class CtState:
    states: tuple[State, ...]
    negated: bool = False

    def __str__(self) -> str:
        return f"-m conntrack {_not(self.negated)}--ctstate {','.join(self.states)}"


@dataclass(frozen=True, slots=True)
class AddrType:
    """Whether the source or destination is an address of the node itself (LOCAL)."""

    side: Literal["src", "dst"]
    kind: str = "LOCAL"
    negated: bool = False

    def __str__(self) -> str:
        return f"-m addrtype {_not(self.negated)}--{self.side}-type {self.kind}"


@dataclass(frozen=True, slots=True)
class MarkMatch:
    value: int
    mask: int = 0xFFFFFFFF
    negated: bool = False

    def __str__(self) -> str:
        mask = "" if self.mask == 0xFFFFFFFF else f"/{self.mask:#x}"
        return f"-m mark {_not(self.negated)}--mark {self.value:#x}{mask}"


@dataclass(frozen=True, slots=True)
class Recent:
    """The list of recently seen sources that session affinity keeps: `set` adds the source, `rcheck` asks for it."""

    action: Literal["set", "rcheck"]
    name: str
    seconds: int | None = None
    reap: bool = False
    mask: str = "255.255.255.255"

    def __str__(self) -> str:
        seconds = f" --seconds {self.seconds}" if self.seconds is not None else ""
        reap = " --reap" if self.reap else ""
        return f"-m recent --{self.action}{seconds}{reap} --name {self.name} --mask {self.mask} --rsource"


@dataclass(frozen=True, slots=True)
class Statistic:
    """A random choice; `share` is the probability in 2^-31, as the kernel keeps it."""

    share: int

    @staticmethod
    @lru_cache(maxsize=4096)
    def one_in(count: int) -> Statistic:
        """As upstream asks for it, with ten digits, and the kernel then rounds it."""
        return Statistic.of(float(f"{1 / count:.10f}"))

    @classmethod
    def of(cls, probability: float) -> Statistic:
        return cls(int(PROBABILITY_ONE * probability + 0.5))

    @property
    def probability(self) -> float:
        return self.share / PROBABILITY_ONE

    def __str__(self) -> str:
        return f"-m statistic --mode random --probability {self.probability:.11f}"


@dataclass(frozen=True, slots=True)
class NfAcct:
    """A named counter. (iptables-save prints two spaces.)"""

    name: str

    def __str__(self) -> str:
        return f"-m nfacct --nfacct-name  {self.name}"


@dataclass(frozen=True, slots=True)
class InSet:
    """Whether the packet is in an ipset, asked with these sides of it: ("dst", "dst") is destination and its port."""

    name: str
    sides: tuple[str, ...]
    negated: bool = False

    def __str__(self) -> str:
        return f"-m set {_not(self.negated)}--match-set {self.name} {','.join(self.sides)}"


@dataclass(frozen=True, slots=True)
class PhysdevIn:
    """Whether the packet came in over a bridge's port."""

    negated: bool = False

    def __str__(self) -> str:
        return f"-m physdev {_not(self.negated)}--physdev-is-in"


@dataclass(frozen=True, slots=True)
class IpvsMatch:
    """Whether the packet belongs to a connection of this virtual server; the protocol is a number."""

    protocol: int
    address: str
    port: int

    def __str__(self) -> str:
        return f"-m ipvs --vproto {self.protocol} --vaddr {self.address} --vport {self.port}"


Match = Comment | Ports | CtState | AddrType | MarkMatch | Recent | Statistic | NfAcct | InSet | PhysdevIn | IpvsMatch


@dataclass(frozen=True, slots=True)
class Jump:
    """To a chain of the user's, or one of the verdicts ACCEPT, DROP, RETURN."""

    chain: str

    def __str__(self) -> str:
        return f"-j {self.chain}"


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str = "icmp-port-unreachable"

    def __str__(self) -> str:
        return f"-j REJECT --reject-with {self.reason}"


@dataclass(frozen=True, slots=True)
class SetMark:
    """mark = (mark & ~mask) ^ value"""

    value: int
    mask: int

    def __str__(self) -> str:
        return f"-j MARK --set-xmark {self.value:#x}/{self.mask:#x}"


@dataclass(frozen=True, slots=True)
class Dnat:
    """`to` is `address:port`, an IPv6 address in brackets."""

    to: str

    def __str__(self) -> str:
        return f"-j DNAT --to-destination {self.to}"


@dataclass(frozen=True, slots=True)
class Masquerade:
    random_fully: bool = True

    def __str__(self) -> str:
        return "-j MASQUERADE --random-fully" if self.random_fully else "-j MASQUERADE"


Target = Jump | Reject | SetMark | Dnat | Masquerade
ACCEPT, DROP, RETURN = Jump("ACCEPT"), Jump("DROP"), Jump("RETURN")


@dataclass(frozen=True, slots=True)
class Net:
    """A source or destination to match, always with a prefix length."""

    cidr: str
    negated: bool = False

    @classmethod
    def host(cls, address: str) -> Net:
        return cls(f"{address}/128" if ":" in address else f"{address}/32")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a chain. Without a target it only counts."""

    chain: str
    target: Target | None = None
    matches: tuple[Match, ...] = ()
    source: Net | None = None
    destination: Net | None = None
    protocol: str | None = None
    in_interface: str | None = None
    out_interface: str | None = None

    @property
    def comment(self) -> str:
        """The text of its comment, "" where it has none."""
        return next((match.text for match in self.matches if isinstance(match, Comment)), "")

    def spec(self) -> str:
        """All but the chain: what follows `-A CHAIN`, `-I CHAIN 1` or `-D CHAIN`."""
        words: list[str] = []
        if self.source is not None:
            words.append(f"! -s {self.source.cidr}" if self.source.negated else f"-s {self.source.cidr}")
        if self.destination is not None:
            words.append(f"! -d {self.destination.cidr}" if self.destination.negated else f"-d {self.destination.cidr}")
        if self.in_interface is not None:
            words.append(f"-i {self.in_interface}")
        if self.out_interface is not None:
            words.append(f"-o {self.out_interface}")
        if self.protocol is not None:
            words.append(f"-p {self.protocol}")
        words += map(str, self.matches)
        if self.target is not None:
            words.append(str(self.target))
        return " ".join(words)

    def __str__(self) -> str:
        return f"-A {self.chain} {self.spec()}"
