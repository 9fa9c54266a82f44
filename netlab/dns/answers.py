"""Questions about the cluster's zones to answers, as CoreDNS' kubernetes plugin gives them. Pure.

Sources: the specification (kubernetes/dns docs/specification.md 1.1), CoreDNS 1.12 plugin/kubernetes (parse.go,
kubernetes.go, reverse.go, ns.go, handler.go) and plugin/backend_lookup.go. A name that exists without a record of the
asked type is NODATA (NOERROR with the SOA in the authority section); one that does not exist is NXDOMAIN. Wildcards are
names like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from netlab.api.addresses import is_address
from netlab.dns.config import Kubernetes, longest
from netlab.dns.message import NOERROR, NXDOMAIN, Query, Record, Reply
from netlab.dns.zone import Endpoint, Service, Zone

SCHEMA_VERSION = "1.1.0"
VERSION_TTL = 28800
SOA_TTL = 300
"""The most that the SOA's own TTL is."""
CHAIN = 8
"""So many aliases are followed."""


@dataclass(frozen=True, slots=True)
class Found:
    """One target of a name: `host` is an address, `owner` the name that an SRV record gives it."""

    host: str
    port: int
    owner: str


@dataclass(slots=True)
class _Lookup:
    exists: bool = False
    found: list[Found] = field(default_factory=list)
    external: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, or an alias: the records so far, and the outside name that is still to be asked for."""

    reply: Reply
    cname: str = ""


def resolve(zone: Zone, config: Kubernetes, query: Query, own: tuple[str, ...] = ()) -> Answer | None:
    """The answer to a question; `own` are the addresses of the server itself.

    None: to be passed on, because it is in none of the zones, or does not exist in one that falls through.
    """
    of = longest(config.zones, query.lower)
    if of is None:
        return None
    answer = _in_zone(zone, config, query, of, own)
    if answer.reply.rcode == NXDOMAIN and config.fallthrough is not None and config.fallthrough.through(query.lower):
        return None
    return answer


def _in_zone(zone: Zone, config: Kubernetes, query: Query, of: str, own: tuple[str, ...]) -> Answer:
    kind, name = query.type, query.lower
    if kind == "PTR" and (address := reverse_address(name)):
        targets = pointers(zone, config, address)
        records = unique(Record(query.name, "PTR", config.ttl, target) for target in targets)
        return _reply(zone, config, of, NOERROR if targets else NXDOMAIN, records)
    if kind == "SOA":  # whatever the name
        return Answer(_say(NOERROR, (soa(zone, config, of),)))
    if kind == "TXT":
        text = Record(query.name, "TXT", VERSION_TTL, f'"{SCHEMA_VERSION}"')
        return _reply(zone, config, of, NOERROR, (text,) if name == f"dns-version.{of}" else ())
    if name == of:
        return _name_servers(zone, config, query, of, own) if kind == "NS" else _reply(zone, config, of, NOERROR)
    if name == f"ns.dns.{of}":
        servers = name_servers(zone, config, of, own)
        found = unique(address_record(query.name, config.ttl, address) for _, address in servers)
        return _reply(zone, config, of, NOERROR, tuple(one for one in found if one.type == kind))
    relative = name[: -len(of) - 1] if of != "." else name[:-1]
    lookup = _lookup(zone, config, relative.split("."), of)
    return _found(zone, config, query, of, lookup)


def _say(
    rcode: int,
    answer: tuple[Record, ...] = (),
    authority: tuple[Record, ...] = (),
    additional: tuple[Record, ...] = (),
) -> Reply:
    return Reply(rcode, answer, authority, additional, plugin="kubernetes", keep=math.inf)


def _reply(
    zone: Zone,
    config: Kubernetes,
    of: str,
    rcode: int,
    answer: tuple[Record, ...] = (),
    additional: tuple[Record, ...] = (),
) -> Answer:
    return Answer(_say(rcode, answer, () if answer else (soa(zone, config, of),), additional))


def soa(zone: Zone, config: Kubernetes, of: str) -> Record:
    """A zone's start of authority; its TTL and last field say how long a negative answer may be kept (RFC 2308)."""
    at = "" if of == "." else of
    data = f"ns.dns.{at} hostmaster.{at} {zone.serial} 7200 1800 86400 {config.ttl}"
    return Record(of, "SOA", min(config.ttl, SOA_TTL), data)


def name_servers(zone: Zone, config: Kubernetes, of: str, own: tuple[str, ...]) -> list[tuple[str, str]]:
    """(name, address) of the Services whose endpoint this server is; without one, itself under ns.dns."""
    found: list[tuple[str, str]] = []
    for address in own:
        for key, endpoint in zone.endpoints_at(address):
            service = zone.services.get(key)
            if service is None:
                continue
            name = f"{key[1]}.{key[0]}.svc.{of}"
            if service.headless:
                found.append((f"{endpoint.label(config.endpoint_pod_names)}.{name}", address))
            else:
                found += [(name, cluster_ip) for cluster_ip in service.addresses]
    return list(dict.fromkeys(found)) or [(f"ns.dns.{of}", address) for address in own]


def _name_servers(zone: Zone, config: Kubernetes, query: Query, of: str, own: tuple[str, ...]) -> Answer:
    servers = name_servers(zone, config, of, own)
    answer = unique(Record(query.name, "NS", config.ttl, name) for name, _ in servers)
    glue = unique(address_record(name, config.ttl, address) for name, address in servers)
    return _reply(zone, config, of, NOERROR, answer, glue)


def exposed(zone: Zone, config: Kubernetes, namespace: str) -> bool:
    """Whether names of the namespace are answered."""
    return namespace in zone.namespaces and (not config.namespaces or namespace in config.namespaces)


def _lookup(zone: Zone, config: Kubernetes, labels: list[str], of: str) -> _Lookup:
    """`[[[_port._proto.|endpoint.]service.]namespace.]svc|pod`, from the right, as parse.go reads it."""
    branch, rest = labels[-1], labels[:-1]
    if branch not in ("svc", "pod") or of.endswith(".arpa."):
        return _Lookup()
    if not rest:
        return _Lookup(exists=True)
    namespace, rest = rest[-1], rest[:-1]
    if not exposed(zone, config, namespace):
        return _Lookup()
    if not rest:
        return _Lookup(exists=True)
    if branch == "pod":
        return _pod(zone, config, namespace, rest, of)
    name, rest = rest[-1], rest[:-1]
    if len(rest) > 2:
        return _Lookup()
    if len(rest) == 2:
        port, protocol = (label.removeprefix("_") for label in rest)
        if not all(label.startswith("_") for label in rest):
            return _Lookup()
        return _services(zone, config, (namespace, name), of, port=port, protocol=protocol)
    return _services(zone, config, (namespace, name), of, endpoint=rest[0] if rest else "")


def _pod(zone: Zone, config: Kubernetes, namespace: str, rest: list[str], of: str) -> _Lookup:
    if config.pods == "disabled" or len(rest) > 1:
        return _Lookup()
    label = rest[0]
    text = label.replace("-", "." if label.count("-") == 3 and "--" not in label else ":")
    try:
        address = str(ip_address(text))
    except ValueError:
        return _Lookup()
    if config.pods == "verified" and not zone.has_pod(namespace, address):
        return _Lookup()
    return _Lookup(True, [Found(address, 0, f"{label}.{namespace}.pod.{of}")])


def _services(
    zone: Zone,
    config: Kubernetes,
    key: tuple[str, str],
    of: str,
    *,
    endpoint: str = "",
    port: str = "",
    protocol: str = "",
) -> _Lookup:
    service = zone.services.get(key)
    if service is None:
        return _Lookup()
    if service.external:
        return _Lookup() if endpoint or is_address(service.external) else _Lookup(True, external=service.external)
    owner = f"{key[1]}.{key[0]}.svc.{of}"
    if config.ignore_empty and not service.headless and not any(zone.endpoints(key)):
        return _Lookup()
    if service.headless or endpoint:
        found = _endpoints(zone, config, service, owner, endpoint, port, protocol)
        return _Lookup(bool(found), found)
    ports = [one for one in service.ports if port in ("", one.name) and protocol in ("", one.protocol)]
    return _Lookup(bool(ports), [Found(ip, one.number, owner) for one in ports for ip in service.addresses])


def _endpoints(
    zone: Zone, config: Kubernetes, service: Service, owner: str, wanted: str, port_name: str, protocol: str
) -> list[Found]:
    def label(endpoint: Endpoint) -> str:
        return endpoint.label(config.endpoint_pod_names)

    return [
        Found(endpoint.address, port.number, f"{label(endpoint)}.{owner}")
        for endpoint in zone.endpoints((service.namespace, service.name))
        if wanted in ("", label(endpoint))
        for port in endpoint.ports
        if port_name in ("", port.name) and protocol in ("", port.protocol)
    ]


def _found(zone: Zone, config: Kubernetes, query: Query, of: str, lookup: _Lookup) -> Answer:
    if not lookup.exists:
        return _reply(zone, config, of, NXDOMAIN)
    if lookup.external:
        return _alias(zone, config, query, of, f"{lookup.external}.")
    if query.type == "SRV":
        answer, additional = _srv(config, query.name, lookup.found)
        return _reply(zone, config, of, NOERROR, answer, additional)
    records = unique(address_record(query.name, config.ttl, one.host) for one in lookup.found)
    return _reply(zone, config, of, NOERROR, tuple(one for one in records if one.type == query.type))


def _alias(zone: Zone, config: Kubernetes, query: Query, of: str, target: str) -> Answer:
    """An ExternalName. One that stays in the zone is followed here, and is nothing where it leads nowhere."""
    records = [Record(query.name, "CNAME", config.ttl, target)]
    if query.type == "CNAME":
        return Answer(_say(NOERROR, tuple(records)))
    if query.type not in ("A", "AAAA"):
        return _reply(zone, config, of, NOERROR)
    names = {query.lower}
    while len(records) < CHAIN:
        name = records[-1].data.lower()
        if longest((of,), name) is None:
            return Answer(_say(NOERROR, tuple(records)), cname=name)
        if name in names:
            break
        names.add(name)
        lookup = _lookup(zone, config, name[: -len(of) - 1].split("."), of)
        if not lookup.external:
            found = unique(address_record(records[-1].data, config.ttl, one.host) for one in lookup.found)
            found = tuple(one for one in found if one.type == query.type)
            return _reply(zone, config, of, NOERROR, (*records, *found) if found else ())
        records.append(Record(records[-1].data, "CNAME", config.ttl, f"{lookup.external}."))
    return _reply(zone, config, of, NOERROR)


def _srv(config: Kubernetes, name: str, found: list[Found]) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """The weight 100 is shared evenly by all that was found, one for each address and port, as CoreDNS does, though
    records that come out equal are then given once; the targets' addresses come along."""
    weight = max(1, 100 // len(found)) if found else 0
    targets = [one for one in found if one.port > 0]
    answer = unique(Record(name, "SRV", config.ttl, f"0 {weight} {one.port} {one.owner}") for one in targets)
    return answer, unique(address_record(one.owner, config.ttl, one.host) for one in targets)


def pointers(zone: Zone, config: Kubernetes, address: str) -> list[str]:
    """The names of an address: of the Service that has it as its cluster IP, else of the endpoints that have it."""
    for service in zone.services_at(address):
        if not config.namespaces or service.namespace in config.namespaces:
            return [f"{service.name}.{service.namespace}.svc.{config.primary}"]
    return [
        f"{endpoint.label(config.endpoint_pod_names)}.{name}.{namespace}.svc.{config.primary}"
        for (namespace, name), endpoint in zone.endpoints_at(address)
        if not config.namespaces or namespace in config.namespaces
    ]


def reverse_address(name: str) -> str | None:
    """The address that a reverse name (lower case, with its final dot) stands for, or None for a part of one."""
    labels = name.rstrip(".").split(".")
    try:
        if name.endswith(".in-addr.arpa.") and len(labels) == 6:
            return str(IPv4Address(".".join(reversed(labels[:4]))))
        if name.endswith(".ip6.arpa.") and len(labels) == 34:
            digits = "".join(reversed(labels[:32]))
            return str(IPv6Address(":".join(digits[i : i + 4] for i in range(0, 32, 4))))
    except ValueError:
        return None
    return None


def address_record(name: str, ttl: int, address: str) -> Record:
    """An A or AAAA record, as the address is."""
    return Record(name, "AAAA" if ":" in address else "A", ttl, address)


def unique(records: Iterable[Record]) -> tuple[Record, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(records))
