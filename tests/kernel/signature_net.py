"""The network of the signature test: two nodes with pods, and hosts outside, on one underlay; and who is where.

    pod, one, two ── docker0 ── here ──┐
                                       ├── lan ── outside, near
    remote, far  ──  docker0 ── there ─┘

Both nodes have Flannel's masquerading rules and a proxy; outside hosts know no route but the node "here", and drop what
is not for them, as a host does.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from netlab.dataplane import masquerade
from netlab.dataplane.explain import Origin
from netlab.kernel import iptables as kernel_iptables
from netlab.kernel import netns

CLUSTER_CIDR = "10.244.0.0/16"


@dataclass(frozen=True)
class NodePlace:
    ip: str
    gateway: str
    pod_cidr: str

    def holds(self, address: str) -> bool:
        return ip_address(address) in ip_network(self.pod_cidr)

    def leaving_to(self, address: str) -> str:
        """The address of its own that the node uses towards that one."""
        return self.gateway if self.holds(address) else self.ip


NODES = {
    "here": NodePlace("192.168.0.2", "10.244.0.1", "10.244.0.0/24"),
    "there": NodePlace("192.168.0.3", "10.244.1.1", "10.244.1.0/24"),
}
SERVERS = {"one": "10.244.0.11", "two": "10.244.0.12", "far": "10.244.1.13"}
PODS = {"pod": "10.244.0.10", "remote": "10.244.1.10", **SERVERS}
HOSTS = {"outside": "192.168.0.9", "near": "192.168.0.10"}


@dataclass(frozen=True)
class Source:
    """Who calls, and the node whose rules its packets meet first."""

    name: str
    node: str
    origin: Origin
    address: str = ""
    """A node has several, and uses the one that leads to its destination."""

    def address_to(self, destination: str) -> str:
        return self.address or NODES[self.node].leaving_to(destination)


SOURCES = (
    Source("pod", "here", "pod", PODS["pod"]),
    Source("remote", "there", "pod", PODS["remote"]),
    Source("one", "here", "pod", PODS["one"]),
    Source("here", "here", "node"),
    Source("there", "there", "node"),
    Source("outside", "here", "outside", HOSTS["outside"]),
    Source("near", "here", "outside", HOSTS["near"]),
)


class Network:
    """The namespaces, by name; the machine's own user namespace or another, as the sandbox is."""

    def __init__(self) -> None:
        self.ns = {name: netns.create(name) for name in ("lan", *NODES, *HOSTS, *PODS)}
        ip("lan", "link add lan0 type bridge\nlink set lan0 up")
        for name, address in {**{node: place.ip for node, place in NODES.items()}, **HOSTS}.items():
            ip("lan", f"link add v{name} type veth peer name eth0 netns {name}\nlink set v{name} master lan0 up")
            ip(name, f"link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up")
        for name, place in NODES.items():
            self._node(name, place)
        for name in HOSTS:
            ip(name, f"route add default via {NODES['here'].ip}")

    def _node(self, name: str, place: NodePlace) -> None:
        ip(name, f"link add docker0 type bridge\naddr add {place.gateway}/24 dev docker0\nlink set docker0 up")
        for pod, address in PODS.items():
            if place.holds(address):
                ip(
                    name,
                    f"link add v{pod} type veth peer name eth0 netns {pod}\nlink set v{pod} master docker0 up\n"
                    f"link set v{pod} type bridge_slave hairpin on",
                )
                ip(
                    pod,
                    f"link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\n"
                    f"route add default via {place.gateway}",
                )
        (other,) = (peer for peer in NODES.values() if peer != place)
        ip(name, f"route add {other.pod_cidr} via {other.ip}\nroute add default via {HOSTS['outside']}")
        sysctls = ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables")
        for path, value in (*((path, "1") for path in sysctls), ("ipv4/icmp_ratemask", "0")):
            # many refusals at once: a kernel sends no more than one in a while to each address, but for the mask
            self.ns[name].run(lambda path=path, value=value: Path(f"/proc/sys/net/{path}").write_text(value))  # type: ignore[misc]

    def masquerade(self) -> None:
        """Flannel's rules, as the overlay agent writes them."""
        for name, place in NODES.items():
            rules = masquerade.masquerade_rules(place.pod_cidr, CLUSTER_CIDR)
            text = masquerade.restore_text((*rules, *masquerade.forward_rules(CLUSTER_CIDR)))
            kernel_iptables.restore(self.ns[name], text)


def ip(name: str, batch: str) -> None:
    subprocess.run(["ip", "-n", name, "-batch", "-"], input=batch, text=True, check=True)
