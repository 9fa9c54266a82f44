"""A DNS server for a host of the topology: the resolver that the cluster forwards to. It knows the names that the
topology gives it, and that no others exist."""

from __future__ import annotations

from collections.abc import Sequence

from netlab.dns.config import Config
from netlab.dns.directives import read
from netlab.dns.program import serve

TTL = 60


def corefile(addresses: Sequence[str], names: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The Corefile of a host with these addresses that knows these names. Pure."""
    entries = "".join(f"        {address} {name}\n" for name, found in names for address in found)
    return (
        f".:53 {{\n    bind {' '.join(addresses)}\n    errors\n    log\n    hosts /dev/null {{\n{entries}"
        f"        ttl {TTL}\n        fallthrough\n    }}\n    forward . /dev/null\n    loadbalance\n}}\n"
    )


def serve_host(addresses: Sequence[str], names: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Serve until SIGTERM."""
    text = corefile(addresses, names)

    def load() -> Config:
        return read(text, "resolver")

    serve(load, hosts=tuple(addresses), own=tuple(addresses))
