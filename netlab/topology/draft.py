"""A topology as its file says it, before defaults, addresses and checks; every part remembers its place.

Both readers (YAML and Mininet) make a `Draft`; `resolve.resolve` turns it into a `Topology` or refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netlab.topology.document import Place
from netlab.topology.model import DEFAULT_MTU, Cluster, Host, Node, Router, Switch


@dataclass(slots=True)
class DraftSwitch:
    switch: Switch
    place: Place
    subnet: str | None = None
    subnet_place: Place | None = None
    subnet6: str | None = None


@dataclass(slots=True)
class DraftMachine:
    """A node, router or host: whatever has a network namespace and addresses."""

    machine: Node | Router | Host
    place: Place
    explicit_taints: bool = False
    explicit_pods: bool = False
    route_places: tuple[Place, ...] = ()

    @property
    def forwards(self) -> bool:
        return isinstance(self.machine, Router)


@dataclass(slots=True)
class DraftEnd:
    """One end of a link. What is None is filled in by `resolve`."""

    place: Place
    name: str
    interface: str | None = None
    address: str | None = None
    mac: str | None = None
    address6: str | None = None


@dataclass(slots=True)
class DraftLink:
    place: Place
    a: DraftEnd
    b: DraftEnd
    bandwidth_bps: int | None = None
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    mtu: int = DEFAULT_MTU
    subnet: str | None = None
    subnet_place: Place | None = None
    subnet6: str | None = None

    @property
    def ends(self) -> tuple[DraftEnd, DraftEnd]:
        return (self.a, self.b)


@dataclass(slots=True)
class Draft:
    name: str
    place: Place
    cluster: Cluster = field(default_factory=Cluster)
    cluster_places: dict[str, Place] = field(default_factory=dict)
    """Where each field of `cluster` was given, by its key in the file."""
    machines: dict[str, DraftMachine] = field(default_factory=dict)
    switches: dict[str, DraftSwitch] = field(default_factory=dict)
    links: list[DraftLink] = field(default_factory=list)
    narrow_subnets: bool = False
    """Whether wide prefixes on addresses (Mininet's 10.0.0.1/8) may be narrowed to what the segment needs."""

    def cluster_place(self, key: str) -> Place:
        """Where that field was given, else the place of the document."""
        return self.cluster_places.get(key) or Place(
            self.place.file, self.place.line, self.place.column, f"cluster.{key}"
        )

    def add_machine(self, entry: DraftMachine) -> None:
        """Adds it under its name; a name used twice is refused with both places."""
        self._refuse_duplicate(entry.machine.name, entry.place)
        self.machines[entry.machine.name] = entry

    def add_switch(self, entry: DraftSwitch) -> None:
        """Adds it under its name; a name used twice is refused with both places."""
        self._refuse_duplicate(entry.switch.name, entry.place)
        self.switches[entry.switch.name] = entry

    def _refuse_duplicate(self, name: str, place: Place) -> None:
        other = self.machines.get(name) or self.switches.get(name)
        if other is not None:
            where = f" (line {other.place.line})" if other.place.line else ""
            raise place.error(
                f"duplicate name {name!r}: {other.place.key}{where} has it already",
                "nodes, hosts, routers and switches share one set of names; rename one",
            )
