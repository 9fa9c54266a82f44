"""Counters of a stretch of time: what rules counted more, and what a table beside nftables' rules saw."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from netlab.dataplane import iptables
from netlab.dataplane.explain import Caller, World
from netlab.dataplane.explain.counts import beside, servers_since, since
from netlab.dataplane.explain.desired import Node, material
from netlab.dataplane.explain.ipvs import CountedReal, CountedServer
from netlab.dataplane.explain.model import Packet
from netlab.dataplane.ipvs.model import Frontend, RealServer, VirtualServer
from netlab.kernel.nftcount import rows, table
from tests.golden.service_cells import NODE_PORT, PLACES, state_of

LISTING = json.loads("""{"nftables": [{"metainfo": {}}, {"set": {"name": "came", "elem": [
    {"elem": {"val": {"concat": ["10.96.0.20", "tcp", 80]}, "counter": {"packets": 5, "bytes": 300}}},
    {"elem": {"val": {"concat": ["192.168.77.3", "tcp", 30080]}, "counter": {"packets": 2, "bytes": 120}}},
    {"elem": {"val": {"concat": ["10.244.1.1", "tcp", 30080]}, "counter": {"packets": 1, "bytes": 60}}}]}},
    {"set": {"name": "went", "elem": [
    {"elem": {"val": {"concat": ["10.96.0.20", "tcp", 80, "10.244.1.9", 8080]},
              "counter": {"packets": 4, "bytes": 240}}}]}}, {"set": {"name": "empty"}}]}""")


def test_rows_of_nft_and_what_they_say() -> None:
    found = beside(rows(LISTING))
    assert found.arrived(("10.96.0.20", "tcp", 80)) == (5, 300)
    assert found.arrived(("10.96.0.20", "udp", 80)) == (0, 0)
    world = World(frozenset(("192.168.77.3", "10.244.1.1")))
    assert found.arrived_anywhere("tcp", 30080, world) == (3, 180)
    assert found.left("tcp", 80, "10.244.1.9:8080", ("10.96.0.20",)) == (4, 240)
    assert found.left("tcp", 80, "10.244.1.8:8080", ("10.96.0.20",)) == (0, 0)


def test_endpoints_of_ipv6_are_written_as_rules_write_them() -> None:
    row = {"set": "went", "key": ["fd00::1", "tcp", 80, "fd01::9", 8080], "packets": 1, "bytes": 80}
    assert beside([row]).left("tcp", 80, "[fd01::9]:8080", ("fd00::1",)) == (1, 80)


@pytest.mark.parametrize("ip", ["ip", "ip6"])
def test_the_table_decides_nothing_and_belongs_to_its_maker(ip: str) -> None:
    text = table(ip)
    assert text.startswith(f"table {ip} netlab-explain {{\nflags owner;\n")
    assert text.count("policy accept;") == text.count("type filter hook") == 4
    assert not any(word in text for word in ("drop", "reject", "dnat to", "mark set", "masquerade"))


def _tables(packets: dict[str, int]) -> list[iptables.Counted]:
    lines = [f"[{count}:{count * 60}] -A KUBE-SEP-{name} -j ACCEPT" for name, count in packets.items()]
    chains = [f":KUBE-SEP-{name} - [0:0]" for name in packets]
    (parsed,) = iptables.parse("\n".join(["*nat", *chains, *lines, "COMMIT", ""])).values()
    return parsed.counted


def test_rules_show_what_they_counted_since() -> None:
    found = since(_tables({"A": 5, "B": 9}), _tables({"A": 7, "B": 3, "C": 4}))
    assert [(one.packets, one.bytes) for one in found] == [(2, 120), (3, 180), (4, 240)], "B and C were written anew"


def test_virtual_and_real_servers_show_what_they_counted_since() -> None:
    frontend, real = Frontend("TCP", "10.96.0.20", 80), RealServer("10.244.1.9", 8080, 1)

    def counted(packets: int) -> dict[Frontend, CountedServer]:
        reals = (CountedReal(real, 1, packets, packets * 60),)
        return {frontend: CountedServer(VirtualServer(frontend, "rr", None), reals, packets, packets * 60)}

    (one,) = servers_since(counted(3), counted(8)).values()
    assert (one.packets, one.bytes, one.reals[0].packets, one.reals[0].connections) == (5, 300, 5, 1)


@pytest.mark.parametrize(("address", "port"), [("cluster", 80), ("node", NODE_PORT)])
@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_a_walk_shows_what_was_counted_beside_it(family: str, address: str, port: int) -> None:
    places = PLACES[family]
    state = state_of((family, "NodePort", "Cluster", "Cluster", "both"))  # type: ignore[arg-type]
    node = Node("here", places["node"], (places["node"],), places["pods"], family=state.port.family)
    key = [places[address], "tcp", port]
    ways = [{"set": "went", "key": [*key, places[end], 8080], "packets": n, "bytes": 60 * n}
            for n, end in ((2, "here"), (1, "there"))]  # fmt: skip
    seen = beside([{"set": "came", "key": key, "packets": 3, "bytes": 180}, *ways])
    rules = replace(material("nftables", [state], node), beside=seen)
    walk = rules.walk(Packet(Caller("outside", places["outside"]), places[address], port, "tcp"))
    counted = [stage.packets for stage in walk.stages if stage.packets is not None]
    assert counted == [3, 2, 1]
