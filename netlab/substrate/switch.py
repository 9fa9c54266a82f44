"""Mininet's switches: a Linux bridge by netlink, or Open vSwitch by its own tools. They live in the lab's namespace."""

# ruff: noqa: N803 — Mininet's names

from __future__ import annotations

import hashlib
from typing import Any

from netlab.dataplane.model import Link as Device
from netlab.dataplane.model import Step
from netlab.kernel import features, netns
from netlab.kernel.netns import NetNs
from netlab.kernel.observe import observe
from netlab.substrate import ovs
from netlab.substrate.cable import Port
from netlab.substrate.machine import LazyShell
from netlab.substrate.mn import Node, Switch

PORTS_MAX = 1023
"""As many ports as a Linux bridge can have."""


class Bridge(LazyShell, Switch):  # type: ignore[misc]
    """A Linux bridge without spanning tree (a loop's standby links are kept out of it)."""

    def __init__(self, name: str, ns: NetNs | None = None, made: bool = False, **params: Any) -> None:
        self.ns = ns if ns is not None else netns.own()
        self.made = made
        params["inNamespace"] = False
        Node.__init__(self, name, **params)
        self.dpid = params.get("dpid") or hashlib.sha256(name.encode()).hexdigest()[:16]
        self.opts, self.listenPort = "", None
        self.controlIntf = Port("lo", self, port=0, made=True)

    def start(self, controllers: Any) -> None:
        """Make the bridge, if it is not there, and put the ports on it."""
        if self.made:
            return
        if observe(self.ns).link(self.name) is None:
            self.do(Step("add", Device(self.name, "bridge"), "switch"))
        self.made = True
        for port in self.intfList():
            self.attach(port)

    def stop(self, deleteIntfs: bool = True) -> None:
        self.do(Step("del", Device(self.name), "switch stopped"))
        self.made = False
        super().stop(deleteIntfs)

    def attach(self, port: Any) -> None:
        """Put an interface on the bridge, once that exists."""
        if self.made and port.name != "lo":
            self.do(
                Step("change", Device(port.name, master=self.name, up=True), "port", old=Device(port.name, up=False))
            )

    def detach(self, port: Any) -> None:
        """Take an interface off the bridge."""
        self.do(Step("change", Device(str(port)), "port", old=Device(str(port), master=self.name)))

    def connected(self) -> bool:
        return True

    def dpctl(self, *args: Any) -> str:
        """`bridge <args>`, for want of a controller."""
        return self.cmd("bridge", *args)


class OpenVSwitch(Bridge):
    """An Open vSwitch bridge in standalone mode. UnsupportedFeature where its programs or its module are missing."""

    def __init__(self, name: str, **params: Any) -> None:
        features.require("ovs", f"switch {name}")
        super().__init__(name, **params)

    def start(self, controllers: Any) -> None:
        if not self.made:
            ovs.start(self.ns)
            ovs.add_bridge(self.ns, self.name)
            self.made = True
            for port in self.intfList():
                self.attach(port)

    def stop(self, deleteIntfs: bool = True) -> None:
        ovs.vsctl(self.ns, "--if-exists", "del-br", self.name)
        self.made = False

    def attach(self, port: Any) -> None:
        if self.made and port.name != "lo":
            ovs.vsctl(self.ns, "--may-exist", "add-port", self.name, port.name)
            port.ifconfig("up")

    def detach(self, port: Any) -> None:
        ovs.vsctl(self.ns, "--if-exists", "del-port", self.name, str(port))

    def dpctl(self, *args: Any) -> str:
        return self.cmd("ovs-ofctl", args[0], self.name, *args[1:])
