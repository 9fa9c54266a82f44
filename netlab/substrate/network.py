"""From a topology to namespaces, bridges and cables in the kernel: makes what is missing, adopts what is there.

The order is such that a crash at any point leaves a state from which the same call goes on: namespaces (pinned by
name), bridges, veth pairs (each atomic), then addresses and routes by diff against what the kernel has. Requests of one
namespace travel together. Nothing here knows Mininet; `lab` puts its objects over the result.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass

from netlab.dataplane.diff import diff
from netlab.dataplane.model import Link as Device
from netlab.dataplane.model import NodeState, Plan
from netlab.dataplane.shaping import Shaping
from netlab.dataplane.underlay import NO_LINK_LOCAL, shaping, sysctls, underlay
from netlab.kernel import addresses, features, links, neighbours, netns, qdisc, routes, veth
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt
from netlab.kernel.apply import apply
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.kernel.observe import observe
from netlab.substrate import ovs
from netlab.topology.model import Attachment, Link, Topology

UNPLUGGED = "unplugged"
"""The note on a switch's port whose cable somebody took out."""


@dataclass(frozen=True, slots=True)
class Spaces:
    """The namespaces of a lab: `root` has the switches; `made` names the machines that were not there before."""

    root: NetNs
    machines: Mapping[str, NetNs]
    made: frozenset[str] = frozenset()

    def of(self, name: str) -> NetNs:
        """A machine's namespace; a switch's is the lab's own."""
        return self.machines.get(name, self.root)


def check(topology: Topology) -> None:
    """UnsupportedFeature, naming the link or switch, where the kernel lacks what the topology asks for."""
    if "IPv6" in topology.cluster.families:
        features.require("ipv6", f"the pod CIDR {topology.cluster.pod_cidr}")
        features.require("ip6tables", f"the pod CIDR {topology.cluster.pod_cidr}")
    for link in topology.links:
        name = f"the link {link.a.node} - {link.b.node}"
        if link.needs_netem:
            features.require("netem", f"{name} (delay, jitter or loss)")
        if link.bandwidth_bps is not None:
            features.require("tbf", f"{name} (bandwidth)")
    for switch in topology.switches:
        if switch.kind == "ovs":
            features.require("ovs", f"switch {switch.name}")


def find(topology: Topology) -> Spaces:
    """The namespaces of the running network; KernelError ENOENT where a machine's is missing."""
    names = [name for name in topology.names if name not in {switch.name for switch in topology.switches}]
    return Spaces(netns.own("lab"), {name: netns.open(name) for name in names})


def ensure(topology: Topology) -> Spaces:
    """Make or complete the network. See the module's docstring for the order."""
    check(topology)
    wanted = underlay(topology)
    spaces = _namespaces(wanted, ipv6="IPv6" in topology.cluster.families)
    cabling = _Cabling(topology, spaces)
    cabling.lay()
    for name, state in wanted.items():
        (configure_new if name in spaces.made else configure)(spaces.machines[name], state)
    cabling.plug()
    for end, rule in shaping(topology).items():
        shape(spaces.of(end.node), end.interface, rule)
    return spaces


def configure(ns: NetNs, wanted: NodeState) -> None:
    """Bring a machine that is there to its state, by what differs."""
    ipv6 = any(":" in address.cidr for address in wanted.addresses)
    plan = diff(observe(ns, sysctls=[sysctl.name for sysctl in wanted.sysctls], ipv6=ipv6), wanted)
    if plan:
        apply(ns, plan)


def configure_new(ns: NetNs, wanted: NodeState) -> None:
    """The same for a machine just made: its devices are down, and nothing else is there, so nothing is asked.

    One batch: no plan and no diff, which would cost more than the kernel's work does.
    """
    indexes: dict[str, int] = {}
    requests: list[bytes] = []
    for link in wanted.links:
        requests += [links.no_ipv6(link.name)] if link.kind != "loopback" else []
        requests.append(links.set_up(link.name, True))
    for link in wanted.links:
        if link.kind != "loopback":
            reply = ns.netlink.get(links.get(link.name), f"interface {link.name} of {ns.name}")
            indexes[link.name] = links.index_of(reply)
    requests += [addresses.add(address, indexes.__getitem__) for address in wanted.addresses]
    for dev, index in indexes.items():
        requests += neighbours.add_all((entry for entry in wanted.neighbours if entry.dev == dev), index)
    requests += [routes.request("add", route, indexes.__getitem__) for route in wanted.routes]
    for refusal in ns.netlink.send(requests):
        raise KernelError(refusal.errno or errno.EIO, f"configuring {ns.name}", refusal.detail)


def shape(ns: NetNs, interface: str, rule: Shaping) -> None:
    """Put the link's queueing disciplines on one of its ends."""
    index = links.index_of(ns.netlink.get(links.get(interface), f"interface {interface}"))
    for request in qdisc.requests(rule, index):
        ns.netlink.request(request, str(rule))


def _namespaces(wanted: Mapping[str, NodeState], *, ipv6: bool) -> Spaces:
    present = set(netns.names())
    machines = {name: netns.open(name) for name in wanted if name in present}
    made = []
    for forwards in (True, False):
        settings = sysctls(forwards=forwards, ipv6=ipv6)
        names = [name for name, state in wanted.items() if name not in present and state.sysctls == settings]
        made += netns.many(names, sysctls={sysctl.path: sysctl.value for sysctl in settings})
    machines |= {ns.name: ns for ns in made}
    root = netns.own("lab")
    apply(root, Plan.adding((NO_LINK_LOCAL,), "the switches' ports need none"))
    return Spaces(root, machines, frozenset(ns.name for ns in made))


class _Cabling:
    """Bridges and veth pairs. An adopted port that is down is set up unless a note on it says that it was unplugged."""

    def __init__(self, topology: Topology, spaces: Spaces) -> None:
        self.topology = topology
        self.spaces = spaces
        self.switches = {switch.name: switch for switch in topology.switches}
        self._new_ports: list[str] = []
        self._unplugged: set[str] = set()
        self._present: dict[str, dict[str, Device]] = {}
        self._indexes: dict[str, int] = {}

    def lay(self) -> None:
        self._bridges()
        batches: dict[str, list[tuple[str, bytes]]] = {}
        for link in self.topology.links:
            near, far = self._order(link)
            if self._there(near) and self._there(far):
                requests = [request for end in link.ends for request in self._reattached(end, link)]
            else:
                requests = self._requests(link, near, far)
            owner = "" if near.node in self.switches else near.node
            what = f"link {link.a.node}:{link.a.interface} - {link.b.node}:{link.b.interface}"
            batches.setdefault(owner, []).extend((what, request) for request in requests)
        for owner, batch in batches.items():
            for refusal in self.spaces.of(owner).netlink.send([request for _, request in batch]):
                raise _explain(refusal, batch[refusal.index][0])
        self._ovs_ports()

    def plug(self) -> None:
        """Set the switches' new ports up, all at once and last.

        Each carrier that comes is an event which the kernel works off under the lock of all network configuration: had
        they come one by one, every request of the machines' configuration would have waited for one (twice the time).
        """
        for refusal in self.spaces.root.netlink.send([links.set_up(name, True) for name in self._new_ports]):
            raise _explain(refusal, f"port {self._new_ports[refusal.index]}")
        self._new_ports.clear()

    def _order(self, link: Link) -> tuple[Attachment, Attachment]:
        """The end from whose namespace the pair is made, and the other: a switch's end first, it needs the bridge."""
        if link.b.node in self.switches and link.a.node not in self.switches:
            return link.b, link.a
        return link.a, link.b

    def _devices(self, node: str) -> dict[str, Device]:
        """What is there already, by name, where the machine (or, for a switch, the lab's namespace) has it."""
        if node in self.spaces.made:
            return {}
        key = "" if node in self.switches else node
        if key not in self._present:
            replies = self.spaces.of(key).netlink.dump(links.GET_ALL)
            names = {links.index_of(reply): links.name_of(reply) for reply in replies}
            self._present[key] = {
                name: links.decode(reply, names) for name, reply in zip(names.values(), replies, strict=True)
            }
            if not key:
                self._indexes = {name: index for index, name in names.items()}
                self._unplugged = {links.name_of(reply) for reply in replies if links.alias_of(reply) == UNPLUGGED}
        return self._present[key]

    def _there(self, end: Attachment) -> bool:
        return end.interface in self._devices(end.node)

    def _reattached(self, end: Attachment, link: Link) -> list[bytes]:
        """Puts an adopted port back on its bridge, if it is not there."""
        if end.node not in self.switches:
            return []
        master, port = self._master(end, link), self._devices(end.node)[end.interface]
        if not port.up and port.name not in self._unplugged:
            self._new_ports.append(port.name)
        if not master or port.master == end.node:
            return []
        attributes = nl.text(rt.IFLA_IFNAME, end.interface), nl.u32(rt.IFLA_MASTER, master)
        return [nl.message(rt.RTM_NEWLINK, 0, links.header(), *attributes)]

    def _bridges(self) -> None:
        root = self.spaces.root
        missing = [name for name, switch in self.switches.items() if name not in self._devices(name)]
        requests = [
            (name, request)
            for name in missing
            if self.switches[name].kind == "bridge"
            for request in links.add(Device(name, "bridge"), lambda _: 0)
        ]
        for refusal in root.netlink.send([request for _, request in requests]):
            raise _explain(refusal, f"switch {requests[refusal.index][0]}")
        ovs_switches = [name for name in missing if self.switches[name].kind == "ovs"]
        if any(switch.kind == "ovs" for switch in self.switches.values()):
            ovs.start(root)
        for name in ovs_switches:
            ovs.add_bridge(root, name)
        if missing:
            self._present.pop("", None)

    def _master(self, end: Attachment, link: Link) -> int:
        switch = self.switches.get(end.node)
        if switch is None or switch.kind != "bridge" or link.standby:
            return 0
        self._devices(end.node)
        return self._indexes[end.node]

    def _requests(self, link: Link, near: Attachment, far: Attachment) -> list[bytes]:
        found = [links.delete(near.interface)] if self._there(near) else []  # a cable of an earlier topology
        self._new_ports += [end.interface for end in link.ends if end.node in self.switches]
        close = _end(near, link.mtu, master=self._master(near, link))
        if far.node in self.switches:
            found.append(veth.create(close, _end(far, link.mtu)))
            master = self._master(far, link)
            parts = [nl.text(rt.IFLA_IFNAME, far.interface)]
            parts += [nl.u32(rt.IFLA_MASTER, master)] if master else []
            found.append(nl.message(rt.RTM_NEWLINK, 0, links.header(), *parts))
        else:
            found.append(veth.create(close, _end(far, link.mtu, fd=self.spaces.of(far.node).fd)))
        return found

    def _ovs_ports(self) -> None:
        words: list[str] = []
        for link in self.topology.links:
            for end in link.ends:
                switch = self.switches.get(end.node)
                if switch is not None and switch.kind == "ovs" and not link.standby:
                    words += ["--", "--may-exist", "add-port", end.node, end.interface]
        if words:
            ovs.vsctl(self.spaces.root, *words[1:])


def _end(end: Attachment, mtu: int, *, master: int = 0, fd: int = -1) -> veth.End:
    return veth.End(end.interface, nl.mac_bytes(end.mac) if end.mac else b"", mtu, master, fd)


def _explain(refusal: KernelError, what: str) -> KernelError:
    code = refusal.errno or errno.EIO
    detail = "the bridge has 1,023 ports, which is all it can have" if code == errno.EXFULL else refusal.detail
    return KernelError(code, what, detail)
