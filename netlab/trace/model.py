"""A packet's way as data: one model for what is predicted and for what is observed, so that the two compare. PURE.

A `Trace` is a list of `Hop`s: every interface at which a packet socket would see the packet, in order. A hop's steps
say what happened since the hop before: the route, the rules, the neighbour; the verdict has those behind the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from netlab.api.types import Obj

StepKind = Literal[
    "route", "fdb", "neighbour", "rule", "conntrack", "nat", "socket", "bridge", "encap", "decap", "ttl", "mtu",
    "forward", "drop", "deliver", "dns", "error",
]  # fmt: skip
Direction = Literal["in", "out"]
VerdictKind = Literal["delivered", "refused", "rejected", "dropped", "lost"]
"""`delivered` to a socket; `refused` by a machine without one (a reset, port unreachable); `rejected` with an ICMP
error on the way; `dropped` by a rule or an entry, or for the lack of one; `lost`: not seen any more, nobody says
why."""
Source = Literal["predicted", "observed"]


@dataclass(frozen=True, slots=True)
class Flow:
    """What is asked: from a place (see `places`), to an address. `size`: bytes of payload. Ports are 0 where the
    protocol has none, `sport` also where the kernel is to choose. `df`: may not be fragmented, as the kernel's TCP
    asks."""

    source: str
    src: str
    dst: str
    protocol: str
    sport: int = 0
    dport: int = 0
    size: int = 0
    df: bool = True

    def __str__(self) -> str:
        return f"{self.protocol} {host_port(self.src, self.sport)} → {host_port(self.dst, self.dport)}"


@dataclass(frozen=True, slots=True)
class Outer:
    """The header around the packet."""

    src: str
    dst: str
    vni: int = 0
    ttl: int = 64
    dport: int = 8472


@dataclass(frozen=True, slots=True)
class View:
    """A packet as a hop sees it. `sport` None: not known before it is seen (masquerading chose a random port).

    `length` is of the packet from its own IP header on, in bytes; 0: not known. `macs` are (source, destination) of the
    outermost frame."""

    src: str
    dst: str
    protocol: str
    sport: int | None = 0
    dport: int | None = 0
    ttl: int = 64
    outer: Outer | None = None
    flags: str = ""
    info: str = ""
    length: int = 0
    macs: tuple[str, str] = ("", "")

    @property
    def source(self) -> str:
        return host_port(self.src, self.sport)

    @property
    def destination(self) -> str:
        return host_port(self.dst, self.dport)


def host_port(address: str, port: int | None) -> str:
    """`address:port`; "?" for a port that is not known, none where there is none."""
    if port == 0:
        return address
    shown = "?" if port is None else port
    return f"[{address}]:{shown}" if ":" in address else f"{address}:{shown}"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. `where` identifies a rule ("iptables nat KUBE-SERVICES 3", "nft ip kube-proxy services
    handle 12"), `text` prints it or says it in words. `counter`: its packets and bytes. `owner`: the Service, pod or
    node that it is there for. `deciding`: it changed or ended the packet's way, rather than only leading on. `outer`:
    it met the packet's encapsulation, not the packet."""

    kind: StepKind
    text: str
    where: str = ""
    counter: tuple[int, int] | None = None
    owner: str = ""
    deciding: bool = False
    outer: bool = False


@dataclass(frozen=True, slots=True)
class Hop:
    """One sight of the packet."""

    place: str
    interface: str
    direction: Direction
    packet: View
    changes: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    time: float = 0.0
    optional: bool = False
    """Predicted, but seen only by some packets of such a flow (see `predict.walk`)."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.place, self.interface, self.direction


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it ended: where, by what, and (unless delivered) the probable cause and the remedy."""

    kind: VerdictKind
    place: str
    text: str
    steps: tuple[Step, ...] = ()
    cause: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """One packet's way. `share`: the part of all such flows that go this way (1 where nothing is random). `reply`: the
    way of the answer. `dns`: the way of the look-up before. `notes`: what a reader should know, one sentence each."""

    flow: Flow
    hops: tuple[Hop, ...]
    verdict: Verdict
    source: Source = "predicted"
    share: float = 1.0
    choices: tuple[str, ...] = ()
    reply: Trace | None = None
    dns: Trace | None = None
    notes: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The machines and pods on the way, each once, in order."""
        return tuple(dict.fromkeys(hop.place for hop in self.hops))

    def rules(self) -> tuple[Step, ...]:
        """Every rule met, in order."""
        every = (*(step for hop in self.hops for step in hop.steps), *self.verdict.steps)
        return tuple(step for step in every if step.kind == "rule")


def with_changes(hops: Iterable[Hop]) -> tuple[Hop, ...]:
    """The hops, each with what differs from the one before."""
    result: list[Hop] = []
    for hop in hops:
        found = changes(result[-1].packet, hop.packet) if result else ()
        result.append(replace(hop, changes=found))
    return tuple(result)


def changes(before: View, after: View) -> tuple[str, ...]:
    """In words: addresses translated, encapsulation put on or taken off, the TTL spent."""
    found: list[str] = []
    if (before.dst, before.dport) != (after.dst, after.dport):
        found.append(f"DNAT {before.destination} → {after.destination}")
    if (before.src, before.sport) != (after.src, after.sport):
        found.append(f"SNAT {before.source} → {after.source}")
    if after.outer is not None and before.outer is None:
        found.append(f"VXLAN on: VNI {after.outer.vni}, {after.outer.src} → {after.outer.dst}")
    if before.outer is not None and after.outer is None:
        found.append(f"VXLAN off: VNI {before.outer.vni}")
    if before.ttl != after.ttl:
        found.append(f"TTL {before.ttl} → {after.ttl}")
    if before.outer and after.outer and before.outer.ttl != after.outer.ttl:
        found.append(f"outer TTL {before.outer.ttl} → {after.outer.ttl}")
    return tuple(found)


def to_obj(trace: Trace) -> Obj:
    """For JSON; `from_obj` takes it back."""
    return asdict(trace)


def from_obj(data: Mapping[str, Any]) -> Trace:
    return Trace(
        flow=Flow(**data["flow"]),
        hops=tuple(_hop(one) for one in data["hops"]),
        verdict=_verdict(data["verdict"]),
        source=data["source"],
        share=data["share"],
        choices=tuple(data["choices"]),
        reply=from_obj(data["reply"]) if data["reply"] else None,
        dns=from_obj(data["dns"]) if data["dns"] else None,
        notes=tuple(data["notes"]),
    )


def _hop(data: Mapping[str, Any]) -> Hop:
    packet = dict(data["packet"])
    packet["outer"] = Outer(**packet["outer"]) if packet["outer"] else None
    packet["macs"] = tuple(packet["macs"])
    more = {"packet": View(**packet), "changes": tuple(data["changes"]), "steps": _steps(data["steps"])}
    return Hop(**{**data, **more})


def _verdict(data: Mapping[str, Any]) -> Verdict:
    return Verdict(**{**data, "steps": _steps(data["steps"])})


def _steps(found: Iterable[Mapping[str, Any]]) -> tuple[Step, ...]:
    return tuple(Step(**{**one, "counter": tuple(one["counter"]) if one["counter"] else None}) for one in found)


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing at which prediction and observation part. `hop` counts from 1; 0: the verdict."""

    hop: int
    what: str
    predicted: str
    observed: str
    where: str = ""
    part: Literal["request", "reply", "dns"] = "request"

    def __str__(self) -> str:
        place = f"hop {self.hop} ({self.where})" if self.hop else "the end"
        way = "" if self.part == "request" else f"of the {self.part}, "
        return f"{way}{place}: {self.what}: predicted {self.predicted}, observed {self.observed}"


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One packet of a whole connection: `time` in µs since its first, in one line as its sender sent it, and the places
    that saw it, in order."""

    time: float
    text: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All that `klab trace` tells: every predicted way (one for each endpoint that may be chosen), what was observed,
    and where they part. `frames` are (place, interface, direction, time in ns, base64 of the frame)."""

    predicted: tuple[Trace, ...] = ()
    observed: Trace | None = None
    difference: Difference | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    frames: tuple[tuple[str, str, str, int, str], ...] = ()
    exchange: tuple[Exchanged, ...] = ()
    """Of a whole request: every packet of the connection."""
    error: str = ""
