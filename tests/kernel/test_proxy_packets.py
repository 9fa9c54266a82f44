"""Services on the real kernel: packets go where the proxier's rules say, and come back."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.dataplane import iptables, nftables
from netlab.kernel import iptables as kernel_iptables
from netlab.kernel import netns
from netlab.kernel import nft as kernel_nft
from netlab.node.proxy import NODES, SERVICES, SLICES, Proxier, SyncTiming

NODE_IP = "192.168.0.2"
BACKENDS = {"pod1": "10.244.0.11", "pod2": "10.244.0.12"}
MODES = ("iptables", "nftables")
TIMING = SyncTiming(min_period=0.0, settle=0.0)

NETWORK = """
link add docker0 type bridge
addr add 10.244.0.1/24 dev docker0
link set lo up
link set docker0 up
link add eth0 type veth peer name eth0 netns outside
addr add 192.168.0.2/24 dev eth0
link set eth0 up
route add default dev eth0
"""


class Lab:
    """One node with three pods on docker0, and an outside client on the node's underlay."""

    def __init__(self) -> None:
        self.ns = {name: netns.create(name) for name in ("node", "outside", "client", *BACKENDS)}
        ip("node", NETWORK)
        for name, address in {"client": "10.244.0.10", **BACKENDS}.items():
            ip("node", f"link add v{name} type veth peer name eth0 netns {name}\nlink set v{name} master docker0 up\n"
                       f"link set v{name} type bridge_slave hairpin on")  # fmt: skip
            ip(
                name,
                f"link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via 10.244.0.1",
            )
        ip(
            "outside",
            f"link set lo up\naddr add 192.168.0.9/24 dev eth0\nlink set eth0 up\nroute add default via {NODE_IP}",
        )
        netns_write(self.ns["node"], "/proc/sys/net/ipv4/ip_forward", "1")
        netns_write(self.ns["node"], "/proc/sys/net/bridge/bridge-nf-call-iptables", "1")


def ip(name: str, batch: str) -> None:
    subprocess.run(["ip", "-n", name, "-batch", "-"], input=batch, text=True, check=True)


def netns_write(ns: netns.NetNs, path: str, value: str) -> None:
    ns.run(lambda: Path(path).write_text(value))


async def serve(lab: Lab) -> list[asyncio.Server | asyncio.DatagramTransport]:
    """Every backend answers on TCP and UDP 8080 with its name and the client's address."""
    servers: list[asyncio.Server | asyncio.DatagramTransport] = []
    for name in BACKENDS:
        sock = lab.ns[name].socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", 8080))
        sock.listen()
        sock.setblocking(False)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name) -> None:
            writer.write(f"{name} {writer.get_extra_info('peername')[0]}".encode())
            writer.close()

        servers.append(await asyncio.start_server(answer, sock=sock))
        udp = lab.ns[name].socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("", 8080))
        udp.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda name=name: Echo(name), sock=udp)
        servers.append(transport)
    return servers


class Echo(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self.name = name

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(f"{self.name} {addr[0]}".encode(), addr)


async def call(lab: Lab, source: str, address: str, port: int) -> tuple[str, str]:
    """(backend, client address as it saw it) of one TCP connection; raises OSError where it is refused."""
    loop = asyncio.get_running_loop()
    with lab.ns[source].socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        async with asyncio.timeout(5):
            await loop.sock_connect(sock, (address, port))
            data = await loop.sock_recv(sock, 100)
    backend, seen = data.decode().split()
    return backend, seen


async def ask(sock: socket.socket, address: str, port: int) -> str:
    """One UDP question on a kept socket: the backend's name."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        await loop.sock_sendto(sock, b"?", (address, port))
        return (await loop.sock_recv(sock, 100)).decode().split()[0]


async def api() -> Client:
    """An API server that knows the node."""
    client = Client(FakeApi())
    status = {"addresses": [{"type": "InternalIP", "address": NODE_IP}]}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}}
    await client.update_status(NODES, {**await client.create(NODES, node), "status": status})
    return client


def service(name: str, ip_: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": ip_, "ports": ports, **spec},
    }


def slice_of(name: str, *addresses: str, protocol: str = "TCP") -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": protocol}],
        "endpoints": [{"addresses": [ip_], "conditions": {"ready": True}, "nodeName": "node"} for ip_ in addresses],
    }


@asynccontextmanager
async def running(lab: Lab, client: Client, mode: str = "iptables") -> AsyncIterator[Proxier]:
    servers = await serve(lab)
    proxier = Proxier("node", lab.ns["node"], cluster_cidr="10.244.0.0/16", mode=mode, timing=TIMING)
    task = asyncio.create_task(proxier.run(client))
    try:
        await eventually(lambda: proxier.full_syncs > 0 or task.done(), "the first sync")
        yield proxier
    finally:
        for server in servers:
            server.close()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def synced(proxier: Proxier, *texts: str) -> None:
    """The proxier has heard of the objects that cause these texts, and everything is in the kernel."""

    def check() -> bool:
        states = list(proxier.table.states())
        known = all(any(text in str(state.choice) for state in states) for text in texts)
        return known and not proxier.table.pending and proxier.health.waiting_since is None

    await eventually(check, f"{texts} written")


@pytest.mark.parametrize("mode", MODES)
async def test_every_kind_of_call_reaches_what_it_should(sandbox: object, mode: str) -> None:
    lab, client = Lab(), await api()
    node_port = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]
    await client.create(SERVICES, service("web", "10.96.0.20", type="NodePort", ports=node_port))
    await client.create(SLICES, slice_of("web", *BACKENDS.values()))
    async with running(lab, client, mode) as proxier:
        await synced(proxier)
        seen = Counter([(await call(lab, "client", "10.96.0.20", 80)) for _ in range(40)])
        assert {backend for backend, _ in seen} == set(BACKENDS)
        assert {source for _, source in seen} == {"10.244.0.10"}, "a pod's address is kept"
        outside = Counter([(await call(lab, "outside", NODE_IP, 30080)) for _ in range(40)])
        assert {backend for backend, _ in outside} == set(BACKENDS)
        assert {source for _, source in outside} == {"10.244.0.1"}, "NodePort traffic is masqueraded"
        if mode == "iptables":
            assert (await call(lab, "node", "127.0.0.1", 30080))[0] in BACKENDS, "NodePort on localhost"
        assert (await call(lab, "node", "10.96.0.20", 80))[0] in BACKENDS, "from the node itself"
        hairpin = [await call(lab, "pod1", "10.96.0.20", 80) for _ in range(20)]
        assert ("pod1", "10.244.0.1") in hairpin, "a pod that reaches itself is masqueraded"
        assert ("pod2", "10.244.0.11") in hairpin


@pytest.mark.parametrize("mode", MODES)
async def test_a_service_without_endpoints_refuses_and_recovers(sandbox: object, mode: str) -> None:
    lab, client = Lab(), await api()
    await client.create(SERVICES, service("web", "10.96.0.20"))
    async with running(lab, client, mode) as proxier:
        await synced(proxier)
        for source in ("client", "node"):
            with pytest.raises(OSError) as refused:
                await call(lab, source, "10.96.0.20", 80)
            assert refused.value.errno == errno.ECONNREFUSED
        await client.create(SLICES, slice_of("web", BACKENDS["pod2"]))
        await synced(proxier, BACKENDS["pod2"])
        assert (await call(lab, "client", "10.96.0.20", 80))[0] == "pod2"
        await client.delete(SLICES, "web-1", "default")
        await synced(proxier, "has_any=False")
        with pytest.raises(OSError):
            await call(lab, "client", "10.96.0.20", 80)


@pytest.mark.parametrize("mode", MODES)
async def test_session_affinity_keeps_a_client_with_its_backend(sandbox: object, mode: str) -> None:
    lab, client = Lab(), await api()
    await client.create(SERVICES, service("web", "10.96.0.20", sessionAffinity="ClientIP"))
    await client.create(SLICES, slice_of("web", *BACKENDS.values()))
    async with running(lab, client, mode) as proxier:
        await synced(proxier)
        assert len({(await call(lab, "client", "10.96.0.20", 80))[0] for _ in range(20)}) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_udp_flows_follow_the_endpoints(sandbox: object, mode: str) -> None:
    lab, client = Lab(), await api()
    ports = [{"name": "http", "port": 53, "protocol": "UDP"}]
    await client.create(SERVICES, service("dns", "10.96.0.10", ports=ports))
    await client.create(SLICES, slice_of("dns", BACKENDS["pod1"], protocol="UDP"))
    async with running(lab, client, mode) as proxier:
        await synced(proxier)
        sock = lab.ns["client"].socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        assert await ask(sock, "10.96.0.10", 53) == "pod1"
        moved = await client.get(SLICES, "dns-1", "default")
        moved["endpoints"] = slice_of("dns", BACKENDS["pod2"])["endpoints"]
        await client.update(SLICES, moved)
        await synced(proxier, BACKENDS["pod2"])
        assert await ask(sock, "10.96.0.10", 53) == "pod2", "the same socket, the tracked flow was deleted"
        sock.close()


@pytest.mark.parametrize("backend", ["legacy", "nft"])
async def test_the_kernel_gives_back_the_rules_that_it_was_given(sandbox: object, backend: Any) -> None:
    lab, client = Lab(), await api()
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": ["192.168.0.0/24"]}
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]
    shaped = service("lb", "10.96.0.30", ports=ports, externalIPs=["203.0.113.9"], healthCheckNodePort=32000, **spec)
    shaped["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}
    await client.create(SERVICES, shaped)
    await client.update_status(SERVICES, {**await client.get(SERVICES, "lb", "default"), "status": shaped["status"]})
    await client.create(SLICES, slice_of("lb", *BACKENDS.values()))
    await client.create(SERVICES, service("empty", "10.96.0.31"))
    await client.create(SERVICES, service("affine", "10.96.0.32", sessionAffinity="ClientIP"))
    await client.create(SLICES, slice_of("affine", *BACKENDS.values()))
    async with running(lab, client) as proxier:
        await synced(proxier)
        program = proxier.backend.program
        ours = program.rules()
        kernel_iptables.restore(lab.ns["outside"], program.full({}), backend=backend)
        tables = iptables.parse(kernel_iptables.save(lab.ns["outside"], backend=backend))
        for name, rules in ours.items():
            assert Counter(tables[name].rules) == Counter(rules)
        again = iptables.scan(kernel_iptables.save(lab.ns["outside"], backend=backend))
        assert "-I " not in program.full(again), "the jumps are recognised"


async def test_a_change_of_mode_leaves_nothing_of_the_other(sandbox: object) -> None:
    lab, client = Lab(), await api()
    await client.create(SERVICES, service("web", "10.96.0.20"))
    await client.create(SLICES, slice_of("web", *BACKENDS.values()))
    node = lab.ns["node"]
    for mode in ("iptables", "nftables", "iptables"):
        async with running(lab, client, mode) as proxier:
            await synced(proxier, BACKENDS["pod2"])
            await proxier.backend.remove_others()
            assert (await call(lab, "client", "10.96.0.20", 80))[0] in BACKENDS
            left = "KUBE-" in kernel_iptables.save(node), "table ip kube-proxy" in kernel_nft.ruleset(node)
            assert left == ((True, False) if mode == "iptables" else (False, True))


async def test_the_kernel_gives_back_the_table_that_it_was_given(sandbox: object) -> None:
    lab, client = Lab(), await api()
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": ["192.168.0.0/24"]}
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]
    await client.create(SERVICES, service("lb", "10.96.0.30", ports=ports, externalIPs=["203.0.113.9"], **spec))
    status = {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}
    await client.update_status(SERVICES, {**await client.get(SERVICES, "lb", "default"), "status": status})
    await client.create(SLICES, slice_of("lb", *BACKENDS.values()))
    await client.create(SERVICES, service("empty", "10.96.0.31"))
    await client.create(SERVICES, service("affine", "10.96.0.32", sessionAffinity="ClientIP"))
    await client.create(SLICES, slice_of("affine", *BACKENDS.values()))
    async with running(lab, client, "nftables") as proxier:
        await synced(proxier, BACKENDS["pod2"])
        observed = nftables.parse(kernel_nft.ruleset(lab.ns["node"], table="ip kube-proxy"))
        assert observed == proxier.backend.program.state()
