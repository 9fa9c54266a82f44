"""Reads what a machine is from its network namespace, for the prediction: seven netlink dumps, a visit to /proc, and
the rules where there are any. Changes nothing."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netlab.dataplane.explain.ipvs import CountedReal, CountedServer
from netlab.dataplane.ipvs.model import Entry, Frontend
from netlab.kernel import addresses, command, fib, links, neighbours, netns, nftables
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt
from netlab.kernel.errors import CommandFailed, KernelError
from netlab.kernel.netns import NetNs
from netlab.kernel.programs import find
from netlab.trace.predict.state import Forward, Interface, Listener, Machine, Neighbour, PlaceKind
from netlab.trace.predict.tables import NftTable, XTable, by_iptables, parse_nft, parse_xtables, with_handles

SWITCHES = "switches"
"""What the lab's own namespace is called: all switches are in it."""
RTM_GETNSID = 90
NETNSA_NSID, NETNSA_FD = 1, 3
SYSCTLS = (
    "net.ipv4.ip_forward",
    "net.ipv4.ip_default_ttl",
    "net.ipv6.conf.all.forwarding",
    "net.ipv4.conf.all.rp_filter",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
)
PER_DEVICE = ("rp_filter", "accept_local")
LISTEN = "0A"
TRACE_TABLE = "klab-trace"


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace of the lab. `netns` is its pinned name, "" the lab's own; `node` the machine that a pod is on."""

    name: str
    netns: str
    kind: PlaceKind
    node: str = ""


@dataclass(slots=True)
class Raw:
    """One machine's links with what is needed to find the other ends of its veth pairs."""

    machine: Machine
    peers: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    """interface → (index of the other end, id of its namespace here, None: the same one)"""


class Gathered(Mapping[str, Machine]):
    """All machines of a lab by name, each read when first asked for. Not shared between threads."""

    def __init__(self, places: Sequence[Place], *, ipv6: bool = False) -> None:
        self.places = {place.name: place for place in places}
        self.ipv6 = ipv6
        self._held: dict[str, NetNs] = {}
        self._machines: dict[str, Machine] = {}
        self._indexes: dict[str, dict[int, str]] = {}

    def namespace(self, name: str) -> NetNs:
        """The held namespace of a place. KernelError where it is gone."""
        if name not in self._held:
            place = self.places[name]
            self._held[name] = netns.open(place.netns) if place.netns else netns.own(SWITCHES)
        return self._held[name]

    def __getitem__(self, name: str) -> Machine:
        if name not in self._machines:
            if name not in self.places:
                raise KeyError(name)
            self._machines[name] = self._read(name)
        return self._machines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def put(self, machine: Machine) -> None:
        """Takes this for what is known of the machine, from now on."""
        self._machines[machine.name] = machine

    def learn_path_mtu(self, name: str, dst: str) -> None:
        """Has the machine know what a router told it of the way to `dst`, which no table lists."""
        mtu = fib.path_mtu(self.namespace(name), dst)
        if mtu:
            self.put(replace(self[name], path_mtus={dst: mtu}))

    def forget(self) -> None:
        """Read everything anew when asked next."""
        self._machines.clear()
        self._indexes.clear()

    def interface(self, name: str, index: int) -> str:
        """An interface's name by its index on a machine, "" where there is none."""
        return self.indexes(name).get(index, "")

    def indexes(self, name: str) -> dict[int, str]:
        if name not in self._indexes:
            found = self.namespace(name).netlink.dump(links.GET_ALL, "links")
            self._indexes[name] = {links.index_of(reply): links.name_of(reply) for reply in found}
        return self._indexes[name]

    def close(self) -> None:
        for ns in self._held.values():
            ns.close()
        self._held.clear()

    def _read(self, name: str) -> Machine:
        place = self.places[name]
        ns = self.namespace(name)
        raw = read(ns, place, ipv6=self.ipv6)
        self._indexes[name] = {one.index: one.name for one in raw.machine.interfaces.values()}
        found = {
            interface: replace(one, peer=self._peer(place, ns, *raw.peers[interface]))
            if interface in raw.peers
            else one
            for interface, one in raw.machine.interfaces.items()
        }
        return replace(raw.machine, interfaces=found)

    def _peer(self, place: Place, ns: NetNs, index: int, nsid: int | None) -> tuple[str, str] | None:
        if nsid is None:
            name = place.name
        else:
            found = self._with_id(place, ns, nsid)
            if found is None:
                return None
            name = found
        return name, self.indexes(name).get(index, f"if{index}")

    def _with_id(self, place: Place, ns: NetNs, nsid: int) -> str | None:
        """The place whose namespace has that id in `ns`: likely ones are asked first."""
        likely = sorted(self.places.values(), key=lambda one: _likelihood(place, one))
        for one in likely:
            if one.name == place.name:
                continue
            try:
                other = self.namespace(one.name)
            except KernelError:
                continue  # a pod that ended since
            body = b"\0\0\0\0"
            reply = ns.netlink.get(nl.message(RTM_GETNSID, 0, body, nl.u32(NETNSA_FD, other.fd)), "namespace id")
            found = nl.attributes(reply.body, 4).get(NETNSA_NSID)
            if found is not None and struct.unpack("=i", found)[0] == nsid:
                return one.name
        return None


def _likelihood(place: Place, other: Place) -> int:
    if place.kind == "pod":
        return 0 if other.name == place.node else 1
    if place.kind == "switches":
        return 1 if other.kind == "pod" else 0
    if other.kind == "switches":
        return 0
    return 1 if other.node == place.name else 2


def read(ns: NetNs, place: Place, *, ipv6: bool) -> Raw:
    """Everything but who is at the other end of the veth pairs."""
    netlink = ns.netlink
    found = netlink.dump(links.GET_ALL, "links")
    names = {links.index_of(reply): links.name_of(reply) for reply in found}
    interfaces, peers = _interfaces(found, names, ns, ipv6)
    family = rt.AF_INET6 if ipv6 else rt.AF_INET
    routes_request, rules_request = fib.dumps(family)
    fib_routes = (fib.decode_route(reply, names) for reply in netlink.dump(routes_request, "routes"))
    asked = neighbours.GET_ALL6 if ipv6 else neighbours.GET_ALL
    has_rules, lists = _proc(ns, interfaces, ipv6)
    machine = Machine(
        name=place.name,
        kind=place.kind,
        interfaces=interfaces,
        routes=tuple(route for route in fib_routes if route is not None),
        rules=tuple(fib.decode_rule(reply) for reply in netlink.dump(rules_request, "rules")),
        neighbours=tuple(_neighbour(reply, names) for reply in netlink.dump(asked, "neighbours")),
        fdb=tuple(_forwards(netlink.dump(neighbours.GET_FDB, "fdb"), names)),
        **_rules(ns, has_rules, ipv6),
        **lists,
    )
    servers, sets = _ipvs(ns, machine, ipv6)
    return Raw(replace(machine, servers=servers, sets=sets), peers)


def _interfaces(
    found: Sequence[nl.Message], names: dict[int, str], ns: NetNs, ipv6: bool
) -> tuple[dict[str, Interface], dict[str, tuple[int, int | None]]]:
    wanted = addresses.GET_ALL6 if ipv6 else addresses.GET_ALL
    own: dict[int, list[tuple[str, int, int]]] = {}
    for reply in ns.netlink.dump(wanted, "addresses"):
        _, prefix, _, scope, index = rt.IFADDRMSG.unpack_from(reply.body)
        has = nl.attributes(reply.body, 8)
        raw = has.get(rt.IFA_LOCAL) or has.get(rt.IFA_ADDRESS)
        if raw:
            own.setdefault(index, []).append((nl.ip_text(raw), prefix, scope))
    result: dict[str, Interface] = {}
    peers: dict[str, tuple[int, int | None]] = {}
    for reply in found:
        link, index = links.decode(reply, names), links.index_of(reply)
        flags = rt.IFINFOMSG.unpack_from(reply.body)[3]
        has = nl.attributes(reply.body, 16)
        result[link.name] = Interface(
            link.name, index, link.kind, link.mac or "", link.mtu or 0, link.up, bool(flags & rt.IFF_LOWER_UP),
            link.master or "", link.hairpin, link.vxlan, None, tuple(own.get(index, ())),
        )  # fmt: skip
        if link.kind == "veth" and rt.IFLA_LINK in has:
            nsid = has.get(rt.IFLA_LINK_NETNSID)
            other: int | None = struct.unpack("=i", nsid)[0] if nsid is not None else None
            peers[link.name] = (nl.U32.unpack(has[rt.IFLA_LINK])[0], other)
    return result, peers


def _neighbour(reply: nl.Message, names: Mapping[int, str]) -> Neighbour:
    _, index, state, _, _ = rt.NDMSG.unpack_from(reply.body)
    found = nl.attributes(reply.body, rt.NDMSG.size)
    mac = nl.mac_text(found[rt.NDA_LLADDR]) if rt.NDA_LLADDR in found else ""
    ip = nl.ip_text(found[rt.NDA_DST]) if rt.NDA_DST in found else ""
    return Neighbour(names.get(index, ""), ip, mac, rt.NEIGHBOUR_STATES.get(state, str(state)))


def _forwards(found: Sequence[nl.Message], names: Mapping[int, str]) -> Iterator[Forward]:
    for reply in found:
        _, index, state, _, _ = rt.NDMSG.unpack_from(reply.body)
        has = nl.attributes(reply.body, rt.NDMSG.size)
        if rt.NDA_LLADDR in has:
            dst = nl.ip_text(has[rt.NDA_DST]) if has.get(rt.NDA_DST) else ""
            local = not dst and bool(state & rt.NUD_PERMANENT)
            yield Forward(names.get(index, ""), nl.mac_text(has[rt.NDA_LLADDR]), dst, local)


# -- /proc ------------------------------------------------------------------------------------------------------------


def _proc(ns: NetNs, interfaces: Mapping[str, Interface], ipv6: bool) -> tuple[bool, dict[str, Any]]:
    """(whether legacy tables exist; sysctls, listeners and xt_recent's lists), in one visit."""
    names = list(SYSCTLS)
    if not ipv6:
        names += [f"net.ipv4.conf.{name.replace('.', '/')}.{key}" for name in interfaces for key in PER_DEVICE]

    def visit() -> tuple[bool, dict[str, Any]]:
        sysctls = {}
        for name in names:
            value = _text(f"/proc/sys/{name.translate(str.maketrans('./', '/.'))}")
            if value:
                sysctls[name] = value.strip()
        legacy = _text(f"/proc/thread-self/net/{'ip6' if ipv6 else 'ip'}_tables_names").strip()
        return bool(legacy), {"sysctls": sysctls, "listeners": tuple(_listeners(ipv6)), "recent": _recent()}

    return ns.run(visit)


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _listeners(ipv6: bool) -> Iterator[Listener]:
    """TCP sockets that listen, UDP sockets that are bound; IPv6 sockets of any address take IPv4 too."""
    for protocol in ("tcp", "udp"):
        for suffix in ("", "6"):
            for line in _text(f"/proc/thread-self/net/{protocol}{suffix}").splitlines()[1:]:
                words = line.split()
                if protocol == "tcp" and words[3] != LISTEN:
                    continue
                if protocol == "udp" and not words[2].endswith(":0000"):
                    continue
                raw, _, port = words[1].rpartition(":")
                address = _address(raw)
                if address == "" or (":" in address) == ipv6:
                    yield Listener(protocol, address, int(port, 16))


def _address(raw: str) -> str:
    """As /proc/net/tcp writes it, words in host order; "" for any, and IPv4 for mapped ones."""
    words = [int(raw[i : i + 8], 16) for i in range(0, len(raw), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    if not any(packed):
        return ""
    if packed.startswith(b"\0" * 10 + b"\xff\xff"):
        packed = packed[12:]
        return nl.ip_text(packed) if any(packed) else ""
    return nl.ip_text(packed)


def _recent() -> Mapping[str, frozenset[str]]:
    found = {}
    base = "/proc/thread-self/net/xt_recent"
    for name in os.listdir(base) if Path(base).is_dir() else ():  # noqa: PTH208
        lines = _text(f"{base}/{name}").splitlines()
        found[name] = frozenset(line.split()[0].removeprefix("src=") for line in lines if line.startswith("src="))
    return found


# -- rules ------------------------------------------------------------------------------------------------------------


def _rules(ns: NetNs, legacy: bool, ipv6: bool) -> dict[str, Any]:
    """Both kinds of iptables and nftables' own tables, each asked only where it has any."""
    program = "ip6tables" if ipv6 else "iptables"
    xtables: tuple[XTable, ...] = ()
    nft: tuple[NftTable, ...] = ()
    if legacy:
        xtables = parse_xtables(_run(ns, [f"{program}-legacy-save", "-c"], [f"{program}-save", "-c"]), "legacy")
    tables = [(number, name) for number, name in nft_tables(ns) if name != TRACE_TABLE]
    if tables:
        listing = _run(ns, ["nft", "-a", "list", "ruleset"])
        nft = tuple(table for table in parse_nft(listing) if table.name != TRACE_TABLE)
        mine = "ip6" if ipv6 else "ip"
        if any(by_iptables(table) and table.family == mine for table in nft) and find(f"{program}-nft-save"):
            saved = parse_xtables(_run(ns, [f"{program}-nft-save", "-c"]), "nft")
            xtables += with_handles(saved, listing, mine)
            nft = tuple(table for table in nft if not by_iptables(table))
    return {"xtables": xtables, "nft": nft}


def nft_tables(ns: NetNs) -> tuple[tuple[int, str], ...]:
    """(family number, name) of every nftables table."""
    try:
        return tuple(nftables.tables(ns.netfilter))
    except KernelError:
        return ()  # a kernel without nftables


def _run(ns: NetNs, *commands: list[str]) -> str:
    for argv in commands:
        if find(argv[0]) is not None:
            return command.run(ns, argv)
    raise CommandFailed(tuple(commands[0]), 127, "not installed")


def _ipvs(
    ns: NetNs, machine: Machine, ipv6: bool
) -> tuple[Mapping[Frontend, CountedServer], Mapping[str, frozenset[Entry]]]:
    asks_sets = any(
        "match-set" in rule.text for table in machine.xtables for rules in table.chains.values() for rule in rules
    )
    balances = "kube-ipvs0" in machine.interfaces
    sets: dict[str, frozenset[Entry]] = {}
    servers: dict[Frontend, CountedServer] = {}
    if asks_sets or balances:
        from netlab.kernel.ipset import IpSetHandle

        sets = {name: frozenset(found.entries) for name, found in IpSetHandle(ns).all().items()}
    if balances:
        from netlab.kernel.ipvs import Ipvs

        handle = Ipvs(ns)
        for one in handle.servers():
            if (":" in one.server.frontend.address) == ipv6:
                reals = tuple(
                    CountedReal(real.server, real.active + real.inactive, real.stats.in_packets, real.stats.in_bytes)
                    for real in handle.reals(one.server.frontend)
                )
                counted = CountedServer(one.server, reals, one.stats.in_packets, one.stats.in_bytes)
                servers[one.server.frontend] = counted
    return servers, sets
