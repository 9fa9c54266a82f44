"""Looks at namespaces and processes, and sends the probes: the only part that touches anything. Runs inside the lab."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from netlab.api.types import Obj
from netlab.dataplane.ipvs.state import IpvsState
from netlab.dataplane.services import Family
from netlab.kernel import command, iptables, links, netns, qdisc, rtnl
from netlab.kernel.errors import CommandFailed, KernelError
from netlab.kernel.netns import NetNs
from netlab.kernel.observe import observe
from netlab.lab.diagnosis import filters, network, probing
from netlab.lab.diagnosis.model import (
    Facts,
    Listener,
    MachineFacts,
    NodeProxy,
    ProcessFacts,
)
from netlab.lab.diagnosis.plan import SWITCHES, Wanted
from netlab.runtime import records
from netlab.sandbox.client import SyncInitClient

IFF_LOWER_UP = 0x10000
SHAPING = frozenset({"netem", "tbf", "htb", "ingress", "clsact"})
PROC_TABLES = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
CONNTRACK = ("nf_conntrack_count", "nf_conntrack_max")
LISTEN, UDP_BOUND = "0A", "07"


def processes() -> tuple[ProcessFacts, ...]:
    """What PID 1 keeps, each with its state in /proc."""
    with SyncInitClient() as init:
        kept = init.list()
    pods: dict[str, str] = {}
    for one in kept:
        kind, _, identity = records.split_id(one.id)
        if kind == records.SANDBOX:
            config = records.sandbox_config(one.meta)
            pods[identity] = f"{config.namespace}/{config.name}"
    found = []
    for one in kept:
        fact = ProcessFacts(one.id, one.pid, "-" if one.exit else _state(one.pid))
        kind, _, identity = records.split_id(one.id)
        if kind == records.SANDBOX:
            fact = replace(fact, pod=pods.get(identity, ""), container="")
        elif kind == records.CONTAINER:
            own = records.container_record(one.meta).config
            fact = replace(fact, pod=pods.get(own.sandbox_id, ""), container=own.name)
        found.append(fact)
    return tuple(found)


def pods() -> list[Obj]:
    """The pods that run, as PID 1 knows them: where the API server does not say it."""
    with SyncInitClient() as init:
        kept = [one for one in init.list() if one.exit is None and records.split_id(one.id)[0] == records.SANDBOX]
    found: list[Obj] = []
    for one in kept:
        config = records.sandbox_config(one.meta)
        meta = {"name": config.name, "namespace": config.namespace, "uid": config.uid}
        status = {"phase": "Running", "podIP": next(iter(config.ips), ""), "podIPs": [{"ip": ip} for ip in config.ips]}
        node = records.split_id(one.id)[1]
        spec = {"nodeName": node, "hostNetwork": config.host_network}
        found.append({"metadata": meta, "spec": spec, "status": status})
    return found


def _state(pid: int) -> str:
    """As /proc says; "T" also where a process below it is stopped (a shell that waits for its server)."""
    try:
        own = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if own in "SR" and _below(pid) == "T":
            return "T"
    except OSError:
        return "-"
    return own


def _below(pid: int) -> str:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for child in children.read_text().split() if children.exists() else ():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                return "T"
    return ""


def resolv_conf(found: Iterable[ProcessFacts], pod: str) -> str:
    """The pod's, as its first running container sees it; "" where none runs."""
    for process in found:
        if process.pod == pod and process.container and process.state != "-":
            with contextlib.suppress(OSError):
                return Path(f"/proc/{process.pid}/root/etc/resolv.conf").read_text()
    return ""


class Spaces:
    """The namespaces that are looked at, each opened once."""

    def __init__(self) -> None:
        self._open: dict[str, NetNs] = {}

    def __call__(self, name: str) -> NetNs:
        if name not in self._open:
            self._open[name] = netns.own("lab") if name == SWITCHES else netns.open(name)
        return self._open[name]

    def close(self) -> None:
        for space in self._open.values():
            space.close()


def gather(facts: Facts, wanted: Wanted) -> Facts:
    """The same facts, with what was seen: rules before, probes, and then everything else."""
    spaces = Spaces()
    names = network.sysctl_names(facts.topology)
    ipv6 = "IPv6" in facts.topology.cluster.families
    families = (False, True) if ipv6 else (False,)
    try:
        held = {}
        for name in wanted.machines:
            with contextlib.suppress(KernelError):
                held[name] = spaces(name)
        with ThreadPoolExecutor(4) as pool:
            before = dict(zip(held, pool.map(lambda ns: _tables(ns, families), held.values()), strict=True))
            rulesets_before = dict(zip(held, pool.map(_ruleset, held.values()), strict=True))
            outcomes = asyncio.run(probing.run(wanted.probes, spaces))
            after = dict(zip(held, pool.map(lambda ns: _tables(ns, families), held.values()), strict=True))
            rulesets = dict(zip(held, pool.map(_ruleset, held.values()), strict=True))
        machines = {}
        for name, space in held.items():
            found = look(space, names, ipv6=ipv6)
            ipvs = _ipvs(space, families) if facts.proxies.get(name, NodeProxy("")).mode == "ipvs" else {}
            machines[name] = replace(
                found,
                name=name,
                tables_before=before[name],
                tables=after[name],
                nft=rulesets[name],
                ipvs=ipvs,
                nft_before=rulesets_before[name],
            )
    finally:
        spaces.close()
    return replace(facts, machines=machines, outcomes=outcomes, spaces=tuple(netns.names()))


def look(space: NetNs, names: Sequence[str], *, ipv6: bool) -> MachineFacts:
    """One namespace, by netlink and /proc; `names` of sysctls."""
    state = observe(space, sysctls=names, ipv6=ipv6)
    files = _proc(space)
    replies = space.netlink.dump(links.GET_ALL, "links")
    flags = {links.name_of(reply): rtnl.IFINFOMSG.unpack_from(reply.body)[3] for reply in replies}
    indexes = {links.index_of(reply): links.name_of(reply) for reply in replies}
    return MachineFacts(
        space.name,
        state,
        frozenset(n for n, flag in flags.items() if flag & rtnl.IFF_UP and not flag & IFF_LOWER_UP),
        qdiscs=_qdiscs(space, indexes),
        conntrack=_conntrack(files),
        listeners=_listeners(files),
    )


def _tables(space: NetNs, families: Sequence[bool]) -> dict[str, str]:
    found = {}
    for ipv6 in families:
        with contextlib.suppress(CommandFailed):
            found["IPv6" if ipv6 else "IPv4"] = iptables.save(space, counters=True, ipv6=ipv6)
    return found


def _ruleset(space: NetNs) -> str:
    """Without what iptables' nft back end keeps there: that is read by iptables-save."""
    try:
        found = command.run(space, ["nft", "-a", "list", "ruleset"])
    except (CommandFailed, KernelError):
        return ""
    return filters.without_compatible(found) if iptables.default_backend() == "nft" else found


def _qdiscs(space: NetNs, indexes: dict[int, str]) -> tuple[str, ...]:
    found = []
    for index, name in indexes.items():
        try:
            kinds = qdisc.kinds(space.netlink.dump(qdisc.get(index), "qdiscs"), index)
        except KernelError:
            continue
        found += [f"{name} {kind}" for kind in kinds if kind in SHAPING]
    return tuple(found)


def _proc(space: NetNs) -> dict[str, str]:
    """Files below /proc as the namespace shows them, in one visit; those that there are."""

    def read() -> dict[str, str]:
        found = {}
        for name in (*(file for file, _ in PROC_TABLES), *CONNTRACK):
            with contextlib.suppress(OSError):
                base = "/proc/sys/net/netfilter" if name in CONNTRACK else "/proc/thread-self/net"
                found[name] = Path(base, name).read_text()
        return found

    return space.run(read)


def _conntrack(files: Mapping[str, str]) -> tuple[int, int] | None:
    count, most = (files.get(name, "").strip() for name in CONNTRACK)
    return (int(count), int(most)) if count.isdigit() and most.isdigit() else None


def _listeners(files: Mapping[str, str]) -> tuple[Listener, ...]:
    return tuple(one for file, protocol in PROC_TABLES for one in _decode(files.get(file, ""), protocol))


def _decode(text: str, protocol: str) -> Iterable[Listener]:
    """Lines of /proc/net/tcp and its like (proc(5)): addresses are hexadecimal words in the machine's byte order."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 5 or words[3] != (LISTEN if protocol == "tcp" else UDP_BOUND):
            continue
        address, _, port = words[1].partition(":")
        yield Listener(protocol, _address(address), int(port, 16), int(words[4].partition(":")[2], 16))  # type: ignore[arg-type]


def _address(word: str) -> str:
    from ipaddress import ip_address
    from sys import byteorder

    raw = bytes.fromhex(word)
    if byteorder == "little":
        raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    found = ip_address(raw)
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


def _ipvs(space: NetNs, families: Sequence[bool]) -> Mapping[str, IpvsState]:
    """What IPVS mode has on a node; empty where it cannot be read."""
    from netlab.dataplane.ipvs.sets import ip_sets
    from netlab.node.proxy_ipvs_kernel import NodeIpvs

    found: dict[str, IpvsState] = {}
    for ipv6 in families:
        family: Family = "IPv6" if ipv6 else "IPv4"
        with contextlib.suppress(KernelError, OSError):
            found[family] = asyncio.run(NodeIpvs(space, ip_sets(family)).observe()).state
    return found
