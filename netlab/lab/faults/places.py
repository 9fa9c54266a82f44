"""What a target means: interfaces with the other ends of their cables, machines, pods. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netlab.dataplane.shaping import Shaping
from netlab.lab.faults.model import FaultError, suggestion
from netlab.topology.model import Link, Topology

ROOT = ""
"""The lab's own namespace, in which the switches' ports are."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A running pod. `namespace` is pinned; `host_if` is the node's end of its cable."""

    name: str
    node: str
    netns: str
    host_if: str
    own_network: bool = True


@dataclass(frozen=True, slots=True)
class End:
    """An interface and the one at the other end of its cable."""

    netns: str
    dev: str
    peer_netns: str
    peer_dev: str

    @property
    def other(self) -> End:
        return End(self.peer_netns, self.peer_dev, self.netns, self.dev)


@dataclass(frozen=True, slots=True)
class Layout:
    """The lab as faults see it. `pods` by "namespace/name"."""

    topology: Topology
    pods: Mapping[str, Pod] = field(default_factory=dict)

    @property
    def machines(self) -> list[str]:
        topology = self.topology
        return [item.name for group in (topology.nodes, topology.hosts, topology.routers) for item in group]

    @property
    def nodes(self) -> list[str]:
        return [node.name for node in self.topology.nodes]

    def node(self, name: str) -> str:
        if name not in self.nodes:
            raise FaultError(f"no node '{name}'; {suggestion(name, self.nodes)}", "targets")
        return name

    def machine(self, name: str) -> str:
        if name not in self.machines:
            raise FaultError(f"no machine '{name}'; {suggestion(name, self.machines)}", "targets")
        return name

    def pod(self, name: str) -> Pod:
        """A running pod with a network of its own, by "[pod/][NAMESPACE/]NAME"."""
        bare = name.removeprefix("pod/")
        wanted = bare if "/" in bare else f"default/{bare}"
        pod = self.pods.get(wanted)
        if pod is None:
            raise FaultError(f"no running pod '{wanted}'; {suggestion(wanted, list(self.pods))}", "targets")
        if not pod.own_network:
            raise FaultError(f"pod '{wanted}' has the network of node '{pod.node}': name that", "targets")
        return pod

    def namespace(self, target: str) -> str:
        """Of a machine or a pod."""
        return self.pod(target).netns if target.startswith("pod/") else self.machine(target)

    def links(self, target: str) -> list[Link]:
        """The cables of MACHINE, MACHINE:INTERFACE or MACHINE--MACHINE."""
        one, between, other = target.partition("--")
        if between:
            known = list(self.topology.names)
            for name in (one, other):
                if name not in known:
                    raise FaultError(f"no machine or switch '{name}'; {suggestion(name, known)}", "targets")
            found = [link for link in self.topology.links if {link.a.node, link.b.node} == {one, other}]
            if not found:
                raise FaultError(f"no cable between {one} and {other}", "targets")
            return found
        ends = {(end.netns, end.dev) for end in self._machine_ends(target)}
        return [link for link in self.topology.links if any((end.node, end.interface) in ends for end in link.ends)]

    def ends(self, target: str) -> list[End]:
        """The interfaces of MACHINE, MACHINE:INTERFACE or pod/NAME."""
        if target.startswith("pod/"):
            pod = self.pod(target)
            return [End(pod.netns, "eth0", pod.node, pod.host_if)]
        return self._machine_ends(target)

    def _machine_ends(self, target: str) -> list[End]:
        name, _, interface = target.partition(":")
        self.machine(name)
        found = [
            self._end(link, number)
            for link in self.topology.links
            for number in (0, 1)
            if link.ends[number].node == name and interface in ("", link.ends[number].interface)
        ]
        if not found:
            known = [end.interface for end in self.topology.attachments(name)]
            raise FaultError(f"{name} has no interface '{interface}'; {suggestion(interface, known)}", "targets")
        return found

    def _end(self, link: Link, number: int) -> End:
        here, there = link.ends[number], link.ends[1 - number]
        return End(self._space(here.node), here.interface, self._space(there.node), there.interface)

    def _space(self, machine: str) -> str:
        return ROOT if machine in {switch.name for switch in self.topology.switches} else machine

    def shaping(self, netns: str, dev: str) -> Shaping:
        """What the topology itself does at the exit of that interface."""
        for link in self.topology.links:
            for end in link.ends:
                if (self._space(end.node), end.interface) == (netns, dev):
                    return Shaping(dev, link.bandwidth_bps, link.delay_s, link.jitter_s, link.loss, link.mtu)
        return Shaping(dev)

    def marks(self, machines: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The MAC and IP addresses of these machines on the underlay."""
        ends = [end for name in sorted(machines) for end in self.topology.attachments(name)]
        macs = tuple(end.mac for end in ends if end.mac)
        return macs, tuple(ip for end in ends for ip in (end.ip, end.ip6) if ip)
