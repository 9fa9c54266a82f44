"""Services on the real kernel in IPv6, and of protocol SCTP in both families: packets go where they should, and back.

The kernel may lack SCTP sockets: what a proxy needs of it is connection tracking and translation, which the packets of
a raw socket meet just as well.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.dataplane import iptables, nftables
from netlab.dataplane.services import Family
from netlab.kernel import iptables as kernel_iptables
from netlab.kernel import netns
from netlab.kernel import nft as kernel_nft
from netlab.node.proxy import NODES, SERVICES, SLICES, Proxier, SyncTiming, run_all

MODES = ("iptables", "nftables")
TIMING = SyncTiming(min_period=0.0, settle=0.0)
PODS = ("client", "pod1", "pod2")
BACKENDS = {"IPv4": {"pod1": "10.244.0.11", "pod2": "10.244.0.12"}, "IPv6": {"pod1": "fd10::11", "pod2": "fd10::12"}}
CLIENT = {"IPv4": "10.244.0.10", "IPv6": "fd10::10"}
NODE = {"IPv4": "192.168.0.2", "IPv6": "fd77::2"}
BRIDGE = {"IPv4": "10.244.0.1", "IPv6": "fd10::1"}
PODS_CIDR = {"IPv4": "10.244.0.0/16", "IPv6": "fd10::/56"}
CLUSTER_IP = {"IPv4": "10.96.0.20", "IPv6": "fd96::20"}
SCTP = 132


def ip(name: str, batch: str) -> None:
    subprocess.run(["ip", "-n", name, "-batch", "-"], input=batch, text=True, check=True)


class Lab:
    """One dual-stack node with three pods on docker0, and an outside client."""

    def __init__(self) -> None:
        self.ns = {name: netns.create(name) for name in ("node", "outside", *PODS)}
        settings = {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}
        for path, value in settings.items():
            self.write(f"/proc/sys/net/{path}", value)
        ip(
            "node",
            "link add docker0 type bridge\naddr add 10.244.0.1/24 dev docker0\naddr add fd10::1/64 dev docker0 nodad\n"
            "link set lo up\nlink set docker0 up\nlink add eth0 type veth peer name eth0 netns outside\n"
            "addr add 192.168.0.2/24 dev eth0\naddr add fd77::2/64 dev eth0 nodad\nlink set eth0 up\n"
            "route add default dev eth0\nroute add ::/0 dev eth0\n",
        )
        for name in PODS:
            four = BACKENDS["IPv4"].get(name, CLIENT["IPv4"])
            six = BACKENDS["IPv6"].get(name, CLIENT["IPv6"])
            ip("node", f"link add v{name} type veth peer name eth0 netns {name}\nlink set v{name} master docker0 up\n"
                       f"link set v{name} type bridge_slave hairpin on")  # fmt: skip
            ip(name, f"link set lo up\nlink set eth0 up\n"
                     f"addr add {four}/24 dev eth0\naddr add {six}/64 dev eth0 nodad\n"
                     "route add default via 10.244.0.1\nroute add ::/0 via fd10::1")  # fmt: skip
        ip("outside", "link set lo up\naddr add 192.168.0.9/24 dev eth0\naddr add fd77::9/64 dev eth0 nodad\n"
                      "link set eth0 up\nroute add default via 192.168.0.2\nroute add ::/0 via fd77::2")  # fmt: skip
        for family in ("iptables", "ip6tables"):
            self.write(f"/proc/sys/net/bridge/bridge-nf-call-{family}", "1")

    def write(self, path: str, value: str) -> None:
        self.ns["node"].run(lambda: Path(path).write_text(value))


async def serve(lab: Lab, opened: ExitStack) -> None:
    """Every backend answers TCP 8080 of both families with its name and the client's address."""
    for name in BACKENDS["IPv6"]:
        sock = lab.ns[name].socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 8080))
        sock.listen()
        sock.setblocking(False)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name) -> None:
            writer.write(f"{name} {writer.get_extra_info('peername')[0].removeprefix('::ffff:')}".encode())
            writer.close()

        opened.callback((await asyncio.start_server(answer, sock=sock)).close)


async def call(lab: Lab, source: str, address: str, port: int) -> tuple[str, str]:
    """(backend, client address as it saw it) of one TCP connection; raises OSError where it is refused."""
    loop = asyncio.get_running_loop()
    with lab.ns[source].socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        async with asyncio.timeout(10):
            await loop.sock_connect(sock, (address, port))
            data = await loop.sock_recv(sock, 100)
    backend, seen = data.decode().split()
    return backend, seen


async def api() -> Client:
    client = Client(FakeApi())
    addresses = [{"type": "InternalIP", "address": address} for address in NODE.values()]
    node = await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}})
    await client.update_status(NODES, {**node, "status": {"addresses": addresses}})
    return client


async def dual_service(client: Client, name: str, protocol: str = "TCP", **spec: Any) -> None:
    """A Service of both families, with both backends in a slice of each."""
    port = {"name": "p", "port": 80, "protocol": protocol, "nodePort": 30080}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": name},
        "spec": {"type": "NodePort", "clusterIPs": [*CLUSTER_IP.values()], "ports": [port], **spec},
    }
    await client.create(SERVICES, service)
    for family, backends in BACKENDS.items():
        meta = {"namespace": "default", "name": f"{name}-{family.lower()}"}
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": name}},
            "addressType": family,
            "ports": [{"name": "p", "port": 8080, "protocol": protocol}],
            "endpoints": [
                {"addresses": [address], "conditions": {"ready": True}, "nodeName": "node"}
                for address in backends.values()
            ],
        }
        await client.create(SLICES, slice_)


@asynccontextmanager
async def running(lab: Lab, client: Client, mode: str) -> AsyncIterator[dict[Family, Proxier]]:
    """A proxier per family, as on a dual-stack node, and everything written."""
    families: tuple[Family, ...] = ("IPv4", "IPv6")
    proxiers = {
        family: Proxier(
            "node", netns.open("node"), cluster_cidr=PODS_CIDR[family], mode=mode, timing=TIMING, family=family
        )
        for family in families
    }
    task = asyncio.create_task(run_all(list(proxiers.values()), client))

    def written(family: Family, proxier: Proxier) -> bool:
        texts = [str(state.choice) for state in proxier.table.states()]
        known = all(any(ip_ in text for text in texts) for ip_ in BACKENDS[family].values())
        return known and not proxier.table.pending and proxier.health.up_to_date(0.0) and proxier.syncs > 0

    try:
        await eventually(
            lambda: task.done() or all(written(*one) for one in proxiers.items()),
            "rules of both families",
            timeout=60,
        )
        yield proxiers
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("mode", MODES)
async def test_a_dual_stack_service_is_served_in_both_families(sandbox: object, mode: str) -> None:
    await served_in_both_families(mode)


async def served_in_both_families(mode: str) -> None:
    lab, client = Lab(), await api()
    await dual_service(client, "web")
    with ExitStack() as opened:
        await serve(lab, opened)
        async with running(lab, client, mode):
            for family in ("IPv4", "IPv6"):
                address, node = CLUSTER_IP[family], NODE[family]
                seen = Counter([await call(lab, "client", address, 80) for _ in range(30)])
                assert {backend for backend, _ in seen} == {"pod1", "pod2"}
                assert {source for _, source in seen} == {CLIENT[family]}, "a pod's address is kept"
                outside = {await call(lab, "outside", node, 30080) for _ in range(30)}
                assert outside == {("pod1", BRIDGE[family]), ("pod2", BRIDGE[family])}, "masqueraded"
                assert (await call(lab, "node", address, 80))[0] in ("pod1", "pod2"), "from the node itself"
                hairpin = {await call(lab, "pod1", address, 80) for _ in range(30)}
                assert hairpin == {("pod1", BRIDGE[family]), ("pod2", BACKENDS[family]["pod1"])}


@pytest.mark.parametrize("mode", MODES)
async def test_an_ipv6_service_without_endpoints_refuses(sandbox: object, mode: str) -> None:
    await refused_without_endpoints(mode)


async def refused_without_endpoints(mode: str) -> None:
    lab, client = Lab(), await api()
    await dual_service(client, "web")
    async with running(lab, client, mode) as proxiers:
        await client.delete(SLICES, "web-ipv6", "default")

        def emptied() -> bool:
            proxier = proxiers["IPv6"]
            return not any(state.endpoints for state in proxier.table.states()) and proxier.health.waiting_since is None

        await eventually(emptied, "the endpoints are gone")
        for source, address, port in (("client", CLUSTER_IP["IPv6"], 80), ("outside", NODE["IPv6"], 30080)):
            with pytest.raises(OSError) as refused:
                await call(lab, source, address, port)
            assert refused.value.errno == errno.ECONNREFUSED


@pytest.mark.parametrize("backend", ["legacy", "nft"])
async def test_ip6tables_gives_back_the_rules_that_it_was_given(sandbox: object, backend: Any) -> None:
    lab, client = Lab(), await api()
    await dual_service(client, "web", externalIPs=["2001:db8::9"], sessionAffinity="ClientIP")
    async with running(lab, client, "iptables") as proxiers:
        backend_ = proxiers["IPv6"].backend
        program: iptables.IptablesProgram = backend_.program  # type: ignore[attr-defined]
        kernel_iptables.restore(lab.ns["outside"], program.full({}), backend=backend, ipv6=True)
        saved = kernel_iptables.save(lab.ns["outside"], backend=backend, ipv6=True)
        tables = iptables.parse(saved)
        for name, rules in program.rules().items():
            assert Counter(tables[name].rules) == Counter(rules)
        assert "-I " not in program.full(iptables.scan(saved)), "the jumps are recognised"


async def test_the_kernel_gives_back_the_ip6_table_that_it_was_given(sandbox: object) -> None:
    lab, client = Lab(), await api()
    await dual_service(client, "web", externalIPs=["2001:db8::9"], sessionAffinity="ClientIP")
    async with running(lab, client, "nftables") as proxiers:
        backend = proxiers["IPv6"].backend
        for _ in range(2):
            observed = nftables.parse(kernel_nft.ruleset(lab.ns["node"], table="ip6 kube-proxy"), "ip6")
            assert observed.chains and observed == backend.program.state()  # type: ignore[attr-defined]
            proxiers["IPv6"].restore_all()  # and once more, over what is there
            await proxiers["IPv6"].sync()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
async def test_sctp_packets_are_translated_there_and_back(sandbox: object, mode: str, family: Family) -> None:
    await sctp_translated(mode, family)


async def sctp_translated(mode: str, family: Family) -> None:
    """An INIT to the cluster address arrives at a backend's port; its INIT ACK comes back from the cluster address."""
    lab, client = Lab(), await api()
    await dual_service(client, "signal", protocol="SCTP")
    async with running(lab, client, mode):
        with ExitStack() as opened:
            kind = socket.AF_INET6 if family == "IPv6" else socket.AF_INET
            sockets = {name: opened.enter_context(lab.ns[name].socket(kind, socket.SOCK_RAW, SCTP)) for name in lab.ns}
            for sock in sockets.values():
                sock.setblocking(False)
            await _handshake(sockets, "client", CLUSTER_IP[family], 80)
            await _handshake(sockets, "outside", NODE[family], 30080)


async def _handshake(sockets: dict[str, socket.socket], caller: str, address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    waiting = {name: loop.create_task(loop.sock_recvfrom(sockets[name], 2048)) for name in ("pod1", "pod2")}
    answer = loop.create_task(loop.sock_recvfrom(sockets[caller], 2048))
    await asyncio.sleep(0)
    own = 40000
    sockets[caller].sendto(_sctp(own, port, 1, 0), (address, 0))
    async with asyncio.timeout(10):
        done, rest = await asyncio.wait(waiting.values(), return_when=asyncio.FIRST_COMPLETED)
        (task,) = done
        (backend,) = (name for name, one in waiting.items() if one is task)
        for one in rest:
            one.cancel()
        data, peer = task.result()
        source, destination = struct.unpack("!HH", _payload(data)[:4])
        assert destination == 8080
        sockets[backend].sendto(_sctp(8080, source, 2, 7), (peer[0], 0))
        data, peer = await answer
        assert (peer[0], struct.unpack("!HH", _payload(data)[:4])) == (address, (port, own))
        assert (
            _crc32c(_payload(data)[:8] + bytes(4) + _payload(data)[12:]) == struct.unpack("<I", _payload(data)[8:12])[0]
        )


def _payload(data: bytes) -> bytes:
    """Without the IPv4 header, which only IPv4's raw sockets show."""
    return data[(data[0] & 15) * 4 :] if data[0] >> 4 == 4 and data[9] == SCTP else data


def _sctp(source: int, destination: int, chunk: int, tag: int) -> bytes:
    """INIT (1) or INIT ACK (2), RFC 9260 3.3.2; an ACK carries a state cookie."""
    cookie = struct.pack("!HH4s", 7, 8, b"abcd") if chunk == 2 else b""
    body = struct.pack("!IIHHI", 7, 65535, 1, 1, 1) + cookie
    packet = struct.pack("!HHII", source, destination, tag, 0) + struct.pack("!BBH", chunk, 0, len(body) + 4) + body
    return packet[:8] + struct.pack("<I", _crc32c(packet)) + packet[12:]


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
