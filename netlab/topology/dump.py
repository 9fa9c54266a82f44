"""A topology back to YAML with nothing left out, so that what a lab runs can be stored, read and loaded again."""

from __future__ import annotations

from typing import Any

import yaml

from netlab.topology import units
from netlab.topology.model import Attachment, Cluster, Host, Link, Node, Router, Topology

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def dump(topology: Topology) -> str:
    """The YAML text; loading it gives an equal topology."""
    return str(yaml.dump(document(topology), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=118))


def document(topology: Topology) -> dict[str, Any]:
    """The same as plain data."""
    cluster = topology.cluster
    subnets = {
        switch: _both(segment.subnet, segment.subnet6)
        for segment in topology.segments
        for switch in segment.switches[:1]
    }
    dual = "IPv6" in cluster.families
    result: dict[str, Any] = {
        "name": topology.name,
        "cluster": {
            "podCIDR": cluster.pod_cidr,
            "nodePrefix": cluster.node_prefix,
            "serviceCIDR": cluster.service_cidr,
            "dnsIP": cluster.dns_ip,
            "dnsDomain": cluster.dns_domain,
            "overlay": cluster.overlay,
            "proxyMode": cluster.proxy_mode,
            "underlayCIDR": _both(cluster.underlay_cidr, cluster.underlay_cidr6 if dual else None),
            **({"ipvsScheduler": cluster.ipvs_scheduler} if cluster.ipvs_scheduler != "rr" else {}),
            **({"ipvsStrictARP": True} if cluster.ipvs_strict_arp else {}),
            "loadBalancerPool": ",".join(cluster.load_balancer_pool) or "none",
            **({"nodeLocalDNS": True} if cluster.node_local_dns else {}),
            **_compaction(cluster),
            **({"nodePrefixV6": cluster.node_prefix6} if dual else {}),
        },
        "nodes": {node.name: _node(node) for node in topology.nodes},
        "switches": {
            switch.name: {
                "kind": switch.kind,
                **({"subnet": subnets[switch.name]} if switch.name in subnets else {}),
            }
            for switch in topology.switches
        },
        "routers": {router.name: _machine(router) for router in topology.routers},
        "hosts": {host.name: {**_machine(host), **_resolver(host)} for host in topology.hosts},
        "links": [_link(link) for link in topology.links],
    }
    return {key: value for key, value in result.items() if value}


def _node(node: Node) -> dict[str, Any]:
    capacity = node.capacity
    result: dict[str, Any] = {
        "role": node.role,
        "labels": dict(node.labels),
        "taints": [str(taint) for taint in node.taints],
        "capacity": {"cpu": capacity.cpu, "memory": capacity.memory, "pods": capacity.pods},
    }
    if node.unschedulable:
        result["unschedulable"] = True
    if node.proxy_mode:
        result["proxyMode"] = node.proxy_mode
    return {**result, **_machine(node)}


def _machine(machine: Node | Router | Host) -> dict[str, Any]:
    return {"routes": [{"to": route.to, "via": route.via} for route in machine.routes]} if machine.routes else {}


def _resolver(host: Host) -> dict[str, Any]:
    if host.resolver is None:
        return {}
    return {"resolver": {name: list(addresses) for name, addresses in host.resolver}}


def _link(link: Link) -> dict[str, Any]:
    result: dict[str, Any] = {"ends": [_end(end) for end in link.ends], "mtu": link.mtu}
    if link.bandwidth_bps is not None:
        result["bandwidth"] = units.format_rate(link.bandwidth_bps)
    if link.delay_s:
        result["delay"] = units.format_time(link.delay_s)
    if link.jitter_s:
        result["jitter"] = units.format_time(link.jitter_s)
    if link.loss:
        result["loss"] = units.format_share(link.loss)
    return result


def _compaction(cluster: Cluster) -> dict[str, str]:
    seconds = cluster.compaction_interval_s
    return {} if seconds == Cluster().compaction_interval_s else {"compactionInterval": units.format_time(seconds)}


def _both(first: str | None, second: str | None) -> str | None:
    return f"{first},{second}" if first and second else first or second


def _end(end: Attachment) -> dict[str, str]:
    address = _both(end.address, end.address6)
    fields = {"node": end.node, "interface": end.interface, "address": address, "mac": end.mac}
    return {key: value for key, value in fields.items() if value is not None}
