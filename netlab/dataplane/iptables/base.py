"""The rules that exist once per node, and the jumps from built-in chains. Pure; upstream's iptablesJumpChains."""

from __future__ import annotations

from collections.abc import Iterator

from netlab.dataplane.iptables import names
from netlab.dataplane.iptables.rules import (
    ACCEPT,
    DROP,
    RETURN,
    AddrType,
    Comment,
    CtState,
    Jump,
    MarkMatch,
    Masquerade,
    Match,
    Net,
    NfAcct,
    Rule,
    SetMark,
)
from netlab.dataplane.iptables.service import INVALID_COUNTER, IptablesConfig

FILTER_CHAINS = (
    names.SERVICES,
    names.EXTERNAL_SERVICES,
    names.FORWARD,
    names.NODEPORTS,
    names.PROXY_FIREWALL,
)
NAT_CHAINS = (names.SERVICES, names.NODEPORTS, names.POSTROUTING, names.MARK_MASQ)

_NEW = CtState(("NEW",))
_PORTALS = "kubernetes service portals"
_VISIBLE = "kubernetes externally-visible service portals"
_BALANCER = "kubernetes load balancer firewall"

# (chain, target, state match, comment), in the order in which they must stand before other rules of the chain.
_FILTER_JUMPS = (
    ("INPUT", names.PROXY_FIREWALL, True, _BALANCER),
    ("INPUT", names.NODEPORTS, False, "kubernetes health check service ports"),
    ("INPUT", names.EXTERNAL_SERVICES, True, _VISIBLE),
    ("FORWARD", names.PROXY_FIREWALL, True, _BALANCER),
    ("FORWARD", names.FORWARD, False, "kubernetes forwarding rules"),
    ("FORWARD", names.SERVICES, True, _PORTALS),
    ("FORWARD", names.EXTERNAL_SERVICES, True, _VISIBLE),
    ("OUTPUT", names.PROXY_FIREWALL, True, _BALANCER),
    ("OUTPUT", names.SERVICES, True, _PORTALS),
)
_NAT_JUMPS = (
    ("PREROUTING", names.SERVICES, False, _PORTALS),
    ("OUTPUT", names.SERVICES, False, _PORTALS),
    ("POSTROUTING", names.POSTROUTING, False, "kubernetes postrouting rules"),
)


def _jumps(table: tuple[tuple[str, str, bool, str], ...]) -> Iterator[Rule]:
    for chain, target, new_only, comment in table:
        matches: tuple[Match, ...] = (_NEW, Comment(comment)) if new_only else (Comment(comment),)
        yield Rule(chain, Jump(target), matches)


def filter_jumps(config: IptablesConfig) -> tuple[Rule, ...]:
    """The rules of INPUT, FORWARD and OUTPUT, in order."""
    rules = list(_jumps(_FILTER_JUMPS))
    if _guards_localhost(config):
        rules = [Rule("INPUT", Jump(names.KUBELET_FIREWALL)), Rule("OUTPUT", Jump(names.KUBELET_FIREWALL)), *rules]
    return tuple(rules)


def nat_jumps() -> tuple[Rule, ...]:
    """The rules of PREROUTING, OUTPUT and POSTROUTING."""
    return tuple(_jumps(_NAT_JUMPS))


def filter_chains(config: IptablesConfig) -> tuple[str, ...]:
    """The fixed chains of the filter table."""
    return (*FILTER_CHAINS, names.KUBELET_FIREWALL) if _guards_localhost(config) else FILTER_CHAINS


def filter_rules(config: IptablesConfig) -> tuple[Rule, ...]:
    """The fixed rules of the filter table."""
    counter: tuple[Match, ...] = (NfAcct(INVALID_COUNTER),) if config.nfacct else ()
    mark = MarkMatch(config.masquerade_mark, config.masquerade_mark)
    rules = [
        Rule(names.FORWARD, ACCEPT, (Comment("kubernetes forwarding rules"), mark)),
        Rule(
            names.FORWARD,
            ACCEPT,
            (Comment("kubernetes forwarding conntrack rule"), CtState(("RELATED", "ESTABLISHED"))),
        ),
    ]
    if not config.conntrack_tcp_liberal:
        rules.insert(0, Rule(names.FORWARD, DROP, (CtState(("INVALID",)), *counter)))
    if _guards_localhost(config):
        rules.append(_localnet_guard())
    return tuple(rules)


def nat_rules(config: IptablesConfig) -> tuple[Rule, ...]:
    """The fixed rules of the nat table; those of KUBE-SERVICES must be its last ones."""
    mark = config.masquerade_mark
    snat = Masquerade(config.random_fully)
    return (
        Rule(names.POSTROUTING, RETURN, (MarkMatch(mark, mark, negated=True),)),
        # Clear the mark, or a packet that is routed once more would be masqueraded again.
        Rule(names.POSTROUTING, SetMark(mark, 0)),
        Rule(names.POSTROUTING, snat, (Comment("kubernetes service traffic requiring SNAT"),)),
        Rule(names.MARK_MASQ, SetMark(mark, mark)),
        *_to_node_ports(config),
    )


def _to_node_ports(config: IptablesConfig) -> Iterator[Rule]:
    if config.node_port_addresses:
        for address in config.node_port_addresses:
            comment = Comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
            yield Rule(names.SERVICES, Jump(names.NODEPORTS), (comment,), destination=Net.host(address))
        return
    no_loopback = None
    if config.family == "IPv6":
        no_loopback = Net("::1/128", negated=True)
    elif not config.localhost_node_ports:
        no_loopback = Net("127.0.0.0/8", negated=True)
    comment = Comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
    yield Rule(names.SERVICES, Jump(names.NODEPORTS), (comment, AddrType("dst")), destination=no_loopback)


def _guards_localhost(config: IptablesConfig) -> bool:
    """NodePorts on 127.0.0.1 need route_localnet, which would let neighbours in to 127.0.0.0/8: refuse those."""
    return config.localhost_node_ports and config.family == "IPv4"


def _localnet_guard() -> Rule:
    return Rule(
        names.KUBELET_FIREWALL,
        DROP,
        (
            Comment("block incoming localnet connections"),
            CtState(("RELATED", "ESTABLISHED", "DNAT"), negated=True),
        ),
        source=Net("127.0.0.0/8", negated=True),
        destination=Net("127.0.0.0/8"),
    )
