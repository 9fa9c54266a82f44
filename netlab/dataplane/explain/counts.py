"""What was counted while someone looked: of iptables and IPVS what their own counters went up by, of nftables, whose
rules as upstream writes them have none, what a table beside them saw come and go (see `kernel.nftcount`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netlab.api.types import Obj
from netlab.dataplane.explain.ipvs import CountedServer, Servers
from netlab.dataplane.explain.model import World
from netlab.dataplane.iptables.parse import Counted
from netlab.dataplane.iptables.rules import Rule
from netlab.dataplane.ipvs.model import Frontend

Count = tuple[int, int]
"""Packets and bytes."""
Destination = tuple[str, str, int]
"""Address, protocol, port."""


@dataclass(frozen=True, slots=True)
class Beside:
    """First packets by the destination they came with, and by that and the endpoint ("address:port") they went to."""

    came: Mapping[Destination, Count] = field(default_factory=dict)
    went: Mapping[tuple[Destination, str], Count] = field(default_factory=dict)

    def arrived(self, destination: Destination) -> Count:
        return self.came.get(destination, (0, 0))

    def arrived_anywhere(self, protocol: str, port: int, world: World) -> Count:
        """At a node port: on any of the node's addresses."""
        return _sum(
            count
            for (address, *rest), count in self.came.items()
            if rest == [protocol, port] and world.is_local(address)
        )

    def left(self, protocol: str, port: int, to: str, addresses: Iterable[str]) -> Count:
        """To an endpoint, of those that came to any of these addresses."""
        return _sum(self.went.get(((address, protocol, port), to), (0, 0)) for address in addresses)


def beside(rows: Iterable[Obj]) -> Beside:
    """From the rows that `kernel.nftcount` prints."""
    came: dict[Destination, Count] = {}
    went: dict[tuple[Destination, str], Count] = {}
    for row in rows:
        address, protocol, port, *end = row["key"]
        count = (row["packets"], row["bytes"])
        if row["set"] == "came":
            came[address, protocol, port] = count
        else:
            to = f"[{end[0]}]:{end[1]}" if ":" in end[0] else f"{end[0]}:{end[1]}"
            went[(address, protocol, port), to] = count
    return Beside(came, went)


def since(before: Sequence[Counted], after: Sequence[Counted]) -> list[Counted]:
    """The rules of `after` with what they counted since `before`. A rule that was written anew began at 0."""
    old: dict[Rule, Counted] = {one.rule: one for one in before}
    return [
        replace(one, packets=more[0], bytes=more[1])
        for one in after
        for more in [_more(old.get(one.rule, Counted(one.rule)), one)]
    ]


def servers_since(before: Servers, after: Servers) -> dict[Frontend, CountedServer]:
    """The same of virtual servers and their real servers."""
    found: dict[Frontend, CountedServer] = {}
    for frontend, one in after.items():
        old = before.get(frontend)
        reals = {real.server: real for real in old.reals} if old is not None else {}
        packets, size = _more(old, one)
        counted = tuple(
            replace(real, packets=more[0], bytes=more[1])
            for real in one.reals
            for more in [_more(reals.get(real.server), real)]
        )
        found[frontend] = replace(one, packets=packets, bytes=size, reals=counted)
    return found


def _more(before: object, after: object) -> Count:
    old = (getattr(before, "packets", 0) or 0, getattr(before, "bytes", 0) or 0)
    new = (getattr(after, "packets", 0) or 0, getattr(after, "bytes", 0) or 0)
    return (new[0] - old[0], new[1] - old[1]) if new[0] >= old[0] else new


def _sum(counts: Iterable[Count]) -> Count:
    packets = size = 0
    for one in counts:
        packets, size = packets + one[0], size + one[1]
    return packets, size
