"""`klab explain`: gathers a node's rules and the API's objects, and has the walk made."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from netlab.api.types import Obj
from netlab.dataplane import iptables, nftables
from netlab.dataplane.explain import Caller, Explanation, Material, Origin, Uninterpretable, World
from netlab.dataplane.explain import explain as walk
from netlab.dataplane.explain.counts import beside, servers_since, since
from netlab.dataplane.explain.desired import Node, material, states
from netlab.dataplane.explain.ipvs import CountedReal, CountedServer
from netlab.dataplane.explain.service import MODES, Mode
from netlab.dataplane.ipvs.model import Entry, Frontend, RealServer, VirtualServer
from netlab.dataplane.services import Family, ServiceState, family_of
from netlab.lab import looking, proxymodes
from netlab.lab.record import LabError
from netlab.sandbox.paths import LabPaths
from netlab.topology import load
from netlab.topology.model import Topology

ZONE_LABEL = "topology.kubernetes.io/zone"
STRANGER = {"IPv4": "203.0.113.254", "IPv6": "2001:db8::254"}
"""A caller from outside where the topology has no host: an address kept for documentation."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is told: the node and its own mode, an explanation for each port and mode, names of pods by address."""

    node: str
    mode: str
    explanations: list[Explanation]
    names: Mapping[str, str]


def explain(
    paths: LabPaths,
    service: str,
    namespace: str,
    node: str | None,
    mode: str | None,
    origins: Sequence[Origin],
    seconds: float = 0,
) -> Found:
    """LabError for a Service, port or node that does not exist, and for a rule that cannot be followed.

    `seconds`: counts for so long first; counters are then of that time alone, in every mode."""
    topology = load(paths.topology)
    workers = [one.name for one in topology.nodes if one.role == "worker"]
    name = node or (workers or [one.name for one in topology.nodes])[0]
    proxymodes.check_nodes(topology, (name,))
    own = proxymodes.chosen(paths.state, topology)[name]
    services, slices, pods, nodes = looking.objects(
        paths, ("v1", "services"), ("discovery.k8s.io/v1", "endpointslices"), ("v1", "pods"), ("v1", "nodes")
    )
    modes = _modes(mode, own.mode, name)
    families: tuple[Family, ...] = tuple(dict.fromkeys(family_of(c) for c in topology.cluster.pod_cidr.split(",")))
    result: list[Explanation] = []
    for family in families:
        about = _node(topology, name, family, nodes, own.scheduler)
        found = states(services, slices, about)
        ports = _ports(service, namespace, found)
        callers = _callers(topology, about, pods)
        for one in modes:
            if one == own.mode:
                rules = _with_counts(paths, one, about, seconds) if seconds else _live(paths, one, about)
            else:
                rules = material(one, found, about)
            result += [_walk(port, rules, about, callers, origins) for port in ports]
    if not result:
        raise LabError(_nothing(service, namespace, services), 2)
    names = {
        entry["ip"]: f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in pods
        for entry in (pod.get("status") or {}).get("podIPs") or ()
    }
    return Found(name, str(own), result, names)


def _walk(
    state: ServiceState, rules: Material, node: Node, callers: Mapping[Origin, Caller], origins: Sequence[Origin]
) -> Explanation:
    try:
        return walk(state.port, rules, node.ip, callers, origins)
    except Uninterpretable as problem:
        raise LabError(f"cannot follow a packet on {node.name} in {rules.mode} mode: {problem}") from None


def _modes(mode: str | None, own: str, node: str) -> list[Mode]:
    if mode == "all":
        return list(MODES)
    wanted = mode or own
    for one in MODES:
        if one == wanted:
            return [one]
    raise LabError(
        f"the rules of node '{node}' are someone else's (proxy mode {own}); --mode says whose rules to compute", 2
    )


def _node(topology: Topology, name: str, family: Family, nodes: Sequence[Obj], scheduler: str) -> Node:
    obj = next((one for one in nodes if one["metadata"]["name"] == name), None)
    if obj is None:
        raise LabError(f"node '{name}' has not registered with the API server yet")
    addresses = [
        entry["address"]
        for entry in (obj.get("status") or {}).get("addresses") or ()
        if entry.get("type") == "InternalIP" and family_of(entry["address"]) == family
    ]
    cluster = topology.cluster
    cidr, service_cidr = (
        next((c for c in cidrs.split(",") if family_of(c) == family), "")
        for cidrs in (cluster.pod_cidr, cluster.service_cidr)
    )
    pods = [c for c in (obj.get("spec") or {}).get("podCIDRs") or () if family_of(c) == family]
    bridge = [_first(c) for c in pods]
    return Node(
        name,
        addresses[0] if addresses else "",
        (*addresses, *bridge),
        cidr,
        service_cidr,
        (obj["metadata"].get("labels") or {}).get(ZONE_LABEL, ""),
        family,
        scheduler,  # type: ignore[arg-type]
    )


def _first(cidr: str, number: int = 1) -> str:
    """The bridge's address in a node's pod range; a higher number is a pod's."""
    from ipaddress import ip_network

    return str(ip_network(cidr)[number])


def _callers(topology: Topology, node: Node, pods: Sequence[Obj]) -> dict[Origin, Caller]:
    """A pod of the node that is nobody's endpoint (an address that none has), the node, a host of the topology."""
    ranges = [address for address in node.addresses if address != node.ip]
    pod = ranges[0].rsplit(":" if ":" in ranges[0] else ".", 1) if ranges else ["", ""]
    separator = ":" if ranges and ":" in ranges[0] else "."
    sample = f"{pod[0]}{separator}{'fe' if separator == ':' else '254'}" if ranges else node.ip
    hosts = [end.ip for host in topology.hosts for end in topology.attachments(host.name) if end.ip]
    outside = next((ip for ip in reversed(hosts) if family_of(ip) == node.family), STRANGER[node.family])
    return {
        "pod": Caller("pod", sample),
        "node": Caller("node", node.ip),
        "outside": Caller("outside", outside),
    }


def _ports(service: str, namespace: str, found: Sequence[ServiceState]) -> list[ServiceState]:
    """The ports meant by `[svc/]NAME[:PORT]`; PORT is a name or a number."""
    text = service
    for prefix in ("svc/", "service/", "services/"):
        text = text.removeprefix(prefix)
    name, _, port = text.partition(":")
    return [
        state
        for state in found
        if (state.port.name.namespace, state.port.name.name) == (namespace, name)
        and port in ("", state.port.name.port, str(state.port.port))
    ]


def _nothing(service: str, namespace: str, services: Sequence[Obj]) -> str:
    name, _, port = service.rpartition("/")[2].partition(":")
    for obj in services:
        if (obj["metadata"]["namespace"], obj["metadata"]["name"]) == (namespace, name):
            ports = [one.get("name") or str(one["port"]) for one in obj["spec"].get("ports") or ()]
            if obj["spec"].get("clusterIP") == "None" or obj["spec"].get("type") == "ExternalName":
                return f"Service '{namespace}/{name}' has no cluster IP: no rules are made for it, DNS alone answers"
            return f"Service '{namespace}/{name}' has no port '{port}'; it has: {', '.join(ports)}"
    there = [obj["metadata"]["name"] for obj in services if obj["metadata"]["namespace"] == namespace]
    close = get_close_matches(name, there, 1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"no Service '{name}' in namespace '{namespace}'; {hint}there are: {', '.join(sorted(there)) or 'none'}"


# -- live rules -------------------------------------------------------------------------------------------------------


def _live(paths: LabPaths, mode: Mode, node: Node) -> Material:
    """What the kernel of the node has now, read back; LabError where it cannot be understood."""
    try:
        if mode == "nftables":
            ip = "ip6" if node.family == "IPv6" else "ip"
            listing = _table(paths, ip, node.name)
            return Material(mode, True, World(frozenset(node.addresses)), nft=nftables.parse(listing, ip))  # type: ignore[arg-type]
        program = "ip6tables-save" if node.family == "IPv6" else "iptables-save"
        saved = {
            table: _ours(iptables.parse(_only_ours(looking.text(paths, [program, "-c", "-t", table], node.name))))
            for table in ("filter", "nat")
        }
        if mode == "iptables":
            return Material(mode, True, World(frozenset(node.addresses)), saved)
        return _live_ipvs(paths, node, saved)
    except (iptables.ParseError, nftables.ParseError) as problem:
        raise LabError(f"a rule on node '{node.name}' cannot be interpreted: {problem}") from None


def _with_counts(paths: LabPaths, mode: Mode, node: Node, seconds: float) -> Material:
    """The live rules with what they, or for nftables a table beside them, count in so many seconds from now."""
    if mode == "nftables":
        ip = "ip6" if node.family == "IPv6" else "ip"
        program = [sys.executable, "-m", "netlab.kernel.nftcount", ip, str(seconds)]
        with looking.lines(paths, program, node.name) as lines:
            rows = [json.loads(line) for line in lines]
        return replace(_live(paths, mode, node), beside=beside(row for row in rows if "set" in row))
    before = _live(paths, mode, node)
    time.sleep(seconds)
    after = _live(paths, mode, node)
    tables = {name: since(before.tables.get(name, ()), rules) for name, rules in after.tables.items()}
    return replace(after, tables=tables, servers=servers_since(before.servers, after.servers))


def _table(paths: LabPaths, ip: str, node: str) -> str:
    try:
        return looking.text(paths, ["nft", "list", "table", ip, nftables.TABLE], node)
    except LabError as problem:
        if "No such file" not in str(problem):
            raise
        raise LabError(
            f"node '{node}' has no table {nftables.TABLE} yet: its proxy has not written its rules; "
            "'klab proxy-mode' says how far it is"
        ) from None


def _only_ours(text: str) -> str:
    """Without the rules of others in built-in chains (the lab's own masquerading, a user's firewall)."""
    return "\n".join(line for line in text.splitlines() if "-A " not in line or "KUBE-" in line)


def _ours(tables: Mapping[str, iptables.Table]) -> list[iptables.Counted]:
    (table,) = tables.values()
    return table.counted


def _live_ipvs(paths: LabPaths, node: Node, saved: Mapping[str, list[iptables.Counted]]) -> Material:
    servers: dict[Frontend, CountedServer] = {}
    sets: dict[str, frozenset[Entry]] = {}
    with looking.tables(paths, "ipvs", (node.name,)) as rows:
        for row in rows:
            if "set" in row:
                sets[row["set"]] = frozenset(Entry(**entry) for entry in row["entries"])
            elif family_of(row["address"]) == node.family:
                one = _counted(row)
                servers[one.server.frontend] = one
    vips = {entry.address for name in ("KUBE-IPVS-IPS", "KUBE-6-IPVS-IPS") for entry in sets.get(name, ())}
    return Material("ipvs", True, World(frozenset(node.addresses) | vips, sets), saved, servers=servers)


def _counted(row: Obj) -> CountedServer:
    frontend = Frontend(row["protocol"], row["address"], row["port"])
    server = VirtualServer(frontend, row["scheduler"], row["persistent"], row["source_hash"])
    reals = tuple(
        CountedReal(
            RealServer(real["address"], real["port"], real["weight"]),
            real["active"] + real["inactive"],
            real["in_packets"],
            real["in_bytes"],
        )
        for real in row["reals"]
    )
    return CountedServer(server, reals, row["in_packets"], row["in_bytes"])
