"""The nftables objects of one service port on one node. Pure; upstream's syncProxyRules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netlab.dataplane.nftables import names
from netlab.dataplane.nftables.base import NftablesConfig
from netlab.dataplane.nftables.rules import (
    Addr,
    Chain,
    Container,
    Dnat,
    Element,
    FibLocal,
    InSet,
    L4Proto,
    Port,
    Remember,
    Rule,
    Spread,
    Statement,
    Verdict,
)
from netlab.dataplane.services.choose import Choice
from netlab.dataplane.services.model import Endpoint, ServicePort
from netlab.dataplane.services.objects import in_range

Item = Chain | Container | Element


def service_items(port: ServicePort, choice: Choice, config: NftablesConfig) -> tuple[Item, ...]:
    """Elements of the shared maps, and chains and sets of its own."""
    return tuple(_Builder(port, choice, config).items())


class _Builder:
    def __init__(self, port: ServicePort, choice: Choice, config: NftablesConfig) -> None:
        self.port, self.choice, self.config = port, choice, config
        self.protocol = port.protocol.lower()
        self._bases: dict[Endpoint, str] = {}
        base = names.base(port.name)
        self.cluster_chain, self.local_chain = f"service-{base}", f"local-{base}"
        self.external_chain, self.firewall_chain = f"external-{base}", f"firewall-{base}"
        self.has_internal = choice.has_internal(port)
        self.has_external = choice.has_external(port)
        self.internal_chain = self.local_chain if port.internal_local else self.cluster_chain
        self.uses_firewall = choice.has_any and bool(port.load_balancer_ips) and bool(port.source_ranges)

    def items(self) -> Iterator[Item]:
        yield from self.firewall_elements()  # before what they guard
        yield from self.internal_elements()
        yield from self.external_elements()
        yield from self.node_port_elements()
        if self.choice.has_any and self.port.externally_accessible:
            yield Chain(self.external_chain, tuple(self.external_rules()))
        if self.uses_firewall:
            yield Chain(self.firewall_chain, (self.firewall_rule(),))
        yield from self.balancing()
        for endpoint in self.choice.reachable:
            yield from self.endpoint(endpoint)

    def key(self, address: str) -> tuple[str, ...]:
        return (address, self.protocol, str(self.port.port))

    def refusal(self) -> Verdict:
        """No endpoints anywhere: refuse. None here by policy: drop."""
        return Verdict("drop") if self.choice.has_any else Verdict("goto", names.REJECT_CHAIN)

    def refused(self, address: str) -> Element:
        return Element(names.NO_ENDPOINT_SERVICES, self.key(address), self.refusal(), str(self.port.name))

    def firewall_elements(self) -> Iterator[Element]:
        if self.uses_firewall:
            verdict, comment = Verdict("goto", self.firewall_chain), str(self.port.name)
            for address in self.port.load_balancer_ips:
                yield Element(names.FIREWALL_IPS, self.key(address), verdict, comment)

    def internal_elements(self) -> Iterator[Element]:
        address = self.port.cluster_ip
        yield Element(names.CLUSTER_IPS, (address,))
        if self.has_internal:
            yield Element(names.SERVICE_IPS, self.key(address), Verdict("goto", self.internal_chain))
        else:
            yield self.refused(address)

    def external_elements(self) -> Iterator[Element]:
        for address in (*self.port.external_ips, *self.port.load_balancer_ips):
            if self.choice.has_any:
                yield Element(names.SERVICE_IPS, self.key(address), Verdict("goto", self.external_chain))
            if not self.has_external:
                yield self.refused(address)

    def node_port_elements(self) -> Iterator[Element]:
        if not self.port.node_port:
            return
        key = (self.protocol, str(self.port.node_port))
        if self.choice.has_any:
            yield Element(names.SERVICE_NODEPORTS, key, Verdict("goto", self.external_chain))
        if not self.has_external:
            yield Element(names.NO_ENDPOINT_NODEPORTS, key, self.refusal(), str(self.port.name))

    def external_rules(self) -> Iterator[Rule]:
        """Policy Cluster masquerades all; policy Local treats pods and the node itself as policy Cluster."""
        masquerade, cluster = Verdict("jump", names.MARK_FOR_MASQUERADE), Verdict("goto", self.cluster_chain)
        if not self.port.external_local:
            yield Rule((masquerade,))
        else:
            pods, local = self.saddr((self.config.cluster_cidr,)), FibLocal("saddr")
            yield Rule((pods, cluster), "short-circuit pod traffic")
            yield Rule((local, masquerade), "masquerade local traffic")
            yield Rule((local, cluster), "short-circuit local traffic")
        if self.has_external:
            yield Rule((Verdict("goto", self.local_chain if self.port.external_local else self.cluster_chain),))

    def firewall_rule(self) -> Rule:
        allowed = list(self.port.source_ranges)
        if any(in_range(self.config.node_ip, cidr) for cidr in self.port.source_ranges):
            allowed += self.port.load_balancer_ips
        return Rule((self.saddr(tuple(allowed), negated=True), Verdict("drop")))

    def balancing(self) -> Iterator[Chain]:
        masquerade: tuple[Rule, ...] = (self.masquerade_outsiders(),) if self.has_internal else ()
        if self.choice.cluster and self.port.uses_cluster_endpoints:
            before = () if self.port.internal_local else masquerade
            yield Chain(self.cluster_chain, (*before, *self.spread(self.choice.cluster)))
        if self.choice.local and self.port.uses_local_endpoints:
            before = masquerade if self.port.internal_local else ()
            yield Chain(self.local_chain, (*before, *self.spread(self.choice.local)))

    def masquerade_outsiders(self) -> Rule:
        """Traffic to the cluster IP from outside the pods' range must come back through this node."""
        to = (Addr(self.config.ip, "daddr", (self.port.cluster_ip,)), Port(self.protocol, self.port.port))
        who: tuple[Statement, ...] = ()
        if not self.config.masquerade_all:
            who = (self.saddr((self.config.cluster_cidr,), negated=True),)
        return Rule((*to, *who, Verdict("jump", names.MARK_FOR_MASQUERADE)))

    def spread(self, endpoints: Sequence[Endpoint]) -> Iterator[Rule]:
        chains = tuple(f"endpoint-{self.base(endpoint)}" for endpoint in endpoints)
        if self.port.affinity_seconds is not None:
            for endpoint, chain in zip(endpoints, chains, strict=True):
                remembered = InSet(self.config.ip, "saddr", self.affinity_set(endpoint))
                yield Rule((remembered, Verdict("goto", chain)))
        yield Rule((Spread(chains),))

    def affinity_set(self, endpoint: Endpoint) -> str:
        return f"affinity-{self.base(endpoint)}"

    def base(self, endpoint: Endpoint) -> str:
        """Made once: an endpoint's name is a hash, and needed where it is and from where it is led to."""
        known = self._bases.get(endpoint)
        if known is None:
            known = self._bases[endpoint] = names.endpoint_base(self.port.name, endpoint)
        return known

    def endpoint(self, endpoint: Endpoint) -> Iterator[Item]:
        hairpin = Rule((self.saddr((endpoint.ip,)), Verdict("jump", names.MARK_FOR_MASQUERADE)))
        translate = Rule((L4Proto(self.protocol), Dnat(str(endpoint))))
        remember: tuple[Rule, ...] = ()
        if self.port.affinity_seconds is not None:
            name = self.affinity_set(endpoint)
            kind = "ipv6_addr" if self.config.family == "IPv6" else "ipv4_addr"
            yield Container(name, "set", kind, timeout=self.port.affinity_seconds)
            remember = (Rule((Remember(self.config.ip, name),)),)
        chain = f"endpoint-{self.base(endpoint)}"
        yield Chain(chain, (hairpin, *remember, translate))

    def saddr(self, values: tuple[str, ...], negated: bool = False) -> Addr:
        return Addr(self.config.ip, "saddr", values, negated)
