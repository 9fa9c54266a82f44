"""Tracked connections with names: which pod, Service and node an address is. Pure.

A node's table knows addresses only. Where a connection was translated, its first destination names the Service, and who
answers names the endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from netlab.api.types import Obj
from netlab.dataplane.services import Family, service_ports

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
FAMILIES: tuple[Family, ...] = ("IPv4", "IPv6")


@dataclass(slots=True)
class Names:
    """What addresses are called. `services` and `node_ports` by (protocol, …) as conntrack names it."""

    pods: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    services: dict[tuple[str, str, int], str] = field(default_factory=dict)
    node_ports: dict[tuple[str, int], str] = field(default_factory=dict)

    def end(self, address: str) -> str:
        """A pod's "namespace/name", a node's name, or ""."""
        return self.pods.get(address) or self.nodes.get(address, "")

    def service(self, protocol: str, address: str, port: int) -> str:
        """ "namespace/name:port" of what stands at an address and port; node ports only at addresses of nodes."""
        found = self.services.get((protocol, address, port))
        if found is None and address in self.nodes:
            found = self.node_ports.get((protocol, port))
        return found or ""


def names(services: Iterable[Obj], pods: Iterable[Obj], nodes: Iterable[Obj]) -> Names:
    """From the API's objects. Addresses of hostNetwork pods stay their node's."""
    made = Names()
    for node in nodes:
        for entry in (node.get("status") or {}).get("addresses") or ():
            if entry.get("type") in ("InternalIP", "ExternalIP"):
                made.nodes[entry["address"]] = node["metadata"]["name"]
    for pod in pods:
        if (pod.get("spec") or {}).get("hostNetwork"):
            continue
        for entry in (pod.get("status") or {}).get("podIPs") or ():
            made.pods[entry["ip"]] = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for service in services:
        _service(service, made)
    return made


def _service(service: Obj, into: Names) -> None:
    for family in FAMILIES:
        for port in service_ports(service, family):
            protocol = port.protocol.lower()
            for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
                into.services[protocol, address, port.port] = str(port.name)
            if port.node_port:
                into.node_ports[protocol, port.node_port] = str(port.name)


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction: addresses with their ports (0 where the protocol has none)."""

    src: str
    dst: str
    sport: int
    dport: int


@dataclass(frozen=True, slots=True)
class Connection:
    """A tracked connection on a node. `event` is "new", "update" or "destroy" when it was seen to change, else ""."""

    node: str
    protocol: str
    state: str
    timeout: int
    original: Tuple
    reply: Tuple
    assured: bool
    replied: bool
    mark: int
    event: str = ""

    @property
    def destination_translated(self) -> bool:
        return (self.original.dst, self.original.dport) != (self.reply.src, self.reply.sport)

    @property
    def source_translated(self) -> bool:
        return (self.original.src, self.original.sport) != (self.reply.dst, self.reply.dport)


def connection(node: str, data: Mapping[str, object]) -> Connection:
    """From one line of `netlab.kernel.tables`."""
    fields = dict(data)
    number = int(str(fields.pop("proto")))
    original, reply = (Tuple(**fields.pop(side)) for side in ("original", "reply"))  # type: ignore[arg-type]
    return Connection(
        node, protocol=PROTOCOLS.get(number, str(number)), original=original, reply=reply, **fields  # type: ignore[arg-type]
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Named:
    """A connection with what its ends are called; "" for what has no name here."""

    connection: Connection
    client: str
    service: str
    server: str
    destination: str = ""
    """Where it was sent to, if that is a pod or a node."""


def named(found: Connection, known: Names) -> Named:
    original, reply = found.original, found.reply
    return Named(
        found,
        known.end(original.src),
        known.service(found.protocol, original.dst, original.dport),
        known.end(reply.src),
        known.end(original.dst),
    )


def about_pod(entry: Named, pod: str) -> bool:
    """Whether a pod "namespace/name" is one of its ends."""
    return pod in (entry.client, entry.server)


def about_service(entry: Named, service: str) -> bool:
    """Whether it goes to a Service "namespace/name"."""
    return entry.service == service or entry.service.startswith(f"{service}:")


def row(entry: Named) -> tuple[str, ...]:
    """Cells for a table: node, protocol, state, from, to, answered by, seen as."""
    found = entry.connection
    state = found.state or ("ASSURED" if found.assured else "" if found.replied else "UNREPLIED")
    via = _place(entry.service or entry.destination, found.original.dst, found.original.dport)
    server = _place(entry.server, found.reply.src, found.reply.sport) if found.destination_translated else "="
    seen = f"{found.reply.dst}:{found.reply.dport}" if found.source_translated else "="
    client = _place(entry.client, found.original.src, found.original.sport)
    return (found.node, found.protocol, state, f"{found.timeout}s", client, via, server, seen)


HEADER = ("NODE", "PROTO", "STATE", "ENDS", "FROM", "TO", "ANSWERED BY", "SEEN AS")


def _place(name: str, address: str, port: int) -> str:
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}" if port else address
    return f"{where} ({name})" if name else where


def to_obj(entry: Named) -> Obj:
    """For -o json."""
    found = entry.connection
    data = asdict(found)
    return {
        **{key: value for key, value in data.items() if key != "event" or value},
        "destinationTranslated": found.destination_translated,
        "sourceTranslated": found.source_translated,
        "client": entry.client,
        "service": entry.service,
        "server": entry.server,
    }
