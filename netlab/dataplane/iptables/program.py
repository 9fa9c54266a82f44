"""What a node's iptables must be, and the restore text that makes it so. State, but no I/O.

Full sync: all of our chains are written whole, jumps from built-in chains are added where they are missing, and hashed
chains of a past life are removed. Partial sync, as upstream's, touches only Services that changed; unlike upstream's it
does not rewrite KUBE-SERVICES but inserts and deletes the rules that differ, so that its text grows with the change and
not with the cluster. Should one of those no longer be there, the restore fails as a whole and a full sync follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from netlab.dataplane.iptables import base, names
from netlab.dataplane.iptables.parse import Existing
from netlab.dataplane.iptables.rules import Rule
from netlab.dataplane.iptables.service import IptablesConfig, ServiceRules, service_rules
from netlab.dataplane.services.model import ServicePortName
from netlab.dataplane.services.table import ServiceState

LARGE_CLUSTER_ENDPOINTS = 1000


class IptablesProgram:
    """The rules of every service port, kept as typed rules, ready to be printed."""

    def __init__(self, config: IptablesConfig) -> None:
        self.config = config
        self._services: dict[ServicePortName, ServiceRules] = {}

    @property
    def services(self) -> Mapping[ServicePortName, ServiceRules]:
        return self._services

    def configure(self, states: Iterable[ServiceState], **changes: Any) -> bool:
        """Changes fields of the configuration; True where one differs: all is computed anew, a full sync is due."""
        config = replace(self.config, **changes)
        if config == self.config:
            return False
        self.config = config
        self._services = {state.port.name: service_rules(state.port, state.choice, self.config) for state in states}
        return True

    def update(
        self, name: ServicePortName, state: ServiceState | None
    ) -> tuple[ServiceRules | None, ServiceRules | None]:
        """Takes a service port's new state; returns its rules before and after."""
        before = self._services.pop(name, None)
        after = None
        if state is not None:
            after = self._services[name] = service_rules(state.port, state.choice, self.config)
        return before, after

    def rules(self) -> dict[str, list[Rule]]:
        """All rules by table, with the jumps from built-in chains: what the trace walks and `--dry-run` prints."""
        nat: list[Rule] = [*base.nat_jumps()]
        filter_: list[Rule] = [*base.filter_jumps(self.config)]
        for service in self._services.values():
            nat += service.nat
            filter_ += service.filter
        for service in self._services.values():
            nat += service.own
        return {"filter": [*filter_, *base.filter_rules(self.config)], "nat": [*nat, *base.nat_rules(self.config)]}

    def full(self, present: Mapping[str, Existing]) -> str:
        """Text for `iptables-restore --noflush` on a node that holds `present` (a scanned save; may be empty)."""
        return "".join(
            (
                f"*mangle\n:{names.CANARY} - [0:0]\nCOMMIT\n",
                self._full_table("filter", base.filter_chains(self.config), present.get("filter")),
                self._full_table("nat", base.NAT_CHAINS, present.get("nat")),
            )
        )

    def _full_table(self, table: str, fixed: tuple[str, ...], present: Existing | None) -> str:
        is_nat = table == "nat"
        services = self._services.values()
        own = [chain for service in services for chain in service.chains] if is_nat else []
        known = sorted(present.chains) if present is not None else []
        active = set(own)
        stale = [chain for chain in known if names.is_hashed(chain) and chain not in active]
        lines = [f"*{table}", *(f":{chain} - [0:0]" for chain in (*fixed, names.CANARY, *own, *stale))]
        jumps = base.nat_jumps() if is_nat else base.filter_jumps(self.config)
        lines += _missing_jumps(jumps, present)
        for service in services:
            lines.extend(map(str, service.nat if is_nat else service.filter))
        lines.extend(map(str, base.nat_rules(self.config) if is_nat else base.filter_rules(self.config)))
        if is_nat:
            lines.extend(str(rule) for service in services for rule in service.own)
        lines += [f"-X {chain}" for chain in stale]
        lines.append("COMMIT\n")
        return "\n".join(lines)


def partial(changes: Iterable[tuple[ServiceRules | None, ServiceRules | None]]) -> str:
    """Text for `iptables-restore --noflush` that turns each service port's rules before into those after.

    Empty where nothing differs.
    """
    nat: list[str] = []
    filter_: list[str] = []
    for before, after in changes:
        _exchange(before.nat if before else (), after.nat if after else (), nat)
        _exchange(before.filter if before else (), after.filter if after else (), filter_)
    chains: list[str] = []
    removed: list[str] = []
    for before, after in changes:
        rewrite = _own_chains(before, after)
        chains += rewrite.chains
        nat += rewrite.rules
        removed += rewrite.removed
    nat += [f"-X {chain}" for chain in removed]
    text = ""
    if filter_:
        text += "\n".join(("*filter", *filter_, "COMMIT\n"))
    if nat or chains:
        text += "\n".join(("*nat", *chains, *nat, "COMMIT\n"))
    return text


def _exchange(before: tuple[Rule, ...], after: tuple[Rule, ...], lines: list[str]) -> None:
    """Deletes and inserts what differs. Inserting is at the top, in reverse, so that their order among themselves stays
    and the last rule of KUBE-SERVICES remains the last."""
    if before == after:
        return
    kept = set(before) & set(after)
    lines += [f"-D {rule.chain} {rule.spec()}" for rule in before if rule not in kept]
    lines += [f"-I {rule.chain} 1 {rule.spec()}" for rule in reversed(after) if rule not in kept]


@dataclass(frozen=True, slots=True)
class _Rewrite:
    """Lines that turn one service's own chains into others: declarations, rules, and the chains to delete."""

    before: ServiceRules | None
    after: ServiceRules | None
    chains: tuple[str, ...]
    rules: tuple[str, ...]
    removed: tuple[str, ...]


RECENT = 8
_recent: dict[tuple[int, int], _Rewrite] = {}
"""The last rewrites by the identity of what they lead from and to: the nodes of one process share their rules (see
`service_rules`), and so the same change is asked for once by each of them. The entries keep the objects alive."""


def _own_chains(before: ServiceRules | None, after: ServiceRules | None) -> _Rewrite:
    key = (id(before), id(after))
    found = _recent.get(key)
    if found is None:
        found = _rewrite(before, after)
        if len(_recent) >= RECENT:
            del _recent[next(iter(_recent))]
        _recent[key] = found
    return found


def _rewrite(before: ServiceRules | None, after: ServiceRules | None) -> _Rewrite:
    """Rewrites the service's chains whose rules differ (declaring one empties it) and marks the rest for removal."""
    old, new = _by_chain(before), _by_chain(after)
    changed = [chain for chain, own in new.items() if old.get(chain) != own]
    gone = tuple(chain for chain in old if chain not in new)
    chains = tuple(f":{chain} - [0:0]" for chain in (*changed, *gone))
    return _Rewrite(before, after, chains, tuple(str(rule) for chain in changed for rule in new[chain]), gone)


def _by_chain(service: ServiceRules | None) -> dict[str, list[Rule]]:
    result: dict[str, list[Rule]] = {chain: [] for chain in service.chains} if service else {}
    for rule in service.own if service else ():
        result.setdefault(rule.chain, []).append(rule)
    return result


def _missing_jumps(jumps: tuple[Rule, ...], present: Existing | None) -> list[str]:
    """Inserts those that are missing at the top of their chains, in order."""
    there = present.jumps if present is not None else frozenset[Rule]()
    return [f"-I {rule.chain} 1 {rule.spec()}" for rule in reversed(jumps) if rule not in there]
