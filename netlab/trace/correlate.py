"""Sights of a probe and the rules it met, put together into a Trace. PURE.

Sights come from packet sockets in every namespace, hits from the kernel's rule trace; what belongs between which two
sights follows from the hook and the devices that a hit names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from netlab.trace.model import Exchanged, Flow, Hop, Outer, Step, Trace, Verdict, View, with_changes
from netlab.trace.packet import ICMP, ICMPV6, PROTOCOL_NAMES, TCP, Packet
from netlab.trace.predict.state import Machine
from netlab.trace.render import summary
from netlab.trace.token import AnyToken, Role, Token, decode_ip


@dataclass(frozen=True, slots=True)
class Sight:
    """One captured frame. `time` in ns; `direction` as the packet socket names it."""

    place: str
    interface: str
    direction: str
    time: int
    packet: Packet


@dataclass(frozen=True, slots=True)
class Met:
    """A rule that a packet met at a place: its step, the hook, and devices by name."""

    place: str
    role: Role
    hook: str
    indev: str
    outdev: str
    step: Step
    bridged: bool = False


@dataclass(slots=True)
class Seen:
    """The sights by what they are to the probe, each in the order of time."""

    request: list[Sight]
    reply: list[Sight]
    error: list[Sight]


def sort(sights: Iterable[Sight], token: Token | AnyToken) -> Seen:
    """Retransmissions, and copies that a bridge flooded, are not among them."""
    seen = Seen([], [], [])
    asked: set[tuple[object, ...]] = set()
    first: dict[str, object] = {}
    for sight in sorted(sights, key=lambda one: one.time):
        role = token.role(sight.packet)
        inner = sight.packet.innermost
        ends = (inner.src, inner.sport, inner.dst, inner.dport)
        turned = (inner.dst, inner.dport, inner.src, inner.sport)
        if role == "request" and inner.src != inner.dst and turned in asked:
            role = "reply"
        if role is None:
            continue
        if role == "request":
            asked.add(ends)
        if first.setdefault(role, _identity(inner)) != _identity(inner):
            continue
        {"request": seen.request, "reply": seen.reply, "error": seen.error}[role].append(sight)
    for sights_ in (seen.request, seen.reply, seen.error):
        sights_[:] = _once(sights_)
    return seen


def _identity(packet: Packet) -> object:
    return (packet.protocol, packet.flags, packet.info if packet.protocol == 6 else "", packet.payload[:4])


def _once(sights: Sequence[Sight]) -> list[Sight]:
    """The first sight at each interface and direction with each look: a retransmission looks the same."""
    kept: dict[tuple[object, ...], Sight] = {}
    for sight in sights:
        inner = sight.packet.innermost
        look = (sight.packet.src, sight.packet.dst, inner.src, inner.dst, inner.dport, inner.ttl)
        way = "out" if sight.direction == "out" else "in"
        kept.setdefault((sight.place, sight.interface, way, *look), sight)
    return list(kept.values())


def without_floods(sights: Sequence[Sight], machines: Mapping[str, Machine]) -> list[Sight]:
    """Without the copies of flooded frames: what left by a bridge's port and went nowhere from there, though another
    copy left by another port of the same bridge, and what arrived at a machine whose MAC it does not name."""
    dead = {index for index in range(len(sights)) if _is_copy(sights, index, machines)}
    return [sight for index, sight in enumerate(sights) if index not in dead]


def _is_copy(sights: Sequence[Sight], index: int, machines: Mapping[str, Machine]) -> bool:
    sight = sights[index]
    interface = machines[sight.place].interfaces.get(sight.interface)
    if interface is None:
        return False
    if sight.direction == "out":
        return _flooded(sights, sight, machines) and not _taken(sights, interface.peer, machines)
    if sight.direction != "other" or interface.master or interface.peer is None:
        return False
    sender = next((s for s in sights if (s.place, s.interface) == interface.peer and s.direction == "out"), None)
    return sender is None or _flooded(sights, sender, machines)


def _flooded(sights: Sequence[Sight], sight: Sight, machines: Mapping[str, Machine]) -> bool:
    """Whether a frame left a bridge's port because the bridge did not know where to, or by several ports."""
    machine = machines[sight.place]
    interface = machine.interfaces.get(sight.interface)
    if interface is None or not interface.master:
        return False
    ports = {port.name for port in machine.interfaces.values() if port.master == interface.master}
    known = any(entry.mac == sight.packet.eth_dst and entry.dev in ports for entry in machine.fdb)
    return not known or bool(_twins(sights, sight, machines))


def _twins(sights: Sequence[Sight], sight: Sight, machines: Mapping[str, Machine]) -> list[Sight]:
    """The same frame, out by other ports of the same bridge."""

    def bridge(one: Sight) -> str:
        found = machines[one.place].interfaces.get(one.interface)
        return found.master if found else ""

    return [
        one
        for one in sights
        if one is not sight and one.place == sight.place and one.direction == "out" and one.packet == sight.packet
        and bridge(sight) and bridge(one) == bridge(sight)
    ]  # fmt: skip


def _taken(sights: Sequence[Sight], end: tuple[str, str] | None, machines: Mapping[str, Machine]) -> bool:
    """Whether the other end of a link took a frame as its own, or is a bridge's port."""
    for one in sights:
        if (one.place, one.interface) == end and one.direction != "out":
            interface = machines[one.place].interfaces.get(one.interface)
            return one.direction == "in" or (interface is not None and bool(interface.master))
    return False


def exchange(sights: Iterable[Sight], token: Token | AnyToken) -> list[Exchanged]:
    """Every packet of a whole TCP connection, in the order in which it was first seen, each with all places that saw
    it."""
    packets: dict[object, list[Sight]] = {}
    for sight in sorted(sights, key=lambda one: one.time):
        inner = sight.packet.innermost
        if inner.protocol == TCP and token.whole:
            packets.setdefault((inner.info, inner.flags, inner.payload), []).append(sight)
    start = min((group[0].time for group in packets.values()), default=0)
    return [
        Exchanged(
            (group[0].time - start) / 1e3, summary(group[0].packet), tuple(dict.fromkeys(one.place for one in group))
        )
        for group in packets.values()
    ]


def view(packet: Packet) -> View:
    inner = packet.innermost
    name = {ICMP: "icmp", ICMPV6: "icmpv6"}.get(inner.protocol) or PROTOCOL_NAMES.get(
        inner.protocol, str(inner.protocol)
    ).lower()
    outer = None
    if packet.inner is not None:
        outer = Outer(packet.src, packet.dst, packet.vni or 0, packet.ttl, packet.dport)
    return View(
        inner.src, inner.dst, name, inner.sport, inner.dport, inner.ttl, outer, ",".join(inner.flags),
        inner.info, max(inner.length - 14, 0), (packet.eth_src, packet.eth_dst),
    )  # fmt: skip


def hops(sights: Sequence[Sight], met: Sequence[Met], machines: Mapping[str, Machine]) -> tuple[list[Hop], list[Step]]:
    """The hops with the rules that lie between them, and the rules behind the last one."""
    before: list[list[Step]] = [[] for _ in range(len(sights) + 1)]
    at: dict[str, int] = {}
    """The last sight of each place that a hit has been put behind."""
    for one in met:
        index = _gap(one, sights, machines, at)
        before[index].append(one.step)
    made = [
        Hop(sight.place, sight.interface, "out" if sight.direction == "out" else "in", view(sight.packet),
            steps=tuple(before[index]), time=sight.time / 1e9)
        for index, sight in enumerate(sights)
    ]  # fmt: skip
    return list(with_changes(made)), before[-1]


def _gap(one: Met, sights: Sequence[Sight], machines: Mapping[str, Machine], at: dict[str, int]) -> int:
    """The index of the sight before which the rule was met."""
    start = at.get(one.place, 0)
    here = [index for index in range(start, len(sights)) if sights[index].place == one.place]

    def on(index: int, device: str) -> bool:
        name = sights[index].interface
        interface = machines[one.place].interfaces.get(name)
        return name == device or (interface is not None and interface.master == device)

    if one.hook == "input":  # behind the machine's own interface, also where a bridge's port saw it before
        here = [i for i in here if sights[i].interface == one.indev and sights[i].direction != "out"] or here
    if one.hook in ("prerouting", "input"):
        for index in here:
            if sights[index].direction != "out" and on(index, one.indev):
                at[one.place] = index
                return index + 1
    else:
        for index in here:
            if one.bridged and sights[index].interface == one.outdev:
                continue  # a bridge's rules come behind its own device, before its port
            # What leaves OUTPUT may have been translated there, and leave by another device than OUTPUT was told.
            if sights[index].direction == "out" and (one.hook == "output" or on(index, one.outdev)):
                at[one.place] = index if one.hook == "postrouting" else start
                return index
    return max(here, default=len(sights) - 1) + 1


def observed(
    flow: Flow, sights: Sequence[Sight], met: Sequence[Met], machines: Mapping[str, Machine],
    end: Callable[[Sequence[Hop], Sequence[Step]], Verdict],
) -> Trace:  # fmt: skip
    """The Trace of one direction; `end` says how it ended."""
    made, rest = hops(without_floods(sights, machines), met, machines)
    verdict = end(made, rest)
    return Trace(flow, tuple(made), replace(verdict, steps=(*rest, *verdict.steps)), "observed")


def role_of(data: bytes, token: Token | AnyToken, asked: Iterable[tuple[object, ...]]) -> Role | None:
    """What a traced packet is: `asked` has the ends (src, sport, dst, dport) of every request that was seen."""
    packet = decode_ip(data)
    role = token.role(packet)
    turned = (packet.dst, packet.dport, packet.src, packet.sport)
    if role == "request" and packet.src != packet.dst and turned in set(asked):
        return "reply"
    return role
