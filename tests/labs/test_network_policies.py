"""NetworkPolicies in a running lab: who reaches whom, by packets, is what the objects say; and everything explains it.

The cases are those of upstream's network policy suite (test/e2e/network/netpol): pods a, b, c in the namespaces x and
y, on two nodes, all asked by all.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from netlab.api.types import Obj
from netlab.dataplane.policies import Cluster, Connection, isolation, judge, pod_of
from netlab.lab.facade import Lab
from netlab.trace.reach.matrix import GOOD
from tests.labs.tools import User, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def pod(namespace: str, name: str, node: str) -> Obj:
    container = {"name": "c", "image": "nginx", "ports": [{"name": "http", "containerPort": 80}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"pod": name}},
        "spec": {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0},
    }


def space(name: str) -> Obj:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"ns": name}}}


PLACES = {"a": "node1", "b": "node2", "c": "node1"}
OBJECTS = [space("x"), space("y"), *(pod(ns, name, node) for ns in "xy" for name, node in PLACES.items())]


def policy(name: str, **spec: Any) -> Obj:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "x"},
        "spec": {"podSelector": {}, **spec},
    }


def labelled(**labels: str) -> Obj:
    return {"matchLabels": labels}


A, B, C = (labelled(pod=name) for name in "abc")
BLOCK = {"cidr": "10.244.0.0/16", "except": ["10.244.1.0/24"]}
CASES: dict[str, list[Obj]] = {
    "deny all ingress": [policy("p", policyTypes=["Ingress"])],
    "deny all egress": [policy("p", policyTypes=["Egress"])],
    "a namespace, and one pod of it": [
        policy("p", podSelector=A, ingress=[{"from": [{"namespaceSelector": labelled(ns="y")}]}]),
        policy("q", podSelector=C, ingress=[{"from": [{"namespaceSelector": labelled(ns="y"), "podSelector": A}]}]),
    ],
    "ports by name and number": [
        policy("p", podSelector=A, ingress=[{"ports": [{"port": "http"}]}]),
        policy("q", podSelector=C, ingress=[{"ports": [{"port": 81}]}]),
    ],
    "addresses except some": [policy("p", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": BLOCK}]}])],
    "both directions": [
        policy("out", podSelector=A, policyTypes=["Egress"], egress=[{"to": [{"podSelector": B}]}]),
        policy("in", podSelector=B, ingress=[{"from": [{"podSelector": A}]}]),
    ],
}  # fmt: skip


@pytest.fixture
def lab(caller: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for name, value in caller.environment.items():
        monkeypatch.setenv(name, value)
    with Lab.up("course") as lab:
        lab.apply(OBJECTS)
        for namespace in "xy":
            for name in PLACES:
                lab.wait(f"pod/{name}", namespace=namespace, timeout=120)
        yield lab


def predicted(lab: Lab, policies: list[Obj]) -> dict[tuple[str, str], bool]:
    pods = [one for obj in lab.api.list(("v1", "pods")) if (one := pod_of(obj)) is not None]
    labels = {one["metadata"]["name"]: one["metadata"]["labels"] for one in lab.api.list(("v1", "namespaces"))}
    cluster = Cluster(pods, labels)
    found = [one for obj in policies for one in isolation(obj, cluster)]
    mine = [one for one in cluster.pods if one.namespace in ("x", "y")]
    return {
        (a.key, b.key): judge(found, cluster, Connection(a.addresses[0], b.addresses[0], "tcp", 80)).allowed
        for a in mine
        for b in mine
        if a is not b
    }


def observed(lab: Lab) -> dict[tuple[str, str], bool]:
    matrix = lab.ping_all(proto="tcp", to="pods")
    found = {}
    for source, target, letter in matrix.pairs():
        pair = source, target.rpartition(":")[0] or target
        if all(name.partition("/")[0] in ("x", "y") for name in pair):
            found[pair] = letter in GOOD
    return found


def agrees(lab: Lab, wanted: dict[tuple[str, str], bool]) -> bool:
    return observed(lab) == wanted


def difference(lab: Lab, wanted: dict[tuple[str, str], bool]) -> str:
    found = observed(lab)
    return ", ".join(f"{a} → {b}: wanted {wanted[a, b]}" for a, b in wanted if found.get((a, b)) != wanted[a, b])


def test_who_reaches_whom(lab: Lab) -> None:
    for name, policies in [*CASES.items(), ("none any more", [])]:
        lab.apply(policies)
        wanted = predicted(lab, policies)
        assert all(wanted.values()) == (not policies), name
        until(f"'{name}' holds", partial(agrees, lab, wanted), 60, partial(difference, lab, wanted))
        for obj in policies:
            lab.delete(obj)
    _explained(lab)


def _explained(lab: Lab) -> None:
    """Trace and why name the policy; the kubelet's own questions always get through; a label is enough to be let in."""
    deny = policy("deny", podSelector=A, ingress=[{"from": [{"podSelector": labelled(guest="yes")}]}])
    lab.apply([deny])
    until("the policy holds", lambda: not observed(lab)["x/b", "x/a"], 30)
    report = lab.trace("x/b", "x/a:80")
    assert report.observed is not None and report.difference is None
    verdict = report.observed.verdict
    assert (verdict.kind, verdict.place) == ("dropped", "node1")
    assert "NetworkPolicy" in verdict.cause and "x/deny" in verdict.cause
    first = lab.why("x/b", "x/a:80")[0]
    assert first.code == "network-policy" and "x/deny" in first.found and first.where == "pod x/a"
    assert "x/deny" in lab.exec("node1", "nft", "list", "table", "ip", "kube-network-policies")
    lab.kubectl("-n", "x", "label", "pod", "b", "guest=yes")
    until("the guest is let in", lambda: observed(lab)["x/b", "x/a"], 30)
    lab.delete(deny)
    until(
        "nothing is left in the kernel",
        lambda: "kube-network" not in lab.klab("exec", "node1", "--", "nft", "list", "tables"),
        30,
    )
