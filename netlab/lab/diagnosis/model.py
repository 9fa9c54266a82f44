"""What is asked, what was seen, and what was found. Frozen, without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from netlab.api.types import Obj
from netlab.dataplane.ipvs.state import IpvsState
from netlab.dataplane.model import NodeState
from netlab.topology.model import Topology

PlaceKind = Literal["pod", "node", "host", "router"]
TargetKind = Literal["service", "pod", "machine", "address", "name"]
ProbeKind = Literal["tcp", "udp", "icmp", "dns"]

Stage = Literal[
    "lab", "name", "service", "endpoints", "rules", "filter", "route", "neighbour", "fdb", "underlay", "pod", "process"
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `code` is for programs and stays the same from release to release."""

    code: str
    stage: Stage
    where: str
    """The object or machine: "Service default/web", "node1"."""
    found: str
    expected: str
    remedy: str
    """A command to type, or what to change."""
    because: str = ""
    """The code of the finding that explains this one; empty for a cause."""


@dataclass(frozen=True, slots=True)
class Place:
    """A network namespace. `name` as users write it ("node1", "default/client"), `node`: where a pod runs."""

    kind: PlaceKind
    name: str
    netns: str
    ip: str
    node: str = ""
    uid: str = ""

    def __str__(self) -> str:
        return f"pod {self.name}" if self.kind == "pod" else self.name


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for. `name` is a Service's or pod's "namespace/name", a machine, an address, or a foreign name."""

    kind: TargetKind
    name: str
    port: int | None = None
    port_name: str = ""
    asked: str = ""
    """The name that SRC would look up; empty where an address is given and nobody is asked."""


@dataclass(frozen=True, slots=True)
class Question:
    source: Place
    target: Target
    protocol: Literal["tcp", "udp", "icmp"] = "tcp"


@dataclass(frozen=True, slots=True)
class Probe:
    """Packets to send from a namespace. `group` says what for, for whoever reads the outcome.

    `count` tries, all within `timeout` seconds. tcp: connects; udp: a datagram; icmp: echo requests of `size` bytes of
    IP packet (0: small) with "don't fragment"; dns: `name`'s A (or AAAA) records of the server `ip`.
    """

    group: str
    kind: ProbeKind
    netns: str
    ip: str
    port: int = 0
    count: int = 1
    timeout: float = 1.0
    size: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a probe: for each try one word.

    tcp: "open", "refused", "timeout", "unreachable"; udp: "sent", "refused", "unreachable"; icmp: "echo", "timeout",
    "too-big", "unreachable"; dns: "NOERROR", "NXDOMAIN", …, "timeout", "refused". `addresses` of a DNS answer.
    `slowest`: seconds of the slowest answered try.
    """

    probe: Probe
    results: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    slowest: float = 0.0

    def count(self, *words: str) -> int:
        return sum(result in words for result in self.results)

    @property
    def good(self) -> int:
        return self.count("open", "echo", "NOERROR", "NXDOMAIN", "sent")

    @property
    def works(self) -> bool:
        return self.good == len(self.results)

    @property
    def fails(self) -> bool:
        return self.good == 0

    @property
    def lossy(self) -> bool:
        return 0 < self.good < len(self.results)


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that waits. `address` "0.0.0.0" or "::" is any. `waiting`: connections that nobody has accepted yet."""

    protocol: Literal["tcp", "udp"]
    address: str
    port: int
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class DropRule:
    """A rule that drops or refuses, of a table or chain that is nobody's of the cluster, or of a policy.

    `where`: "filter FORWARD" of iptables, "inet lab forward" of nft. `packets`: how many it has seen while the probes
    ran, None where it does not count. `remove`: the command that takes it away.
    """

    where: str
    text: str
    remove: str
    packets: int | None = None


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What one namespace has. `no_carrier`: interfaces that are up and whose other end is not.

    `tables`: iptables-save text with counters, by family ("IPv4", "IPv6"); `nft`: the whole ruleset's text, with
    counters and handles; `…_before`: the same before the probes were sent. `qdiscs`: "eth0 netem" for each discipline
    that shapes. `conntrack`: (entries, maximum), None where it is not known. `ipvs`: of a node that has that mode.
    """

    name: str
    state: NodeState = field(default_factory=NodeState)
    no_carrier: frozenset[str] = frozenset()
    tables: Mapping[str, str] = field(default_factory=dict)
    tables_before: Mapping[str, str] = field(default_factory=dict)
    nft: str = ""
    nft_before: str = ""
    ipvs: Mapping[str, IpvsState] = field(default_factory=dict)
    qdiscs: tuple[str, ...] = ()
    conntrack: tuple[int, int] | None = None
    listeners: tuple[Listener, ...] | None = None


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """A process that PID 1 keeps. `state` as in /proc ("S", "T" stopped), "-" for one that has ended."""

    id: str
    pid: int
    state: str
    pod: str = ""
    """namespace/name of the pod whose container it is."""
    container: str = ""


@dataclass(frozen=True, slots=True)
class Objects:
    """The API's objects; empty, with `error` saying why, where the API server did not answer."""

    services: tuple[Obj, ...] = ()
    slices: tuple[Obj, ...] = ()
    pods: tuple[Obj, ...] = ()
    nodes: tuple[Obj, ...] = ()
    leases: tuple[Obj, ...] = ()
    events: tuple[Obj, ...] = ()
    policies: tuple[Obj, ...] = ()
    namespaces: tuple[Obj, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class NodeProxy:
    """How Services are made on a node: the mode that was chosen, and what its agent reports."""

    mode: str
    scheduler: str = "rr"
    state: str = "ready"


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is judged. `machines` by namespace's name; "" is where the switches are."""

    topology: Topology
    objects: Objects
    machines: Mapping[str, MachineFacts] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()
    processes: tuple[ProcessFacts, ...] = ()
    proxies: Mapping[str, NodeProxy] = field(default_factory=dict)
    resolv: Mapping[str, str] = field(default_factory=dict)
    """/etc/resolv.conf as the containers of a pod see it, by "namespace/name"."""
    spaces: tuple[str, ...] = ()
    """All pinned namespaces."""
    read_at: float = 0.0
    """When the API's objects were read, in Unix time."""

    def group(self, name: str) -> tuple[Outcome, ...]:
        """The outcomes of the probes of that group."""
        return tuple(outcome for outcome in self.outcomes if outcome.probe.group == name)
