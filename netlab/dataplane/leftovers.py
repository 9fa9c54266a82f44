"""Which iptables chains and jumps of kube-proxy a node may have that its present mode does not. Pure.

The modes iptables and ipvs have chains of the same names, and some of the same jumps to them: what goes is what the
present mode would not write itself. Upstream cleans up only between nftables and the other two.
"""

from __future__ import annotations

from collections.abc import Mapping

from netlab.dataplane.iptables import base, names
from netlab.dataplane.iptables.parse import Existing
from netlab.dataplane.iptables.rules import Jump, Rule
from netlab.dataplane.iptables.service import IptablesConfig
from netlab.dataplane.ipvs import chains as ipvs


class Kept:
    """What a mode writes: its chains and its jumps, by table."""

    def __init__(
        self,
        chains: Mapping[str, frozenset[str]] | None = None,
        jumps: Mapping[str, frozenset[Rule]] | None = None,
        hashed: bool = False,
    ) -> None:
        self._chains, self._jumps, self._hashed = chains or {}, jumps or {}, hashed

    def chain(self, table: str, name: str) -> bool:
        return name in self._chains.get(table, ()) or (self._hashed and names.is_hashed(name))

    def jump(self, table: str, rule: Rule) -> bool:
        return rule in self._jumps.get(table, ())


NOTHING = Kept()


def kept_by_iptables(config: IptablesConfig) -> Kept:
    canary = frozenset({names.CANARY})
    chains = {
        "mangle": canary,
        "filter": canary | set(base.filter_chains(config)),
        "nat": canary | set(base.NAT_CHAINS),
    }
    jumps = {"filter": frozenset(base.filter_jumps(config)), "nat": frozenset(base.nat_jumps())}
    return Kept(chains, jumps, hashed=True)


def kept_by_ipvs() -> Kept:
    tables = ("filter", "nat")
    return Kept(
        {table: frozenset(ipvs.fixed_chains(table)) for table in tables},
        {table: frozenset(ipvs.jumps(table)) for table in tables},
    )


def _is_known(table: str, chain: str) -> bool:
    known: set[str] = {names.CANARY, names.KUBELET_FIREWALL, *base.FILTER_CHAINS, *base.NAT_CHAINS}
    known |= set(ipvs.fixed_chains(table))
    return chain in known or names.is_hashed(chain)


def leftovers(present: Mapping[str, Existing], kept: Kept) -> str:
    """Text for `iptables-restore --noflush` that removes what is kube-proxy's and not `kept`; "" for nothing."""
    text = ""
    for table, existing in present.items():
        chains = sorted(c for c in existing.chains if _is_known(table, c) and not kept.chain(table, c))
        jumps = [rule for rule in existing.jumps if _leads_to_us(table, rule) and not kept.jump(table, rule)]
        if chains or jumps:
            declared = [f":{chain} - [0:0]" for chain in chains]
            gone = sorted(f"-D {rule.chain} {rule.spec()}" for rule in jumps)
            text += "\n".join((f"*{table}", *declared, *gone, *(f"-X {chain}" for chain in chains), "COMMIT\n"))
    return text


def _leads_to_us(table: str, rule: Rule) -> bool:
    return isinstance(rule.target, Jump) and _is_known(table, rule.target.chain)
