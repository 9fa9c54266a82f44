"""DNS and load balancers as an outside client and a pod see them; one lab for all tests here: the network of `course`
with a resolver outside the cluster and NodeLocal DNSCache."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.labs.cluster import Cluster
from tests.labs.tools import User, picture, until

pytestmark = pytest.mark.timeout(420)

LAB = "names"
TOPOLOGY = """
cluster: {nodeLocalDNS: true}
nodes:
  master: {role: control-plane}
  node1:
  node2:
hosts:
  client:
  dns:
    resolver:
      www.example.com: [203.0.113.80, 203.0.113.81]
      api.corp.example: 203.0.113.82
routers: {router: }
switches:
  lan: {subnet: 192.168.77.0/24}
  internet: {subnet: 203.0.113.0/24}
links:
  - {ends: [router, lan]}
  - {ends: [master, lan]}
  - {ends: [node1, lan]}
  - {ends: [node2, lan]}
  - {ends: [router, internet]}
  - {ends: [{node: client, address: 203.0.113.10/24}, internet]}
  - {ends: [{node: dns, address: 203.0.113.53/24}, internet]}
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
      containers:
        - name: web
          image: registry.k8s.io/e2e-test-images/agnhost:2.53
          args: [netexec, --http-port=8080]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  loadBalancerIP: 192.168.77.240
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: caller}
spec:
  nodeName: node1
  containers: [{name: main, image: busybox, command: [sleep, "86400"]}]
"""


class Names(Cluster):
    def fetch(self, address: str, path: str = "hostname") -> str:
        """What the outside client gets, empty where there is no answer."""
        return self.on("client", f"curl -sS -m 1 http://{address}/{path}")

    def addresses(self, service: str) -> list[str]:
        status = self.get("service", service)["status"]["loadBalancer"]
        return [entry["ip"] for entry in status.get("ingress", [])]

    def resolve(self, name: str, server: str = "") -> str:
        script = f"nslookup -type=a {name}. {server} 2>&1 | sed 1,2d"
        result = self.user.kubectl("exec", "caller", "--", "sh", "-c", script, lab=LAB)
        return result.stdout

    def neighbour(self, address: str) -> str:
        """The MAC that the router knows for the address."""
        words = self.on("router", f"ip neigh show {address}").split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""

    def mac(self, node: str) -> str:
        return self.on(node, "cat /sys/class/net/eth0/address || ip -br link show eth0 | awk '{print $3}'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Names]:
    user = User(Path(tempfile.mkdtemp(prefix="nl-")))
    user.prepare()
    try:
        file = user.home / "names.yaml"
        file.write_text(TOPOLOGY)
        up = user.klab("up", str(file), "--name", LAB)
        assert up.returncode == 0, up.stderr
        made = Names(user, LAB)
        made.kubectl("apply", "-f", "-", stdin=MANIFESTS)
        made.kubectl("rollout", "status", "daemonset/web", "--timeout=120s")
        made.kubectl("wait", "--for=condition=Ready", "pod/caller", "--timeout=120s")
        made.kubectl("-n", "kube-system", "rollout", "status", "daemonset/node-local-dns", "--timeout=120s")
        yield made
    finally:
        down = user.klab("down", "--all", "--purge")
        shutil.rmtree(user.home, ignore_errors=True)
    assert down.returncode == 0, down.stderr


def test_an_outside_client_reaches_a_load_balancer_by_its_address(cluster: Names) -> None:
    until("web has an address", lambda: cluster.addresses("web") == ["192.168.77.200"])
    until("it answers", lambda: cluster.fetch("192.168.77.200").startswith("web-"), 60, lambda: picture(cluster.user))
    assert cluster.get("service", "web")["metadata"]["finalizers"] == ["service.kubernetes.io/load-balancer-cleanup"]
    assert cluster.neighbour("192.168.77.200") in (cluster.mac("node1"), cluster.mac("node2"), cluster.mac("master"))
    assert "192.168.77.200" not in cluster.on("node1", "ip -br addr") + cluster.on("node2", "ip -br addr")

    def told() -> bool:
        reasons = {one["reason"] for one in cluster.get("events")["items"] if one["involvedObject"]["name"] == "web"}
        return {"IPAllocated", "nodeAssigned"} <= reasons

    until("events tell who announces it", told)


def test_with_the_local_policy_the_client_is_seen_as_it_is(cluster: Names) -> None:
    until("local has the address it asked for", lambda: cluster.addresses("local") == ["192.168.77.240"])
    until("it answers", lambda: cluster.fetch("192.168.77.240", "clientip").startswith("203.0.113.10:"))
    port = cluster.get("service", "local")["spec"]["healthCheckNodePort"]
    health = json.loads(cluster.on("client", f"curl -sS -m 5 http://192.168.77.3:{port}/healthz"))
    assert health["localEndpoints"] == 1


def test_source_ranges_shut_out_others(cluster: Names) -> None:
    def allow(ranges: str) -> None:
        patch = f'{{"spec":{{"loadBalancerSourceRanges":{ranges}}}}}'
        cluster.kubectl("patch", "service", "local", "--type=merge", "-p", patch)

    allow('["198.51.100.0/24"]')
    until("the client is shut out", lambda: cluster.fetch("192.168.77.240") == "")
    allow('["203.0.113.0/24"]')
    until("the client is let in", lambda: cluster.fetch("192.168.77.240").startswith("web-"))


def test_another_node_takes_over_when_the_leader_is_cut_off(cluster: Names) -> None:
    until("it answers", lambda: cluster.fetch("192.168.77.240").startswith("web-"))
    before = cluster.neighbour("192.168.77.240")
    (leader,) = (node for node in ("node1", "node2") if cluster.mac(node) == before)
    (other,) = {"node1", "node2"} - {leader}
    routes = cluster.on(leader, "ip -4 route show dev eth0").splitlines()
    cluster.on(leader, "ip link set eth0 down")
    try:
        moved = cluster.mac(other)
        until("the router knows the other node", lambda: cluster.neighbour("192.168.77.240") == moved)
        until("it answers again", lambda: cluster.fetch("192.168.77.240").startswith("web-"))
    finally:
        cluster.on(leader, "ip link set eth0 up")
        for route in routes:  # the kernel forgot those by way of a gateway
            cluster.on(leader, f"ip route replace {route} dev eth0")
    until("the first one leads again", lambda: cluster.neighbour("192.168.77.240") == before)
    until("and answers", lambda: cluster.fetch("192.168.77.240").startswith("web-"))


def test_a_node_that_is_excluded_announces_nothing(cluster: Names) -> None:
    until("it answers", lambda: cluster.fetch("192.168.77.240").startswith("web-"))
    (leader,) = (node for node in ("node1", "node2") if cluster.mac(node) == cluster.neighbour("192.168.77.240"))
    (other,) = {"node1", "node2"} - {leader}
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    cluster.kubectl("label", "node", leader, f"{label}=")
    moved = cluster.mac(other)
    until("the other node announces it", lambda: cluster.neighbour("192.168.77.240") == moved)
    cluster.kubectl("label", "node", leader, f"{label}-")


def test_a_changed_type_gives_the_address_back(cluster: Names) -> None:
    cluster.kubectl("patch", "service", "web", "--type=merge", "-p", '{"spec":{"type":"ClusterIP"}}')
    until("no address", lambda: cluster.addresses("web") == [])
    until("no finalizer", lambda: "finalizers" not in cluster.get("service", "web")["metadata"])
    until("no answer", lambda: cluster.fetch("192.168.77.200") == "")
    cluster.kubectl("patch", "service", "web", "--type=merge", "-p", '{"spec":{"type":"LoadBalancer"}}')
    until("the same address again", lambda: cluster.addresses("web") == ["192.168.77.200"])


def test_names_outside_are_asked_of_the_topologys_resolver(cluster: Names) -> None:
    until("an outside name", lambda: "203.0.113.80" in cluster.resolve("www.example.com"))
    assert "203.0.113.81" in cluster.resolve("www.example.com")
    assert "NXDOMAIN" in cluster.resolve("nope.example.com")
    ip = cluster.get("service", "kubernetes")["spec"]["clusterIP"]
    assert ip in cluster.resolve("kubernetes.default.svc.cluster.local")


def test_the_node_answers_from_its_own_cache_past_connection_tracking(cluster: Names) -> None:
    for _ in range(3):
        assert "203.0.113.82" in cluster.resolve("api.corp.example")
    assert "203.0.113.82" in cluster.resolve("api.corp.example", "169.254.20.10")
    metrics = cluster.on("node1", "curl -sS -m 5 http://127.0.0.1:9253/metrics")
    hits = [
        line for line in metrics.splitlines() if line.startswith("coredns_cache_hits_total") and 'zones="."' in line
    ]
    assert hits and any(float(line.split()[-1]) >= 1 for line in hits), metrics
    raw = cluster.on("node1", "iptables-legacy-save -t raw -c 2>/dev/null; iptables-nft-save -t raw -c 2>/dev/null")
    counted = [line for line in raw.splitlines() if "PREROUTING -d 10.96.0.10/32 -p udp" in line]
    assert counted and not counted[0].startswith("[0:0]"), raw
    flows = cluster.on("node1", "conntrack -L -p udp --orig-port-dst 53 2>/dev/null | grep dst=10.96.0.10 || true")
    asked_by = {line.split("src=", 1)[1].split()[0] for line in flows.splitlines()}
    pods = {pod["status"].get("podIP") for pod in cluster.get("pods")["items"]}
    assert not asked_by & pods, flows


def test_a_changed_corefile_is_followed_and_a_wrong_one_is_not(cluster: Names) -> None:
    text = cluster.get("-n", "kube-system", "configmap", "coredns")["data"]["Corefile"]
    stub = "stub.example:53 {\n    hosts {\n        192.0.2.99 x.stub.example\n    }\n}\n"

    def write(corefile: str) -> None:
        patch = json.dumps({"data": {"Corefile": corefile}})
        cluster.kubectl("-n", "kube-system", "patch", "configmap", "coredns", "--type=merge", "-p", patch)

    def upstream(name: str) -> str:
        pods = cluster.get("-n", "kube-system", "pods", "-l", "k8s-app=kube-dns")["items"]
        return "".join(cluster.resolve(name, pod["status"]["podIP"]) for pod in pods)

    write(text + stub)
    until("the stub domain is known to both", lambda: upstream("x.stub.example").count("192.0.2.99") == 2, 90)
    write(text + stub.replace("hosts {", "nonsense {"))

    def logged() -> bool:
        logs = cluster.kubectl("-n", "kube-system", "logs", "-l", "k8s-app=kube-dns", "--tail=-1")
        return logs.count("Corefile changed but reload failed: /etc/coredns/Corefile:") >= 2

    until("the mistake is logged", logged, 90)
    assert upstream("x.stub.example").count("192.0.2.99") == 2
    restarts = cluster.get("-n", "kube-system", "pods", "-l", "k8s-app=kube-dns")["items"]
    assert all(status["restartCount"] == 0 for pod in restarts for status in pod["status"]["containerStatuses"])
    write(text)
