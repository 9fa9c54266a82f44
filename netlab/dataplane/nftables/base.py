"""The chains, sets and maps that a node has once. Pure; upstream's `setupNFTables`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netlab.dataplane.nftables import names
from netlab.dataplane.nftables.rules import (
    Addr,
    Chain,
    Container,
    CtNew,
    Element,
    FibLocal,
    InSet,
    Ip,
    Lookup,
    MarkUnset,
    Masquerade,
    Rule,
    SetMark,
    Statement,
    Verdict,
)
from netlab.dataplane.nftables.table import NftState
from netlab.dataplane.services.model import Family


@dataclass(frozen=True, slots=True)
class NftablesConfig:
    """What of the node and of kube-proxy's options the rules depend on.

    NodePorts are served on `node_port_ips` (by default, as upstream, the node's own address), with none on every local
    address but loopback.
    """

    node_ip: str
    cluster_cidr: str
    service_cidr: str = ""
    node_port_ips: tuple[str, ...] = ()
    family: Family = "IPv4"
    masquerade_all: bool = False
    masquerade_mark: int = 0x4000
    random_fully: bool = True

    @property
    def ip(self) -> Ip:
        return "ip6" if self.family == "IPv6" else "ip"


# (name, hook, chains jumped to for a connection's first packet, or for every packet)
_HOOKS = (
    ("filter-prerouting-pre-dnat", "filter hook prerouting priority dstnat - 10", ("firewall-check",), True),
    ("filter-output-pre-dnat", "filter hook output priority -110", ("firewall-check",), True),
    (
        "filter-input",
        "filter hook input priority filter",
        ("nodeport-endpoints-check", "service-endpoints-check"),
        True,
    ),
    ("filter-forward", "filter hook forward priority filter", ("service-endpoints-check", "cluster-ips-check"), True),
    ("filter-output", "filter hook output priority filter", ("service-endpoints-check", "cluster-ips-check"), True),
    ("nat-prerouting", "nat hook prerouting priority dstnat", ("services",), False),
    ("nat-output", "nat hook output priority -100", ("services",), False),
    ("nat-postrouting", "nat hook postrouting priority srcnat", ("masquerading",), False),
)


def base_state(config: NftablesConfig) -> NftState:
    """Everything but what Services bring."""
    state = NftState()
    state.add(*_containers(config), *_chains(config))
    state.add(*(Element(names.NODEPORT_IPS, (address,)) for address in config.node_port_ips))
    return state


def _containers(config: NftablesConfig) -> Iterator[Container]:
    address = "ipv6_addr" if config.family == "IPv6" else "ipv4_addr"
    by_address, by_port = f"{address} . inet_proto . inet_service : verdict", "inet_proto . inet_service : verdict"
    yield Container(names.CLUSTER_IPS, "set", address, "Active ClusterIPs")
    if config.node_port_ips:
        yield Container(names.NODEPORT_IPS, "set", address, "IPs that accept NodePort traffic")
    refuse = "vmap to drop or reject packets to service"
    yield Container(names.NO_ENDPOINT_SERVICES, "map", by_address, f"{refuse}s with no endpoints")
    yield Container(names.NO_ENDPOINT_NODEPORTS, "map", by_port, f"{refuse} nodeports with no endpoints")
    firewalled = "destinations that are subject to LoadBalancerSourceRanges"
    yield Container(names.FIREWALL_IPS, "map", by_address, firewalled)
    yield Container(names.SERVICE_IPS, "map", by_address, "ClusterIP, ExternalIP and LoadBalancer IP traffic")
    yield Container(names.SERVICE_NODEPORTS, "map", by_port, "NodePort traffic")


def _chains(config: NftablesConfig) -> Iterator[Chain]:
    ip, mark = config.ip, config.masquerade_mark
    for name, hook, targets, new_only in _HOOKS:
        match: tuple[Statement, ...] = (CtNew(),) if new_only else ()
        yield Chain(name, tuple(Rule((*match, Verdict("jump", target))) for target in targets), hook)
    # In filter-input the destination is local already; loopback is left out because NodePorts do not work there.
    checked: tuple[Statement, ...] = _local_addresses(config)[-1:]
    yield Chain("nodeport-endpoints-check", (Rule((*checked, Lookup(names.NO_ENDPOINT_NODEPORTS, None))),))
    yield Chain("service-endpoints-check", (Rule((Lookup(names.NO_ENDPOINT_SERVICES, ip),)),))
    yield Chain("firewall-check", (Rule((Lookup(names.FIREWALL_IPS, ip),)),))
    to_node_ports = Rule((*_local_addresses(config), Lookup(names.SERVICE_NODEPORTS, None)))
    yield Chain("services", (Rule((Lookup(names.SERVICE_IPS, ip),)), to_node_ports))
    yield Chain(
        "masquerading",
        (
            Rule((MarkUnset(mark), Verdict("return"))),
            Rule((SetMark("^", mark),)),
            Rule((Masquerade(config.random_fully),)),
        ),
    )
    yield Chain("cluster-ips-check", tuple(_cluster_ips(config)))
    yield Chain(names.MARK_FOR_MASQUERADE, (Rule((SetMark("|", mark),)),))
    helper = "helper for @no-endpoint-services / @no-endpoint-nodeports"
    yield Chain(names.REJECT_CHAIN, (Rule((Verdict("reject"),)),), comment=helper)


def _local_addresses(config: NftablesConfig) -> tuple[Statement, ...]:
    """What a NodePort's destination must be."""
    if config.node_port_ips:
        return (InSet(config.ip, "daddr", names.NODEPORT_IPS),)
    loopback = "::1" if config.family == "IPv6" else "127.0.0.0/8"
    return (FibLocal("daddr"), Addr(config.ip, "daddr", (loopback,), negated=True))


def _cluster_ips(config: NftablesConfig) -> Iterator[Rule]:
    active = InSet(config.ip, "daddr", names.CLUSTER_IPS)
    yield Rule((active, Verdict("reject")), "Reject traffic to invalid ports of ClusterIPs")
    if config.service_cidr:
        unallocated = Addr(config.ip, "daddr", (config.service_cidr,))
        yield Rule((unallocated, Verdict("drop")), "Drop traffic to unallocated ClusterIPs")
