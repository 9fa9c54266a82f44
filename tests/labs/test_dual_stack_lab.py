"""The shipped dual-stack cluster as a whole, one lab for all tests here: two addresses everywhere, and both answer."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.labs.cluster import Cluster
from tests.labs.tools import User, until

pytestmark = pytest.mark.timeout(300)

LAB = "dual-stack"
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
          args: [netexec, --http-port=8080, --udp-port=8081]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: node1
  containers:
    - name: main
      image: busybox
      command: [sleep, "86400"]
      env:
        - {name: POD_IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
        - {name: HOST_IPS, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}
---
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {ipFamilies: [IPv6], selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: heads}
spec:
  clusterIP: None
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: changing}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


class DualStack(Cluster):
    """The lab, with the manifests applied and ready."""

    def spec(self, service: str) -> Any:
        return self.get("service", service)["spec"]

    def client(self, script: str) -> str:
        return self.within("client", script)

    def fetch(self, where: str, path: str = "hostname") -> str:
        """The answer that the client pod gets, empty where there is none."""
        return self.client(f"timeout 5 wget -q -O - 'http://{where}/{path}' || true")

    def pods(self) -> dict[str, tuple[str, str, str]]:
        """Name → (node, IPv4, IPv6) of the backends."""
        items = self.get("pods", "-l", "app=web")["items"]
        return {
            pod["metadata"]["name"]: (pod["spec"]["nodeName"], *(entry["ip"] for entry in pod["status"]["podIPs"]))
            for pod in items
        }


@pytest.fixture(scope="module")
def cluster() -> Iterator[DualStack]:
    user = User(Path(tempfile.mkdtemp(prefix="nl-")))
    user.prepare()
    try:
        up = user.klab("up", LAB)
        assert up.returncode == 0, up.stderr
        made = DualStack(user, LAB)
        made.kubectl("apply", "-f", "-", stdin=MANIFESTS)
        made.kubectl("rollout", "status", "daemonset/web", "--timeout=90s")
        made.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=90s")
        yield made
    finally:
        down = user.klab("down", "--all", "--purge")
        shutil.rmtree(user.home, ignore_errors=True)
    assert down.returncode == 0, down.stderr


def _answers(cluster: DualStack, where: str) -> set[str]:
    script = f"for i in $(seq 20); do timeout 5 wget -q -O - 'http://{where}/hostname'; echo; done"
    return {line for line in cluster.client(script).splitlines() if line}


def test_nodes_and_pods_have_an_address_of_each_family(cluster: DualStack) -> None:
    node = cluster.get("node", "node1")
    assert len(node["spec"]["podCIDRs"]) == 2 and node["spec"]["podCIDR"] == node["spec"]["podCIDRs"][0]
    internal = [entry["address"] for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"]
    assert internal == ["192.168.77.3", "fd00:77::3"]
    notes = node["metadata"]["annotations"]
    assert notes["flannel.alpha.coreos.com/public-ipv6"] == "fd00:77::3"
    assert json.loads(notes["flannel.alpha.coreos.com/backend-v6-data"])["VNI"] == 1
    status = cluster.get("pod", "client")["status"]
    four, six = (entry["ip"] for entry in status["podIPs"])
    assert (":" in four, ":" in six) == (False, True) and status["podIP"] == four
    assert [entry["ip"] for entry in status["hostIPs"]] == internal
    assert cluster.client("echo $POD_IPS $HOST_IPS") == f"{four},{six} {','.join(internal)}"
    hosts = cluster.client("cat /etc/hosts").splitlines()
    assert f"{four}\tclient" in hosts and f"{six}\tclient" in hosts


def test_pods_reach_each_other_by_ipv6_over_the_overlay(cluster: DualStack) -> None:
    own = cluster.get("pod", "client")["status"]["podIPs"][1]["ip"]
    for node, _, address in cluster.pods().values():
        assert cluster.fetch(f"[{address}]:8080", "clientip").startswith(f"[{own}]:"), node
    remote = next(six for node, _, six in cluster.pods().values() if node == "node2")
    routes = cluster.on("node1", "ip -6 route get " + remote)
    assert "dev flannel-v6.1" in routes
    # more than the overlay lets through in one packet: path MTU discovery has to work
    assert cluster.client(f"ping -6 -c 2 -W 5 -s 3000 {remote} >/dev/null && echo reached") == "reached"


def test_a_service_of_both_families_answers_on_both(cluster: DualStack) -> None:
    spec, pods = cluster.spec("both"), set(cluster.pods())
    assert spec["ipFamilies"] == ["IPv4", "IPv6"] and len(spec["clusterIPs"]) == 2
    four, six = spec["clusterIPs"]
    assert spec["clusterIP"] == four and ":" in six
    assert _answers(cluster, four) == pods
    assert _answers(cluster, f"[{six}]") == pods
    only = cluster.spec("six")
    assert only["ipFamilies"] == ["IPv6"] and only["clusterIPs"] == [only["clusterIP"]]
    assert cluster.fetch("six") in pods
    slices = cluster.get("endpointslices", "-l", "kubernetes.io/service-name=both")["items"]
    found = {one["addressType"]: {e["addresses"][0] for e in one["endpoints"]} for one in slices}
    expected = cluster.pods().values()
    assert found == {"IPv4": {pod[1] for pod in expected}, "IPv6": {pod[2] for pod in expected}}
    subsets = cluster.get("endpoints", "both")["subsets"]
    assert {entry["ip"] for entry in subsets[0]["addresses"]} == found["IPv4"]


def test_names_have_aaaa_records_and_addresses_have_names(cluster: DualStack) -> None:
    four, six = cluster.spec("both")["clusterIPs"]
    name = "both.default.svc.cluster.local"
    assert six in cluster.client(f"nslookup -type=AAAA {name}")
    assert four in cluster.client(f"nslookup -type=A {name}")
    assert name in cluster.client(f"nslookup {six}")
    heads = cluster.client("nslookup -type=AAAA heads.default.svc.cluster.local")
    assert all(pod[2] in heads for pod in cluster.pods().values())
    assert (
        "Address" not in cluster.client("nslookup -type=AAAA kubernetes.default.svc.cluster.local").partition("\n\n")[2]
    )


def test_node_ports_answer_an_outside_client_on_both(cluster: DualStack) -> None:
    for node in ("192.168.77.3", "[fd00:77::3]", "[fd00:77::4]"):
        answer = cluster.on("client", f"curl -sS -g -m 5 http://{node}:30080/hostname")
        assert answer in cluster.pods(), node
    assert "reached" in cluster.client("ping -6 -c 1 -W 5 2001:db8:1::10 >/dev/null && echo reached")


def test_a_load_balancer_has_an_address_of_each_family_and_answers_for_both(cluster: DualStack) -> None:
    cluster.kubectl("patch", "service", "both", "--type=merge", "-p", '{"spec":{"type":"LoadBalancer"}}')

    def addresses() -> list[str]:
        status = cluster.get("service", "both")["status"]["loadBalancer"]
        return [entry["ip"] for entry in status.get("ingress", [])]

    until("two addresses", lambda: addresses() == ["192.168.77.200", "fd00:77::200"])
    for address in ("192.168.77.200", "[fd00:77::200]"):
        until(
            f"{address} answers",
            lambda address=address: (
                cluster.on("client", f"curl -sS -g -m 2 http://{address}/hostname") in cluster.pods()
            ),  # type: ignore[misc]
        )
    assert "lladdr" in cluster.on("router", "ip -6 neigh show fd00:77::200")


def test_a_service_becomes_dual_and_single_again(cluster: DualStack) -> None:
    first = cluster.spec("changing")["clusterIP"]
    cluster.kubectl(
        "patch", "service", "changing", "--type=merge", "-p", '{"spec":{"ipFamilyPolicy":"RequireDualStack"}}'
    )
    spec = cluster.spec("changing")
    assert spec["clusterIPs"][0] == first and spec["ipFamilies"] == ["IPv4", "IPv6"]
    second = spec["clusterIPs"][1]
    until(f"{second} answers", lambda: cluster.fetch(f"[{second}]") in cluster.pods())
    refused = cluster.user.klab(
        "--lab",
        LAB,
        "kubectl",
        "patch",
        "service",
        "changing",
        "--type=merge",
        "-p",
        '{"spec":{"ipFamilies":["IPv4"]}}',
    )
    assert "must be SingleStack to release the secondary IP family" in refused.stderr
    cluster.kubectl("patch", "service", "changing", "--type=merge", "-p", '{"spec":{"ipFamilyPolicy":"SingleStack"}}')
    spec = cluster.spec("changing")
    assert spec["clusterIPs"] == [first] and spec["ipFamilies"] == ["IPv4"]
    assert cluster.fetch(first) in cluster.pods()
    until(f"{second} answers no more", lambda: cluster.fetch(f"[{second}]") == "")


def test_the_nftables_mode_serves_both(cluster: DualStack) -> None:
    cluster.kubectl("get", "nodes")
    changed = cluster.user.klab("--lab", LAB, "proxy-mode", "nftables")
    assert changed.returncode == 0, changed.stderr
    tables = cluster.on("node1", "nft list tables").splitlines()
    assert "table ip kube-proxy" in tables and "table ip6 kube-proxy" in tables
    four, six = cluster.spec("both")["clusterIPs"]
    assert _answers(cluster, f"[{six}]") == _answers(cluster, four) == set(cluster.pods())
    assert "KUBE-SVC" not in cluster.on("node1", "ip6tables-save")
