"""Which proxy a node has: the topology's, and what was chosen since. What conntrack's addresses are called."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from netlab.api.types import Obj
from netlab.dataplane.explain import Caller, Uninterpretable, World
from netlab.dataplane.explain.iptables import IptablesWalker
from netlab.dataplane.explain.model import Packet
from netlab.dataplane.iptables import Counted, Existing, parse_rule, scan
from netlab.dataplane.iptables.service import IptablesConfig
from netlab.dataplane.ipvs.termination import leave
from netlab.dataplane.leftovers import NOTHING, kept_by_iptables, kept_by_ipvs, leftovers
from netlab.lab.proxymodes import ProxyChoice, check_choice, check_nodes, choose, chosen, requested
from netlab.lab.record import LabError
from netlab.node.proxy import Proxier, SyncTiming
from netlab.node.proxy_fake import FakeNetfilter
from netlab.topology import dump, load
from netlab.trace import connections

TOPOLOGY = """\
name: modes
cluster: {proxyMode: ipvs, ipvsScheduler: lc, ipvsStrictARP: true}
nodes: {cp: {role: control-plane, proxyMode: nftables}, w1: {}}
switches: [s]
links: [{ends: [cp, s]}, {ends: [w1, s]}]
"""


def test_the_topology_says_and_a_choice_is_remembered(tmp_path: Path) -> None:
    file = tmp_path / "modes.yaml"
    file.write_text(TOPOLOGY)
    topology = load(file)
    ipvs = ProxyChoice("ipvs", "lc", True)
    assert chosen(tmp_path, topology) == {"cp": ProxyChoice("nftables"), "w1": ipvs}
    choose(tmp_path, topology, ("w1",), ProxyChoice("external"))
    assert chosen(tmp_path, topology) == {"cp": ProxyChoice("nftables"), "w1": ProxyChoice("external")}
    again = tmp_path / "again.yaml"
    again.write_text(dump(topology))
    assert load(again).cluster == topology.cluster


@pytest.mark.parametrize(
    ("request_", "choice"),
    [
        ({"mode": "ipvs", "scheduler": None, "strict_arp": None}, ProxyChoice("ipvs", "lc", True)),
        ({"mode": "ipvs", "scheduler": "sh", "strict_arp": False}, ProxyChoice("ipvs", "sh", False)),
        ({"mode": "nftables", "scheduler": None, "strict_arp": None}, ProxyChoice("nftables")),
    ],
)
def test_what_a_request_leaves_open_of_ipvs_the_topology_says(
    tmp_path: Path, request_: Obj, choice: ProxyChoice
) -> None:
    file = tmp_path / "modes.yaml"
    file.write_text(TOPOLOGY)
    assert requested(load(file), request_) == choice


def test_wrong_calls_are_explained(tmp_path: Path) -> None:
    file = tmp_path / "modes.yaml"
    file.write_text(TOPOLOGY)
    with pytest.raises(LabError, match="did you mean 'w1'"):
        check_nodes(load(file), ("ww1",))
    with pytest.raises(LabError, match="there are: iptables, ipvs"):
        check_choice(ProxyChoice("iptable"))
    with pytest.raises(LabError, match="no IPVS scheduler 'fifo'; there are: rr"):
        check_choice(ProxyChoice("ipvs", "fifo"))


@pytest.mark.parametrize(
    ("protocol", "weight", "carried", "what"),
    [
        ("TCP", 1, 0, "delete"),
        ("TCP", 1, 2, "drain"),
        ("TCP", 0, 2, "wait"),
        ("TCP", 0, 0, "delete"),
        ("UDP", 1, 9, "delete"),
        ("SCTP", 1, 9, "delete"),
    ],
)
def test_when_a_real_server_may_go(protocol: object, weight: int, carried: int, what: str) -> None:
    assert leave(protocol, weight, carried) == what  # type: ignore[arg-type]


SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
:FLANNEL-POSTRTG - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -s 10.0.0.0/8 -j ACCEPT
COMMIT
"""


def test_a_mode_keeps_what_it_shares_and_removes_the_rest() -> None:
    present = scan(SAVED)
    by_ipvs = leftovers(present, kept_by_ipvs()).splitlines()
    assert [line for line in by_ipvs if line.startswith("-")] == ["-X KUBE-NODEPORTS", "-X KUBE-SVC-AAAAAAAAAAAAAAAA"]
    by_iptables = leftovers(present, kept_by_iptables(IptablesConfig("", "10.244.0.0/16"))).splitlines()
    assert [line for line in by_iptables if line.startswith("-")] == ["-X KUBE-LOAD-BALANCER"]
    everything = leftovers(present, NOTHING)
    assert '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES' in everything
    assert "FLANNEL" not in everything
    assert "10.0.0.0/8" not in everything
    assert leftovers({"nat": Existing()}, NOTHING) == ""


def test_a_rule_that_cannot_be_followed_is_named() -> None:
    lines = ("-A PREROUTING -j KUBE-SERVICES", "-A KUBE-SERVICES -m set --match-set OTHERS dst,dst -j ACCEPT")
    packet = Packet(Caller("pod", "10.244.0.9"), "10.96.0.1", 443, "tcp")
    rules = {"nat": [Counted(parse_rule(line)) for line in lines]}
    with pytest.raises(Uninterpretable, match="OTHERS, which is not known: -A KUBE-SERVICES"):
        IptablesWalker(rules, World(frozenset()), packet, live=False).run()


def obj(name: str, **fields: object) -> Obj:
    return {"metadata": {"namespace": "ns", "name": name}, **fields}


@pytest.mark.parametrize("mode", ["ipvs", "iptables", "nftables"])
def test_tables_that_are_others_are_left_alone(mode: str) -> None:
    """NodeLocal DNSCache has its NOTRACK rules in raw; anyone may have theirs in any table."""
    others = "".join(
        f"*{table}\n:PREROUTING ACCEPT [0:0]\n:MINE - [0:0]\n-A PREROUTING -d 169.254.20.10/32 -j MINE\nCOMMIT\n"
        for table in ("raw", "mangle", "security", "filter", "nat")
    )
    kept = {"ipvs": kept_by_ipvs(), "iptables": kept_by_iptables(IptablesConfig("", "10.244.0.0/16"))}
    assert leftovers(scan(others), kept.get(mode, NOTHING)) == ""


def test_a_proxy_that_cannot_remove_the_former_mode_tries_again() -> None:
    """And it does not say before that it has settled."""
    timing = SyncTiming(retry=0.01, others=0.0)
    proxier = Proxier("node", None, cluster_cidr="10.244.0.0/16", kernel=FakeNetfilter(), timing=timing)
    failures = [OSError("the table is held"), OSError("still")]
    done: list[bool] = []

    async def remove_others() -> None:
        done.append(proxier.settled.is_set())
        if failures:
            raise failures.pop()

    proxier.backend.remove_others = remove_others  # type: ignore[method-assign]
    proxier.synced.set()
    asyncio.run(asyncio.wait_for(proxier._remove_others(), 10))
    assert done == [False, False, False]
    assert proxier.settled.is_set()


def test_connections_get_names() -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]
    service = obj("web", spec={"clusterIP": "10.96.0.7", "type": "NodePort", "ports": ports})
    pod = obj("web-1", spec={}, status={"podIPs": [{"ip": "10.244.0.5"}]})
    hosted = obj("proxy", spec={"hostNetwork": True}, status={"podIPs": [{"ip": "192.168.0.2"}]})
    node = obj("node1", status={"addresses": [{"type": "InternalIP", "address": "192.168.0.2"}]})
    known = connections.names([service], [pod, hosted], [node])
    row = {
        "proto": 6, "state": "ESTABLISHED", "timeout": 60, "assured": True, "replied": True, "mark": 0, "event": "",
        "original": {"src": "192.168.0.9", "dst": "192.168.0.2", "sport": 4000, "dport": 30080},
        "reply": {"src": "10.244.0.5", "dst": "10.244.0.1", "sport": 8080, "dport": 4001},
    }  # fmt: skip
    entry = connections.named(connections.connection("node1", row), known)
    assert (entry.client, entry.service, entry.server) == ("", "ns/web:http", "ns/web-1")
    assert connections.about_service(entry, "ns/web")
    assert not connections.about_service(entry, "ns/we")
    assert connections.about_pod(entry, "ns/web-1")
    assert connections.row(entry) == (
        "node1", "tcp", "ESTABLISHED", "60s", "192.168.0.9:4000", "192.168.0.2:30080 (ns/web:http)",
        "10.244.0.5:8080 (ns/web-1)", "10.244.0.1:4001",
    )  # fmt: skip
    assert connections.to_obj(entry)["sourceTranslated"]
