"""IPVS mode on the stock kernel: packets go where the virtual servers say, and come back."""

from __future__ import annotations

import socket
from collections import Counter

import pytest

from netlab.kernel.ipvs import Ipvs
from netlab.node.proxy import SERVICES
from tests.vm.ipvs_net import (
    ADDRESSES,
    ALL,
    CLIENT,
    CLUSTER_IP,
    FLOWS,
    FULL,
    HERE,
    HERE_IP,
    KEPT,
    MASQUERADED,
    NOTHING,
    OUTSIDE_IP,
    PODS,
    PORT,
    REFUSED,
    VIP,
    Network,
    api,
    backend_of,
    call,
    changed,
    connect,
    endpoints,
    heard,
    in_network,
    running,
    same_as_desired,
    service,
    slice_of,
)

pytestmark = pytest.mark.vm


def test_packets_go_where_the_policy_says() -> None:
    """One network and one proxier for all; the Service changes from case to case."""

    async def body(net: Network) -> None:
        client = await api({**service(**FULL), **VIP}, slice_of(ALL))
        wrong: list[str] = []
        async with running(net, client) as proxier:
            for name, spec, pods, rows in FLOWS:
                current = await client.get(SERVICES, "web", "default")
                await changed(
                    proxier,
                    client.update(SERVICES, {**current, **service(**FULL, **spec), "metadata": current["metadata"]}),
                )
                await endpoints(client, proxier, pods)
                await same_as_desired(net, backend_of(proxier))
                wrong += [f"{name}: {found}" for row in rows if (found := await differs(net, row))]
        assert not wrong, "\n".join(wrong)

    in_network(body)


async def differs(net: Network, row: tuple[str, str, set[str] | str, str]) -> str:
    """What is not as expected of one flow, in words; "" where all is."""
    source, to, expected, seen_as = row
    calls = 5 if isinstance(expected, set) else 1
    wait = 8.0 if expected != NOTHING else 2.5
    found = [await call(net, source, *ADDRESSES[to], wait) for _ in range(calls)]
    who, seen = {pod for pod, _ in found}, {address for _, address in found if address}
    own = {"client": CLIENT, "outside": OUTSIDE_IP, "here": HERE_IP}[source]
    kept = seen == {own} if source != "here" else True
    if who != (expected if isinstance(expected, set) else {expected}):
        return f"{source} to {to}: reached {who}, expected {expected}"
    if seen_as == KEPT and not kept:
        return f"{source} to {to}: seen as {seen}, expected {own}"
    if seen_as == MASQUERADED and source != "here" and own in seen:
        return f"{source} to {to}: seen as {seen}, expected the node's address"
    return ""


def test_a_pod_that_reaches_itself_is_masqueraded() -> None:
    async def body(net: Network) -> None:
        async with running(net, await api(service(), slice_of(HERE))):
            seen = {await call(net, "one", CLUSTER_IP, PORT) for _ in range(6)}
            assert ("two", PODS["one"]) in seen
            assert [address for pod, address in seen if pod == "one"] == ["10.244.0.1"]

    in_network(body)


def test_the_node_s_own_ports_are_not_reached_through_a_service_address() -> None:
    async def body(net: Network) -> None:
        async with running(net, await api(service(), slice_of(HERE))):
            with net.ns["here"].socket(socket.AF_INET, socket.SOCK_STREAM) as own:
                own.bind(("", 2222))
                own.listen()
                assert (await call(net, "client", CLUSTER_IP, 2222))[0] == REFUSED
                (await connect(net, "client", "10.244.0.1", 2222)).close()

    in_network(body)


# -- schedulers, affinity ---------------------------------------------------------------------------------------------


SCHEDULED = ("rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "mh")


def test_schedulers() -> None:
    async def body(net: Network) -> None:
        async with running(net, await api(service(), slice_of(ALL))) as proxier:
            for scheduler in SCHEDULED:
                if backend_of(proxier).program.configure(scheduler=scheduler):
                    proxier.restore_all()
                    await proxier.sync()
                (server,) = Ipvs(net.ns["here"]).servers()
                assert server.server.scheduler == scheduler
                await shared(net, scheduler)

    in_network(body)


async def shared(net: Network, scheduler: str) -> None:
    """Connections that stand are shared as the scheduler does; each ends with a reset, which leaves nothing behind."""
    held = [await connect(net, "client", CLUSTER_IP, PORT) for _ in range(6)]
    shares = Counter([(await heard(sock))[0] for sock in held])
    for sock in held:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    if scheduler in ("sh", "dh"):
        assert len(shares) == 1, f"{scheduler}: one client, one real server"
    elif scheduler in ("rr", "wrr"):
        assert shares == dict.fromkeys(ALL, 2), f"{scheduler}: each in turn"
    else:
        assert set(shares) <= ALL


def test_least_connections_fills_up_what_has_fewer() -> None:
    async def body(net: Network) -> None:
        client = await api(service(), slice_of({"one"}))
        async with running(net, client, scheduler="lc") as proxier:
            held = [await connect(net, "client", CLUSTER_IP, PORT) for _ in range(3)]
            await endpoints(client, proxier, HERE)
            later = [await connect(net, "client", CLUSTER_IP, PORT) for _ in range(3)]
            assert {(await heard(sock))[0] for sock in later} == {"two"}
            for sock in (*held, *later):
                sock.close()

    in_network(body)


def test_session_affinity_keeps_a_client_with_its_pod() -> None:
    async def body(net: Network) -> None:
        client = await api(service(sessionAffinity="ClientIP"), slice_of(ALL))
        async with running(net, client):
            assert len({(await call(net, "client", CLUSTER_IP, PORT))[0] for _ in range(6)}) == 1
            (server,) = Ipvs(net.ns["here"]).servers()
            assert server.server.persistent == 10800

    in_network(body)
