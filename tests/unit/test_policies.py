"""NetworkPolicies: what they allow, and the rules that are made of them, judged packet by packet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netlab.api.types import Obj
from netlab.dataplane.nftables import parse_rule
from netlab.dataplane.nftables.rules import Chain
from netlab.dataplane.nftables.table import NftState, diff
from netlab.dataplane.policies import TABLE, Cluster, Connection, isolation, judge, pod_of, policy_table
from netlab.trace.predict.context import Context
from netlab.trace.predict.nft import run
from netlab.trace.predict.packet import Pkt
from netlab.trace.predict.state import Machine
from netlab.trace.predict.tables import NChain, NftTable, NRule

NAMESPACES = {"x": {"ns": "x"}, "y": {"ns": "y", "tier": "inner"}}
OUTSIDE = "192.168.77.9"


def pod(namespace: str, name: str, number: int, **more: Any) -> Obj:
    """Port `http` is 80 in pods a and b, 81 in c."""
    port = {"name": "http", "containerPort": 81 if name == "c" else 80}
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": {"pod": name}},
        "spec": {"nodeName": "node1", "containers": [{"ports": [port]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": f"10.244.0.{number}"}, {"ip": f"fd00::{number}"}]},
        **more,
    }


PODS = [pod(ns, name, number) for number, (ns, name) in enumerate([(n, p) for n in "xy" for p in "abc"], 2)]
CLUSTER = Cluster([found for obj in PODS if (found := pod_of(obj)) is not None], NAMESPACES)
IP = {one.key: one.addresses[0] for one in CLUSTER.pods} | {"outside": OUTSIDE}


def policy(name: str = "p", namespace: str = "x", **spec: Any) -> Obj:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"podSelector": {}, **spec}}


def labelled(**labels: str) -> Obj:
    return {"matchLabels": labels}


def allowed(policies: list[Obj], source: str, target: str, port: int = 80, protocol: str = "tcp") -> bool:
    found = [one for obj in policies for one in isolation(obj, CLUSTER)]
    return judge(found, CLUSTER, Connection(IP[source], IP[target], protocol, port)).allowed


DENY_IN = policy("deny", policyTypes=["Ingress"])
DENY_OUT = policy("deny-out", policyTypes=["Egress"])
FROM_B = policy(podSelector=labelled(pod="a"), ingress=[{"from": [{"podSelector": labelled(pod="b")}]}])
FROM_Y = policy(ingress=[{"from": [{"namespaceSelector": labelled(ns="y")}]}])
FROM_YB = policy(ingress=[{"from": [{"namespaceSelector": labelled(ns="y"), "podSelector": labelled(pod="b")}]}])
FROM_Y_OR_B = policy(ingress=[{"from": [{"namespaceSelector": labelled(ns="y")}, {"podSelector": labelled(pod="b")}]}])
PORT_81 = policy(ingress=[{"ports": [{"port": 81}]}])
NAMED = policy(ingress=[{"ports": [{"port": "http"}]}])
RANGE = policy(ingress=[{"ports": [{"port": 80, "endPort": 90, "protocol": "UDP"}]}])
BLOCK = policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.244.0.0/24", "except": ["10.244.0.4/31"]}}]}])
TO_NAMED = policy(policyTypes=["Egress"], egress=[{"to": [{"namespaceSelector": {}}], "ports": [{"port": "http"}]}])
EVERYTHING = policy("all", ingress=[{}], egress=[{}], policyTypes=["Ingress", "Egress"])
TO_Y = policy(policyTypes=["Egress"], egress=[{"to": [{"namespaceSelector": {"matchExpressions": [
    {"key": "tier", "operator": "In", "values": ["inner", "outer"]}]}}]}])  # fmt: skip


@pytest.mark.parametrize(
    ("policies", "source", "target", "port", "protocol", "expected"),
    [
        ([], "y/a", "x/a", 80, "tcp", True),
        ([DENY_IN], "y/a", "x/a", 80, "tcp", False),
        ([DENY_IN], "x/b", "x/a", 80, "udp", False),
        ([DENY_IN], "x/a", "y/a", 80, "tcp", True),  # isolates ingress only
        ([DENY_OUT], "x/a", "y/a", 80, "tcp", False),
        ([DENY_OUT], "y/a", "x/a", 80, "tcp", True),
        ([FROM_B], "x/b", "x/a", 80, "tcp", True),
        ([FROM_B], "y/b", "x/a", 80, "tcp", False),  # a podSelector means the policy's own namespace
        ([FROM_B], "y/b", "x/c", 80, "tcp", True),  # does not select c
        ([FROM_Y], "y/c", "x/a", 80, "tcp", True),
        ([FROM_Y], "x/c", "x/a", 80, "tcp", False),
        ([FROM_YB], "y/b", "x/a", 80, "tcp", True),
        ([FROM_YB], "y/a", "x/a", 80, "tcp", False),
        ([FROM_Y_OR_B], "y/a", "x/a", 80, "tcp", True),
        ([FROM_Y_OR_B], "x/b", "x/a", 80, "tcp", True),
        ([FROM_Y_OR_B], "x/c", "x/a", 80, "tcp", False),
        ([PORT_81], "y/a", "x/a", 81, "tcp", True),
        ([PORT_81], "y/a", "x/a", 80, "tcp", False),
        ([PORT_81], "y/a", "x/a", 81, "udp", False),  # TCP is meant
        ([NAMED], "y/a", "x/a", 80, "tcp", True),
        ([NAMED], "y/a", "x/c", 80, "tcp", False),  # there http is 81
        ([NAMED], "y/a", "x/c", 81, "tcp", True),
        ([RANGE], "y/a", "x/a", 90, "udp", True),
        ([RANGE], "y/a", "x/a", 91, "udp", False),
        ([BLOCK], "x/b", "x/a", 80, "tcp", True),
        ([BLOCK], "x/c", "x/a", 80, "tcp", False),  # excepted
        ([BLOCK], "outside", "x/a", 80, "tcp", False),
        ([DENY_IN, FROM_Y], "y/a", "x/a", 80, "tcp", True),  # policies add up
        ([DENY_IN, EVERYTHING], "x/c", "x/a", 80, "tcp", True),
        ([TO_Y], "x/a", "y/b", 80, "tcp", True),
        ([TO_Y], "x/a", "x/b", 80, "tcp", False),
        ([TO_Y], "x/a", "outside", 80, "tcp", False),
        ([TO_NAMED], "x/a", "y/c", 81, "tcp", True),
        ([TO_NAMED], "x/a", "y/c", 80, "tcp", False),
        ([DENY_OUT, FROM_B], "x/b", "x/a", 80, "tcp", False),  # both directions must allow it
    ],
)
def test_what_policies_allow(
    policies: list[Obj], source: str, target: str, port: int, protocol: str, expected: bool
) -> None:
    assert allowed(policies, source, target, port, protocol) == expected
    assert passes(policies, IP[source], IP[target], port, protocol) == expected


def table_of(state: NftState, ip: str = "ip") -> NftTable:
    """As `nft list` would show it: every rule goes through its text."""
    chains = {}
    for chain in state.chains.values():
        words = chain.hook.split()
        base = {"type": words[0], "hook": words[2]} if words else {}
        rules = tuple(NRule(number, str(rule), parse_rule(str(rule))) for number, rule in enumerate(chain.rules, 1))
        chains[chain.name] = NChain(chain.name, rules, **base)  # type: ignore[arg-type]
    return NftTable(ip, TABLE, chains, state)


def passes(policies: list[Obj], source: str, target: str, port: int, protocol: str) -> bool:
    """Whether the packet gets through the base chains of its pods' node."""
    ip = "ip6" if ":" in target else "ip"
    found = [one for obj in policies for one in isolation(obj, CLUSTER)]
    table = table_of(policy_table(found, CLUSTER.pods, ip), ip)  # type: ignore[arg-type]
    packet = Pkt(source, target, protocol, 40000, port)
    context = Context(Machine("node1"), "forward", oracle=None)  # type: ignore[arg-type]
    return all(
        run(table, chain, packet, context).verdict == "accept"
        for chain in table.chains.values()
        if chain.hook == "forward"
    )


selectors = st.sampled_from([{}, labelled(pod="a"), labelled(pod="b"), labelled(pod="nobody"),
                             {"matchExpressions": [{"key": "pod", "operator": "NotIn", "values": ["c"]}]}])  # fmt: skip
spaces = st.sampled_from([{}, labelled(ns="x"), labelled(ns="y"), labelled(tier="none")])
blocks = st.sampled_from([
    {"cidr": "10.244.0.0/16"}, {"cidr": "10.244.0.2/32"}, {"cidr": "fd00::/64", "except": ["fd00::4/126"]},
    {"cidr": "0.0.0.0/0", "except": ["10.244.0.4/31", "10.244.0.4/30", "192.168.0.0/16"]},
])  # fmt: skip
peers = st.one_of(
    st.builds(lambda p: {"podSelector": p}, selectors),
    st.builds(lambda n: {"namespaceSelector": n}, spaces),
    st.builds(lambda p, n: {"podSelector": p, "namespaceSelector": n}, selectors, spaces),
    st.builds(lambda b: {"ipBlock": b}, blocks),
)
ports = st.sampled_from([{"port": 80}, {"port": 81, "protocol": "UDP"}, {"port": "http"}, {"protocol": "UDP"},
                         {"port": 79, "endPort": 80}, {"port": "nothing"}])  # fmt: skip
rules = {
    field: st.lists(
        st.fixed_dictionaries({}, optional={field: st.lists(peers, max_size=2), "ports": st.lists(ports, max_size=2)}),
        max_size=2,
    )
    for field in ("from", "to")
}
policies = st.lists(
    st.builds(
        lambda ns, selector, types, into, out: (ns, {
            "podSelector": selector, "policyTypes": types, "ingress": into, "egress": out}),
        st.sampled_from("xy"), selectors,
        st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]), rules["from"], rules["to"],
    ),
    max_size=3,
)  # fmt: skip
addresses = st.sampled_from([(a, b) for a in range(2) for b in range(2)])


@given(policies, st.sampled_from(sorted(IP)), st.sampled_from(sorted(IP)), st.sampled_from([79, 80, 81]),
       st.sampled_from(["tcp", "udp"]), st.booleans())  # fmt: skip
def test_rules_judge_as_the_objects_do(
    chosen: list[tuple[str, Obj]], source: str, target: str, port: int, protocol: str, six: bool
) -> None:
    objects = [policy(f"p{number}", namespace, **spec) for number, (namespace, spec) in enumerate(chosen)]
    src, dst = (_address(name, six) for name in (source, target))
    found = [one for obj in objects for one in isolation(obj, CLUSTER)]
    verdict = judge(found, CLUSTER, Connection(src, dst, protocol, port))
    assert passes(objects, src, dst, port, protocol) == verdict.allowed
    assert verdict.allowed or verdict.policies


def _address(name: str, six: bool) -> str:
    if not six:
        return IP[name]
    return next((one.addresses[1] for one in CLUSTER.pods if one.key == name), "fd99::9")


@given(policies, policies)
def test_a_change_leads_to_the_same_table(before: list[tuple[str, Obj]], after: list[tuple[str, Obj]]) -> None:
    """Applied by hand to a model of nft's words."""
    tables = []
    for chosen in (before, after):
        objects = [policy(f"p{number}", namespace, **spec) for number, (namespace, spec) in enumerate(chosen)]
        found = [one for obj in objects for one in isolation(obj, CLUSTER)]
        tables.append(policy_table(found, CLUSTER.pods, "ip"))
    change = diff(tables[0], tables[1], "ip", TABLE)
    chains = {name: [str(rule) for rule in chain.rules] for name, chain in tables[0].chains.items()}
    for line in map(str, (*change.apply, *change.cleanup)):
        words = line.split()
        if words[:2] == ["add", "chain"]:
            chains.setdefault(words[4], [])
        elif words[:2] == ["flush", "chain"]:
            chains[words[4]] = []
        elif words[:2] == ["add", "rule"]:
            chains[words[4]].append(line.split(f" {words[4]} ", 1)[1])
        elif words[:2] == ["delete", "chain"]:
            del chains[words[4]]
        assert TABLE in line
    assert chains == {chain.name: [str(rule) for rule in chain.rules] for chain in tables[1].chains.values()}


def test_pods_that_policies_do_not_know() -> None:
    host = pod("x", "h", 9)
    host["spec"]["hostNetwork"] = True
    ended = pod("x", "e", 10, status={"phase": "Succeeded", "podIPs": [{"ip": "10.244.0.10"}]})
    young = pod("x", "n", 11, status={"phase": "Pending"})
    assert [pod_of(one) for one in (host, ended, young)] == [None, None, None]


def test_only_local_pods_have_rules_and_equal_ones_share_a_chain() -> None:
    found = [one for obj in (DENY_IN, FROM_Y) for one in isolation(obj, CLUSTER)]
    local = [one for one in CLUSTER.pods if one.key in ("x/a", "x/b", "y/a")]
    state = policy_table(found, local, "ip")
    mine = {key: element.verdict for (name, key), element in state.elements.items() if name == "ingress-pods"}
    assert set(mine) == {(IP["x/a"],), (IP["x/b"],)} and len(set(mine.values())) == 1
    assert not policy_table(found, [one for one in local if one.key == "y/a"], "ip").chains
    assert all(len(chain.name) <= 128 for chain in state.chains.values() if isinstance(chain, Chain))
