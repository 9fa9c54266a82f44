"""A machine or a pod of a running lab: run commands in it, speak from it, send and sniff at its interfaces."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netlab.api.addresses import is_address
from netlab.api.types import Obj
from netlab.lab.facade import speaking
from netlab.lab.facade.model import DnsAnswer, Interface, Response
from netlab.lab.facade.recording import Recording
from netlab.lab.portal import Result, Where
from netlab.lab.record import LabError

if TYPE_CHECKING:
    from netlab.lab.facade.lab import Lab
    from netlab.runtime.contract import SandboxConfig

FROM_OUTSIDE = ("PATH", "LANG", "LC_ALL", "TERM", "HOME")
ETH_P_ALL = 3


class Place:
    """Something with a network namespace. `name` as a user calls it, `netns` where it is pinned."""

    def __init__(self, lab: Lab, name: str, netns: str) -> None:
        self.lab, self.name, self.netns = lab, name, netns

    def __repr__(self) -> str:
        return f"<{self.name} of lab {self.lab.name}>"

    # commands

    @property
    def _where(self) -> Where:
        return Where(self.netns)

    def _environment(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in FROM_OUTSIDE if key in os.environ}
        return {**kept, "KLAB_LAB": self.lab.name}

    def run(
        self,
        *command: str,
        stdin: str = "",
        timeout: float = 60.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command here: `run("ip", "route")`, or one string split as by a shell's words.

        LabError with its words where it fails and `check` is on, or when it has not ended after `timeout` seconds.
        """
        if len(command) == 1 and " " in command[0]:
            import shlex

            command = tuple(shlex.split(command[0]))
        environment = {**self._environment(), **(env or {})}
        result = self.lab.portal.run(
            self._where, command, stdin=stdin, env=environment, timeout=timeout, what=self.name
        )
        if check and result.status != 0:
            words = result.stderr.strip() or result.stdout.strip() or f"exit status {result.status}"
            raise LabError(f"{self.name}: {' '.join(command)}: {words}")
        return result

    # sockets

    def open_socket(
        self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0
    ) -> socket.socket:
        """A socket of this place's network, for the script to use as any other."""
        return self.lab.portal.open_socket(self.netns, family, kind, proto)

    def connect(self, host: str, port: int, *, timeout: float = 5.0) -> socket.socket:
        """A TCP connection from here. Unreachable says why there is none."""
        what = f"{self.name} → {host}:{port}"
        return speaking.connect(self._open, self.address_of(host), port, timeout, what)

    def http(self, url: str, **options: Any) -> Response:
        """A request from here: see `Lab.http`."""
        return speaking.fetch(self._open, self.address_of, url, source=self.name, **options)

    def dns(self, name: str, kind: str = "A", *, server: str | None = None, timeout: float = 5.0) -> DnsAnswer:
        """A DNS question from here: see `Lab.dns`."""
        servers, searches, ndots = self._resolver()
        asked = server or (servers[0] if servers else "")
        if not asked:
            raise LabError(f"{self.name} has no resolver: say which with server=")
        names = speaking.candidates(name, searches, ndots)
        return speaking.lookup(self._open, names, kind, asked, source=self.name, timeout=timeout)

    def _open(self, family: int, kind: int) -> socket.socket:
        return self.open_socket(family, kind)

    def _resolver(self) -> tuple[Sequence[str], Sequence[str], int]:
        """Name servers, search list, ndots."""
        return (), (), 1

    def address_of(self, name: str) -> str:
        """What a name means here: a machine's of the topology, else what the resolver says; an address is itself."""
        if is_address(name):
            return name
        topology = self.lab.topology
        if name in topology.names:
            addresses = topology.node_ips(name)
            if addresses:
                return str(addresses[0])
        answer = self.dns(name)
        if not answer.records:
            raise LabError(f"{self.name}: {name} does not resolve: {answer.rcode} from {answer.server}")
        return answer.records[0]

    # packets

    @property
    def interfaces(self) -> list[Interface]:
        """Its network interfaces as they are now."""
        listed = json.loads(self._network("ip", "-j", "addr"))
        return [_interface(entry) for entry in listed]

    def _network(self, *command: str) -> str:
        """A command of the machine's own in this network (a pod's image may not have it)."""
        result = self.lab.portal.run(Where(self.netns), command, env=self._environment(), what=self.name)
        if result.status:
            raise LabError(f"{self.name}: {' '.join(command)}: {result.stderr.strip()}")
        return result.stdout

    def sniffing(self, interface: str = "", *, filter: str = "") -> Recording:  # noqa: A002 — as scapy says it
        """Record while a `with` block runs: `.packets()` are scapy's, `.frames()` ours, `.save(FILE)` is pcapng.

        `interface` "": every one. `filter` as tcpdump's, run by the kernel.
        """
        from netlab.trace.observe import Point

        return Recording(self.lab.portal, [Point(self.name, self.netns, interface)], filter)

    def sniff(
        self,
        interface: str = "",
        *,
        filter: str = "",  # noqa: A002 — as scapy says it
        count: int = 0,
        timeout: float = 10.0,
        trigger: Callable[[], object] | None = None,
    ) -> list[Any]:
        """scapy packets seen at an interface: at most `count` (0: all) within `timeout` seconds.

        `trigger` is called once the capture runs; without a count it also ends the capture when it returns.
        """
        with self.sniffing(interface, filter=filter) as recording:
            if trigger is not None:
                trigger()
            if count or trigger is None:
                recording.until(count or 1 << 62, timeout)
        packets = recording.packets()
        self.lab.kept.append(recording)
        return packets[:count] if count else packets

    def send(self, interface: str, packet: Any, *, count: int = 1) -> None:
        """Send a scapy packet (or bytes) from an interface: a frame as it is, an IP packet by the routes of here."""
        raw = bytes(packet)
        if _is_ip(packet):
            version6 = raw[0] >> 4 == 6
            family = socket.AF_INET6 if version6 else socket.AF_INET
            with self.open_socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
                for _ in range(count):
                    sock.sendto(raw, (packet.dst, 0))
            return
        with self.open_socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            try:
                sock.bind((interface, 0))
            except OSError as problem:
                raise LabError(f"{self.name}: cannot send at '{interface}': {problem.strerror}") from None
            for _ in range(count):
                sock.send(raw)


def _is_ip(packet: Any) -> bool:
    return type(packet).__name__ in ("IP", "IPv6")


def _interface(entry: Obj) -> Interface:
    addresses = tuple(f"{one['local']}/{one['prefixlen']}" for one in entry.get("addr_info", ()))
    flags = entry.get("flags", ())
    return Interface(
        entry["ifname"], entry.get("address", ""), entry["mtu"], "UP" in flags, entry.get("operstate", ""), addresses
    )


class Machine(Place):
    """A node, host or router of the topology."""

    def __init__(self, lab: Lab, name: str) -> None:
        super().__init__(lab, name, name)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses on the underlay."""
        return tuple(self.lab.topology.node_ips(self.name))

    @property
    def ip(self) -> str:
        return self.addresses[0]

    @property
    def object(self) -> Obj:
        """A node's Node."""
        return self.lab.api.get(("v1", "nodes"), self.name)

    def _resolver(self) -> tuple[Sequence[str], Sequence[str], int]:
        """Nodes can reach the cluster's DNS; hosts outside have none."""
        if any(node.name == self.name for node in self.lab.topology.nodes):
            return (self.lab.topology.cluster.dns_ip.split(",")[0],), (), 1
        return super()._resolver()


class Pod(Place):
    """A running pod, or one of its containers (the first where none is named)."""

    def __init__(self, lab: Lab, config: SandboxConfig, container: str = "") -> None:
        self.config, self.container = config, container
        self.namespace, self.pod_name = config.namespace, config.name
        super().__init__(lab, f"pod/{config.namespace}/{config.name}", config.netns.rpartition("/")[2])

    @property
    def node(self) -> str:
        return self.config.node

    @property
    def ip(self) -> str:
        return self.config.ips[0]

    @property
    def object(self) -> Obj:
        return self.lab.api.get(("v1", "pods"), self.pod_name, self.namespace)

    @property
    def _where(self) -> Where:
        return Where(process=self._process()[0])

    def _process(self) -> tuple[int, dict[str, str]]:
        from netlab.lab.inside import container_process

        name = f"{self.namespace}/{self.pod_name}"
        return container_process(self.lab.paths, f"{name}:{self.container}" if self.container else name)

    def _environment(self) -> dict[str, str]:
        return self._process()[1]

    def _network(self, *command: str) -> str:
        environment = super()._environment()
        result = self.lab.portal.run(Where(self.netns), command, env=environment, what=self.name)
        return result.stdout

    def log(self, *, tail: int | None = None) -> str:
        """What the container has written."""
        query = {"container": self.container, "tailLines": "" if tail is None else str(tail)}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.pod_name}/log"
        return str(self.lab.api.call("GET", path, query={key: value for key, value in query.items() if value}))

    def _resolver(self) -> tuple[Sequence[str], Sequence[str], int]:
        from netlab.lab.facade.resolvconf import parse

        return parse(self.config.dns.resolv_conf() if self.config.dns else "")
