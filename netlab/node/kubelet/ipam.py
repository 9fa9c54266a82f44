"""Pod addresses of one node, handed out as the CNI plugin host-local does.

The subnet's .0 is the VTEP's and .1 the bridge's; pods start at .2. Addresses go round: the one after the last given
is next, so that an address just released is the last to come back (stale ARP and conntrack entries have time to go).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network


class ExhaustedError(Exception):
    """No address is free in the range; the text is host-local's."""


class HostLocal:
    """One range. State is memory only: after a restart `reserve` is called for every pod that still runs."""

    def __init__(self, pod_cidr: str) -> None:
        network = ip_network(pod_cidr)
        self.prefix = network.prefixlen
        self.gateway = str(network[1])
        self._network = network
        self._first = int(network.network_address) + 2
        self._end = int(network.broadcast_address)
        self._next = self._first
        self._used: dict[int, str] = {}

    def allocate(self, owner: str) -> str:
        """The next free address, for `owner`. Raises ExhaustedError."""
        size = self._end - self._first
        for step in range(size):
            candidate = self._first + (self._next - self._first + step) % size
            if candidate not in self._used:
                self._used[candidate] = owner
                self._next = candidate + 1 if candidate + 1 < self._end else self._first
                return str(ip_address(candidate))
        low, high = ip_address(self._first - 1), ip_address(self._end - 1)
        raise ExhaustedError(f"failed to allocate for range 0: no IP addresses available in range set: {low}-{high}")

    def reserve(self, address: str, owner: str) -> bool:
        """Take an address that a running pod already has. False: outside the range, or another owner has it."""
        number = int(ip_address(address))
        if not self._first <= number < self._end or self._used.setdefault(number, owner) != owner:
            return False
        self._next = max(self._next, number + 1) if number + 1 < self._end else self._first
        return True

    def release(self, owner: str) -> None:
        """Give back whatever `owner` has."""
        for number in [n for n, who in self._used.items() if who == owner]:
            del self._used[number]

    @property
    def used(self) -> int:
        return len(self._used)


class Ranges:
    """A node's ranges, one of each family of its cluster, primary first: a pod gets an address of each."""

    def __init__(self, pod_cidrs: Sequence[str]) -> None:
        self.ranges = tuple(HostLocal(cidr) for cidr in pod_cidrs)

    def allocate(self, owner: str) -> tuple[str, ...]:
        """All or nothing. Raises ExhaustedError."""
        try:
            return tuple(one.allocate(owner) for one in self.ranges)
        except ExhaustedError:
            self.release(owner)
            raise

    def reserve(self, addresses: Sequence[str], owner: str) -> bool:
        """Take what a running pod already has. False where one of them could not be taken."""
        taken = [one.reserve(ip, owner) for one, ip in zip(self.ranges, addresses, strict=False)]
        return all(taken)

    def release(self, owner: str) -> None:
        """Give back whatever `owner` has."""
        for one in self.ranges:
            one.release(owner)

    @property
    def used(self) -> int:
        return self.ranges[0].used
