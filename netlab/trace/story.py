"""One flow from hop to hop: which captured frames belong to it, and what changed from one place to the next.

Pure. A flow is followed by what its packets keep on the whole way: the two ends as the endpoint sees them in the end,
plus the names that NAT gave them in between. The sequence number (or the payload) tells one packet from another, so a
retransmission does not become a hop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netlab.trace.packet import ETH_ARP, TCP, Packet


@dataclass(frozen=True, slots=True)
class Frame:
    """A captured frame. `time` in seconds since the epoch; `place` names the machine or pod, `interface` its device."""

    time: float
    place: str
    interface: str
    direction: str
    packet: Packet


@dataclass(frozen=True, slots=True)
class Hop:
    """One sight of one packet: where, what it was, and what differs from the hop before."""

    frame: Frame
    changes: tuple[str, ...]


def belongs(packet: Packet, address: str, port: int) -> bool:
    """Whether one end of the innermost packet is `address:port`; ARP belongs to no flow."""
    inner = packet.innermost
    if inner.ethertype == ETH_ARP:
        return False
    return (inner.src, inner.sport) == (address, port) or (inner.dst, inner.dport) == (address, port)


def flow(frames: Iterable[Frame], address: str, port: int) -> list[Frame]:
    """The frames of the flow with `address:port` as its client end, in the order in which they were seen."""
    return sorted((frame for frame in frames if belongs(frame.packet, address, port)), key=lambda frame: frame.time)


def identity(packet: Packet) -> tuple[object, ...]:
    """What is the same in every sight of one packet, whatever NAT and encapsulation did to it."""
    inner = packet.innermost
    return (inner.protocol, inner.info if inner.protocol == TCP else "", inner.flags, inner.payload)


def packets(frames: Sequence[Frame], address: str, port: int) -> list[list[Frame]]:
    """The flow's frames grouped by packet, in the order of each packet's first sight. Direction is part of it."""
    groups: dict[tuple[object, ...], list[Frame]] = {}
    for frame in flow(frames, address, port):
        inner = frame.packet.innermost
        outbound = (inner.src, inner.sport) == (address, port)
        groups.setdefault((outbound, *identity(frame.packet)), []).append(frame)
    return list(groups.values())


def hops(frames: Sequence[Frame]) -> list[Hop]:
    """The sights of one packet with what changed in between; sights of one interface in both directions are one."""
    result: list[Hop] = []
    for frame in frames:
        previous = result[-1].frame if result else None
        result.append(Hop(frame, changes(previous.packet, frame.packet) if previous else ()))
    return result


def changes(before: Packet, after: Packet) -> tuple[str, ...]:
    """In words: addresses translated, encapsulation put on or taken off, the TTL spent."""
    found: list[str] = []
    old, new = before.innermost, after.innermost
    if (old.dst, old.dport) != (new.dst, new.dport):
        found.append(f"DNAT {old.destination} → {new.destination}")
    if (old.src, old.sport) != (new.src, new.sport):
        found.append(f"SNAT {old.source} → {new.source}")
    if before.inner is None and after.inner is not None:
        found.append(f"VXLAN on: VNI {after.vni}, {after.src} → {after.dst}, +{after.length - new.length} bytes")
    if before.inner is not None and after.inner is None:
        found.append(f"VXLAN off: VNI {before.vni}, {before.length - old.length} bytes less")
    if old.ttl != new.ttl:
        found.append(f"TTL {old.ttl} → {new.ttl}")
    return tuple(found)
