"""The network of a lab as a Mininet object: `net.get('node1').cmd('ip addr')`, pingAll, iperf and the CLI all work."""

# ruff: noqa: N802, N803 — Mininet's names

from __future__ import annotations

import time
from typing import Any

from netlab.dataplane.model import Link as Device
from netlab.dataplane.model import Plan, Step
from netlab.dataplane.underlay import underlay
from netlab.kernel import links
from netlab.kernel.apply import apply
from netlab.kernel.netns import NetNs
from netlab.substrate import network, ovs
from netlab.substrate.cable import Cable, Port
from netlab.substrate.machine import Machine
from netlab.substrate.mn import Mininet, output
from netlab.substrate.switch import Bridge, OpenVSwitch
from netlab.topology.model import Attachment, Link, Topology

LISTEN = "0A"
"""TCP_LISTEN in /proc/net/tcp."""


class LabNet(Mininet):  # type: ignore[misc]
    """A running network. `stop()` removes it if this object's process built it, and only lets go if it attached.

    Nodes, switches, hosts and links may be added to it by Mininet's own calls; such additions live as long as the lab
    and are not part of its topology.
    """

    topology: Topology

    def __init__(self, topology: Topology, spaces: network.Spaces, *, owned: bool) -> None:
        self.topology = topology
        self.spaces = spaces
        self.owned = owned
        super().__init__(host=Machine, switch=Bridge, link=Cable, intf=Port, controller=None, build=False)
        self._populate()
        self.built = True

    def _populate(self) -> None:
        addresses: dict[str, str | None] = {}
        for end in (end for link in self.topology.links for end in link.ends):
            addresses.setdefault(end.node, end.address)
        for name, ns in self.spaces.machines.items():
            self.addHost(name, ns=ns, owned=self.owned, ip=addresses.get(name))
        for switch in self.topology.switches:
            kind = OpenVSwitch if switch.kind == "ovs" else Bridge
            self.addSwitch(switch.name, cls=kind, ns=self.spaces.root, made=True)
        for link in self.topology.links:
            self.addLink(
                link.a.node,
                link.b.node,
                made=True,
                intfName1=link.a.interface,
                intfName2=link.b.interface,
                addr1=link.a.mac,
                addr2=link.b.mac,
                params1={"address": link.a.address},
                params2={"address": link.b.address},
            )

    def node_ip(self, name: str) -> str:
        """The address by which others reach that machine. KeyError for a switch."""
        return self.topology.node_ip(name)

    def underlay_if(self, name: str) -> str:
        """The interface that has it."""
        return self.topology.underlay_if(name)

    def netns(self, name: str) -> NetNs:
        """The machine's namespace; a switch's is the lab's own. KeyError: no such machine."""
        ns: NetNs = self[name].ns
        return ns

    def set_link(self, a: str, b: str, up: bool) -> None:
        """Unplug or plug the cable(s) between two machines. KeyError: there is none.

        Unplugging a machine from a switch takes the switch's port down: the machine loses its carrier and keeps its
        addresses and routes, as with a real cable. Between two machines the second one's interface goes down; what
        the kernel then forgets there is put back with the cable.
        """
        found = [link for link in self.topology.links if {link.a.node, link.b.node} == {a, b}]
        if not found:
            raise KeyError(f"no link between {a} and {b}")
        for link in found:
            end = self._plug(link)
            space = self.spaces.of(end.node)
            change = Step("change", Device(end.interface, up=up), "cable", old=Device(end.interface, up=not up))
            apply(space, Plan((change,)))
            space.netlink.request(links.alias(end.interface, "" if up else network.UNPLUGGED), f"port {end.interface}")
            if up and end.node in self.spaces.machines:
                wanted = underlay(self.topology)[end.node]
                network.configure(self.spaces.machines[end.node], wanted)

    def _plug(self, link: Link) -> Attachment:
        switches = {switch.name for switch in self.topology.switches}
        return link.a if link.a.node in switches else link.b

    # what Mininet does in ways that need a shell, a program by name, or exit(1)

    def configLinkStatus(self, src: str, dst: str, status: str) -> None:
        """Mininet's `link src dst up|down`. LookupError where there is no such machine or cable."""
        for name in (src, dst):
            if name not in self:
                raise LookupError(f"no machine {name} in this network")
        self.set_link(src, dst, status == "up")

    def stop(self) -> None:
        """End the shells; remove the network if this object built it."""
        if self.owned:
            names = [port.name for switch in self.switches for port in switch.intfList() if port.name != "lo"]
            self.spaces.root.netlink.send(links.delete_group(names))  # what is gone already is refused, and well so
            for switch in self.switches:
                switch.stop(deleteIntfs=False)
            if any(isinstance(switch, OpenVSwitch) for switch in self.switches):
                ovs.stop()
        for node in (*self.switches, *self.hosts):
            node.terminate()

    def iperf(
        self,
        hosts: list[Any] | None = None,
        l4Type: str = "TCP",
        udpBw: str = "10M",
        fmt: str | None = None,
        seconds: int = 5,
        port: int = 5001,
    ) -> list[str]:
        """iperf between two hosts (first and last by default): [server's, client's] rate, for UDP the asked rate first.

        Mininet's own kills every iperf of the machine and needs telnet to know when the server listens.
        """
        client, server = hosts or [self.hosts[0], self.hosts[-1]]
        output(f"*** Iperf: testing {l4Type} bandwidth between {client} and {server}\n")
        common = ["iperf", "-p", str(port), *(["-f", fmt] if fmt else []), *(["-u"] if l4Type == "UDP" else [])]
        listener = server.popen([*common, "-s"])
        try:
            _wait_listening(server.ns, port, "udp" if l4Type == "UDP" else "tcp")
            wide = ["-b", udpBw] if l4Type == "UDP" else []
            said, complaint, status = client.pexec([*common, "-t", str(seconds), "-c", server.IP(), *wide])
        finally:
            listener.terminate()
            heard = listener.communicate()[0].decode()
        if status:
            raise RuntimeError(f"iperf on {client}: {complaint.strip()}")
        result = [self._parseIperf(heard) or self._parseIperf(said), self._parseIperf(said)]
        if l4Type == "UDP":
            result.insert(0, udpBw)
        output(f"*** Results: {result}\n")
        return result


def _wait_listening(ns: NetNs, port: int, protocol: str, timeout: float = 5.0) -> None:
    """Until a socket of that namespace is bound to the port (and, for TCP, listens)."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        for line in ns.read_proc(f"/proc/net/{protocol}").splitlines()[1:]:
            words = line.split()
            if words[1].endswith(f":{port:04X}") and (protocol == "udp" or words[3] == LISTEN):
                return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens on {protocol} port {port} of {ns.name} after {timeout:g} s")


def build(topology: Topology) -> LabNet:
    """See `netlab.substrate.build`."""
    return LabNet(topology, network.ensure(topology), owned=True)


def attach(topology: Topology) -> LabNet:
    """See `netlab.substrate.attach`."""
    return LabNet(topology, network.find(topology), owned=False)
