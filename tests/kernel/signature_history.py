"""Random histories on the live kernel: Services, endpoints and the node change, and the proxy is killed in between.

After each step the kernel holds what a proxy that starts now in an empty namespace would write, and every connection
to an endpoint that stayed is answered by that endpoint still. The same as tests/unit/test_services_random.py, with
packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from netlab.dataplane import iptables, nftables
from netlab.dataplane.nftables import Operation
from netlab.dataplane.services import Choice, Endpoint, NodeView
from netlab.kernel import iptables as kernel_iptables
from netlab.kernel import netns
from netlab.kernel import nft as kernel_nft
from netlab.node.proxy import Proxier
from netlab.node.proxy_kernel import NodeKernel
from tests.kernel.signature_net import CLUSTER_CIDR, NODES, SERVERS, Network

NAMES = {"a": "10.96.0.1", "b": "10.96.0.2"}
PORTS = {"tcp": ("TCP", 80), "udp": ("UDP", 53), "more": ("TCP", 81)}
UNORDERED = ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL")
"""Chains whose rules exclude each other (but for the last of KUBE-SERVICES): their order says nothing."""
PATIENCE = 20.0


class Killed(Exception):  # noqa: N818
    """The proxy dies here."""


class MortalKernel(NodeKernel):
    """The node's kernel; `dies_after` lets the proxy die when it has written that often, and knows nothing of it."""

    dies_after = 0

    async def restore(self, text: str) -> None:
        await super().restore(text)
        self._count()

    async def nft(self, operations: Sequence[Operation]) -> None:
        await super().nft(operations)
        self._count()

    def _count(self) -> None:
        if self.dies_after:
            self.dies_after -= 1
            if not self.dies_after:
                raise Killed


class Servers(threading.Thread):
    """Each pod answers with its name whatever it is asked, on TCP and UDP 8080."""

    def __init__(self, net: Network) -> None:
        super().__init__(daemon=True)
        self._epoll = select.epoll()
        self._act: dict[int, tuple[socket.socket, Callable[[], None]]] = {}
        for name in SERVERS:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                sock = net.ns[name].socket(socket.AF_INET, kind)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("", 8080))
                if kind == socket.SOCK_STREAM:
                    sock.listen(64)
                    self._on(sock, partial(self._accept, sock, name))
                else:
                    self._on(sock, partial(self._datagram, sock, name))

    def _on(self, sock: socket.socket, act: Callable[[], None]) -> None:
        self._act[sock.fileno()] = (sock, act)
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _accept(self, listener: socket.socket, name: str) -> None:
        sock, _ = listener.accept()
        self._on(sock, partial(self._data, sock, name))

    def _data(self, sock: socket.socket, name: str) -> None:
        with contextlib.suppress(ConnectionError):
            if sock.recv(100):
                sock.sendall(name.encode())
                return
        self._epoll.unregister(sock.fileno())
        del self._act[sock.fileno()]
        sock.close()

    @staticmethod
    def _datagram(sock: socket.socket, name: str) -> None:
        _, peer = sock.recvfrom(100)
        sock.sendto(name.encode(), peer)

    def run(self) -> None:
        while True:
            for number, _ in self._epoll.poll():
                if number in self._act:
                    self._act[number][1]()


@dataclass
class Held:
    """A connection from the pod to a Service's port, and who answers it."""

    sock: socket.socket
    service: str
    port: str
    server: str


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]))
    names = draw(st.lists(st.sampled_from(sorted(PORTS)), min_size=1, unique=True))
    spec: dict[str, Any] = {"type": kind, "names": names}
    spec["internalTrafficPolicy"] = draw(st.sampled_from(["Cluster", "Cluster", "Local"]))
    if kind != "ClusterIP":
        spec["externalTrafficPolicy"] = draw(st.sampled_from(["Cluster", "Local"]))
    if draw(st.booleans()):
        spec["sessionAffinity"] = "ClientIP"
    if draw(st.booleans()):
        spec["externalIPs"] = True
    if kind == "LoadBalancer" and draw(st.booleans()):
        spec["loadBalancerSourceRanges"] = ["192.168.0.0/16"]
    return spec


ENDPOINTS = st.lists(
    st.tuples(st.sampled_from(sorted(SERVERS)), st.sampled_from(["ready", "ready", "terminating", "not ready"])),
    max_size=3,
    unique_by=lambda one: one[0],
)


class LiveHistory(RuleBasedStateMachine):
    """One node's proxy, its kernel, and a client pod that holds connections."""

    net: Network
    mode = "iptables"
    numbers = itertools.count()
    seen: Counter[str]
    """What has happened in all histories: one in which nothing did would prove nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.address = NODES["here"].ip
        self.view = NodeView("here")
        self.held: list[Held] = []
        self.kernel = MortalKernel(self.net.ns["here"])

    @initialize()
    def begin(self) -> None:
        """The first sync of a history also takes away what the last one left."""
        self.restart()
        for name in NAMES:
            ready = [(pod, "ready") for pod in sorted(SERVERS)]
            spec = {"type": "LoadBalancer", "names": sorted(PORTS), "internalTrafficPolicy": "Cluster"}
            self._service(name, spec, True)
            self._endpoints(name, 1, ready)

    # -- what happens

    @rule()
    def restart(self) -> None:
        """The proxy was killed; another takes over what is there."""
        self.proxier = self.fresh(self.kernel)

    @rule(writes=st.integers(1, 2))
    def dies_while_writing(self, writes: int) -> None:
        """With the next change, after so many transactions."""
        self.kernel.dies_after = writes

    @rule(name=st.sampled_from(sorted(NAMES)), spec=specs(), vip=st.booleans())
    def service(self, name: str, spec: dict[str, Any], vip: bool) -> None:
        self._service(name, spec, vip)

    def _service(self, name: str, spec: dict[str, Any], vip: bool) -> None:
        number = sorted(NAMES).index(name) + 1
        ports = [
            {"name": port, "port": PORTS[port][1], "protocol": PORTS[port][0],
             **({"nodePort": 30000 + 10 * number + index} if spec["type"] != "ClusterIP" else {})}
            for index, port in enumerate(sorted(PORTS)) if port in spec["names"]
        ]  # fmt: skip
        full = {**spec, "ports": ports, "clusterIP": NAMES[name]}
        del full["names"]
        if "externalIPs" in full:
            full["externalIPs"] = [f"203.0.113.{number}"]
        status = {"loadBalancer": {"ingress": [{"ip": f"198.51.100.{number}"}]}} if vip else {}
        meta = {"namespace": "ns", "name": name}
        self.put("service", f"ns/{name}", {"metadata": meta, "spec": full, "status": status})

    @rule(name=st.sampled_from(sorted(NAMES)))
    def no_service(self, name: str) -> None:
        self.put("service", f"ns/{name}", None)

    @rule(name=st.sampled_from(sorted(NAMES)), number=st.integers(1, 2), endpoints=ENDPOINTS)
    def endpoints(self, name: str, number: int, endpoints: list[tuple[str, str]]) -> None:
        self._endpoints(name, number, endpoints)

    def _endpoints(self, name: str, number: int, endpoints: list[tuple[str, str]]) -> None:
        items = [
            {"addresses": [SERVERS[pod]], "nodeName": "there" if pod == "far" else "here",
             "conditions": {"ready": state == "ready", "serving": state != "not ready",
                            "terminating": state == "terminating"}}
            for pod, state in endpoints
        ]  # fmt: skip
        meta = {"namespace": "ns", "name": f"{name}-{number}", "labels": {"kubernetes.io/service-name": name}}
        ports = [{"name": port, "port": 8080, "protocol": protocol} for port, (protocol, _) in PORTS.items()]
        found = {"metadata": meta, "addressType": "IPv4", "ports": ports, "endpoints": items}
        self.put("slice", f"ns/{name}-{number}", found)

    @rule(name=st.sampled_from(sorted(NAMES)), number=st.integers(1, 2))
    def no_endpoints(self, name: str, number: int) -> None:
        self.put("slice", f"ns/{name}-{number}", None)

    @rule(zone=st.sampled_from(["", "a"]), address=st.sampled_from([NODES["here"].ip, "192.168.0.22"]))
    def node(self, zone: str, address: str) -> None:
        self.view, self.address = NodeView("here", zone), address
        self.tell_node(self.proxier)

    @rule()
    def connect(self) -> None:
        """The pod opens a connection to each Service's port where someone answers, and keeps it."""
        for name in NAMES:
            for port in PORTS:
                if self.reachable(name, port):
                    self._connect(name, port)

    def _connect(self, name: str, port: str) -> None:
        protocol, number = PORTS[port]
        sock = self.net.ns["pod"].socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE)
        sock.connect((NAMES[name], number))
        self.held.append(Held(sock, name, port, ask(sock, protocol)))

    # -- what must hold

    @invariant()
    def settled(self) -> None:
        if not hasattr(self, "proxier"):
            return
        self.settle()
        self.equals_a_full_sync()
        self.connections_stand()

    def equals_a_full_sync(self) -> None:
        name = f"twin{next(self.numbers)}"
        twin = netns.create(name)
        asyncio.run(self.fresh(NodeKernel(twin)).sync())
        assert held_by(self.net.ns["here"], self.mode) == held_by(twin, self.mode)
        twin.close()
        netns.remove(name)

    def connections_stand(self) -> None:
        kept = []
        for held in self.held:
            if held.server not in self.reachable(held.service, held.port):
                held.sock.close()
                continue
            assert ask(held.sock, PORTS[held.port][0]) == held.server, f"{held}: someone else answers"
            self.seen[PORTS[held.port][0]] += 1
            kept.append(held)
        self.held = kept

    # -- how

    def fresh(self, kernel: NodeKernel) -> Proxier:
        made = Proxier("here", None, cluster_cidr=CLUSTER_CIDR, mode=self.mode, kernel=kernel)
        for (kind, name), obj in self.objects.items():
            (made.table.set_service if kind == "service" else made.table.set_slice)(name, obj)
        self.tell_node(made)
        return made

    def tell_node(self, proxier: Proxier) -> None:
        labels = {"topology.kubernetes.io/zone": self.view.zone} if self.view.zone else {}
        status = {"addresses": [{"type": "InternalIP", "address": self.address}]}
        proxier._node({"metadata": {"name": "here", "labels": labels}, "status": status})

    def put(self, kind: str, name: str, obj: dict[str, Any] | None) -> None:
        (self.proxier.table.set_service if kind == "service" else self.proxier.table.set_slice)(name, obj)
        if obj is None:
            self.objects.pop((kind, name), None)
        else:
            self.objects[kind, name] = obj

    def settle(self) -> None:
        try:
            asyncio.run(self.proxier.sync())
        except Killed:
            self.seen["killed"] += 1
            self.restart()
            asyncio.run(self.proxier.sync())

    def reachable(self, name: str, port: str) -> set[str]:
        """Who may answer the pod's calls to the cluster IP."""
        names = {address: server for server, address in SERVERS.items()}
        for state in self.proxier.table.states():
            if (state.port.name.name, state.port.name.port) == (name, port):
                return {names[endpoint.ip] for endpoint in self.chosen(state.choice, state.port.internal_local)}
        return set()

    def chosen(self, choice: Choice, internal_local: bool) -> Sequence[Endpoint]:
        """The endpoints of a cluster IP."""
        return choice.local if internal_local else choice.cluster

    def teardown(self) -> None:
        for held in self.held:
            held.sock.close()


def ask(sock: socket.socket, protocol: str) -> str:
    """Who answers on a connection. A datagram that is lost (a busy machine) is sent again."""
    if protocol == "TCP":
        sock.sendall(b"?")
        return sock.recv(100).decode()
    sock.settimeout(PATIENCE / 4)
    for left in reversed(range(4)):
        sock.send(b"?")
        try:
            return sock.recv(100).decode()
        except TimeoutError:
            if not left:
                raise
    raise AssertionError("unreachable")


def held_by(ns: netns.NetNs, mode: str) -> object:
    """What the kernel holds, up to order that says nothing and the clients that affinity remembers."""
    if mode == "nftables":
        state = nftables.parse(kernel_nft.ruleset(ns, table="ip kube-proxy"))
        return state.chains, {key: one for key, one in state.elements.items() if not key[0].startswith("affinity-")}
    found: dict[tuple[str, str], list[str]] = {}
    for name, table in iptables.parse(kernel_iptables.save(ns)).items():
        for chain in table.chains:
            rules = [str(one) for one in table.chain(chain)]
            last = rules[-1:] if (name, chain) == ("nat", "KUBE-SERVICES") else []
            found[name, chain] = [*(sorted(rules) if chain in UNORDERED else rules), *last]
    return {key: rules for key, rules in found.items() if rules or key[1].startswith("KUBE-")}


SHRUNK = (Phase.generate, Phase.target, Phase.shrink)
AS_FOUND = (Phase.generate, Phase.target)


def histories(
    machine: type[LiveHistory], mode: str, examples: int = 8, steps: int = 12, phases: Sequence[Phase] = SHRUNK
) -> Counter[str]:
    """Runs so many random histories in this process' namespaces; what has happened in them."""
    net = Network()
    Servers(net).start()
    made: Any = type("History", (machine,), {"net": net, "mode": mode, "seen": Counter()})
    run_state_machine_as_test(
        made,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=phases,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    found: Counter[str] = made.seen
    return found
