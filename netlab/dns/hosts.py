"""The `hosts` plugin: names and addresses as in /etc/hosts, from a file and from the Corefile. Pure but for `load`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from netlab.dns.answers import address_record, reverse_address
from netlab.dns.config import Hosts, longest
from netlab.dns.message import NOERROR, SERVFAIL, Query, Record, Reply


@dataclass(slots=True)
class HostsTable:
    """Names (lower case, with their final dot) to addresses, and back."""

    names: dict[str, list[str]] = field(default_factory=dict)
    addresses: dict[str, list[str]] = field(default_factory=dict)

    def add(self, address: str, names: Iterable[str]) -> None:
        for name in names:
            self.names.setdefault(name, []).append(address)
            self.addresses.setdefault(address, []).append(name)

    @property
    def entries(self) -> int:
        """As the metric coredns_hosts_entries counts them: addresses of names, and names of addresses."""
        return sum(map(len, self.names.values())) + len(self.addresses)


def table(config: Hosts, text: str) -> HostsTable:
    """What a file's text and the Corefile's own lines say together; lines that are no entries are passed over."""
    found = HostsTable()
    for address, names in config.inline:
        found.add(address, names)
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        try:
            address = str(ip_address(words[0].partition("%")[0])) if words[1:] else ""
        except ValueError:
            continue
        if address:
            found.add(address, (word.lower().rstrip(".") + "." for word in words[1:]))
    return found


def load(config: Hosts) -> str:
    """The file's text; nothing where there is none."""
    try:
        return Path(config.file).read_text(errors="replace")
    except OSError:
        return ""


def resolve(found: HostsTable, config: Hosts, query: Query) -> Reply | None:
    """The answer; None passes the question on."""
    if query.type == "PTR":  # passed on without a name, whatever `fallthrough` says
        address = reverse_address(query.lower) if config.reverse else None
        names = list(dict.fromkeys(found.addresses.get(address, ()))) if address else []
        pointers = tuple(Record(query.name, "PTR", config.ttl, name) for name in names)
        return _say(NOERROR, pointers) if pointers else None
    if longest(config.zones, query.lower) is None:
        return None
    addresses = found.names.get(query.lower)
    if addresses is None:
        if config.fallthrough is not None and config.fallthrough.through(query.lower):
            return None
        # as upstream: a hosts file has no SOA, so it cannot say that a name does not exist
        return Reply(SERVFAIL, aa=False, plugin="hosts")
    records = (address_record(query.name, config.ttl, one) for one in dict.fromkeys(addresses))
    return _say(NOERROR, tuple(one for one in records if one.type == query.type))


def _say(rcode: int, answer: tuple[Record, ...] = ()) -> Reply:
    return Reply(rcode, answer, plugin="hosts", keep=math.inf)
