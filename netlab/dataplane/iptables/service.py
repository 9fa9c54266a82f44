"""The rules of one service port on one node. Pure; follows upstream's syncProxyRules rule by rule.

In the words of that function: a packet to a cluster IP jumps from KUBE-SERVICES to the chain of the internal policy
(KUBE-SVC or KUBE-SVL); a packet to any external address (NodePort, external IP, load balancer) to KUBE-EXT, which
treats traffic of pods and of the node itself as policy Cluster and hands the rest to the chain of the external policy;
a load balancer with source ranges has KUBE-FW before that. Each of these picks an endpoint's KUBE-SEP at random, which
DNATs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from weakref import WeakValueDictionary

from netlab.dataplane.iptables import names
from netlab.dataplane.iptables.rules import (
    ACCEPT,
    DROP,
    AddrType,
    Comment,
    Dnat,
    Jump,
    Match,
    Net,
    NfAcct,
    Ports,
    Recent,
    Reject,
    Rule,
    Statistic,
    Target,
)
from netlab.dataplane.services.choose import Choice
from netlab.dataplane.services.model import Endpoint, Family, ServicePort, ServicePortName
from netlab.dataplane.services.objects import in_range

LOCALHOST_COUNTER = "localhost_nps_accepted_pkts"
INVALID_COUNTER = "ct_state_invalid_dropped_pkts"


@dataclass(frozen=True, slots=True)
class IptablesConfig:
    """What of the node and of kube-proxy's options the rules depend on.

    `cluster_cidr` tells pod traffic from other traffic (--detect-local-mode=ClusterCIDR). `nfacct` adds upstream's
    counters, where the kernel has them. `large_cluster` leaves out the comments of per-endpoint rules, as upstream does
    above 1,000 endpoints.
    """

    node_ip: str
    cluster_cidr: str
    family: Family = "IPv4"
    masquerade_all: bool = False
    masquerade_mark: int = 0x4000
    random_fully: bool = True
    localhost_node_ports: bool = True
    node_port_addresses: tuple[str, ...] = ()
    """Addresses that accept NodePort traffic; empty means all of the node's."""
    conntrack_tcp_liberal: bool = False
    nfacct: bool = False
    large_cluster: bool = False


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ServiceRules:
    """All rules of a service port: in chains that all share, and in chains of its own (nat only)."""

    name: ServicePortName
    nat: tuple[Rule, ...]
    filter: tuple[Rule, ...]
    chains: tuple[str, ...]
    own: tuple[Rule, ...]


SHARED_FROM = 32
"""Endpoints from which on a service's rules are shared by the nodes of one process: thousands of equal rules per node
would be most of its memory, and making them most of its work."""

_shared: WeakValueDictionary[object, ServiceRules] = WeakValueDictionary()


def service_rules(port: ServicePort, choice: Choice, config: IptablesConfig) -> ServiceRules:
    """The rules for a service port with these endpoints. Equal ones that are in use may be the same object."""
    if len(choice.reachable) < SHARED_FROM:
        return _build(port, choice, config)
    if not port.source_ranges:  # only the firewall chain looks at the node's own address
        config = replace(config, node_ip="")
    groups = (choice.cluster, choice.local, choice.reachable)
    key = (port, config, choice.has_any, tuple(tuple((ep.ip, ep.port) for ep in group) for group in groups))
    found = _shared.get(key)
    if found is None:
        found = _shared[key] = _build(port, choice, config)
    return found


def _build(port: ServicePort, choice: Choice, config: IptablesConfig) -> ServiceRules:
    builder = _Builder(port, choice, config)
    builder.cluster_ip()
    builder.external_ips()
    builder.load_balancer()
    builder.node_port()
    builder.health_check()
    builder.internal()
    builder.external()
    builder.firewall()
    builder.balance()
    builder.endpoints()
    return ServiceRules(port.name, tuple(builder.nat), tuple(builder.filter), tuple(builder.chains), tuple(builder.own))


class _Builder:
    """Collects the rules; the attributes carry upstream's local variables' names."""

    def __init__(self, port: ServicePort, choice: Choice, config: IptablesConfig) -> None:
        self.port, self.choice, self.config = port, choice, config
        self.label = str(port.name)
        self.protocol = port.protocol.lower()
        self.nat: list[Rule] = []
        self.filter: list[Rule] = []
        self.chains: list[str] = []
        self.own: list[Rule] = []
        self.cluster_chain = names.cluster_chain(port.name)
        self.local_chain = names.local_chain(port.name)
        self.ext_chain = names.external_chain(port.name)
        self.fw_chain = names.firewall_chain(port.name)
        self.has_internal = choice.has_internal(port)
        self.has_external = choice.has_external(port)
        self.internal_chain = self.local_chain if port.internal_local else self.cluster_chain
        self.external_chain = self.local_chain if port.external_local else self.cluster_chain
        self.uses_external = choice.has_any and port.externally_accessible
        self.uses_firewall = choice.has_any and bool(port.load_balancer_ips) and bool(port.source_ranges)

    def _to(
        self,
        chain: str,
        comment: str,
        target: Target,
        *,
        to: str | None = None,
        dport: int = 0,
        extra: Sequence[Match] = (),
    ) -> Rule:
        """A rule for packets of this port's protocol to an address and port."""
        return Rule(
            chain,
            target,
            (Comment(comment), *extra, Ports(self.protocol, dport or self.port.port)),
            destination=Net.host(to) if to else None,
            protocol=self.protocol,
        )

    def _refusal(self, any_endpoints: bool) -> tuple[str, Target]:
        """No endpoints anywhere: refuse, so that clients fail fast. None here by policy: drop, as if not announced."""
        if any_endpoints:
            return f"{self.label} has no local endpoints", DROP
        return f"{self.label} has no endpoints", Reject(
            "icmp6-port-unreachable" if self.config.family == "IPv6" else "icmp-port-unreachable"
        )

    def cluster_ip(self) -> None:
        if self.has_internal:
            target = Jump(self.internal_chain)
            self.nat.append(self._to(names.SERVICES, f"{self.label} cluster IP", target, to=self.port.cluster_ip))
        else:
            comment, refuse = self._refusal(self.choice.has_any)
            self.filter.append(self._to(names.SERVICES, comment, refuse, to=self.port.cluster_ip))

    def external_ips(self) -> None:
        for address in self.port.external_ips:
            if self.choice.has_any:
                self.nat.append(self._to(names.SERVICES, f"{self.label} external IP", Jump(self.ext_chain), to=address))
            self._refuse_external(address)

    def _refuse_external(self, address: str) -> None:
        if not self.has_external:
            comment, refuse = self._refusal(self.choice.has_any)
            self.filter.append(self._to(names.EXTERNAL_SERVICES, comment, refuse, to=address))

    def load_balancer(self) -> None:
        for address in self.port.load_balancer_ips:
            if self.choice.has_any:
                chain = self.fw_chain if self.uses_firewall else self.ext_chain
                self.nat.append(self._to(names.SERVICES, f"{self.label} loadbalancer IP", Jump(chain), to=address))
            if self.uses_firewall:
                comment = f"{self.label} traffic not accepted by {self.fw_chain}"
                self.filter.append(self._to(names.PROXY_FIREWALL, comment, DROP, to=address))
        for address in self.port.load_balancer_ips:
            self._refuse_external(address)

    def node_port(self) -> None:
        node_port = self.port.node_port
        if not node_port:
            return
        if self.choice.has_any:
            jump = Jump(self.ext_chain)
            if self._counts_localhost():
                self.nat.append(
                    Rule(
                        names.NODEPORTS,
                        jump,
                        (Comment(self.label), Ports(self.protocol, node_port), NfAcct(LOCALHOST_COUNTER)),
                        destination=Net("127.0.0.0/8"),
                        protocol=self.protocol,
                    )
                )
            self.nat.append(self._to(names.NODEPORTS, self.label, jump, dport=node_port))
        if not self.has_external:
            comment, refuse = self._refusal(self.choice.has_any)
            local = (AddrType("dst"),)
            self.filter.append(self._to(names.EXTERNAL_SERVICES, comment, refuse, dport=node_port, extra=local))

    def _counts_localhost(self) -> bool:
        return self.config.nfacct and self.config.localhost_node_ports and self.config.family == "IPv4"

    def health_check(self) -> None:
        node_port = self.port.health_check_node_port
        if node_port:
            matches = (Comment(f"{self.label} health check node port"), Ports("tcp", node_port))
            self.filter.append(Rule(names.NODEPORTS, ACCEPT, matches, protocol="tcp"))

    def internal(self) -> None:
        """Traffic to the cluster IP from outside the pods' range is masqueraded: whoever routes the Service range to a
        node gets its answers back through that node."""
        if not self.has_internal:
            return
        source = None if self.config.masquerade_all else Net(self.config.cluster_cidr, negated=True)
        self.own.append(
            Rule(
                self.internal_chain,
                Jump(names.MARK_MASQ),
                (Comment(f"{self.label} cluster IP"), Ports(self.protocol, self.port.port)),
                source=source,
                destination=Net.host(self.port.cluster_ip),
                protocol=self.protocol,
            )
        )

    def external(self) -> None:
        if not self.uses_external:
            return
        self.chains.append(self.ext_chain)
        where = f"{self.label} external destinations"
        masquerade, cluster = Jump(names.MARK_MASQ), Jump(self.cluster_chain)
        if not self.port.external_local:
            self.own.append(Rule(self.ext_chain, masquerade, (Comment(f"masquerade traffic for {where}"),)))
        else:
            local = AddrType("src")
            pods = Net(self.config.cluster_cidr)
            self.own += [
                Rule(self.ext_chain, cluster, (Comment(f"pod traffic for {where}"),), source=pods),
                Rule(self.ext_chain, masquerade, (Comment(f"masquerade LOCAL traffic for {where}"), local)),
                Rule(self.ext_chain, cluster, (Comment(f"route LOCAL traffic for {where}"), local)),
            ]
        if self.has_external:
            self.own.append(Rule(self.ext_chain, Jump(self.external_chain)))

    def firewall(self) -> None:
        if not self.uses_firewall:
            return
        self.chains.append(self.fw_chain)
        comment, accept = (Comment(f"{self.label} loadbalancer IP"),), Jump(self.ext_chain)
        allowed = [*self.port.source_ranges]
        # A node that calls the address gets itself as source where the address is a local one: let it in, if it may.
        if any(in_range(self.config.node_ip, cidr) for cidr in self.port.source_ranges):
            allowed += [Net.host(address).cidr for address in self.port.load_balancer_ips]
        self.own += [Rule(self.fw_chain, accept, comment, source=Net(cidr)) for cidr in allowed]
        end = Comment(f"other traffic to {self.label} will be dropped by KUBE-PROXY-FIREWALL")
        self.own.append(Rule(self.fw_chain, None, (end,)))

    def balance(self) -> None:
        if self.choice.cluster and self.port.uses_cluster_endpoints:
            self.chains.append(self.cluster_chain)
            self.own.extend(self._spread(self.cluster_chain, self.choice.cluster))
        if self.choice.local and self.port.uses_local_endpoints:
            self.chains.append(self.local_chain)
            self.own.extend(self._spread(self.local_chain, self.choice.local))

    def _spread(self, chain: str, endpoints: Sequence[Endpoint]) -> Iterator[Rule]:
        """Affinity first, then each endpoint with probability 1/(those left): all equally likely in the end."""
        commented = not self.config.large_cluster
        targets = [_way(self.port.name, self.label, str(ep), commented) for ep in endpoints]
        if self.port.affinity_seconds is not None:
            for comment, jump in targets:
                check = Recent("rcheck", jump.chain, self.port.affinity_seconds, reap=True, mask=self._host_mask())
                yield Rule(chain, jump, (*comment, check))
        for left, (comment, jump) in zip(range(len(targets), 0, -1), targets, strict=True):
            yield Rule(chain, jump, (*comment, Statistic.one_in(left)) if left > 1 else comment)

    def endpoints(self) -> None:
        comment = self._comment(self.label)
        mask = self._host_mask() if self.port.affinity_seconds is not None else ""
        for endpoint in self.choice.reachable:
            rules = _endpoint_rules(self.port.name, endpoint.ip, str(endpoint), comment, mask)
            self.chains.append(rules[0].chain)
            self.own += rules

    def _comment(self, text: str) -> tuple[Match, ...]:
        return () if self.config.large_cluster else (Comment(text),)

    def _host_mask(self) -> str:
        return "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" if self.config.family == "IPv6" else "255.255.255.255"


@lru_cache(maxsize=16384)
def _way(name: ServicePortName, label: str, text: str, commented: bool) -> tuple[tuple[Match, ...], Jump]:
    """How a Service leads to one endpoint, whatever its share."""
    return ((Comment(f"{label} -> {text}"),) if commented else ()), Jump(names.endpoint_chain(name, text))


@lru_cache(maxsize=16384)
def _endpoint_rules(
    name: ServicePortName, address: str, text: str, comment: tuple[Match, ...], affinity_mask: str
) -> tuple[Rule, Rule]:
    """The chain of one endpoint: it does not change while the endpoint is there. No mask: no affinity."""
    sep = names.endpoint_chain(name, text)
    affinity: tuple[Match, ...] = (Recent("set", sep, mask=affinity_mask),) if affinity_mask else ()
    protocol = name.protocol.lower()
    return (
        Rule(sep, Jump(names.MARK_MASQ), comment, source=Net.host(address)),
        Rule(sep, Dnat(text), (*comment, *affinity, Ports(protocol)), protocol=protocol),
    )
