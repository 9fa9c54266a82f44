"""Two nodes and an outside client on one network, two pods here and one there; the proxy runs on the node "here".

In the machine's own user namespace, because kernels before 6.11 refuse IPVS in any other. Also the flows that are
expected there in IPVS mode, for each shape of the Service "web".
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.dataplane import ipvs
from netlab.dataplane.iptables import parse, scan
from netlab.kernel import iptables as kernel_iptables
from netlab.kernel import netns, throwaway
from netlab.node.proxy import NODES, SERVICES, SLICES, Proxier, SyncTiming
from netlab.node.proxy_ipvs import IpvsBackend

HERE_IP, THERE_IP, OUTSIDE_IP = "192.168.0.2", "192.168.0.3", "192.168.0.9"
PODS = {"one": "10.244.0.11", "two": "10.244.0.12", "far": "10.244.1.13"}
CLIENT = "10.244.0.10"
HERE, ALL = {"one", "two"}, {"one", "two", "far"}
CLUSTER_IP, EXTERNAL, BALANCER, PORT, NODE_PORT = "10.96.0.20", "203.0.113.9", "198.51.100.1", 80, 30080
TIMING = SyncTiming(min_period=0.0, settle=0.0)
REFUSED, NOTHING = "refused", "nothing"


class Network:
    """Namespaces: lan (a switch), here and there (nodes), outside, client and the pods."""

    def __init__(self) -> None:
        names = ("lan", "here", "there", "outside", "client", *PODS)
        self.ns = {name: netns.create(name) for name in names}
        ip("lan", "link add lan0 type bridge\nlink set lan0 up")
        for name, address in {"here": HERE_IP, "there": THERE_IP, "outside": OUTSIDE_IP}.items():
            ip("lan", f"link add v{name} type veth peer name eth0 netns {name}\nlink set v{name} master lan0 up")
            ip(name, f"link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up")
        self._node("here", "10.244.0.1", {"client": CLIENT, "one": PODS["one"], "two": PODS["two"]})
        self._node("there", "10.244.1.1", {"far": PODS["far"]})
        ip("here", f"route add 10.244.1.0/24 via {THERE_IP}\nroute add default via {OUTSIDE_IP}")
        ip("there", f"route add 10.244.0.0/24 via {HERE_IP}\nroute add default via {OUTSIDE_IP}")
        ip("outside", f"route add default via {HERE_IP}")

    def _node(self, name: str, gateway: str, pods: dict[str, str]) -> None:
        ip(name, f"link add docker0 type bridge\naddr add {gateway}/24 dev docker0\nlink set docker0 up")
        for pod, address in pods.items():
            ip(
                name,
                f"link add v{pod} type veth peer name eth0 netns {pod}\nlink set v{pod} master docker0 up\n"
                f"link set v{pod} type bridge_slave hairpin on",
            )
            ip(
                pod,
                f"link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {gateway}",
            )
        for path in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
            self.ns[name].run(lambda path=path: Path(f"/proc/sys/net/{path}").write_text("1"))  # type: ignore[misc]


def ip(name: str, batch: str) -> None:
    subprocess.run(["ip", "-n", name, "-batch", "-"], input=batch, text=True, check=True)


class Answer(asyncio.Protocol):
    """Says its name and the client's address at once, and again for each line."""

    def __init__(self, name: str) -> None:
        self.name = name

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data_received(b"")

    def data_received(self, _: bytes) -> None:
        self.transport.write(f"{self.name} {self.transport.get_extra_info('peername')[0]}\n".encode())


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self.name = name

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, _: bytes, address: Any) -> None:
        self.transport.sendto(f"{self.name} {address[0]}".encode(), address)


@asynccontextmanager
async def servers(net: Network) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    held: list[Any] = []
    for name in PODS:
        tcp = net.ns[name].socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("", 8080))
        tcp.listen(64)
        tcp.setblocking(False)
        held.append(await loop.create_server(lambda name=name: Answer(name), sock=tcp))  # type: ignore[misc]
        udp = net.ns[name].socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("", 8080))
        udp.setblocking(False)
        transport, _ = await loop.create_datagram_endpoint(lambda name=name: Datagrams(name), sock=udp)  # type: ignore[misc]
        held.append(transport)
    try:
        yield
    finally:
        for one in held:
            one.close()


async def connect(net: Network, source: str, address: str, port: int, wait: float = 8.0) -> socket.socket:
    sock = net.ns[source].socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        async with asyncio.timeout(wait):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def heard(sock: socket.socket) -> tuple[str, str]:
    """(pod, the client's address as it saw it)"""
    async with asyncio.timeout(8):
        data = await asyncio.get_running_loop().sock_recv(sock, 100)
    pod, seen = data.decode().split("\n")[0].split()
    return pod, seen


async def call(net: Network, source: str, address: str, port: int, wait: float = 8.0) -> tuple[str, str]:
    """One TCP connection; ("refused", "") or ("nothing", "") where there is none."""
    try:
        sock = await connect(net, source, address, port, wait)
    except ConnectionRefusedError:
        return REFUSED, ""
    except TimeoutError:
        return NOTHING, ""
    with sock:
        return await heard(sock)


async def ask(sock: socket.socket, address: str, port: int) -> str:
    """One UDP question on a kept socket: who answers."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(8):
        await loop.sock_sendto(sock, b"?", (address, port))
        return (await loop.sock_recv(sock, 100)).decode().split()[0]


def service(name: str = "web", address: str = CLUSTER_IP, **spec: Any) -> dict[str, Any]:
    protocol = spec.pop("protocol", "TCP")
    port: dict[str, Any] = {"name": "p", "port": PORT, "protocol": protocol}
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        port["nodePort"] = spec.pop("node_port", NODE_PORT)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": address, "ports": [port], **spec},
    }


def slice_of(pods: Iterable[str], name: str = "web", protocol: str = "TCP", **conditions: bool) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "p", "port": 8080, "protocol": protocol}],
        "endpoints": [
            {
                "addresses": [PODS[pod]],
                "nodeName": "there" if pod == "far" else "here",
                "conditions": {"ready": True, **conditions},
            }
            for pod in sorted(pods)
        ],
    }


async def api(*objects: dict[str, Any]) -> Client:
    """An API server that knows the node and these objects."""
    client = Client(FakeApi())
    node = await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}})
    status = {"addresses": [{"type": "InternalIP", "address": HERE_IP}]}
    await client.update_status(NODES, {**node, "status": status})
    for obj in objects:
        made = await client.create(SERVICES if obj["kind"] == "Service" else SLICES, obj)
        if "status" in obj:
            await client.update_status(SERVICES, {**made, "status": obj["status"]})
    return client


@asynccontextmanager
async def running(net: Network, client: Client, mode: str = "ipvs", scheduler: Any = "rr") -> AsyncIterator[Proxier]:
    proxier = Proxier("here", net.ns["here"], cluster_cidr="10.244.0.0/16", mode=mode, timing=TIMING)
    if isinstance(proxier.backend, IpvsBackend):
        proxier.backend.program.configure(scheduler=scheduler)
    task = asyncio.create_task(proxier.run(client))
    try:
        async with servers(net):
            await eventually(lambda: proxier.full_syncs > 0 or task.done(), "the first sync", timeout=60)
            yield proxier
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def endpoints(client: Client, proxier: Proxier, pods: Iterable[str], protocol: str = "TCP") -> None:
    """Changes the endpoints of "web", and waits until the kernel has them."""
    obj = await client.get(SLICES, "web-1", "default")
    wanted = slice_of(pods, protocol=protocol)["endpoints"]
    addresses = sorted(one["addresses"][0] for one in wanted)

    def known() -> bool:
        states = [state for state in proxier.table.states() if state.port.name.name == "web"]
        return all(sorted(endpoint.ip for endpoint in state.endpoints) == addresses for state in states)

    await client.update(SLICES, {**obj, "endpoints": wanted})
    await eventually(lambda: known() and proxier.health.waiting_since is None, "the change written", timeout=60)


def in_network(body: Callable[[Network], Awaitable[None]]) -> None:
    """Runs `body` in a child with network and mount namespaces of its own."""

    async def run() -> None:
        await body(Network())

    throwaway.run(lambda: asyncio.run(run()), user=False)


def backend_of(proxier: Proxier) -> IpvsBackend:
    assert isinstance(proxier.backend, IpvsBackend)
    return proxier.backend


async def changed(proxier: Proxier, write: Awaitable[Any]) -> None:
    """Does it, and waits until the kernel has what came of it (nothing may come of it)."""
    await write
    await asyncio.sleep(0.3)
    await eventually(lambda: not proxier.table.pending and proxier.health.waiting_since is None, "written", timeout=60)


async def same_as_desired(net: Network, backend: IpvsBackend) -> None:
    """Kernel state, read back, equals the typed desired state; so do the rules."""
    observed = (await net_ipvs(backend)).state
    wanted = backend.program.state()
    assert observed.servers == wanted.servers
    used = {
        frontend: {key: real for key, real in reals.items() if real.weight > 0}
        for frontend, reals in observed.reals.items()
    }
    assert used == wanted.reals, "but for those that only finish their connections"
    assert observed.addresses == wanted.addresses
    assert observed.members == wanted.members
    saved = parse(kernel_iptables.save(net.ns["here"]))
    for table, rules in backend.program.rules().items():
        for chain in ipvs.fixed_chains(table):
            assert saved[table].chain(chain) == tuple(rule for rule in rules if rule.chain == chain)
        present = scan(kernel_iptables.save(net.ns["here"], table=table))[table]
        assert set(ipvs.jumps(table)) == present.jumps


async def net_ipvs(backend: IpvsBackend) -> Any:
    return await backend._ipvs.observe()


# -- where packets go -------------------------------------------------------------------------------------------------

FULL: dict[str, Any] = {"type": "LoadBalancer", "externalIPs": [EXTERNAL]}
VIP = {"status": {"loadBalancer": {"ingress": [{"ip": BALANCER}]}}}
LOCAL: dict[str, Any] = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
ADDRESSES = {
    "cluster": (CLUSTER_IP, PORT),
    "node port": (HERE_IP, NODE_PORT),
    "docker0": ("10.244.0.1", NODE_PORT),
    "external": (EXTERNAL, PORT),
    "balancer": (BALANCER, PORT),
}
# (spec, ready pods) -> rows of (source, address, who answers, how the client is seen by the first of them)
KEPT, MASQUERADED = "kept", "masqueraded"
FLOWS: list[tuple[str, dict[str, Any], set[str], list[tuple[str, str, set[str] | str, str]]]] = [
    (
        "policy Cluster",
        {},
        ALL,
        [
            ("client", "cluster", ALL, KEPT),
            ("here", "cluster", ALL, MASQUERADED),
            ("outside", "cluster", ALL, MASQUERADED),
            ("outside", "node port", ALL, MASQUERADED),
            ("client", "node port", ALL, MASQUERADED),
            ("client", "docker0", ALL, MASQUERADED),
            ("here", "node port", ALL, MASQUERADED),
            ("outside", "external", ALL, MASQUERADED),
            ("client", "external", ALL, MASQUERADED),
            ("outside", "balancer", ALL, MASQUERADED),
            ("client", "balancer", ALL, MASQUERADED),
        ],
    ),
    (
        "external policy Local",
        LOCAL,
        ALL,
        [
            ("client", "cluster", ALL, KEPT),
            ("outside", "node port", HERE, KEPT),
            ("outside", "external", HERE, KEPT),
            ("outside", "balancer", HERE, KEPT),
        ],
    ),
    (
        "external policy Local without a local endpoint",
        LOCAL,
        {"far"},
        [
            ("client", "cluster", {"far"}, KEPT),
            ("client", "node port", {"far"}, KEPT),
            ("outside", "node port", NOTHING, ""),
            ("outside", "balancer", NOTHING, ""),
        ],
    ),
    ("internal policy Local", {"internalTrafficPolicy": "Local"}, ALL, [("client", "cluster", HERE, KEPT)]),
    (
        "no endpoints",
        {},
        set(),
        [
            ("client", "cluster", REFUSED, ""),
            ("here", "cluster", REFUSED, ""),
            ("outside", "node port", REFUSED, ""),
            ("outside", "external", REFUSED, ""),
            ("outside", "balancer", REFUSED, ""),
        ],
    ),
    (
        "source ranges that the client is in",
        {"loadBalancerSourceRanges": [f"{OUTSIDE_IP}/32"]},
        ALL,
        [
            ("outside", "balancer", ALL, MASQUERADED),
            ("client", "balancer", NOTHING, ""),
            ("here", "balancer", NOTHING, ""),
        ],
    ),
]  # fmt: skip
