"""IPVS mode while Services, endpoints and modes change, on the stock kernel: what stays, what goes, and when."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from netlab.client.fake import eventually
from netlab.dataplane import ipvs, leftovers
from netlab.dataplane.iptables import scan
from netlab.dataplane.ipvs.state import IpvsState
from netlab.kernel import iptables as kernel_iptables
from netlab.kernel import nft as kernel_nft
from netlab.kernel.ipset import IpSetHandle
from netlab.kernel.ipvs import Ipvs, device_index
from netlab.node.proxy import SERVICES, Proxier
from tests.vm.ipvs_net import (
    ALL,
    CLUSTER_IP,
    FULL,
    HERE,
    HERE_IP,
    LOCAL,
    NODE_PORT,
    PODS,
    PORT,
    VIP,
    Network,
    api,
    ask,
    backend_of,
    call,
    connect,
    endpoints,
    heard,
    in_network,
    ip,
    running,
    same_as_desired,
    service,
    slice_of,
)

pytestmark = pytest.mark.vm


def test_a_connection_outlives_its_endpoint_and_the_real_server_goes_with_it() -> None:
    async def body(net: Network) -> None:
        client = await api(service(), slice_of({"one"}))
        async with running(net, client) as proxier:
            held = await connect(net, "client", CLUSTER_IP, PORT)
            assert (await heard(held))[0] == "one"
            await endpoints(client, proxier, {"two"})
            kernel = Ipvs(net.ns["here"])
            (server,) = kernel.servers()
            weights = {real.server.address: real.server.weight for real in kernel.reals(server.server.frontend)}
            assert weights == {PODS["one"]: 0, PODS["two"]: 1}
            assert {(await call(net, "client", CLUSTER_IP, PORT))[0] for _ in range(4)} == {"two"}
            await asyncio.get_running_loop().sock_sendall(held, b"still there?\n")
            assert (await heard(held))[0] == "one", "the connection goes on"
            await endpoints(client, proxier, HERE)
            weights = {real.server.address: real.server.weight for real in kernel.reals(server.server.frontend)}
            assert weights == {PODS["one"]: 1, PODS["two"]: 1}, "an endpoint that comes back is used again"
            await endpoints(client, proxier, {"two"})
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # an end without FIN_WAIT
            held.close()
            await drained(proxier, kernel, server.server.frontend)
            assert [real.server.address for real in kernel.reals(server.server.frontend)] == [PODS["two"]]

    in_network(body)


async def drained(proxier: Proxier, kernel: Ipvs, frontend: ipvs.Frontend) -> None:
    """Until the kernel has forgotten the connection (ten seconds after a reset), and the proxy has looked."""
    async with asyncio.timeout(120):
        while len(kernel.reals(frontend)) > 1:
            await asyncio.sleep(1)
            await backend_of(proxier).check_draining()


def test_udp_flows_follow_the_endpoints() -> None:
    async def body(net: Network) -> None:
        client = await api(service(protocol="UDP"), slice_of({"one"}, protocol="UDP"))
        async with running(net, client) as proxier:
            with net.ns["client"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                assert await ask(sock, CLUSTER_IP, PORT) == "one"
                await endpoints(client, proxier, {"two"}, protocol="UDP")
                frontend = ipvs.Frontend("UDP", CLUSTER_IP, PORT)
                assert [real.server.address for real in Ipvs(net.ns["here"]).reals(frontend)] == [PODS["two"]]
                answers: set[str] = set()
                for _ in range(5):  # expire_nodest_conn ends the old flow with a packet that is lost
                    try:
                        answers.add(await ask(sock, CLUSTER_IP, PORT))
                    except TimeoutError:
                        continue
                assert answers == {"two"}

    in_network(body)


def test_what_is_written_is_what_is_there_and_a_new_proxier_adopts_it() -> None:
    ranges: dict[str, Any] = {"loadBalancerSourceRanges": ["0.0.0.0/0", "10.0.0.0/8"]}

    async def body(net: Network) -> None:
        shaped = {**service(**FULL, **LOCAL, **ranges, sessionAffinity="ClientIP"), **VIP}
        other = [service("plain", "10.96.0.21"), slice_of(HERE, "plain"), service("udp", "10.96.0.22", protocol="UDP")]
        client = await api(shaped, slice_of(ALL), *other)
        async with running(net, client) as proxier:
            backend = backend_of(proxier)
            await same_as_desired(net, backend)
            await client.delete(SERVICES, "web", "default")
            await eventually(lambda: len(list(proxier.table.states())) == 2, "the deletion", timeout=60)
            await eventually(lambda: not proxier.table.pending and proxier.health.waiting_since is None, "written")
            await same_as_desired(net, backend)
        # Someone meddles while no proxier runs.
        ip("here", "addr add 10.96.0.99/32 dev kube-ipvs0")
        kernel = Ipvs(net.ns["here"])
        stranger = ipvs.VirtualServer(ipvs.Frontend("TCP", "10.96.0.99", 1), "wlc")
        kernel.apply([ipvs.Step("add", stranger)])
        kernel.apply(
            [ipvs.Step("del", server.server) for server in kernel.servers() if server.server.frontend.port == 80]
        )
        async with running(net, client) as proxier:
            await same_as_desired(net, backend_of(proxier))

    in_network(body)


def test_modes_are_exchanged_and_leave_nothing_behind() -> None:
    async def body(net: Network) -> None:
        here = net.ns["here"]
        client = await api({**service(**FULL), **VIP}, slice_of(ALL))
        for mode in ("iptables", "ipvs", "nftables", "ipvs", "iptables"):
            async with running(net, client, mode) as proxier:
                await proxier.backend.remove_others()
                assert {(await call(net, "client", CLUSTER_IP, PORT))[0] for _ in range(12)} == ALL
                assert (await call(net, "outside", HERE_IP, NODE_PORT))[0] in ALL
                save = kernel_iptables.save(here)
                kept = {"iptables": "KUBE-SEP-" in save, "ipvs": "KUBE-LOAD-BALANCER" in save}
                kept["nftables"] = "table ip kube-proxy" in kernel_nft.ruleset(here)
                assert kept == {name: name == mode for name in kept}
                assert bool(device_index(here)) == (mode == "ipvs")
                assert bool(Ipvs(here).servers()) == (mode == "ipvs")
                assert bool(IpSetHandle(here).all()) == (mode == "ipvs")
                if mode == "nftables":
                    assert "KUBE-" not in save
                if mode == "iptables":
                    rest = leftovers.leftovers(scan(save), leftovers.kept_by_iptables(proxier.backend.program.config))  # type: ignore[attr-defined]
                    assert rest == ""

    in_network(body)


def test_standing_connections_survive_the_change_to_ipvs() -> None:
    async def body(net: Network) -> None:
        client = await api(service(), slice_of(ALL))
        async with running(net, client, "iptables"):
            held = await connect(net, "client", CLUSTER_IP, PORT)
            who, _ = await heard(held)
        async with running(net, client, "ipvs") as proxier:
            await proxier.backend.remove_others()
            await asyncio.get_running_loop().sock_sendall(held, b"and now?\n")
            assert (await heard(held))[0] == who
            held.close()

    in_network(body)


def test_the_sysctls_that_upstream_sets() -> None:
    async def body(net: Network) -> None:
        async with running(net, await api(service(), slice_of(ALL))):
            for name in ("conntrack", "expire_nodest_conn", "expire_quiescent_template"):
                assert net.ns["here"].read_proc(f"/proc/sys/net/ipv4/vs/{name}").strip() == "1"
            assert IpvsState().device is False

    in_network(body)
