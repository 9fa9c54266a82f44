"""Leads one packet from interface to interface, as Linux does: IP input, forwarding and output, bridges with and
without br_netfilter, VXLAN, veth pairs, loopback. PURE.

A walk follows one way; what is random is asked of an oracle (see `branches`). Each hop is a sight that a packet socket
on that interface would have. What happened since the sight before is the hop's steps; what happened behind the last
sight is the verdict's.

Two things that surprise people are the kernel's and kept: with br_netfilter a frame meets PREROUTING, FORWARD and
POSTROUTING on the bridge, and where DNAT gave it a destination behind the same bridge it is switched there directly,
its TTL unspent, never passing the bridge's own interface (net/bridge/br_netfilter_hooks.c).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from netlab.trace.model import Flow, Hop, Step, StepKind, Trace, Verdict, with_changes
from netlab.trace.predict import endings, hooks
from netlab.trace.predict.context import Context, CtState, Hook, Oracle
from netlab.trace.predict.endings import Ended
from netlab.trace.predict.link import Link, segment_owner
from netlab.trace.predict.packet import HEADERS, VXLAN_OVERHEAD, Connection, Pkt
from netlab.trace.predict.route import Found, device_address, lookup
from netlab.trace.predict.state import Interface, Machine, World

MOST_HOPS = 200
SLACK = 4
"""A bridge port and a veth take frames that much longer than the MTU (room for a VLAN tag, is_skb_forwardable)."""


SOME_PORT = -1
"""A VXLAN packet's source port, which the kernel takes from a hash of what it carries: no other packet has it."""


@dataclass(slots=True)
class Tracked:
    """A packet inside one machine, with what its conntrack attached."""

    connection: Connection
    state: CtState
    reply: bool = False


class Walk:
    """One packet; `reply` afterwards walks the answer, with the NAT that every machine remembers reversed."""

    def __init__(
        self,
        world: World,
        flow: Flow,
        oracle: Oracle,
        known: dict[str, list[Connection]] | None = None,
        awaited: Flow | None = None,
    ) -> None:
        self.world, self.flow, self.oracle = world, flow, oracle
        self.known: dict[str, list[Connection]] = {} if known is None else known
        self.awaited = awaited
        """What this packet answers: a socket of its sender waits, for an answer from where it was sent to."""
        self.hops: list[Hop] = []
        self.steps: list[Step] = []
        self.verdict: Verdict | None = None
        self.last: Pkt | None = None

    def run(self, packet: Pkt | None = None) -> Trace:
        """The way, from the source's output on."""
        machine = self.world.machines[self.flow.source]
        try:
            self._send(machine, packet or first_packet(self.flow))
        except Ended as end:
            self.verdict = Verdict(end.kind, end.place, end.text, tuple(self.steps), end.cause, end.remedy)
        assert self.verdict is not None  # noqa: S101
        return Trace(self.flow, with_changes(self.hops), self.verdict)

    def reply(self) -> Trace | None:
        """The way of the answer; None where there is none to be expected."""
        if self.verdict is None or self.last is None or self.verdict.kind not in ("delivered", "refused"):
            return None
        got = self.last
        if self.verdict.kind == "refused" and got.protocol != "tcp":
            return None  # an ICMP error, which is no packet of the connection's
        flags = {"delivered": "SYN,ACK", "refused": "ACK,RST"}[self.verdict.kind] if got.protocol == "tcp" else ""
        flow = Flow(self.verdict.place, got.dst, got.src, got.protocol, got.dport or 0, got.sport or 0)
        length = 40 if flags == "ACK,RST" else got.length
        packet = Pkt(got.dst, got.src, got.protocol, got.dport, got.sport, length=length, df=True, flags=flags)
        return Walk(self.world, flow, self.oracle, self.known, self.flow).run(packet)

    # -- words

    def say(self, kind: StepKind, text: str, *, owner: str = "", deciding: bool = False) -> None:
        self.steps.append(Step(kind, text, owner=owner, deciding=deciding))

    def _sight(
        self,
        machine: Machine,
        interface: str,
        direction: str,
        packet: Pkt,
        macs: tuple[str, str],
        *,
        optional: bool = False,
    ) -> None:
        if len(self.hops) >= MOST_HOPS:
            raise endings.circle(machine.name)
        view = packet.view(macs)
        hop = Hop(machine.name, interface, direction, view, steps=tuple(self.steps), optional=optional)  # type: ignore[arg-type]
        self.hops.append(hop)
        self.steps = []

    # -- hooks

    def _track(self, machine: Machine, packet: Pkt) -> Tracked:
        found = hooks.find(self.known.get(machine.name, []), packet)
        if found is None:
            return Tracked(hooks.begin(packet), "NEW")
        connection, reply = found
        return Tracked(connection, "ESTABLISHED" if reply else "NEW", reply)

    def _hook(
        self,
        machine: Machine,
        hook: Hook,
        packet: Pkt,
        tracked: Tracked,
        *,
        indev: str = "",
        outdev: str = "",
        bridged: bool = False,
        near: str = "",
        between: tuple[int, int] = hooks.ALL,
    ) -> Pkt:
        """The packet behind the hook; Ended where a rule ended it."""
        owner = self._owner
        context = Context(
            machine, hook, self.oracle, indev, outdev, bridged, tracked.state, tracked.connection, tracked.reply, owner
        )
        source = device_address(machine, outdev, near) if outdev and near else ""
        result = hooks.run(context, packet, masquerade_as=source, between=between)
        self.steps += [replace(step, outer=packet.inner is not None) for step in result.steps]
        if result.verdict != "accept":
            raise endings.by_rule(machine.name, hook, result.steps, result.verdict, result.reason)
        if hook in ("postrouting", "input") and between[1] == hooks.ALL[1] and not tracked.connection.confirmed:
            tracked.connection.confirmed = True
            if packet.inner is None and (tracked.connection.dnat_done or tracked.connection.snat_done):
                self.say("conntrack", f"{tracked.connection}")
            self.known.setdefault(machine.name, []).append(tracked.connection)
        return result.packet

    def _owner(self, address: str, port: int) -> str:
        return self.world.name(address)

    # -- IP output

    def _send(self, machine: Machine, packet: Pkt) -> None:
        """A packet of the machine's own."""
        found = self._route(machine, packet, "lo")
        if found.kind not in ("unicast", "local"):
            raise endings.no_way(machine.name, packet.dst, found, "dropped")
        tracked = self._track(machine, packet)
        outdev = "lo" if found.kind == "local" else found.dev
        after = self._hook(machine, "output", packet, tracked, outdev=outdev, between=(-1000, -98))
        after, tracked, found = self._output_changed(machine, packet, after, tracked, found)
        if found.kind == "local" and (server := self._server(machine, after)) is not None:
            after, found = self._balanced(machine, server, after, tracked)
            rest = (-98, 1000) if found.kind == "local" else hooks.ALL
        else:
            rest = (-98, 1000)
        outdev = "lo" if found.kind == "local" else found.dev
        after = self._hook(machine, "output", after, tracked, outdev=outdev, between=rest)
        self._output(machine, after, found, tracked, own=True)

    def _output_changed(
        self, machine: Machine, before: Pkt, after: Pkt, tracked: Tracked, found: Found
    ) -> tuple[Pkt, Tracked, Found]:
        """A translated packet of one's own is routed anew (ip_route_me_harder)."""
        if after.dst != before.dst:
            found = self._route(machine, after, "lo")
            if found.kind not in ("unicast", "local"):
                raise endings.no_way(machine.name, after.dst, found, "dropped")
        return after, tracked, found

    def _route(self, machine: Machine, packet: Pkt, iif: str) -> Found:
        found = lookup(machine, packet.dst, self.oracle, src=packet.src, iif=iif, mark=packet.mark)
        self.say("route", f"to {packet.dst}: {found.text}", owner=self.world.name(packet.dst))
        return found

    def _output(self, machine: Machine, packet: Pkt, found: Found, tracked: Tracked, *, own: bool) -> None:
        """ip_output and what is below: POSTROUTING, the neighbour, the device."""
        if found.kind == "local":
            packet = self._hook(machine, "postrouting", packet, tracked, outdev="lo", near=packet.dst)
            macs = ("00:00:00:00:00:00", "00:00:00:00:00:00")
            self._sight(machine, "lo", "out", packet, macs)
            self._sight(machine, "lo", "in", packet, macs)
            self._ip_in(machine, "lo", packet, tracked=tracked)
            return
        device = machine.interfaces.get(found.dev)
        if device is None or not device.up:
            raise endings.down(machine.name, found.dev)
        near = found.via or packet.dst
        packet = self._hook(machine, "postrouting", packet, tracked, outdev=device.name, near=near)
        learnt = machine.path_mtus.get(packet.dst, device.mtu) if own else device.mtu
        if packet.length > learnt:
            packet = self._too_big(machine, packet, device, own=own, learnt=learnt)
        mac = self._neighbour(machine, device, near)
        self._transmit(machine, device, packet, (device.mac, mac))

    def _too_big(self, machine: Machine, packet: Pkt, device: Interface, *, own: bool, learnt: int = 0) -> Pkt:
        """`learnt`: the path MTU that a router told before (0: none)."""
        mtu = min(learnt or device.mtu, device.mtu)
        words = f"{packet.length} bytes do not fit the MTU {device.mtu} of {device.name}"
        if mtu < device.mtu:
            words = f"{packet.length} bytes do not fit the path MTU {mtu} to {packet.dst} that a router has told before"
        if packet.df or (packet.ipv6 and not own):
            raise endings.too_big(machine.name, words, device.name if mtu == device.mtu else "", own=own)
        self.say("mtu", f"{words}: it leaves in fragments, and the first is followed", deciding=True)
        return replace(packet, length=mtu)

    def _neighbour(self, machine: Machine, device: Interface, ip: str) -> str:
        for entry in machine.neighbours:
            if (entry.dev, entry.ip) == (device.name, ip) and entry.mac and entry.state not in ("failed", "incomplete"):
                self.say(
                    "neighbour", f"{ip} has {entry.mac} on {device.name} ({entry.state})", owner=self.world.name(ip)
                )
                return entry.mac
        owner = None if device.kind == "vxlan" else segment_owner(self.world, machine, device, ip)
        if owner is None:
            raise endings.no_neighbour(machine.name, device, ip)
        self.say("neighbour", f"{ip} answers {'NDP' if ':' in ip else 'ARP'} with {owner} on {device.name}")
        return owner

    # -- devices

    def _transmit(self, machine: Machine, device: Interface, packet: Pkt, macs: tuple[str, str]) -> None:
        """dev_queue_xmit: seen on the device, then to wherever it leads."""
        if not device.carrier:
            raise endings.no_carrier(machine.name, device.name)
        self._sight(machine, device.name, "out", packet, macs)
        if device.kind == "vxlan":
            self._encapsulate(machine, device, packet, macs)
        elif device.kind == "bridge":
            port = Link(self.world, machine, self).port_for(device, macs[1])
            self._leave_port(machine, port, packet, macs)
        elif device.peer is None:
            raise Ended("lost", machine.name, f"where {device.name} of {machine.name} leads is not known")
        else:
            self._cross(machine, device, packet, macs)

    def _cross(self, here: Machine, device: Interface, packet: Pkt, macs: tuple[str, str]) -> None:
        """Over a veth pair."""
        assert device.peer is not None  # noqa: S101
        name, interface = device.peer
        machine = self.world.machines[name]
        other = machine.interfaces[interface]
        if packet.length > other.mtu + SLACK:
            raise endings.link_mtu(name, packet.length, other)
        if name != here.name:
            packet = replace(packet, mark=0, virtual=None)
        self._receive(machine, other, packet, macs)

    def _leave_port(self, machine: Machine, port: Interface, packet: Pkt, macs: tuple[str, str]) -> None:
        """Out of a bridge's port."""
        if packet.length > port.mtu + SLACK:
            raise endings.port_mtu(machine.name, packet.length, port)
        self._transmit(machine, port, packet, macs)

    def _receive(self, machine: Machine, device: Interface, packet: Pkt, macs: tuple[str, str]) -> None:
        if not device.up:
            raise endings.down(machine.name, device.name)
        self._sight(machine, device.name, "in", packet, macs)
        if device.master:
            self._bridge(machine, device, packet, macs)
            return
        if macs[1] != device.mac and device.kind != "loopback":
            raise endings.wrong_mac(machine.name, device, macs[1])
        self._ip_in(machine, device.name, packet)

    def _bridge(self, machine: Machine, port: Interface, packet: Pkt, macs: tuple[str, str]) -> None:
        """A frame that came in at a port: switched to another, or up to the bridge's own interface."""
        bridge = machine.interfaces[port.master]
        family = "ip6tables" if packet.ipv6 else "iptables"
        filtered = bool(machine.sysctl(f"net.bridge.bridge-nf-call-{family}"))
        tracked = None
        link = Link(self.world, machine, self)
        if filtered:
            tracked = self._track(machine, packet)
            before = packet
            packet = self._hook(machine, "prerouting", packet, tracked, indev=bridge.name, bridged=True)
            if packet.dst != before.dst:
                macs = (macs[0], self._bridged_dnat(machine, bridge, packet))
                if not link.is_own(bridge, macs[1]):
                    # Through the bridge's own output if the neighbour's header is not cached yet, once for each pod.
                    self._sight(machine, bridge.name, "out", packet, macs, optional=True)
        if link.is_own(bridge, macs[1]):
            self._sight(machine, bridge.name, "in", packet, macs)
            self._ip_in(machine, bridge.name, packet, tracked=tracked, met=filtered, bridged=filtered)
            return
        out = link.port_for(bridge, macs[1], came=port)
        if filtered and tracked is not None:
            where = {"indev": bridge.name, "outdev": bridge.name}
            packet = self._hook(machine, "forward", packet, tracked, bridged=True, **where)  # type: ignore[arg-type]
            near = packet.dst
            packet = self._hook(machine, "postrouting", packet, tracked, outdev=bridge.name, bridged=True, near=near)
        self._leave_port(machine, out, packet, macs)

    def _bridged_dnat(self, machine: Machine, bridge: Interface, packet: Pkt) -> str:
        """The frame's new destination MAC, after DNAT on the bridge."""
        found = self._route(machine, packet, bridge.name)
        if found.kind == "unicast" and found.dev == bridge.name:
            mac = self._neighbour(machine, bridge, found.via or packet.dst)
            self.say(
                "bridge", "the new destination is behind the same bridge: switched there, not routed (br_netfilter)"
            )
            return mac
        return bridge.mac

    def _encapsulate(self, machine: Machine, device: Interface, packet: Pkt, macs: tuple[str, str]) -> None:
        vxlan = device.vxlan
        assert vxlan is not None  # noqa: S101
        for wanted in (macs[1], "00:00:00:00:00:00"):
            entry = next((one for one in machine.fdb if (one.dev, one.mac) == (device.name, wanted) and one.dst), None)
            if entry is not None:
                break
        else:
            raise endings.no_forwarding_entry(machine.name, device.name, macs[1])
        owner = self.world.name(entry.dst)
        self.say("fdb", f"{entry.mac} on {device.name} is behind {entry.dst}", owner=owner)
        self.say("encap", f"VXLAN VNI {vxlan.vni}, from {vxlan.local} to {entry.dst} port {vxlan.port}", deciding=True)
        overhead = VXLAN_OVERHEAD["IPv6" if ":" in entry.dst else "IPv4"]
        outer = Pkt(vxlan.local, entry.dst, "udp", SOME_PORT, vxlan.port, length=packet.length + overhead, df=False,
                    inner=replace(packet, mark=0, virtual=None), inner_macs=macs, vni=vxlan.vni)  # fmt: skip
        self._send(machine, outer)

    # -- IP input

    def _ip_in(
        self,
        machine: Machine,
        device: str,
        packet: Pkt,
        *,
        tracked: Tracked | None = None,
        met: bool = False,
        bridged: bool = False,
    ) -> None:
        """ip_rcv: PREROUTING (unless the bridge has led it through already), routing, then INPUT or FORWARD."""
        tracked = tracked or self._track(machine, packet)
        if not met:
            packet = self._hook(machine, "prerouting", packet, tracked, indev=device)
        found = self._route(machine, packet, device)
        if device != "lo":
            self._check_source(machine, device, packet)
        if found.kind == "local":
            self._input(machine, device, packet, tracked, bridged)
            return
        self._forward(machine, device, packet, found, tracked, bridged)

    def _check_source(self, machine: Machine, device: str, packet: Pkt) -> None:
        """Martians, and rp_filter."""
        local = machine.is_local(packet.src)
        if local and not packet.ipv6 and not machine.sysctl(f"net.ipv4.conf.{device.replace('.', '/')}.accept_local"):
            raise endings.martian(machine.name, packet.src)
        if packet.ipv6:
            return
        strict = max(machine.sysctl(f"net.ipv4.conf.{name}.rp_filter") for name in ("all", device.replace(".", "/")))
        if not strict:
            return
        back = lookup(machine, packet.src, self.oracle, src=packet.dst, iif="lo", mark=0)
        if back.kind != "unicast" or (strict == 1 and back.dev != device):
            raise endings.reverse_path(machine.name, device, packet.src, back)

    def _forward(
        self, machine: Machine, device: str, packet: Pkt, found: Found, tracked: Tracked, bridged: bool
    ) -> None:
        switch = "net.ipv6.conf.all.forwarding" if packet.ipv6 else "net.ipv4.ip_forward"
        if not machine.sysctl(switch):
            raise endings.not_forwarding(machine.name, switch, packet.dst)
        if found.kind in ("", "unreachable", "prohibit"):
            raise endings.no_way(machine.name, packet.dst, found, "rejected")
        if found.kind != "unicast":
            raise endings.route_kind(machine.name, found)
        if packet.ttl <= 1:
            raise endings.ttl_out(machine.name)
        out = machine.interfaces.get(found.dev)
        if out is not None and packet.length > out.mtu and (packet.df or packet.ipv6):
            self._too_big(machine, packet, out, own=False)
        self.say("forward", f"{machine.name} forwards it from {device} to {found.dev}")
        packet = replace(packet, ttl=packet.ttl - 1)
        packet = self._hook(machine, "forward", packet, tracked, indev=device, outdev=found.dev, bridged=bridged)
        self._output(machine, packet, found, tracked, own=False)

    def _input(self, machine: Machine, device: str, packet: Pkt, tracked: Tracked, bridged: bool) -> None:
        server = self._server(machine, packet)
        if server is not None:
            where = {"indev": device, "bridged": bridged}
            packet = self._hook(machine, "input", packet, tracked, between=(-1000, 99), **where)  # type: ignore[arg-type]
            packet, found = self._balanced(machine, server, packet, tracked)
            if found.kind == "local":
                packet = self._hook(machine, "input", packet, tracked, between=(99, 1000), **where)  # type: ignore[arg-type]
                self._deliver(machine, packet)
            packet = self._hook(machine, "output", packet, tracked, outdev=found.dev)
            self._output(machine, packet, found, tracked, own=False)
            return
        packet = self._hook(machine, "input", packet, tracked, indev=device, bridged=bridged)
        if packet.inner is not None and self._decapsulate(machine, packet):
            return
        self._deliver(machine, packet)

    def _balanced(self, machine: Machine, server: object, packet: Pkt, tracked: Tracked) -> tuple[Pkt, Found]:
        """What IPVS makes of a packet in the middle of INPUT or OUTPUT. To a real server of this machine it goes on in
        the same hook; to any other it is sent by all of OUTPUT, one of its TTL spent (ip_vs_nat_send_or_cont)."""
        from netlab.trace.predict.balance import balance

        packet = balance(self, machine, server, packet, tracked)
        found = self._route(machine, packet, "lo")
        if found.kind not in ("unicast", "local"):
            raise endings.no_way(machine.name, packet.dst, found, "dropped")
        return (packet if found.kind == "local" else replace(packet, ttl=packet.ttl - 1)), found

    def _server(self, machine: Machine, packet: Pkt) -> object | None:
        if not machine.servers:
            return None
        from netlab.trace.predict.balance import server_for

        return server_for(machine, packet)

    def _decapsulate(self, machine: Machine, packet: Pkt) -> bool:
        for device in machine.interfaces.values():
            vxlan = device.vxlan
            if vxlan is None or not device.up or (vxlan.port, vxlan.vni) != (packet.dport, packet.vni):
                continue
            if vxlan.local and (":" in vxlan.local) != packet.ipv6:
                continue  # each family has a socket of its own: Flannel's two devices share VNI and port
            assert packet.inner is not None  # noqa: S101
            self.say("decap", f"{device.name} takes off the VXLAN header (VNI {packet.vni})", deciding=True)
            self._receive(machine, device, packet.inner, packet.inner_macs)
            return True
        return False

    def _deliver(self, machine: Machine, packet: Pkt) -> None:
        self.last = packet
        if packet.protocol in ("icmp", "icmpv6") or machine.listeners is None or packet.inner is not None:
            self.say("deliver", f"{machine.name} takes it: {packet.dst} is its own", deciding=True)
            raise Ended("delivered", machine.name, f"delivered to {machine.name}")
        if self.awaited is not None and machine.name == self.awaited.source:
            if (packet.src, packet.sport or 0) != (self.awaited.dst, self.awaited.dport):
                raise endings.stranger(machine.name, (packet.src, packet.sport), (self.awaited.dst, self.awaited.dport))
            self.say("socket", f"the socket of {machine.name} that it answers", deciding=True)
            raise Ended("delivered", machine.name, f"delivered to {machine.name}")
        for one in machine.listeners:
            if (one.protocol, one.port) == (packet.protocol, packet.dport) and one.address in ("", packet.dst):
                self.say(
                    "socket",
                    f"a process of {machine.name} listens on {packet.protocol} port {packet.dport}",
                    deciding=True,
                )
                raise Ended("delivered", machine.name, f"delivered to a socket of {machine.name}")
        self.say(
            "socket", f"no process of {machine.name} listens on {packet.protocol} port {packet.dport}", deciding=True
        )
        raise endings.nobody_listens(machine.name, packet.protocol, packet.dport)


def first_packet(flow: Flow) -> Pkt:
    """The packet that `Flow` asks for: a SYN, a datagram, an echo request."""
    header = 40 if ":" in flow.dst else 20
    length = header + HEADERS.get(flow.protocol, 8) + flow.size
    flags = "SYN" if flow.protocol == "tcp" else ""
    sport: int | None = flow.sport or (None if flow.protocol in ("tcp", "udp") else 0)
    return Pkt(flow.src, flow.dst, flow.protocol, sport, flow.dport, length=length, df=flow.df, flags=flags)
