"""What a namespace has, in the words of the model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from netlab.dataplane.model import NodeState, Sysctl
from netlab.kernel import addresses, links, neighbours, routes
from netlab.kernel.netlink import Message
from netlab.kernel.netns import NetNs


def observe(ns: NetNs, *, sysctls: Iterable[str] = (), ipv6: bool = False) -> NodeState:
    """The namespace's state, from five dumps, or with IPv6 eight. Main table only.

    `sysctls` names the settings to read; those that the kernel lacks are left out. Neighbours include what ARP has
    learnt, with its state; routes include the kernel's own (protocol "kernel").
    """
    netlink = ns.netlink
    found = netlink.dump(links.GET_ALL, "links")
    names = {links.index_of(reply): links.name_of(reply) for reply in found}
    both = (0, 1) if ipv6 else (0,)

    def dump(requests: tuple[bytes, bytes], what: str) -> list[Message]:
        return [reply for which in both for reply in netlink.dump(requests[which], what)]

    found_addresses = dump((addresses.GET_ALL, addresses.GET_ALL6), "addresses")
    found_routes = (routes.decode(reply, names) for reply in dump((routes.GET_ALL, routes.GET_ALL6), "routes"))
    found_neighbours = (
        neighbours.decode(reply, names) for reply in dump((neighbours.GET_ALL, neighbours.GET_ALL6), "neighbours")
    )
    found_fdb = (neighbours.decode_fdb(reply, names) for reply in netlink.dump(neighbours.GET_FDB, "fdb"))
    return NodeState(
        links=tuple(links.decode(reply, names) for reply in found),
        addresses=tuple(addresses.decode(reply, names) for reply in found_addresses),
        routes=tuple(route for route in found_routes if route is not None),
        neighbours=tuple(entry for entry in found_neighbours if entry is not None),
        fdb=tuple(entry for entry in found_fdb if entry is not None),
        sysctls=read_sysctls(ns, sysctls),
    )


def read_sysctls(ns: NetNs, names: Iterable[str]) -> tuple[Sysctl, ...]:
    """The settings of those names that the kernel has, in one visit to the namespace."""
    wanted = tuple(names)
    if not wanted:
        return ()

    def read() -> tuple[Sysctl, ...]:
        found = []
        for name in wanted:
            try:
                value = Path("/proc/sys", Sysctl(name, "").path).read_text().strip()
            except FileNotFoundError:
                continue
            found.append(Sysctl(name, value))
        return tuple(found)

    return ns.run(read)
