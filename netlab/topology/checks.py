"""What must hold of a topology as a whole. Every refusal has a place and a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from netlab.topology import names
from netlab.topology.addressing import parse_network
from netlab.topology.addressing6 import parse_network6
from netlab.topology.document import Place
from netlab.topology.draft import Draft
from netlab.topology.model import Cluster, Node, family_of
from netlab.topology.wiring import Domain, Port

Network = IPv4Network | IPv6Network

_NODE_NAME_HELP = "use a-z, 0-9 and '-', at most 63, beginning and ending with a letter or digit (DNS-1123)"


def check_names(draft: Draft) -> None:
    """Names that Kubernetes, /etc/hosts and the kernel accept; at least one control-plane node."""
    for name, entry in draft.machines.items():
        if not names.is_node_name(name):
            raise entry.place.error(f"{name!r} cannot be a name: a node's name is also its host name", _NODE_NAME_HELP)
    for name, switch in draft.switches.items():
        if not names.is_switch_name(name):
            raise switch.place.error(
                f"{name!r} cannot be a switch's name: it is also its interface's",
                f"letters, digits, '-', '_', '.', at most {names.INTERFACE_MAX} characters",
            )
    nodes = [entry.machine for entry in draft.machines.values() if isinstance(entry.machine, Node)]
    place = Place(draft.place.file, draft.place.line, draft.place.column, "nodes")
    if not nodes:
        raise place.error("the topology has no cluster node", "add one: nodes: {master: {role: control-plane}}")
    if not any(node.role == "control-plane" for node in nodes):
        raise place.error(
            "no node has the role control-plane, so nothing would run the API",
            f"add role: control-plane to {nodes[0].name!r}",
        )


def check_cluster(draft: Draft) -> None:
    """The cluster's CIDRs: well-formed, apart from each other, wide enough; the DNS address within the services'."""
    cluster = draft.cluster
    pod_place, service_place = draft.cluster_place("podCIDR"), draft.cluster_place("serviceCIDR")
    pairs = _family_pairs(draft)
    for pods, services in pairs:
        if pods.overlaps(services):
            place = pod_place if pod_place.line > service_place.line else service_place
            raise place.error(
                f"pod CIDR {pods} and service CIDR {services} overlap", "choose CIDRs apart from each other"
            )
        _check_service_size(services, service_place)
        _check_node_subnets(draft, pods, pod_place)
    primary = pairs[0][1]
    if primary.version == 6 and "dnsIP" not in draft.cluster_places:
        cluster = draft.cluster = replace(cluster, dns_ip=str(primary[10]))
    _check_dns(draft, primary)
    if not names.is_dns_domain(cluster.dns_domain):
        raise draft.cluster_place("dnsDomain").error(f"{cluster.dns_domain!r} is no DNS domain", "as in cluster.local")


def _parse(text: str, place: Place, what: str) -> Network:
    return parse_network6(text, place, what) if family_of(text) == "IPv6" else parse_network(text, place, what)


def _family_pairs(draft: Draft) -> list[tuple[Network, Network]]:
    """(pod CIDR, service CIDR) of each family, primary first; both must have the same families in the same order."""
    cluster = draft.cluster
    pod_place, service_place = draft.cluster_place("podCIDR"), draft.cluster_place("serviceCIDR")
    pods = [_parse(text, pod_place, "pod CIDR") for text in cluster.pod_cidrs]
    services = [_parse(text, service_place, "service CIDR") for text in cluster.service_cidrs]
    if [one.version for one in pods] != [one.version for one in services]:
        of_pods = " and ".join(family_of(text) for text in cluster.pod_cidrs)
        of_services = " and ".join(family_of(text) for text in cluster.service_cidrs)
        place = service_place if "serviceCIDR" in draft.cluster_places else pod_place
        raise place.error(
            f"the pod CIDRs are {of_pods}, the service CIDRs {of_services}",
            "give both the same families, the primary one first, as in 10.96.0.0/12,fd00:10:96::/112",
        )
    return list(zip(pods, services, strict=True))


def _check_service_size(services: Network, place: Place) -> None:
    if services.max_prefixlen - services.prefixlen < 4:
        least = "a /28 is the least, upstream's usual is /12" if services.version == 4 else "a /124 is the least"
        raise place.error(f"service CIDR {services} is too small", least)
    if services.version == 6 and services.prefixlen < 64:
        raise place.error(
            f"service CIDR {services} is too large", "for IPv6 a /64 is the most, upstream's usual is /112"
        )


def _check_node_subnets(draft: Draft, pods: Network, pod_place: Place) -> None:
    key = "nodePrefix" if pods.version == 4 else "nodePrefixV6"
    prefix = draft.cluster.prefix_of(str(pods))
    if pods.version == 6:
        _check_node_subnets6(draft, pods, prefix)
    if prefix < pods.prefixlen:
        raise draft.cluster_place("nodePrefix").error(
            f"a node's /{prefix} is wider than the pod CIDR {pods}",
            f"use {min(pods.prefixlen + 8, 30)}, or a wider podCIDR",
        )
    nodes = [entry for entry in draft.machines.values() if isinstance(entry.machine, Node)]
    room = 1 << (prefix - pods.prefixlen)
    if room < len(nodes):
        place = pod_place if "podCIDR" in draft.cluster_places else draft.cluster_place(key)
        wanted = (len(nodes) - 1).bit_length()
        raise place.error(
            f"pod CIDR {pods} holds {room} subnets of /{prefix}, the topology has {len(nodes)} nodes",
            f"use a podCIDR of /{max(prefix - wanted, 8)} or wider, or a longer {key}",
        )
    usable = pod_addresses(prefix) if pods.version == 4 else pods_per_node(draft.cluster)
    for entry in nodes:
        if isinstance(entry.machine, Node) and entry.explicit_pods and entry.machine.capacity.pods > usable:
            raise entry.place.error(
                f"node {entry.machine.name!r} has capacity for {entry.machine.capacity.pods} pods, its /{prefix} has "
                f"{usable} addresses for them",
                "lower capacity.pods, or use a shorter nodePrefix",
            )


def _check_node_subnets6(draft: Draft, pods: Network, prefix: int) -> None:
    if not pods.prefixlen <= prefix <= pods.prefixlen + 16:
        raise draft.cluster_place("nodePrefixV6").error(
            f"a node's /{prefix} does not fit the pod CIDR {pods}",
            f"use {pods.prefixlen} to {pods.prefixlen + 16}, as upstream's controller, or another podCIDR",
        )


def pods_per_node(cluster: Cluster) -> int:
    """How many pods a node has addresses for."""
    v6 = (1 << (128 - cluster.node_prefix6)) - 3
    return pod_addresses(cluster.node_prefix) if "IPv4" in cluster.families else v6


def pod_addresses(prefix: int) -> int:
    """How many pods a node's subnet has addresses for: all but network, bridge and broadcast."""
    return (1 << (32 - prefix)) - 3


def _check_dns(draft: Draft, services: Network) -> None:
    place, text = draft.cluster_place("dnsIP"), draft.cluster.dns_ip
    try:
        address = ip_address(text)
    except ValueError:
        raise place.error(
            f"{text!r} is no IPv{services.version} address, expected one such as {services[10]}"
        ) from None
    if address not in services or address in (services[0], services[1], services[-1]):
        raise place.error(
            f"the DNS address {address} is not free in the service CIDR {services}",
            f"use {services[10]}; {services[1]} is the `kubernetes` Service's",
        )


def check_underlay(draft: Draft, domains: Sequence[Domain]) -> None:
    """No segment of the underlay may hide pods or Services."""
    cluster = draft.cluster
    inner = [
        *(("pod", ip_network(cidr), "podCIDR") for cidr in cluster.pod_cidrs),
        *(("service", ip_network(cidr), "serviceCIDR") for cidr in cluster.service_cidrs),
    ]
    for domain in domains:
        for what, network, key in inner:
            v6 = network.version == 6
            subnet: Network | None = domain.subnet6 if v6 else domain.subnet
            if subnet is not None and subnet.overlaps(network):
                place = (domain.subnet6_place if v6 else domain.subnet_place) or draft.cluster_place("underlayCIDR")
                raise place.error(
                    f"subnet {subnet} of segment {domain.name!r} overlaps the {what} CIDR {network}",
                    f"choose another subnet, or another {key}",
                )


def check_reachability(draft: Draft, pairs: Sequence[tuple[Port, Port]]) -> None:
    """Every node has a cable and can reach the first control-plane node through switches and routers."""
    neighbours: dict[str, set[str]] = {}
    for a, b in pairs:
        neighbours.setdefault(a.name, set()).add(b.name)
        neighbours.setdefault(b.name, set()).add(a.name)
    for name, entry in draft.machines.items():
        if name not in neighbours:
            raise entry.place.error(f"{name!r} has no link", f"add one: ends: [{name}, …]")
    nodes = [entry.machine for entry in draft.machines.values() if isinstance(entry.machine, Node)]
    root = next(node.name for node in nodes if node.role == "control-plane")
    reached, frontier = {root}, [root]
    while frontier:
        name = frontier.pop()
        if name == root or name in draft.switches or draft.machines[name].forwards:
            fresh = neighbours[name] - reached
            reached |= fresh
            frontier.extend(fresh)
    for node in nodes:
        if node.name not in reached:
            raise draft.machines[node.name].place.error(
                f"no path of switches and routers leads from node {node.name!r} to the control plane {root!r}",
                "add the missing link",
            )


def check_routes(draft: Draft, pairs: Sequence[tuple[Port, Port]]) -> None:
    """A static route names a CIDR or `default`, and a gateway on a subnet of its machine."""
    for name, entry in draft.machines.items():
        for route, place in zip(entry.machine.routes, entry.route_places, strict=False):
            if route.to != "default":
                _parse(route.to, place, "destination")
                if family_of(route.to) != family_of(route.via):
                    raise place.error(f"gateway {route.via} is of another family than {route.to}")
            try:
                via = ip_address(route.via)
            except ValueError:
                raise place.error(f"{route.via!r} is no {family_of(route.via)} address") from None
            own = [port for pair in pairs for port in pair if port.name == name]
            subnets: list[Network] = [port.address.network for port in own if port.address]
            if via.version == 6:
                subnets = [port.address6.network for port in own if port.address6]
            if not any(via in subnet for subnet in subnets):
                listed = ", ".join(map(str, subnets))
                raise place.error(f"gateway {via} is on no subnet of {name!r}", f"use an address of {listed}")
