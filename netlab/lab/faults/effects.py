"""What a fault means for the lab: data that says which namespace, and what there. PURE.

A set of effects is level-based: the same faults give the same effects, and what is not among them must not be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netlab.lab.faults import kinds as k
from netlab.lab.faults.model import Fault, FaultError
from netlab.lab.faults.places import End, Layout

PERIOD = 1000
"""A seeded loss loses the same packets of every so many."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A rule of the table netlab-faults. With `dev` at that interface's entry (netdev), else in `hook` (inet)."""

    netns: str
    rule: str
    dev: str = ""
    hook: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What leaves by `dev` is shaped. Seconds, bits per second, fractions."""

    netns: str
    dev: str
    bandwidth_bps: int | None = None
    delay_s: float = 0.0
    jitter_s: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Unplugged:
    """The cables between two machines are out."""

    a: str
    b: str


@dataclass(frozen=True, slots=True)
class PowerOff:
    """The node is off."""

    node: str


@dataclass(frozen=True, slots=True)
class Killed:
    """Components or containers; `lasting`: again when they come back."""

    target: str
    lasting: bool


@dataclass(frozen=True, slots=True)
class Paused:
    target: str


@dataclass(frozen=True, slots=True)
class WrongForwarding:
    """The node's forwarding entry of the peer: `to` an address, or "" for no entry."""

    node: str
    peer: str
    to: str


@dataclass(frozen=True, slots=True)
class WrongNeighbour:
    """`node`: whose agent must leave the entry alone; "" where the namespace is a pod's or no node's."""

    netns: str
    ip: str
    mac: str
    node: str


@dataclass(frozen=True, slots=True)
class WrongRule:
    """A Service's rule on a node: `endpoint` comes back, or ("") the rule that catches the cluster IP is missing."""

    node: str
    service: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Skewed:
    node: str
    offset: float


Effect = (
    Filter | Shape | Unplugged | PowerOff | Killed | Paused | WrongForwarding | WrongNeighbour | WrongRule | Skewed
)  # fmt: skip


def effects(fault: Fault, layout: Layout, seed: int | None = None, *, lasting: bool = True) -> tuple[Effect, ...]:
    """Everything that the fault means. `lasting`: it was given a time. Raises FaultError for a target that is not
    there.

    The seed chooses which packets are lost; without one it is the kernel's chance.
    """
    maker = _MAKERS[type(fault)]
    return tuple(dict.fromkeys(maker(fault, layout, seed, lasting)))


def _ends(fault: Fault, layout: Layout) -> list[End]:
    return [end for target in fault.targets for end in layout.ends(target)]


def _entries(fault: Fault, layout: Layout) -> list[End]:
    """The interfaces at whose entry a packet of that way is seen."""
    way, found = getattr(fault, "way", "both"), []
    for end in _ends(fault, layout):
        found += [end] if way != "out" else []
        found += [end.other] if way != "in" else []
    return found


def _exits(fault: Fault, layout: Layout) -> list[End]:
    """The interfaces at whose exit a packet of that way is seen."""
    return [end.other for end in _entries(fault, layout)]


def _cables(fault: Fault, layout: Layout) -> list[Unplugged]:
    return [Unplugged(link.a.node, link.b.node) for target in fault.targets for link in layout.links(target)]


def chance(percent: float, seed: int | None) -> str:
    """The words of nft that match so many packets: at random, or by the seed the same ones of every thousand."""
    if percent >= 1:
        return ""
    if seed is None:
        return f"numgen random mod 10000 < {max(1, round(percent * 10000))}"
    chosen = sorted(random.Random(seed).sample(range(PERIOD), max(1, round(percent * PERIOD))))
    return f"numgen inc mod {PERIOD} {{ {', '.join(map(str, chosen))} }}"


def _loss(fault: k.Loss, layout: Layout, seed: int | None, _: bool) -> list[Effect]:
    rule = f"{chance(fault.percent, seed)} counter drop".strip()
    return [Filter(end.netns, rule, end.dev) for end in _entries(fault, layout)]


def _mtu(fault: k.MtuBlackHole, layout: Layout, _: int | None, __: bool) -> list[Effect]:
    rule = f"meta length > {fault.size} counter drop"
    return [Filter(end.netns, rule, end.dev) for end in _entries(fault, layout)]


def _shape(fault: Fault, layout: Layout, seed: int | None, _: bool) -> list[Effect]:
    values: dict[str, Any] = {
        k.Delay: lambda: {"delay_s": fault.delay, "jitter_s": fault.jitter},  # type: ignore[attr-defined]
        k.Duplicate: lambda: {"duplicate": fault.percent},  # type: ignore[attr-defined]
        k.Reorder: lambda: {"reorder": fault.percent, "delay_s": fault.delay},  # type: ignore[attr-defined]
        k.Bandwidth: lambda: {"bandwidth_bps": fault.rate},  # type: ignore[attr-defined]
    }[type(fault)]()
    if fault.netem:
        values["seed"] = seed
    return [Shape(end.netns, end.dev, **values) for end in _exits(fault, layout)]


def _partition(fault: k.Partition, layout: Layout, _: int | None, __: bool) -> list[Effect]:
    sets = [{layout.machine(name) for name in target.split(",") if name} for target in fault.targets]
    if len(sets) == 1:
        sets.append(set(layout.machines) - sets[0])
    for number, one in enumerate(sets):
        common = one & set().union(*sets[number + 1 :])
        if common:
            raise FaultError(f"'{min(common)}' is in two of the sets", "targets")
    if fault.way != "both" and len(sets) > 2:
        raise FaultError("one way is from one set to another: name two", "way")
    found: list[Effect] = []
    for number, here in enumerate(sets):
        if fault.way != "both" and (number == 0) != (fault.way == "in"):
            continue
        others = set().union(*(one for place, one in enumerate(sets) if place != number))
        rules = _deaf(*layout.marks(others))
        for name in sorted(here):
            found += [Filter(end.netns, rule, end.dev) for end in layout.ends(name) for rule in rules]
    return found


def _deaf(macs: Sequence[str], ips: Sequence[str]) -> list[str]:
    """By MAC address for the own segment (pods' packets on a host-gw network too), by IP for what routers bring."""
    v4, v6 = [ip for ip in ips if ":" not in ip], [ip for ip in ips if ":" in ip]
    rules = [f"ether saddr {{ {', '.join(macs)} }} counter drop"] if macs else []
    rules += [f"ip saddr {{ {', '.join(v4)} }} counter drop"] if v4 else []
    return rules + ([f"ip6 saddr {{ {', '.join(v6)} }} counter drop"] if v6 else [])


def _dns(fault: k.DnsLoss, layout: Layout, seed: int | None, _: bool) -> list[Effect]:
    rule = f"meta l4proto {{ tcp, udp }} th dport 53 {chance(fault.percent, seed)} counter drop".replace("  ", " ")
    spaces = [layout.namespace(target) for target in fault.targets]
    return [Filter(space, rule, hook=hook) for space in spaces for hook in ("prerouting", "output")]


def _conntrack(fault: k.ConntrackFull, layout: Layout, _: int | None, __: bool) -> list[Effect]:
    """Right behind connection tracking itself, where a full table drops: what has no entry gets none."""
    rule = "ct state new counter drop"
    return [Filter(layout.machine(target), rule, hook=hook) for target in fault.targets for hook in ("tracked", "sent")]


def _fdb(fault: k.WrongFdb, layout: Layout, _: int | None, __: bool) -> list[Effect]:
    if fault.peer not in layout.nodes:
        raise FaultError(f"no node '{fault.peer}' in this lab", "peer")
    to = "" if fault.to == "none" else fault.to
    if fault.peer in fault.targets:
        raise FaultError("a node has no forwarding entry for itself", "peer")
    return [WrongForwarding(layout.node(target), fault.peer, to) for target in fault.targets]


def _arp(fault: k.WrongArp, layout: Layout, _: int | None, __: bool) -> list[Effect]:
    return [
        WrongNeighbour(layout.namespace(target), fault.ip, fault.mac, target if target in layout.nodes else "")
        for target in fault.targets
    ]


_MAKERS: Mapping[type[Fault], Callable[[Any, Layout, int | None, bool], Sequence[Effect]]] = {
    k.LinkDown: lambda fault, layout, _seed, _lasting: _cables(fault, layout),
    k.LinkFlap: lambda fault, layout, _seed, _lasting: _cables(fault, layout),
    k.Partition: _partition,
    k.NodeCrash: lambda fault, layout, _seed, _lasting: [PowerOff(layout.node(name)) for name in fault.targets],
    k.NodeReboot: lambda fault, layout, _seed, _lasting: [PowerOff(layout.node(name)) for name in fault.targets],
    k.ProcessKill: lambda fault, _layout, _seed, lasting: [Killed(name, lasting) for name in fault.targets],
    k.ProcessPause: lambda fault, _layout, _seed, _lasting: [Paused(name) for name in fault.targets],
    k.Loss: _loss,
    k.Delay: _shape,
    k.Reorder: _shape,
    k.Duplicate: _shape,
    k.Bandwidth: _shape,
    k.MtuBlackHole: _mtu,
    k.WrongFdb: _fdb,
    k.WrongArp: _arp,
    k.ConntrackFull: _conntrack,
    k.DnsLoss: _dns,
    k.StaleRule: lambda fault, layout, _seed, _lasting: [
        WrongRule(layout.node(name), fault.service, fault.endpoint) for name in fault.targets
    ],
    k.MissingRule: lambda fault, layout, _seed, _lasting: [
        WrongRule(layout.node(name), fault.service, "") for name in fault.targets
    ],
    k.ClockSkew: lambda fault, layout, _seed, _lasting: [
        Skewed(layout.node(name), fault.offset) for name in fault.targets
    ],
}


def flapping(fault: k.LinkFlap, seed: int | None) -> list[tuple[float, bool]]:
    """A period of sixteen turns: (seconds, whether the cable is out), spread by a quarter as the seed says."""
    dice = random.Random(0 if seed is None else seed)
    turns = []
    for _ in range(8):
        turns.append((fault.down * dice.uniform(0.75, 1.25), True))
        turns.append((fault.up * dice.uniform(0.75, 1.25), False))
    return turns
