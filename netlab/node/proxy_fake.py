"""A node's netfilter in memory: it holds tables, and refuses what the kernel and iptables-restore would refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from netlab.dataplane.iptables import parse_rule
from netlab.dataplane.iptables.rules import Jump
from netlab.dataplane.ipvs import ip_sets
from netlab.dataplane.nftables import NftState, Operation, nft_family
from netlab.dataplane.services import Family
from netlab.dataplane.services.stale import Flow
from netlab.node.proxy_fake_ipvs import FakeIpvs
from netlab.node.proxy_fake_nft import NftRefused, apply_nft, check_nft, listing

BUILT_IN = {
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
}
VERDICTS = ("ACCEPT", "DROP", "RETURN")

Chains = dict[str, list[str]]


class RestoreError(Exception):
    """A line that `iptables-restore` would have refused; the table is as it was."""


class FakeNetfilter:
    """Implements ProxyKernel. `fail_next` makes the next restore fail before it does anything."""

    def __init__(self, family: Family = "IPv4") -> None:
        self.family: Family = family
        self.tables: dict[str, Chains] = {name: {chain: [] for chain in chains} for name, chains in BUILT_IN.items()}
        self.nft_state: NftState | None = None
        self.transactions: list[Sequence[str]] = []
        self.flows: list[Flow] = []
        self.restores: list[str] = []
        self.fail_next = False
        self.localhost = True
        self.virtual: dict[Family, FakeIpvs] = {}

    def ipvs(self, family: Family) -> FakeIpvs:
        return self.virtual.setdefault(family, FakeIpvs(ip_sets(family)))

    async def restore(self, text: str) -> None:
        self.restores.append(text)
        if self.fail_next:
            self.fail_next = False
            raise RestoreError("told to fail")
        name, chains = "", dict[str, list[str]]()
        for line in text.splitlines():
            if line.startswith("*"):
                name, chains = line[1:], copy.deepcopy(self.tables[line[1:]])
            elif line == "COMMIT":
                _check(chains)
                self.tables[name] = chains
            else:
                _apply(line, chains)

    async def save(self, table: str = "") -> str:
        lines: list[str] = []
        for name, chains in self.tables.items():
            if table in ("", name):
                lines.append(f"*{name}")
                policy = {chain: "ACCEPT" if chain in BUILT_IN[name] else "-" for chain in chains}
                lines += [f":{chain} {policy[chain]} [0:0]" for chain in chains]
                lines += [f"-A {chain} {rule}" for chain, rules in chains.items() for rule in rules]
                lines.append("COMMIT")
        return "\n".join(lines) + "\n"

    async def nft(self, operations: Sequence[Operation]) -> None:
        lines = tuple(map(str, operations))
        self.transactions.append(lines)
        if self.fail_next:
            self.fail_next = False
            raise RestoreError("told to fail")
        state = copy.deepcopy(self.nft_state)
        for line in lines:
            try:
                state = apply_nft(line, state)
            except NftRefused as problem:
                raise RestoreError(f"{problem}: {line}") from None
        if state is not None:
            check_nft(state)
        self.nft_state = state

    async def nft_holds(self) -> bool:
        return self.nft_state is not None

    async def nft_list(self) -> str:
        return listing(self.nft_state, nft_family(self.family)) if self.nft_state is not None else ""

    async def enable_localhost_node_ports(self) -> bool:
        return self.localhost

    async def set_conntrack_timeouts(self) -> None:
        pass

    async def delete_udp_flows(self, stale: Callable[[Flow], bool]) -> int:
        before = len(self.flows)
        self.flows = [flow for flow in self.flows if not stale(flow)]
        return before - len(self.flows)

    def snapshot(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """All rules; those of chains whose rules exclude each other are sorted, since their order says nothing."""
        unordered = ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL")
        return {
            name: {chain: tuple(sorted(rules) if chain in unordered else rules) for chain, rules in chains.items()}
            for name, chains in self.tables.items()
        }


def _apply(line: str, chains: Chains) -> None:
    verb, _, rest = line.partition(" ")
    if line.startswith(":"):
        chains[line[1:].split(" ", 1)[0]] = []
        return
    chain, _, spec = rest.partition(" ")
    if chain not in chains:
        raise RestoreError(f"no chain: {line}")
    if verb == "-A":
        chains[chain].append(parse_rule(line).spec())
    elif verb == "-I":
        chains[chain].insert(0, parse_rule(line).spec())
    elif verb == "-D":
        if spec not in chains[chain]:
            raise RestoreError(f"no such rule: {line}")
        chains[chain].remove(spec)
    elif verb == "-X":
        if chains.pop(chain):
            raise RestoreError(f"chain not empty: {line}")
    else:
        raise RestoreError(f"unknown: {line}")


def _check(chains: Chains) -> None:
    for chain, rules in chains.items():
        for spec in rules:
            target = parse_rule(f"-A {chain} {spec}").target
            if isinstance(target, Jump) and target.chain not in (*VERDICTS, *chains):
                raise RestoreError(f"no chain {target.chain}: {chain} {spec}")
