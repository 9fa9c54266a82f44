"""Flannel's iptables chains: FLANNEL-POSTRTG (pod → outside is masqueraded) and FLANNEL-FWD (the overlay is forwarded).

The same rules, comments and order as flanneld writes them (`pkg/trafficmngr/iptables/iptables.go`). The first rule of
FLANNEL-POSTRTG returns what kube-proxy has marked, so that nothing is translated twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

POSTROUTING = "FLANNEL-POSTRTG"
FORWARD = "FLANNEL-FWD"
KUBE_PROXY_MARK = "0x4000/0x4000"
MULTICAST = "224.0.0.0/4"
MULTICAST6 = "ff00::/8"


@dataclass(frozen=True, slots=True)
class ChainRule:
    """One rule as `iptables-save` writes it: `-A <chain> <match> -m comment --comment "<comment>" -j <target>`."""

    table: str
    chain: str
    match: str
    target: str
    comment: str

    def __str__(self) -> str:
        match = f"{self.match} " if self.match else ""
        return f'-A {self.chain} {match}-m comment --comment "{self.comment}" -j {self.target}'


def masquerade_rules(pod_cidr: str, cluster_cidr: str, *, random_fully: bool = True) -> tuple[ChainRule, ...]:
    """The nat rules of one node, of the CIDRs' family. `random_fully` as the installed iptables supports it
    (kernel.features)."""
    multicast = MULTICAST6 if ":" in cluster_cidr else MULTICAST
    masquerade = "MASQUERADE --random-fully" if random_fully else "MASQUERADE"
    body = (
        (f"-m mark --mark {KUBE_PROXY_MARK}", "RETURN"),
        (f"-s {pod_cidr} -d {cluster_cidr}", "RETURN"),
        (f"-s {cluster_cidr} -d {pod_cidr}", "RETURN"),
        (f"! -s {cluster_cidr} -d {pod_cidr}", "RETURN"),
        (f"-s {cluster_cidr} ! -d {multicast}", masquerade),
        (f"! -s {cluster_cidr} -d {cluster_cidr}", masquerade),
    )
    jump = ChainRule("nat", "POSTROUTING", "", POSTROUTING, "flanneld masq")
    return (jump, *(ChainRule("nat", POSTROUTING, match, target, "flanneld masq") for match, target in body))


def forward_rules(cluster_cidr: str) -> tuple[ChainRule, ...]:
    """The filter rules: the overlay's packets are forwarded whatever FORWARD's policy is."""
    return (
        ChainRule("filter", "FORWARD", "", FORWARD, "flanneld forward"),
        ChainRule("filter", FORWARD, f"-s {cluster_cidr}", "ACCEPT", "flanneld forward"),
        ChainRule("filter", FORWARD, f"-d {cluster_cidr}", "ACCEPT", "flanneld forward"),
    )


def restore_text(rules: Sequence[ChainRule], *, present: frozenset[str] = frozenset()) -> str:
    """Input for `iptables-restore --noflush` that makes our chains exactly `rules`, once or again.

    A declared chain is emptied by iptables-restore, so our own chains are rewritten whole; the jumps from built-in
    chains are appended only where `present` (rules as `iptables-save` printed them, one per line) lacks them.
    """
    lines: list[str] = []
    for table in dict.fromkeys(rule.table for rule in rules):
        own = [rule for rule in rules if rule.table == table and rule.chain in (POSTROUTING, FORWARD)]
        jumps = [rule for rule in rules if rule.table == table and rule not in own and str(rule) not in present]
        lines += [f"*{table}", *(f":{chain} - [0:0]" for chain in dict.fromkeys(rule.chain for rule in own))]
        lines += [str(rule) for rule in (*jumps, *own)]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"
