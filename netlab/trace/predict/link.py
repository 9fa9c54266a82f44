"""Bridges: which port a frame leaves by, and who is on a segment. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from netlab.trace.model import StepKind
from netlab.trace.predict import endings
from netlab.trace.predict.state import Interface, Machine, World

MOST = 4096
"""Interfaces looked at in a search over one segment."""


class Teller(Protocol):
    def say(self, kind: StepKind, text: str, *, owner: str = "", deciding: bool = False) -> None: ...


class Link:
    """The bridges of one machine."""

    def __init__(self, world: World, machine: Machine, teller: Teller) -> None:
        self.world, self.machine, self.teller = world, machine, teller

    def is_own(self, bridge: Interface, mac: str) -> bool:
        """Whether a frame for that MAC goes up to the machine itself."""
        if mac == bridge.mac or int(mac[:2], 16) & 1:
            return True
        ports = {port.name for port in self._ports(bridge)} | {bridge.name}
        return any(entry.local and entry.mac == mac and entry.dev in ports for entry in self.machine.fdb)

    def port_for(self, bridge: Interface, mac: str, came: Interface | None = None) -> Interface:
        """The port by the forwarding table, or by flooding the one behind which the MAC is. Raises `endings.Ended`."""
        ports = {port.name: port for port in self._ports(bridge)}
        found = next((ports[e.dev] for e in self.machine.fdb if e.mac == mac and e.dev in ports and not e.local), None)
        if found is not None:
            self.teller.say("fdb", f"{mac} is behind port {found.name} of {bridge.name}")
        else:
            found = next((port for port in ports.values() if self._behind(port, mac)), None)
            if found is None:
                raise endings.nobody_behind(self.machine.name, bridge.name, mac)
            self.teller.say("fdb", f"{mac} is in no forwarding entry of {bridge.name}: flooded, {found.name} has it")
        if came is not None and found.name == came.name and not came.hairpin:
            raise endings.hairpin_off(self.machine.name, found.name)
        return found

    def _ports(self, bridge: Interface) -> list[Interface]:
        return [one for one in self.machine.interfaces.values() if one.master == bridge.name and one.up]

    def _behind(self, port: Interface, mac: str) -> bool:
        return any(interface.mac == mac for _, interface in segment(self.world, self.machine, port))


def segment(world: World, machine: Machine, device: Interface) -> Iterator[tuple[Machine, Interface]]:
    """Every interface that a broadcast from `device` reaches, without bridges' ports."""
    seen = {(machine.name, device.name)}
    queue = [(machine, device)]
    while queue and len(seen) < MOST:
        here, interface = queue.pop()
        if interface.kind == "bridge":
            queue += [(here, p) for p in here.interfaces.values() if p.master == interface.name and p.up]
            continue
        if interface.peer is None or not interface.carrier or interface.peer[0] not in world.machines:
            continue
        there = world.machines[interface.peer[0]]
        other = there.interfaces.get(interface.peer[1])
        if other is None or not other.up or (there.name, other.name) in seen:
            continue
        seen.add((there.name, other.name))
        if not other.master:
            yield there, other
            continue
        yield there, there.interfaces[other.master]
        for port in there.interfaces.values():
            if port.master == other.master and port.up and (there.name, port.name) not in seen:
                seen.add((there.name, port.name))
                queue.append((there, port))


def segment_owner(world: World, machine: Machine, device: Interface, ip: str) -> str | None:
    """The MAC of whoever answers ARP or NDP for `ip` on the device's segment: Linux answers for any of its
    addresses."""
    for there, interface in segment(world, machine, device):
        if there.is_local(ip) or world.answers.get(ip) == there.name:
            return interface.mac
    return None
