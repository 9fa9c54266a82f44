"""Mininet's interfaces and links, by netlink."""

# ruff: noqa: N802, N803, N815 — Mininet's names

from __future__ import annotations

from typing import Any

from netlab.dataplane.model import Address, Plan, Step
from netlab.dataplane.model import Link as Device
from netlab.dataplane.shaping import Shaping
from netlab.kernel import addresses, links, qdisc, veth
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt
from netlab.kernel.apply import apply
from netlab.kernel.errors import KernelError
from netlab.kernel.observe import observe
from netlab.substrate.mn import Intf, Link


class Port(Intf):  # type: ignore[misc]
    """An interface. `made`: it is there and configured, only the object is wanted."""

    name: str
    ip: str | None
    mac: str | None
    prefixLen: str | None
    node: Any

    def __init__(self, name: str, *args: Any, made: bool = False, address: str | None = None, **params: Any) -> None:
        self._made = made
        super().__init__(name, *args, **params)
        if address:
            self.ip, self.prefixLen = address.split("/")

    def config(self, mac: str | None = None, ip: str | None = None, up: bool = True, **params: Any) -> dict[str, Any]:
        """As Mininet's; bw (Mbit/s), delay, jitter (seconds or "5ms") and loss (percent) shape what leaves here."""
        if self._made:
            return {}
        result: dict[str, Any] = {}
        self.setParam(result, "setMAC", mac=mac)
        self.setParam(result, "setIP", ip=ip)
        self.setParam(result, "isUp", up=up)
        rule = _shaping(self.name, params)
        if rule:
            self.shape(rule)
        return result

    def shape(self, rule: Shaping) -> None:
        """Put the queueing disciplines on this interface. UnsupportedFeature where the kernel lacks them."""
        from netlab.kernel import features

        if rule.bandwidth_bps is not None:
            features.require("tbf", f"the link at {self.node.name}:{self.name}")
        if rule.needs_netem:
            features.require("netem", f"the link at {self.node.name}:{self.name}")
        index = self._index()
        for request in qdisc.requests(rule, index):
            self.node.ns.netlink.request(request, str(rule))

    def _index(self) -> int:
        return links.index_of(self.node.ns.netlink.get(links.get(self.name), f"interface {self.name}"))

    def _addresses(self) -> list[Address]:
        names = {self._index(): self.name}
        replies = self.node.ns.netlink.dump(addresses.GET_ALL, "addresses")
        return [found for found in (addresses.decode(reply, names) for reply in replies) if found.dev == self.name]

    def _observed(self) -> Device | None:
        return observe(self.node.ns).link(self.name)

    def _change(self, new: Device, old: Device) -> str:
        return str(self.node.do(Step("change", new, "asked by hand", old=old)))

    def ifconfig(self, *args: Any) -> str:
        """`up` and `down` by netlink; anything else by the program, in the node's shell."""
        if args in (("up",), ("down",)):
            up = args == ("up",)
            return self._change(Device(self.name, up=up), Device(self.name, up=not up))
        return str(self.cmd("ip addr show dev" if not args else "ifconfig", self.name, *args))

    def setIP(self, ipstr: str, prefixLen: int | None = None) -> str:
        """Replace this interface's addresses by one, and set it up."""
        cidr = ipstr if "/" in ipstr else f"{ipstr}/{prefixLen}"
        self.ip, self.prefixLen = cidr.split("/")
        steps = [Step("del", old, "replaced by hand") for old in self._addresses() if old.cidr != cidr]
        steps.append(Step("add", Address(self.name, cidr), "asked by hand"))
        try:
            apply(self.node.ns, Plan(tuple(steps)))
        except KernelError as problem:
            return f"{problem}\n"
        return self.ifconfig("up")

    def setMAC(self, macstr: str) -> str:
        self.mac = macstr
        return self._change(Device(self.name, mac=macstr), Device(self.name))

    def updateIP(self) -> str | None:
        found = self._addresses()
        self.ip, self.prefixLen = found[0].cidr.split("/") if found else (None, None)
        return self.ip

    def updateMAC(self) -> str | None:
        device = self._observed()
        self.mac = device.mac if device else None
        return self.mac

    def updateAddr(self) -> tuple[str | None, str | None]:
        return self.updateIP(), self.updateMAC()

    def isUp(self, setUp: bool = False) -> bool:
        if setUp:
            return not self.ifconfig("up")
        device = self._observed()
        return device is not None and device.up

    def rename(self, newname: str) -> str:
        requests = [
            links.set_up(self.name, False),
            nl.message(rt.RTM_NEWLINK, 0, links.header(self._index()), nl.text(rt.IFLA_IFNAME, newname)),
            links.set_up(newname, True),
        ]
        refused = self.node.ns.netlink.send(requests)
        self.node.nameToIntf[newname] = self.node.nameToIntf.pop(self.name)
        self.name = newname
        return "".join(f"{refusal}\n" for refusal in refused)

    def delete(self) -> None:
        """Delete the interface, and with it the other end; gone already is no error."""
        self.node.do(Step("del", Device(self.name), "deleted by hand"))
        self.node.delIntf(self)
        self.link = None

    def status(self) -> str:
        return "OK" if self._observed() else "MISSING"


class Cable(Link):  # type: ignore[misc]
    """A veth pair between two nodes. `made`: it is there already."""

    intf1: Any
    intf2: Any

    def __init__(self, node1: Any, node2: Any, made: bool = False, intf: Any = None, **params: Any) -> None:
        self._made = made
        for side in ("params1", "params2"):
            params[side] = {**(params.get(side) or {}), "made": made}
        super().__init__(node1, node2, intf=intf or Port, **params)
        if not made:
            for node, port in ((node1, self.intf1), (node2, self.intf2)):
                if hasattr(node, "attach"):
                    node.attach(port)

    def makeIntfPair(
        self,
        name1: str,
        name2: str,
        addr1: str | None = None,
        addr2: str | None = None,
        node1: Any = None,
        node2: Any = None,
        deleteIntfs: bool = True,
    ) -> None:
        """One message makes both ends, each in its node's namespace."""
        if self._made:
            return
        near = veth.End(name1, nl.mac_bytes(addr1) if addr1 else b"")
        far = veth.End(name2, nl.mac_bytes(addr2) if addr2 else b"", fd=node2.ns.fd)
        node1.ns.netlink.request(veth.create(near, far), f"link {node1.name}:{name1} to {node2.name}:{name2}")

    def delete(self) -> None:
        """Deleting one end deletes the other."""
        for port in (self.intf1, self.intf2):
            if port is not None:
                port.delete()
        self.intf1 = self.intf2 = None


def _shaping(dev: str, params: dict[str, Any]) -> Shaping:
    bandwidth = params.get("bw")
    return Shaping(
        dev,
        None if bandwidth is None else int(bandwidth * 1_000_000),
        seconds(params.get("delay")),
        seconds(params.get("jitter")),
        float(params.get("loss") or 0) / 100,
    )


def seconds(value: str | float | None) -> float:
    """A time as tc writes it ("5ms", "20us", "1s"), or a number of seconds."""
    if value is None or isinstance(value, int | float):
        return float(value or 0)
    for suffix, factor in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if value.endswith(suffix):
            return float(value.removesuffix(suffix)) * factor
    return float(value) * 1e-6  # tc's unit where none is given
