"""Applies what `effects` decided, in the namespaces of the lab. Each function makes it so, whatever was before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from netlab.dataplane.model import Fdb, Neighbour, Plan, Step
from netlab.dataplane.shaping import Shaping
from netlab.kernel import command, links, netns, nft, observe
from netlab.kernel.apply import apply
from netlab.kernel.errors import CommandFailed, KernelError
from netlab.kernel.netns import NetNs
from netlab.lab.faults import programs
from netlab.lab.faults.effects import Filter, Shape, WrongNeighbour
from netlab.lab.faults.places import ROOT

POD_DEVICES = ("docker0", "flannel.1", "flannel-v6.1", "kube-ipvs0", "nodelocaldns")
FLUSH_IPTABLES = "\n".join(
    f"*{table}\n{chains}COMMIT"
    for table, chains in (
        ("nat", ":PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n"),
        ("filter", ":INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n"),
        ("mangle", ":PREROUTING ACCEPT\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n"),
    )
)


@contextlib.contextmanager
def space(name: str) -> Iterator[NetNs]:
    """The namespace, or the lab's own."""
    held = netns.own() if name == ROOT else netns.open(name)
    try:
        yield held
    finally:
        held.close()


def filter_all(name: str, filters: Sequence[Filter]) -> None:
    """The namespace's own table holds these, and nothing else. A namespace that has gone holds nothing."""
    try:
        with space(name) as ns:
            nft.run(ns, programs.nft(filters))
    except KernelError:
        if filters:
            raise


def shape(name: str, own: Shaping, shapes: Sequence[Shape]) -> None:
    """The interface's exit is so, and not otherwise."""
    try:
        with space(name) as ns:
            for argv in programs.tc(own, shapes):
                try:
                    command.run(ns, argv)
                except CommandFailed:
                    if argv[2] != "del":
                        raise
    except KernelError:
        if shapes:
            raise


def forwarding(node: str, mac: str) -> Fdb | None:
    """The VXLAN forwarding entry of that MAC."""
    with space(node) as ns:
        return next((one for one in observe.observe(ns).fdb if one.mac == mac), None)


def set_forwarding(node: str, wanted: Fdb | None, old: Fdb | None) -> None:
    """The entry is `wanted`, or (None) `old` is gone."""
    with space(node) as ns:
        if old is not None and (wanted is None or old.dst != wanted.dst):
            apply(ns, Plan((Step("del", old, "fault"),)))
        if wanted is not None:
            apply(ns, Plan((Step("add", wanted, "fault"),)))


def neighbour(name: str, ip: str) -> Neighbour | None:
    with space(name) as ns:
        return next((one for one in _neighbours(ns) if one.ip == ip), None)


def _neighbours(ns: NetNs) -> Sequence[Neighbour]:
    from netlab.kernel import neighbours

    replies = ns.netlink.dump(links.GET_ALL, "links")
    names = {links.index_of(reply): links.name_of(reply) for reply in replies}
    found = ns.netlink.dump(neighbours.GET_ALL, "neighbours") + ns.netlink.dump(neighbours.GET_ALL6, "neighbours")
    return [one for one in (neighbours.decode(reply, names) for reply in found) if one is not None]


def set_neighbour(effect: WrongNeighbour, dev: str) -> None:
    with space(effect.netns) as ns:
        apply(ns, Plan((Step("add", Neighbour(dev, effect.ip, effect.mac), "fault"),)))


def restore_neighbour(name: str, wrong: Neighbour, old: Neighbour | None) -> None:
    """The permanent entry that was there, or none: then the kernel asks again. A namespace that has gone needs none."""
    with contextlib.suppress(KernelError), space(name) as ns:
        apply(ns, Plan((Step("del", wrong, "fault healed"),)))
        if old is not None and old.state == "permanent":
            apply(ns, Plan((Step("add", old, "fault healed"),)))


def device_to(name: str, ip: str) -> str:
    """The interface at which that address is a neighbour; "" where it is none, but behind a gateway or nowhere."""
    with space(name) as ns:
        try:
            words = command.run(ns, ["ip", "-o", "route", "get", ip]).split()
        except CommandFailed:
            return ""
    gateway = words[words.index("via") + 1] if "via" in words else ip
    return words[words.index("dev") + 1] if "dev" in words and gateway == ip else ""


def forget_all(node: str) -> None:
    """What a kernel forgets in a power cut: bridges, tunnels, rules, tracked connections, learnt neighbours."""
    with space(node) as ns:
        replies = ns.netlink.dump(links.GET_ALL, "links")
        names = [links.name_of(reply) for reply in replies]
        doomed = [one for one in names if one in POD_DEVICES or (one.startswith("veth") and len(one) == 12)]
        ns.netlink.send([links.delete(one) for one in doomed])
        for program in ("iptables-restore", "ip6tables-restore"):
            with contextlib.suppress(CommandFailed):
                command.run(ns, [program], FLUSH_IPTABLES + "\n")
        with contextlib.suppress(CommandFailed):
            command.run(ns, ["nft", "-f", "-"], "flush ruleset\n")
        with contextlib.suppress(CommandFailed):
            command.run(ns, ["ip", "neigh", "flush", "all"])
        with contextlib.suppress(KernelError, OSError):
            from netlab.kernel import conntrack

            conntrack.flush(ns)


def remove_namespaces(names: Sequence[str]) -> None:
    """Of pods whose node is off."""
    for name in names:
        with contextlib.suppress(KernelError):
            netns.remove(name)
