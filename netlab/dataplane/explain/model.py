"""The packet that is followed, what happens to it, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from netlab.dataplane.ipvs.model import Entry
from netlab.dataplane.services.objects import in_range

Origin = Literal["pod", "node", "outside"]
Verdict = Literal["endpoint", "reject", "drop", "passed"]


class Uninterpretable(ValueError):  # noqa: N818
    """A rule that a walker does not know how to follow; the text names it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends: a pod of the node, the node itself, or someone outside, with a sample address."""

    origin: Origin
    address: str


@dataclass(frozen=True, slots=True)
class Packet:
    """A connection's first packet."""

    caller: Caller
    destination: str
    port: int
    protocol: str


@dataclass(frozen=True, slots=True)
class World:
    """What of the node the rules ask. `local`: its own addresses, with those of kube-ipvs0 where it has any."""

    local: frozenset[str]
    sets: Mapping[str, frozenset[Entry]] = field(default_factory=dict)
    """ipset's members, by the set's name in the kernel."""

    def is_local(self, address: str) -> bool:
        return address in self.local or in_range(address, "::1/128" if ":" in address else "127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Stage:
    """One rule that the packet meets. `taken` is False for one that is told because it would apply to another client.

    `packets` and `bytes` are the rule's live counters, None where there are none.
    """

    depth: int
    words: str
    rule: str
    taken: bool = True
    packets: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a share (0 to 1) of the connections ends; `endpoint` is "address:port" where one answers."""

    verdict: Verdict
    share: float
    endpoint: str = ""
    masqueraded: bool = False


@dataclass(slots=True)
class Walk:
    """The way of one packet."""

    packet: Packet
    stages: list[Stage] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)

    def say(
        self, depth: int, words: str, rule: object, *, taken: bool = True, counters: tuple[int, int] | None = None
    ) -> None:
        packets, size = counters if counters is not None else (None, None)
        self.stages.append(Stage(depth, words, str(rule), taken, packets, size))

    def end(self, verdict: Verdict, share: float, endpoint: str = "", masqueraded: bool = False) -> None:
        self.endings.append(Ending(verdict, share, endpoint, masqueraded))
