"""What a node's IPVS state must be, and the part of it that a change touches. State, but no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from netlab.dataplane.iptables.rules import Rule
from netlab.dataplane.ipvs.chains import rules
from netlab.dataplane.ipvs.model import Entry, Frontend, RealServer, VirtualServer
from netlab.dataplane.ipvs.service import IpvsConfig, ServiceParts, service_parts
from netlab.dataplane.ipvs.sets import IPVS_IPS, SET_NAMES, IpSets, ip_sets
from netlab.dataplane.ipvs.state import IpvsState
from netlab.dataplane.services.model import ServicePortName
from netlab.dataplane.services.table import ServiceState

Claims = dict[ServicePortName, tuple[VirtualServer, tuple[RealServer, ...]]]


@dataclass(slots=True)
class Touched:
    """What changed since it was last taken."""

    frontends: set[Frontend] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    members: set[tuple[str, Entry]] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.frontends or self.addresses or self.members)


class IpvsProgram:
    """The parts of every service port. What two of them share (an address of several ports) stays until both are gone.

    Where two claim one address and port, the last by name has it.
    """

    def __init__(self, config: IpvsConfig) -> None:
        self.config = config
        self.sets: IpSets = ip_sets(config.family)
        self._states: dict[ServicePortName, ServiceState] = {}
        self._parts: dict[ServicePortName, ServiceParts] = {}
        self._reset()

    def _reset(self) -> None:
        self._claims: dict[Frontend, Claims] = {}
        self._addresses: Counter[str] = Counter()
        self._members: Counter[tuple[str, Entry]] = Counter()
        self._refused: dict[ServicePortName, tuple[Frontend, ...]] = {}
        self.touched = Touched()

    @property
    def services(self) -> Mapping[ServicePortName, ServiceParts]:
        return self._parts

    def configure(self, **changes: Any) -> bool:
        """Changes fields of the configuration; True where one differs: all is computed anew, a full sync is due."""
        config = replace(self.config, **changes)
        if config == self.config:
            return False
        self.config = config
        states, self._states, self._parts = self._states, {}, {}
        self._reset()
        for name, state in states.items():
            self.update(name, state)
        return True

    def update(self, name: ServicePortName, state: ServiceState | None) -> tuple[ServiceParts | None, ...]:
        """Takes a service port's new state, None where it is gone; returns its parts before and after."""
        before, after = self._parts.pop(name, None), None
        self._states.pop(name, None)
        if before is not None:
            self._count(before, -1)
        if state is not None:
            self._states[name] = state
            after = self._parts[name] = service_parts(state.port, state.choice, state.endpoints, self.config)
            self._count(after, 1)
        return before, after

    def _count(self, parts: ServiceParts, change: int) -> None:
        for server, real in parts.servers:
            claims = self._claims.setdefault(server.frontend, {})
            if change > 0:
                claims[parts.name] = (server, real)
            else:
                claims.pop(parts.name, None)
                if not claims:
                    del self._claims[server.frontend]
            self.touched.frontends.add(server.frontend)
        for address in parts.addresses:
            self._addresses[address] += change
            self.touched.addresses.add(address)
            self.touched.members.add((IPVS_IPS, Entry(address)))
        for member in parts.members:
            self._members[member] += change
            self.touched.members.add(member)
        if change > 0 and parts.refused:
            self._refused[parts.name] = parts.refused
        else:
            self._refused.pop(parts.name, None)

    def take_touched(self) -> Touched:
        touched, self.touched = self.touched, Touched()
        return touched

    def state(self) -> IpvsState:
        """All of it."""
        members: dict[str, set[Entry]] = {name: set() for name in SET_NAMES}
        for (name, entry), count in self._members.items():
            if count:
                members[name].add(entry)
        addresses = {address for address, count in self._addresses.items() if count}
        members[IPVS_IPS] = {Entry(address) for address in addresses}
        state = IpvsState(True, addresses=addresses, members=members)
        for frontend in self._claims:
            self._fill(state, frontend)
        return state

    def part(self, touched: Touched) -> IpvsState:
        """Only what is at the touched places."""
        state = IpvsState(True, members={name: set() for name, _ in touched.members})
        state.addresses = {address for address in touched.addresses if self._addresses[address]}
        for name, entry in touched.members:
            if self._addresses[entry.address] if name == IPVS_IPS else self._members[name, entry]:
                state.members[name].add(entry)
        for frontend in touched.frontends:
            self._fill(state, frontend)
        return state

    def _fill(self, state: IpvsState, frontend: Frontend) -> None:
        claims = self._claims.get(frontend)
        if claims:
            server, real = claims[max(claims)]
            state.servers[frontend] = server
            state.reals[frontend] = {one.key: one for one in real}

    def rules(self) -> dict[str, list[Rule]]:
        """Our chains' rules, by table."""
        filled = {name for (name, _), count in self._members.items() if count}
        refused = [frontend for name in sorted(self._refused) for frontend in self._refused[name]]
        return rules(filled, dict.fromkeys(refused), self.config)


def restricted(state: IpvsState, touched: Touched, frontends: Iterable[Frontend] = ()) -> IpvsState:
    """The same places of another state: what `part` is compared with."""
    wanted = {*touched.frontends, *frontends}
    members: dict[str, set[Entry]] = {}
    for name, entry in touched.members:
        if name in state.members:
            found = members.setdefault(name, set())
            if entry in state.members[name]:
                found.add(entry)
    return IpvsState(
        state.device,
        {key: state.servers[key] for key in wanted if key in state.servers},
        {key: state.reals[key] for key in wanted if key in state.reals},
        touched.addresses & state.addresses,
        members,
    )
