"""`klab trace` in IPVS mode, on the stock kernel: every cell of the table, and what is predicted is what happens.

In the network of `ipvs_net`, because this kernel refuses IPVS to a lab, which has a user namespace of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pytest

from netlab.kernel import netns
from netlab.kernel.command import run as command
from netlab.kernel.iptables import default_backend
from netlab.trace.gather import Place
from netlab.trace.model import from_obj
from netlab.trace.session import Request, run
from tests.labs import trace_table
from tests.labs.trace_table import Cell, wrong
from tests.vm.ipvs_net import (
    ADDRESSES,
    FLOWS,
    FULL,
    HERE_IP,
    LOCAL,
    NODE_PORT,
    NOTHING,
    OUTSIDE_IP,
    PODS,
    REFUSED,
    THERE_IP,
    VIP,
    Network,
    api,
    in_network,
    ip,
    running,
    service,
    slice_of,
)

pytestmark = pytest.mark.vm

PLACES = (
    Place("lan", "lan", "switches"),
    *(Place(name, name, "node") for name in ("here", "there")),
    Place("outside", "outside", "host"),
    *(Place(name, name, "pod", "there" if name == "far" else "here") for name in ("client", *PODS)),
)


def check(source: str, address: str, port: int, expected: set[str] | str) -> list[str]:
    """What is wrong with one trace, [] for nothing."""
    found = run(Request(PLACES, source, address, "tcp", port))
    what = f"{source} to {address}:{port}"
    if found["error"] or found["difference"]:
        return [f"{what}: {found['error']} {json.dumps(found['difference'])}"]
    verdict: dict[str, Any] = found["observed"]["verdict"]
    if expected == REFUSED:
        good = verdict["kind"] in ("rejected", "refused")
    elif expected == NOTHING:  # a connection comes about neither where its answer gets lost
        answer = found["observed"]["reply"]
        good = verdict["kind"] == "dropped" or (bool(answer) and answer["verdict"]["kind"] != "delivered")
    else:
        good = verdict["kind"] == "delivered" and verdict["place"] in expected
    return [] if good else [f"{what}: {verdict}"]


def test_prediction_is_observation_with_ipvs() -> None:
    async def body(net: Network) -> None:
        wrong: list[str] = []
        for title, spec, ready, rows in FLOWS:
            wrong += [f"{title}: {line}" for line in await one(net, spec, ready, rows)]
        assert not wrong, "\n".join(wrong)

    async def one(
        net: Network, spec: dict[str, Any], ready: set[str], rows: Sequence[tuple[str, str, set[str] | str, str]]
    ) -> list[str]:
        client = await api(service(**FULL, **spec) | VIP, slice_of(ready))
        wrong: list[str] = []
        async with running(net, client):
            for source, name, expected, _ in rows:
                wrong += await asyncio.to_thread(check, source, *ADDRESSES[name], expected)
        return wrong

    in_network(body)


# -- the table --------------------------------------------------------------------------------------------------------

FAR, ONE = PODS["far"], PODS["one"]
UP, DOWN = "client eth0, here vclient, here docker0", "there docker0, there vfar, far eth0"
ROUTED = "here eth0, lan vhere, lan vthere, there eth0"
TUNNEL = "here flannel.1, here eth0, lan vhere, lan vthere, there eth0, there flannel.1"
CAME = "outside eth0, lan voutside, lan vhere, here eth0"
MASQUERADE = "KUBE-POSTROUTING"
BACKEND = f"iptables-{default_backend()}"


@contextmanager
def changed(name: str, there: str, back: str) -> Iterator[None]:
    """`ip -batch` commands in a namespace, and what undoes them."""
    ip(name, there)
    try:
        yield
    finally:
        ip(name, back)


@contextmanager
def vxlan() -> Iterator[None]:
    """Flannel's way between the nodes, instead of the plain route."""
    ends = (("here", HERE_IP, THERE_IP, 0, 1), ("there", THERE_IP, HERE_IP, 1, 0))
    for name, mine, _, number, other in ends:
        net = f"10.244.{other}.0"
        ip(
            name,
            f"link add flannel.1 address {vtep(number)} type vxlan id 1 local {mine} dstport 8472 nolearning\n"
            f"addr add 10.244.{number}.0/32 dev flannel.1\nlink set flannel.1 mtu 1450 up\n"
            f"neigh replace {net} lladdr {vtep(other)} dev flannel.1 nud permanent\n"
            f"route replace {net}/24 via {net} dev flannel.1 onlink",
        )
    forward("append", "here", 1, THERE_IP)
    forward("append", "there", 0, HERE_IP)
    try:
        yield
    finally:
        for name, _, peer, _, other in ends:
            ip(name, f"link del flannel.1\nroute replace 10.244.{other}.0/24 via {peer}")


def vtep(number: int) -> str:
    return f"0e:00:00:00:0{number}:00"


def forward(verb: str, name: str, number: int, to: str) -> None:
    """A forwarding entry of VXLAN."""
    inside(name, "bridge", "fdb", verb, vtep(number), "dev", "flannel.1", "dst", to, "self", "permanent")


def inside(name: str, *argv: str) -> None:
    with netns.open(name) as ns:
        command(ns, argv)


@contextmanager
def without_entry() -> Iterator[None]:
    with vxlan():
        forward("del", "here", 1, THERE_IP)
        yield


@contextmanager
def dropping() -> Iterator[None]:
    rule = ("FORWARD", "-d", FAR, "-j", "DROP")
    inside("here", BACKEND, "-I", *rule)
    try:
        yield
    finally:
        inside("here", BACKEND, "-D", *rule)


CUT = partial(changed, "lan", "link set vthere down", "link set vthere up")
SMALL = partial(changed, "there", "link set docker0 mtu 1300", "link set docker0 mtu 1500")
CLUSTER = ":".join(map(str, ADDRESSES["cluster"]))
AT_NODE = f"{HERE_IP}:{NODE_PORT}"
DNS = {"ports": [{"name": "p", "port": 53, "protocol": "UDP"}]}
Service = tuple[dict[str, Any], set[str], str]
"""(spec, ready pods, protocol)"""
# (the Service's state) → its cells
CELLS: list[tuple[Service, dict[str, Cell]]] = [
    (({}, {"one"}, "TCP"), {
        "pod → pod, same node": Cell("client", f"{ONE}:8080", "client eth0, here vclient, here vone, one eth0"),
        "pod → pod, host-gw": Cell("client", f"{FAR}:8080", f"{UP}, {ROUTED}, {DOWN}"),
        "pod → pod, other node": Cell("client", f"{FAR}:8080", f"{UP}, {TUNNEL}, {DOWN}", breaks=vxlan),
        "pod → cluster IP, local endpoint": Cell(
            "client", CLUSTER, f"{UP}, here docker0, here vone, one eth0", ("IPVS", f"{ONE}:8080"), ("delivered", "one")
        ),
        "pod → cluster IP, hairpin": Cell(
            "one", CLUSTER, "one eth0, here vone, here docker0, here docker0, here vone, one eth0",
            ("IPVS", MASQUERADE), ("delivered", "one"), seen_as="10.244.0.1",
        ),
        "pod → outside": Cell("client", f"{OUTSIDE_IP}:9", f"{UP}, here eth0, lan vhere, lan voutside, outside eth0",
                              ("a reset",), ("refused", "outside")),
        "dropped: a filter's rule": Cell(
            "client", f"{FAR}:8080", UP, ("iptables filter FORWARD 1", "-j DROP"), ("dropped", "here"), breaks=dropping
        ),
        "dropped: cut link": Cell(
            "client", f"{FAR}:8080", f"{UP}, here eth0, lan vhere", ("nobody behind lan0 has the MAC",),
            ("dropped", "lan"), breaks=CUT,
        ),
        "dropped: no forwarding entry": Cell(
            "client", f"{FAR}:8080", f"{UP}, here flannel.1", ("no forwarding entry",), ("dropped", "here"),
            breaks=without_entry,
        ),
        "dropped: MTU": Cell(
            "client", FAR, f"{UP}, {ROUTED}", ("MTU 1300",), ("rejected", "there"), {"size": 1400}, breaks=SMALL
        ),
    }),
    (({}, {"far"}, "TCP"), {
        "pod → cluster IP, remote endpoint": Cell(
            "client", CLUSTER, f"{UP}, {ROUTED}, {DOWN}", ("IPVS", f"{FAR}:8080"), ("delivered", "far")
        ),
        "pod → node port": Cell(
            "client", AT_NODE, f"{UP}, {ROUTED}, {DOWN}", ("IPVS", MASQUERADE), ("delivered", "far"), seen_as=HERE_IP
        ),
        "outside → node port, policy Cluster": Cell(
            "outside", AT_NODE, f"{CAME}, {ROUTED}, {DOWN}", ("IPVS", MASQUERADE), ("delivered", "far"), seen_as=HERE_IP
        ),
        "outside → load balancer": Cell(
            "outside", ":".join(map(str, ADDRESSES["balancer"])), f"{CAME}, {ROUTED}, {DOWN}", ("IPVS", MASQUERADE),
            ("delivered", "far"), seen_as=HERE_IP,
        ),
    }),
    ((LOCAL, {"one"}, "TCP"), {
        "outside → node port, policy Local": Cell(
            "outside", AT_NODE, f"{CAME}, here docker0, here vone, one eth0", ("IPVS", f"{ONE}:8080"),
            ("delivered", "one"),
        ),
    }),
    ((LOCAL, {"far"}, "TCP"), {
        # Upstream's IPVS sends it on to another node's pod, whose answer goes past the translation.
        "dropped: policy Local, no endpoint here": Cell(
            "outside", AT_NODE, f"{CAME}, {ROUTED}, {DOWN}", ("IPVS", f"{FAR}:8080"), ("delivered", "far"),
        ),
    }),
    (({}, set(), "TCP"), {
        "dropped: no endpoint": Cell("client", CLUSTER, UP, ("IPVS", "has no real server"), ("rejected", "here")),
    }),
    (({**DNS, "clusterIP": "10.96.0.10"}, {"two"}, "UDP"), {
        "pod → DNS": Cell(
            "client", "10.96.0.10:53", f"{UP}, here docker0, here vtwo, two eth0", ("IPVS", f"{PODS['two']}:8080"),
            ("delivered", "two"), {"protocol": "udp"},
        ),
    }),
]  # fmt: skip


def test_no_cell_is_missing() -> None:
    assert sorted(name for _, cells in CELLS for name in cells) == sorted(trace_table.FLOWS)


def test_every_cell() -> None:
    async def body(net: Network) -> None:
        failed: list[str] = []
        for (spec, ready, protocol), cells in CELLS:
            full = {} if protocol == "UDP" else FULL
            client = await api(service(**full, **spec) | VIP, slice_of(ready, protocol=protocol))
            async with running(net, client):
                for name, cell in cells.items():
                    failed += [f"{name}: {one}" for one in await asyncio.to_thread(asked, cell)]
        assert not failed, "\n".join(failed)

    in_network(body)


def asked(cell: Cell) -> list[str]:
    with cell.breaks() if cell.breaks else nullcontext():
        address, _, port = cell.target.partition(":")
        options = {"protocol": "tcp" if port else "icmp", **(cell.options or {})}
        found = run(Request(PLACES, cell.source, address, dport=int(port or 0), **options))
        return wrong(cell, from_obj(found["observed"]), found["difference"], found["error"])
