"""docker0: the bridge that a node's pods hang on, as Docker (or the bridge CNI plugin) makes it for Flannel."""

from __future__ import annotations

from netlab.dataplane.model import Address, Link, NodeState, Sysctl
from netlab.dataplane.nodes import BRIDGE, NodeNet, link_local


def bridge_network(node: NodeNet, *, nf_call_iptables: bool = True) -> NodeState:
    """docker0 with the subnet's first address, STP off, forwarding on.

    `nf_call_iptables` asks that bridged frames pass iptables (br_netfilter), as every Kubernetes node has it: without
    it a reply between two pods of one node crosses the bridge unseen by conntrack, is never un-DNATed, and a ClusterIP
    fails when client and endpoint share a node. Where the module is missing (kernel.features `br_netfilter`) the proxy
    must masquerade such connections instead; the sysctl is therefore optional here.
    """
    sysctls = [Sysctl("net.ipv4.ip_forward", "1")]
    if nf_call_iptables:
        sysctls.append(Sysctl("net.bridge.bridge-nf-call-iptables", "1", optional=True))
    addresses = [Address(BRIDGE, one.bridge_cidr) for one in node.families]
    if any(one.is_ipv6 for one in node.families):
        addresses.append(Address(BRIDGE, link_local(node.bridge_mac), "link"))
        sysctls.append(Sysctl("net.ipv6.conf.all.forwarding", "1"))
        if nf_call_iptables:
            sysctls.append(Sysctl("net.bridge.bridge-nf-call-ip6tables", "1", optional=True))
    return NodeState(
        links=(Link(BRIDGE, "bridge", mac=node.bridge_mac, mtu=node.pod_mtu, up=True),),
        addresses=tuple(addresses),
        sysctls=tuple(sysctls),
    )
