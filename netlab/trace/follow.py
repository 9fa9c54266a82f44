"""Which packets are of one connection, through every translation. Pure.

A connection is followed by what the nodes' connection tracking says of it: an entry has the addresses before and after
translation, and the second half of one node's entry is the first half of the next node's. So the set of known tuples
grows from the two ends that were asked for, in whatever order packets and entries are heard.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netlab.trace.packet import ETH_ARP, Packet

Tuple5 = tuple[int, str, int, str, int]
"""Protocol, source address and port, destination address and port. ICMP has port 0 on both sides."""
End = tuple[str, int]
"""An address and a port; port 0 means any."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Who speaks to whom. An empty tuple means anybody. `protocol` 0: any."""

    clients: tuple[End, ...]
    servers: tuple[End, ...]
    protocol: int = 0

    def begins(self, key: Tuple5) -> bool:
        """Whether a packet from the client's side to the server's is of this flow, by its own addresses."""
        protocol, src, sport, dst, dport = key
        return (
            (not self.protocol or protocol == self.protocol)
            and _matches(self.clients, src, sport)
            and _matches(self.servers, dst, dport)
        )


def _matches(ends: tuple[End, ...], address: str, port: int) -> bool:
    return not ends or any(one == address and (not number or number == port) for one, number in ends)


def reverse(key: Tuple5) -> Tuple5:
    protocol, src, sport, dst, dport = key
    return (protocol, dst, dport, src, sport)


def key_of(packet: Packet) -> Tuple5 | None:
    """The innermost tuple; None for ARP and what is no IP."""
    inner = packet.innermost
    if inner.ethertype == ETH_ARP or not inner.src:
        return None
    return (inner.protocol, inner.src, inner.sport, inner.dst, inner.dport)


class Follower:
    """The tuples of the connections that a flow consists of, as far as they are known."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.known: set[Tuple5] = set()
        self._waiting: dict[Tuple5, list[tuple[Tuple5, Tuple5]]] = {}
        """Entries that are of no known connection yet, by each of their tuples."""

    def learn(self, original: Tuple5, reply: Tuple5) -> None:
        """A node's entry: the connection's first direction as it comes, and the answers as they come."""
        names = {original, reverse(original), reply, reverse(reply)}
        if self.flow.begins(original) or not self.known.isdisjoint(names):
            self._add(names)
        else:
            for name in names:
                self._waiting.setdefault(name, []).append((original, reply))

    def forget(self, original: Tuple5, reply: Tuple5) -> None:
        """An entry ended that was never of this flow: nothing has to be remembered of it."""
        for name in (original, reverse(original), reply, reverse(reply)):
            entries = self._waiting.get(name, [])
            if (original, reply) in entries:
                entries.remove((original, reply))
            if not entries:
                self._waiting.pop(name, None)

    def learn_all(self, entries: Iterable[tuple[Tuple5, Tuple5]]) -> None:
        for original, reply in entries:
            self.learn(original, reply)

    def has(self, packet: Packet) -> bool:
        """Whether a packet is of the flow."""
        key = key_of(packet)
        if key is None:
            return False
        if key in self.known:
            return True
        if self.flow.begins(key) or self.flow.begins(reverse(key)):
            self._add({key, reverse(key)})
            return True
        return False

    def _add(self, names: set[Tuple5]) -> None:
        fresh = list(names)
        while fresh:
            name = fresh.pop()
            if name in self.known:
                continue
            self.known.add(name)
            for original, reply in self._waiting.pop(name, ()):
                fresh += (original, reverse(original), reply, reverse(reply))
