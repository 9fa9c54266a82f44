"""The proxy's rules on a node, and the masquerading ones: what is there, against a fresh full sync. PURE."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from netlab.api.types import Obj
from netlab.dataplane import iptables, ipvs, masquerade, nftables
from netlab.dataplane.explain.desired import Node, states
from netlab.dataplane.ipvs.sets import ip_sets
from netlab.dataplane.ipvs.state import IpvsState
from netlab.dataplane.ipvs.state import diff as ipvs_diff
from netlab.dataplane.nftables.table import TABLE, nft_family
from netlab.dataplane.nftables.table import diff as nft_diff
from netlab.dataplane.nodes import NodeNet
from netlab.dataplane.services import Family, ServiceState
from netlab.lab.diagnosis.model import Facts, Finding, MachineFacts, NodeProxy
from netlab.topology.model import family_of

ZONE_LABEL = "topology.kubernetes.io/zone"
LARGE = iptables.LARGE_CLUSTER_ENDPOINTS
_COUNTERS = re.compile(r"^\[\d+:\d+\] ")
_HANDLE = re.compile(r"\s*# handle \d+$")
SHOWN = 4
"""So many rules are quoted in one finding."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`missing` from the node, and `extra` on it, as the tool prints rules."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra)


BASE = (
    "-j KUBE-SERVICES", "-j KUBE-POSTROUTING", "-j KUBE-NODEPORTS", "-j KUBE-FORWARD", "-A KUBE-POSTROUTING",
    "-A KUBE-MARK-MASQ", "-A KUBE-FORWARD", " masquerading", "mark-for-masquerade", "base chain", "nat-", "filter-",
)  # fmt: skip
"""What is in rules that all Services share."""
_CHAIN = re.compile(r"KUBE-(?:SVC|SEP|SVL|EXT|FW)-[A-Z0-9]{16}")


def closed(found: Difference, words: Sequence[str], machine: MachineFacts) -> Difference:
    """Only the rules that contain one of these words, or stand in a chain that such a rule names: a Service's own."""
    every = (*found.missing, *found.extra)
    live = [line for text in machine.tables.values() for lines in saved(text).values() for line in lines]
    chains = {
        name for rule in (*every, *live) if any(word in rule for word in words) for name in _CHAIN.findall(rule)
    }  # fmt: skip
    mine = {rule for rule in every if any(word in rule for word in words) or chains & set(_CHAIN.findall(rule))}
    return Difference(
        tuple(rule for rule in found.missing if rule in mine), tuple(rule for rule in found.extra if rule in mine)
    )


def node_view(facts: Facts, net: NodeNet, proxy: NodeProxy, family: Family) -> Node:
    """What of a node its rules depend on."""
    topology = facts.topology
    obj: Obj = next((n for n in facts.objects.nodes if n["metadata"]["name"] == net.name), {"metadata": {}})
    addresses = [
        entry["address"]
        for entry in (obj.get("status") or {}).get("addresses") or ()
        if entry.get("type") == "InternalIP" and family_of(entry["address"]) == family
    ]
    cidr, service_cidr = (
        next((c for c in cidrs if family_of(c) == family), "")
        for cidrs in (topology.cluster.pod_cidrs, topology.cluster.service_cidrs)
    )
    bridges = [one.gateway for one in net.families if family_of(one.gateway) == family]
    zone = (obj["metadata"].get("labels") or {}).get(ZONE_LABEL, "")
    ip = addresses[0] if addresses else ""
    return Node(
        net.name, ip, (*addresses, *bridges), cidr, service_cidr, zone, family, proxy.scheduler  # type: ignore[arg-type]
    )  # fmt: skip


def families(facts: Facts) -> tuple[Family, ...]:
    return facts.topology.cluster.families


def service_rules(facts: Facts, machine: MachineFacts, net: NodeNet) -> Difference:
    """The node's live rules against those that its mode would write now, in all families. Empty where it has none."""
    proxy = facts.proxies.get(machine.name, NodeProxy("none"))
    missing: list[str] = []
    extra: list[str] = []
    for family in families(facts):
        view = node_view(facts, net, proxy, family)
        found = states(facts.objects.services, facts.objects.slices, view)
        compare = {"iptables": _iptables, "nftables": _nftables, "ipvs": _ipvs}.get(proxy.mode)
        if compare is not None:
            one = compare(found, view, machine)
            missing += one.missing
            extra += one.extra
    return Difference(tuple(missing), tuple(extra))


def _lists(desired: Iterable[str], live: Iterable[str]) -> Difference:
    want, have = Counter(desired), Counter(live)
    return Difference(tuple((want - have).elements()), tuple((have - want).elements()))


def _iptables(found: Sequence[ServiceState], node: Node, machine: MachineFacts) -> Difference:
    large = sum(len(state.endpoints) for state in found) > LARGE
    localnet = any(s.name.endswith(".route_localnet") and s.value == "1" for s in machine.state.sysctls)
    live = saved(machine.tables.get(node.family, ""))
    guards = any(line.startswith("-A KUBE-FIREWALL") for line in live.get("filter", ())) or localnet
    config = iptables.IptablesConfig(
        node.ip, node.cluster_cidr, node.family, localhost_node_ports=guards, large_cluster=large
    )
    program = iptables.IptablesProgram(config)
    for state in found:
        program.update(state.port.name, state)
    return _tables(program.rules(), live)


def _tables(rules: Mapping[str, Sequence[object]], live: Mapping[str, Sequence[str]]) -> Difference:
    missing: list[str] = []
    extra: list[str] = []
    for table, own in rules.items():
        one = _lists(map(str, own), ours(live.get(table, ())))
        missing += [f"-t {table} {rule}" for rule in one.missing]
        extra += [f"-t {table} {rule}" for rule in one.extra]
    return Difference(tuple(missing), tuple(extra))


def _nftables(found: Sequence[ServiceState], node: Node, machine: MachineFacts) -> Difference:
    ip = nft_family(node.family)
    config = nftables.NftablesConfig(node.ip, node.cluster_cidr, node.service_cidr, (node.ip,), node.family)
    program = nftables.NftablesProgram(config)
    for state in found:
        program.update(state.port.name, state)
    try:
        live = nftables.parse(only_table(machine.nft, f"table {ip} {TABLE}"), ip)
    except nftables.ParseError as problem:
        return Difference((), (f"nft: {problem}",))
    return Difference(
        _adds(nft_diff(live, program.state(), ip).apply), _adds(nft_diff(program.state(), live, ip).apply)
    )


def _adds(operations: Iterable[nftables.Operation]) -> tuple[str, ...]:
    """What would be added: the other direction's additions are what is too much."""
    return tuple(str(one).removeprefix("add ") for one in operations if one.verb == "add")


def only_table(ruleset: str, head: str) -> str:
    """One table of an nft ruleset's text."""
    lines, inside = [], False
    for line in ruleset.splitlines():
        if line.startswith("table "):
            inside = line.startswith(head + " {")
        if inside:
            lines.append(_HANDLE.sub("", line))
    return "\n".join(lines)


def _ipvs(found: Sequence[ServiceState], node: Node, machine: MachineFacts) -> Difference:
    config = ipvs.IpvsConfig(node.ip, node.cluster_cidr, node.addresses, node.family, node.scheduler)
    program = ipvs.IpvsProgram(config)
    for state in found:
        program.update(state.port.name, state)
    sets, live, want = ip_sets(node.family), machine.ipvs.get(node.family, IpvsState()), program.state()
    rules = program.rules()
    chains = _tables({t: [*ipvs.jumps(t), *rules[t]] for t in rules}, saved(machine.tables.get(node.family, "")))
    return Difference(
        (*(str(s) for s in ipvs_diff(live, want, sets) if s.op != "del"), *chains.missing),
        (*(str(s) for s in ipvs_diff(live, want, sets) if s.op == "del"), *chains.extra),
    )


def saved(text: str) -> dict[str, list[str]]:
    """The rules of an iptables-save text by table, without counters."""
    tables: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("*"):
            current = tables.setdefault(line[1:].strip(), [])
        elif line.startswith(("[", "-A")):
            current.append(_COUNTERS.sub("", line).strip())
    return tables


def ours(lines: Iterable[str]) -> Iterator[str]:
    """The rules of the proxy's chains, and the jumps into them. Those that other programs write there count too."""
    for line in lines:
        chain = line.split()[1]
        if (chain.startswith("KUBE-") and not chain.endswith("-CANARY")) or " -j KUBE-" in line:
            yield line


def masquerade_rules(facts: Facts, machine: MachineFacts, net: NodeNet) -> Difference:
    """Flannel's two chains and the jumps to them."""
    if facts.topology.cluster.overlay == "external":
        return Difference((), ())
    missing: list[str] = []
    extra: list[str] = []
    for one, cidr in zip(net.families, facts.topology.cluster.pod_cidrs, strict=False):
        live = saved(machine.tables.get("IPv6" if one.is_ipv6 else "IPv4", ""))
        wanted = (*masquerade.masquerade_rules(one.pod_cidr, cidr), *masquerade.forward_rules(cidr))
        for table in ("nat", "filter"):
            have = [line for line in live.get(table, ()) if "FLANNEL-" in line]
            found = _lists((str(rule) for rule in wanted if rule.table == table), have)
            missing += [f"-t {table} {rule}" for rule in found.missing]
            extra += [f"-t {table} {rule}" for rule in found.extra]
    return Difference(tuple(missing), tuple(extra))


def service_finding(node: str, proxy: NodeProxy, found: Difference, what: str = "") -> Finding:
    """One finding for all differences; an endpoint's rule that should be gone is the one to name first."""
    quoted = [f"too much: {rule}" for rule in found.extra] + [f"missing: {rule}" for rule in found.missing]
    quoted.sort(key=lambda line: ("DNAT" not in line and "-d " not in line, line.startswith("missing")))
    more = f" (and {len(quoted) - SHOWN} more)" if len(quoted) > SHOWN else ""
    code = "rules-stale" if found.extra else "rules-missing"
    about = f" of {what}" if what else ""
    return Finding(
        code, "rules", node, f"rules{about} differ: " + "; ".join(quoted[:SHOWN]) + more,
        f"exactly the rules that {proxy.mode} mode makes of the Services and EndpointSlices",
        _rewrite(node, proxy.mode),
    )  # fmt: skip


def _rewrite(node: str, mode: str) -> str:
    """A proxy that misses its canary, or its table, writes everything anew (upstream's monitor of flushed rules)."""
    if mode == "nftables":
        return f"klab exec {node} -- nft delete table ip {TABLE}  (within 30 s the proxy writes it anew)"
    return f"klab exec {node} -- iptables -t mangle -X KUBE-PROXY-CANARY  (within 30 s the proxy writes all anew)"


def masquerade_finding(node: str, found: Difference) -> Finding:
    quoted = [f"missing: {rule}" for rule in found.missing] + [f"too much: {rule}" for rule in found.extra]
    first = (found.missing or found.extra)[0]
    table, _, rule = first.removeprefix("-t ").partition(" ")
    verb = rule if found.missing else rule.replace("-A ", "-D ", 1)
    return Finding(
        "masquerade-rules", "rules", node, "; ".join(quoted[:SHOWN]), "Flannel's rules, each once",
        f"klab exec {node} -- iptables -t {table} {verb}",
    )  # fmt: skip
