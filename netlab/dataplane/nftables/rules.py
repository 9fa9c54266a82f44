"""nftables objects as typed, frozen data that prints as `nft list` prints it.

A rule is a sequence of statements; each statement that kube-proxy or network policies use is a class, because the trace
walks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Side = Literal["saddr", "daddr"]
Ip = Literal["ip", "ip6"]


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class CtNew:
    """Only a connection's first packet."""

    def __str__(self) -> str:
        return "ct state new"


@dataclass(frozen=True, slots=True)
class Addr:
    """Source or destination is (or is not) one of these addresses and CIDRs."""

    ip: Ip
    side: Side
    values: tuple[str, ...]
    negated: bool = False

    def __str__(self) -> str:
        operator = "!= " if self.negated else ""
        value = self.values[0] if len(self.values) == 1 else "{ " + ", ".join(self.values) + " }"
        return f"{self.ip} {self.side} {operator}{value}"


@dataclass(frozen=True, slots=True)
class InSet:
    ip: Ip
    side: Side
    set: str

    def __str__(self) -> str:
        return f"{self.ip} {self.side} @{self.set}"


@dataclass(frozen=True, slots=True)
class Port:
    protocol: str
    dport: int

    def __str__(self) -> str:
        return f"{self.protocol} dport {self.dport}"


@dataclass(frozen=True, slots=True)
class PortRange:
    protocol: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.protocol} dport {self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class L4Proto:
    protocol: str

    def __str__(self) -> str:
        return f"meta l4proto {self.protocol}"


@dataclass(frozen=True, slots=True)
class FibLocal:
    """Source or destination is an address of the node itself."""

    side: Side

    def __str__(self) -> str:
        return f"fib {self.side} type local"


@dataclass(frozen=True, slots=True)
class MarkUnset:
    mark: int

    def __str__(self) -> str:
        return f"meta mark & {self.mark:#010x} == 0x00000000"


@dataclass(frozen=True, slots=True)
class SetMark:
    """mark = mark ^ bits, or mark | bits."""

    operator: Literal["^", "|"]
    bits: int

    def __str__(self) -> str:
        return f"meta mark set meta mark {self.operator} {self.bits:#010x}"


@dataclass(frozen=True, slots=True)
class Lookup:
    """The verdict that a map has for the packet: by protocol and port, with the destination before them or not."""

    map: str
    ip: Ip | None

    def __str__(self) -> str:
        address = f"{self.ip} daddr . " if self.ip else ""
        return f"{address}meta l4proto . th dport vmap @{self.map}"


@dataclass(frozen=True, slots=True)
class AddressVerdict:
    """The verdict that a map has for an address; none, and the packet goes on."""

    ip: Ip
    side: Side
    map: str

    def __str__(self) -> str:
        return f"{self.ip} {self.side} vmap @{self.map}"


@dataclass(frozen=True, slots=True)
class Spread:
    """One of the chains, each as likely as the others."""

    chains: tuple[str, ...]

    def __str__(self) -> str:
        choices = ", ".join(f"{index} : goto {chain}" for index, chain in enumerate(self.chains))
        return f"numgen random mod {len(self.chains)} vmap {{ {choices} }}"


@dataclass(frozen=True, slots=True)
class Remember:
    """Puts the source into a set, or renews it there."""

    ip: Ip
    set: str

    def __str__(self) -> str:
        return f"update @{self.set} {{ {self.ip} saddr }}"


@dataclass(frozen=True, slots=True)
class Dnat:
    to: str

    def __str__(self) -> str:
        return f"dnat to {self.to}"


@dataclass(frozen=True, slots=True)
class Masquerade:
    random: bool = True

    def __str__(self) -> str:
        return "masquerade fully-random" if self.random else "masquerade"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`chain` is where jump and goto lead."""

    kind: Literal["jump", "goto", "return", "drop", "accept", "reject"]
    chain: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.chain}" if self.chain else self.kind


Statement = (
    CtNew
    | Addr
    | InSet
    | Port
    | PortRange
    | L4Proto
    | FibLocal
    | MarkUnset
    | SetMark
    | Lookup
    | AddressVerdict
    | Spread
    | Remember
    | Dnat
    | Masquerade
    | Verdict
)


@dataclass(frozen=True, slots=True)
class Rule:
    statements: tuple[Statement, ...]
    comment: str = ""

    def __str__(self) -> str:
        text = " ".join(map(str, self.statements))
        return f"{text} comment {quote(self.comment)}" if self.comment else text


@dataclass(frozen=True, slots=True)
class Chain:
    """`hook` is what stands after `type` for a base chain: "nat hook prerouting priority dstnat"."""

    name: str
    rules: tuple[Rule, ...]
    hook: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """A set or a map, without its elements. `timeout` in seconds is for sets that forget."""

    name: str
    kind: Literal["set", "map"]
    type: str
    comment: str = ""
    timeout: int | None = None

    def spec(self) -> str:
        words = [f"type {self.type} ;"]
        if self.timeout is not None:
            words.append(f"flags dynamic,timeout ; timeout {self.timeout}s ;")
        if self.comment:
            words.append(f"comment {quote(self.comment)} ;")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Element:
    """A member of a set, or an entry of a verdict map."""

    container: str
    key: tuple[str, ...]
    verdict: Verdict | None = None
    comment: str = ""

    def __str__(self) -> str:
        comment = f" comment {quote(self.comment)}" if self.comment else ""
        verdict = f" : {self.verdict}" if self.verdict else ""
        return f"{' . '.join(self.key)}{comment}{verdict}"
