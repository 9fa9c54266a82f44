"""Clusters whose overlay or whose family the shipped ones have not: host-gw with both families, and IPv6 alone.

In the first also: what an interface loses while it is down comes back with it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.labs.cluster import Cluster
from tests.labs.tools import User, until

pytestmark = pytest.mark.timeout(300)

TOPOLOGY = """
name: NAME
cluster:
  podCIDR: PODS
  serviceCIDR: SERVICES
  overlay: OVERLAY
nodes:
  master: {role: control-plane}
  node1:
hosts:
  client:
routers:
  router:
switches:
  lan: {subnet: "LAN"}
  internet: {subnet: "INTERNET"}
links:
  - ends: [router, lan]
  - ends: [master, lan]
  - ends: [node1, lan]
  - ends: [router, internet]
  - ends: [client, internet]
"""
MANIFESTS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations: [{operator: Exists}]
      containers:
        - name: web
          image: registry.k8s.io/e2e-test-images/agnhost:2.53
          args: [netexec, --http-port=8080]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec:
  ipFamilies: [IPv6]
  ipFamilyPolicy: SingleStack
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
"""
LOST = "{ ip -o addr show scope global; ip route; ip -6 route; ip neigh show nud permanent; } | grep eth0 | sort"


class SixLab(Cluster):
    """A running lab with `web` on both of its nodes, behind the Services `web` and `six`."""

    def pods(self) -> dict[str, dict[str, Any]]:
        """By node."""
        return {pod["spec"]["nodeName"]: pod for pod in self.get("pods", "-l", "app=web")["items"]}

    def inside(self, node: str, script: str) -> str:
        name = self.pods()[node]["metadata"]["name"]
        return self.within(name, script)

    def answering(self, where: str, machine: str = "") -> set[str]:
        """Who answers twenty calls, made by the pod on node1 or by a machine."""
        script = f"for i in $(seq 20); do curl -sS -g -m 5 http://{where}/hostname; echo; done"
        return {*(self.on(machine, script) if machine else self.inside("node1", script)).split()}

    def names(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.pods().values()}

    def routes_are_back(self, before: str) -> None:
        def difference() -> str:
            return "\n".join(sorted({*self.on("node1", LOST).splitlines()} ^ {*before.splitlines()}))

        until("everything is as before", lambda: not difference(), 60, difference)
        until("the outside answers", lambda: bool(self.answering(self.outside("node1"), "client")), 60)

    def outside(self, node: str) -> str:
        """The Service's node port there, as the client beyond the router calls it."""
        addresses = self.get("node", node)["status"]["addresses"]
        last = [one["address"] for one in addresses if one["type"] == "InternalIP"][-1]
        return f"[{last}]:30080" if ":" in last else f"{last}:30080"


@contextmanager
def running(name: str, **words: str) -> Iterator[SixLab]:
    user = User(Path(tempfile.mkdtemp(prefix="nl-")))
    user.prepare()
    text = TOPOLOGY.replace("NAME", name)
    for word, value in words.items():
        text = text.replace(word.upper(), value)
    topology = user.home / f"{name}.yaml"
    topology.write_text(text)
    try:
        up = user.klab("up", str(topology))
        assert up.returncode == 0, up.stderr
        made = SixLab(user, name)
        made.kubectl("apply", "-f", "-", stdin=MANIFESTS)
        made.kubectl("rollout", "status", "daemonset/web", "--timeout=90s")
        yield made
    finally:
        down = user.klab("down", "--all", "--purge")
        shutil.rmtree(user.home, ignore_errors=True)
    assert down.returncode == 0, down.stderr


def test_host_gateways_of_both_families_and_an_interface_that_goes_down() -> None:
    with running(
        "gateways",
        pods="10.244.0.0/16,fd00:10:244::/56",
        services="10.96.0.0/12,fd00:10:96::/112",
        overlay="host-gw",
        lan="192.168.77.0/24,fd00:77::/64",
        internet="203.0.113.0/24,2001:db8:1::/64",
    ) as cluster:
        _pods_by_gateways(cluster)
        four, six = cluster.get("service", "web")["spec"]["clusterIPs"]
        for where in (four, f"[{six}]", "six"):
            assert cluster.answering(where) == cluster.names(), where
        _down_and_up(cluster)
        _unplugged_and_plugged(cluster)


def _pods_by_gateways(cluster: SixLab) -> None:
    """No encapsulation: the other node is the next hop, in each family."""
    master = cluster.get("node", "master")
    gateways = [one["address"] for one in master["status"]["addresses"] if one["type"] == "InternalIP"]
    remote = [entry["ip"] for entry in cluster.pods()["master"]["status"]["podIPs"]]
    assert [":" in one for one in (*gateways, *remote)] == [False, True, False, True]
    for address, gateway in zip(remote, gateways, strict=True):
        assert f"via {gateway} dev eth0" in cluster.on("node1", f"ip route get {address}")
        where = f"[{address}]" if ":" in address else address
        assert cluster.answering(f"{where}:8080") == {cluster.pods()["master"]["metadata"]["name"]}


def _down_and_up(cluster: SixLab) -> None:
    """By hand: the routes of the underlay and of the overlay go, IPv6 addresses too; nobody has to put them back."""
    until("the routes of the overlay", lambda: cluster.on("node1", "ip route; ip -6 route").count("eth0") > 4)
    before = cluster.on("node1", LOST)
    assert "default via 192.168.77" in before and "default via fd00:77::" in before
    cluster.on("node1", "ip link set eth0 down")
    assert "default" not in cluster.on("node1", LOST)
    cluster.on("node1", "ip link set eth0 up")
    cluster.routes_are_back(before)
    four, six = cluster.get("service", "web")["spec"]["clusterIPs"]
    for where in (four, f"[{six}]"):
        until(f"{where} is answered by both", lambda where=where: cluster.answering(where) == cluster.names(), 60)  # type: ignore[misc]


def _unplugged_and_plugged(cluster: SixLab) -> None:
    before = cluster.on("node1", LOST)
    broken = cluster.user.klab("--lab", cluster.lab, "fault", "link-down", "node1")
    assert broken.returncode == 0, broken.stderr
    assert cluster.on("client", f"curl -sS -g -m 2 http://{cluster.outside('node1')}/hostname") == ""
    healed = cluster.user.klab("--lab", cluster.lab, "fault", "heal", "--all")
    assert healed.returncode == 0, healed.stderr
    cluster.routes_are_back(before)


def test_a_cluster_of_ipv6_alone() -> None:
    with running(
        "six", pods="fd00:10:244::/56", services="fd00:10:96::/112", overlay="vxlan",
        lan="fd00:77::/64", internet="2001:db8:1::/64",
    ) as cluster:  # fmt: skip
        node = cluster.get("node", "node1")
        assert all(":" in one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP")
        for pod in cluster.pods().values():
            assert [":" in entry["ip"] for entry in pod["status"]["podIPs"]] == [True]
        for name in ("web", "six"):
            spec = cluster.get("service", name)["spec"]
            assert (spec["ipFamilies"], len(spec["clusterIPs"])) == (["IPv6"], 1), name
            assert cluster.answering(name) == cluster.names(), name
        address = cluster.get("service", "web")["spec"]["clusterIP"]
        name = "web.default.svc.cluster.local"
        assert cluster.inside("node1", f"dig +short AAAA {name}") == address
        assert cluster.inside("node1", f"dig +short A {name}") == ""
        assert cluster.inside("node1", f"dig +short -x {address}") == f"{name}."
        assert cluster.answering(cluster.outside("node1"), "client") == cluster.names()
        assert "ip6 kube-proxy" not in cluster.on("node1", "nft list tables")
        assert "KUBE-SVC" in cluster.on("node1", "ip6tables-save")
        assert "KUBE-SVC" not in cluster.on("node1", "iptables-save"), "there is nothing of IPv4 to serve"
