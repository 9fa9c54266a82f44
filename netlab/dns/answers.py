"""Questions about the cluster's zone to answers, as CoreDNS' kubernetes plugin gives them. Pure.

Sources: the specification (kubernetes/dns docs/specification.md 1.1), CoreDNS plugin/kubernetes (parse.go,
kubernetes.go, reverse.go). A name that exists without a record of the asked type is NODATA (NOERROR with the SOA in
the authority section); one that does not exist is NXDOMAIN. Wildcards are names like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

from netlab.dns.zone import Service, Zone

SCHEMA_VERSION = "1.1.0"
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
Pods = Literal["disabled", "insecure", "verified"]


@dataclass(frozen=True, slots=True)
class Record:
    """`data` in presentation format: "10.96.0.1", "0 100 443 web.default.svc.cluster.local."."""

    name: str
    type: str
    ttl: int
    data: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The sections of an answer. `cname` is the outside name that an ExternalName leads to, still to be asked for."""

    rcode: int = NOERROR
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    cname: str = ""


@dataclass(frozen=True, slots=True)
class ZoneConfig:
    """What the Corefile's kubernetes block says. `name_server` are the addresses of the DNS Service itself."""

    domain: str = "cluster.local"
    ttl: int = 5
    pods: Pods = "disabled"
    name_server: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """One target of a name: `host` is an address, `owner` the name that an SRV record or PTR gives it."""

    host: str
    port: int
    owner: str
    port_name: str = ""
    protocol: str = ""


@dataclass(slots=True)
class _Lookup:
    exists: bool = False
    found: list[Found] = field(default_factory=list)
    external: str = ""


def is_reverse(name: str) -> bool:
    """Whether the name (lower case, no final dot) is in a reverse zone."""
    return name.endswith((".in-addr.arpa", ".ip6.arpa"))


def resolve(zone: Zone, config: ZoneConfig, name: str, kind: str) -> Answer | None:
    """The answer to a question for `name` (any case, with or without its final dot) and type "A", "SRV", …

    None: the question is none of ours (outside the domain, or a reverse name that is no Service's).
    """
    plain = name.rstrip(".").lower()
    if is_reverse(plain):
        return _reverse(zone, config, name, plain, kind)
    domain = config.domain.lower()
    if plain == domain:
        return _apex(zone, config, name, kind)
    if not plain.endswith("." + domain):
        return None
    labels = plain[: -len(domain) - 1].split(".")
    if labels == ["dns-version"]:
        records = (Record(name, "TXT", config.ttl, f'"{SCHEMA_VERSION}"'),) if kind == "TXT" else ()
        return Answer(answer=records, authority=() if records else (soa(zone, config),))
    if labels == ["ns", "dns"]:
        return _answer(zone, config, name, kind, _Lookup(True, [Found(a, 53, plain) for a in config.name_server]))
    return _answer(zone, config, name, kind, _lookup(zone, config, labels))


def soa(zone: Zone, config: ZoneConfig) -> Record:
    """The zone's start of authority; its TTL and last field say how long a negative answer may be kept (RFC 2308)."""
    data = f"ns.dns.{config.domain}. hostmaster.{config.domain}. {zone.serial} 7200 1800 86400 {config.ttl}"
    return Record(f"{config.domain}.", "SOA", config.ttl, data)


def _apex(zone: Zone, config: ZoneConfig, name: str, kind: str) -> Answer:
    if kind == "SOA":
        return Answer(answer=(soa(zone, config),))
    if kind == "NS":
        server = f"ns.dns.{config.domain}."
        glue = tuple(_address(server, config.ttl, address) for address in config.name_server)
        return Answer(answer=(Record(name, "NS", config.ttl, server),), additional=glue)
    return Answer(authority=(soa(zone, config),))


def _lookup(zone: Zone, config: ZoneConfig, labels: list[str]) -> _Lookup:
    """`[[[_port._proto.|endpoint.]service.]namespace.]svc|pod`, from the right, as parse.go reads it."""
    branch, rest = labels[-1], labels[:-1]
    if branch not in ("svc", "pod"):
        return _Lookup()
    if not rest:
        return _Lookup(exists=True)
    namespace, rest = rest[-1], rest[:-1]
    if namespace not in zone.namespaces:
        return _Lookup()
    if not rest:
        return _Lookup(exists=True)
    if branch == "pod":
        return _pod(zone, config, namespace, rest)
    name, rest = rest[-1], rest[:-1]
    if len(rest) > 2:
        return _Lookup()
    if len(rest) == 2:
        if not (rest[0].startswith("_") and rest[1].startswith("_")):
            return _Lookup()
        return _services(zone, config, namespace, name, port=rest[0][1:], protocol=rest[1][1:])
    return _services(zone, config, namespace, name, endpoint=rest[0] if rest else "")


def _pod(zone: Zone, config: ZoneConfig, namespace: str, rest: list[str]) -> _Lookup:
    if config.pods == "disabled" or len(rest) > 1:
        return _Lookup()
    label = rest[0]
    text = label.replace("-", "." if label.count("-") == 3 and "--" not in label else ":")
    try:
        address = str(ip_address(text))
    except ValueError:
        return _Lookup()
    return _Lookup(True, [Found(address, 0, f"{label}.{namespace}.pod.{config.domain}.")])


def _services(
    zone: Zone, config: ZoneConfig, namespace: str, name: str, *, endpoint: str = "", port: str = "", protocol: str = ""
) -> _Lookup:
    service = zone.services.get((namespace, name))
    if service is None:
        return _Lookup()
    if service.external:
        return _Lookup() if endpoint or port else _Lookup(True, external=service.external)
    owner = f"{name}.{namespace}.svc.{config.domain}."
    if service.headless or endpoint:
        found = _endpoints(zone, service, owner, endpoint)
    else:
        found = [
            Found(address, entry.number, owner, entry.name, entry.protocol)
            for entry in service.ports
            for address in service.addresses
        ]
    chosen = [one for one in found if port in ("", one.port_name) and protocol in ("", one.protocol)]
    return _Lookup(bool(chosen), chosen)


def _endpoints(zone: Zone, service: Service, owner: str, wanted: str) -> list[Found]:
    return [
        Found(endpoint.address, port.number, f"{endpoint.hostname}.{owner}", port.name, port.protocol)
        for endpoint in zone.endpoints((service.namespace, service.name))
        if wanted in ("", endpoint.hostname)
        for port in endpoint.ports
    ]


def _answer(zone: Zone, config: ZoneConfig, name: str, kind: str, lookup: _Lookup) -> Answer:
    if lookup.external:
        records = (Record(name, "CNAME", config.ttl, f"{lookup.external}."),)
        return Answer(answer=records, cname="" if kind == "CNAME" else f"{lookup.external}.")
    if not lookup.exists:
        return Answer(NXDOMAIN, authority=(soa(zone, config),))
    if kind == "SRV":
        answer, additional = _srv(config, name, lookup.found)
    else:
        answer, additional = _unique(_address(name, config.ttl, one.host) for one in lookup.found), ()
        answer = tuple(record for record in answer if record.type == kind)
    return Answer(answer=answer, authority=() if answer else (soa(zone, config),), additional=additional)


def _srv(config: ZoneConfig, name: str, found: list[Found]) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """SRV records share the weight 100 evenly, as CoreDNS does; the targets' addresses come along."""
    targets = [one for one in found if one.port > 0]
    weight = max(1, 100 // len({(one.owner, one.port) for one in targets})) if targets else 0
    answer = _unique(Record(name, "SRV", config.ttl, f"0 {weight} {one.port} {one.owner}") for one in targets)
    return answer, _unique(_address(one.owner, config.ttl, one.host) for one in targets)


def _reverse(zone: Zone, config: ZoneConfig, name: str, plain: str, kind: str) -> Answer | None:
    address = reverse_address(plain)
    if address is None:
        return None
    names = [f"{service.name}.{service.namespace}.svc.{config.domain}." for service in zone.services_at(address)]
    names += [
        f"{endpoint.hostname}.{service.name}.{service.namespace}.svc.{config.domain}."
        for service, endpoint in zone.endpoints_at(address)
    ]
    if not names:
        return None
    if kind != "PTR":
        return Answer(authority=(soa(zone, config),))
    return Answer(answer=_unique(Record(name, "PTR", config.ttl, target) for target in names))


def reverse_address(plain: str) -> str | None:
    """The address that a reverse name stands for, or None for a part of one."""
    labels = plain.split(".")
    try:
        if plain.endswith(".in-addr.arpa") and len(labels) == 6:
            return str(IPv4Address(".".join(reversed(labels[:4]))))
        if plain.endswith(".ip6.arpa") and len(labels) == 34:
            digits = "".join(reversed(labels[:32]))
            return str(IPv6Address(":".join(digits[i : i + 4] for i in range(0, 32, 4))))
    except ValueError:
        return None
    return None


def _address(name: str, ttl: int, address: str) -> Record:
    return Record(name, "AAAA" if ":" in address else "A", ttl, address)


def _unique(records: Iterable[Record]) -> tuple[Record, ...]:
    return tuple(dict.fromkeys(records))
