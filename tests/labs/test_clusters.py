"""Whole clusters on every shipped topology, overlay and proxy mode: pods on different nodes, a Service by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.labs.cluster import Cluster
from tests.labs.tools import User

pytestmark = pytest.mark.timeout(300)

MANIFESTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - labelSelector: {matchExpressions: [{key: app, operator: In, values: [web, client]}]}
              topologyKey: kubernetes.io/hostname
      tolerations: [{operator: Exists}]
      containers:
        - name: web
          image: registry.k8s.io/e2e-test-images/agnhost:2.53
          args: [netexec, --http-port=8080, --udp-port=8081]
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  containers:
    - {name: main, image: busybox, command: [sleep, "86400"]}
    - name: side
      image: busybox
      command: [sh, -c, "mkdir /tmp/www && echo beside > /tmp/www/index.html && exec httpd -f -p 8000 -h /tmp/www"]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports:
    - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
    - {name: udp, port: 81, targetPort: 8081, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: heads}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: web.default.svc.cluster.local}
"""

COURSE = (Path(__file__).resolve().parents[2] / "topologies" / "course.yaml").read_text()
CLUSTERS = {
    "course": COURSE,
    "host-gw": COURSE + "cluster: {overlay: host-gw}\n",
    "nftables": COURSE + "cluster: {proxyMode: nftables}\n",
    "other addresses": COURSE
    + "cluster: {podCIDR: 172.20.0.0/16, serviceCIDR: 172.21.0.0/20, dnsIP: 172.21.0.53, dnsDomain: k8s.lab}\n",
    "leaf-spine": "leaf-spine",
    "fattree": "fattree",
}


class Course(Cluster):
    """A lab with the manifests applied and ready."""

    def __init__(self, user: User, topology: str) -> None:
        super().__init__(user, "cluster")
        if "\n" in topology:
            file = user.home / "cluster.yaml"
            file.write_text(topology.replace("name: course", "name: cluster"))
            topology = str(file)
        up = user.klab("up", topology, "--name", "cluster", "-o", "json")
        assert up.returncode == 0, up.stderr
        self.facts = json.loads(up.stdout)
        self.kubectl("apply", "-f", "-", stdin=MANIFESTS)
        self.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
        self.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=90s")

    def client(self, script: str, container: str = "main") -> str:
        return self.kubectl("exec", "client", "-c", container, "--", "sh", "-c", script).strip()

    def pods(self) -> dict[str, str]:
        """Names and addresses of the backends."""
        items = self.get("pods", "-l", "app=web")["items"]
        return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in items}


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_service_answers_by_name_from_every_backend(caller: User, name: str) -> None:
    cluster = Course(caller, CLUSTERS[name])
    backends = cluster.pods()
    script = "for i in $(seq 40); do timeout 5 wget -q -O - http://web/hostname; echo; done"
    answers = [line for line in cluster.client(script).splitlines() if line]
    assert len(answers) == 40
    assert set(answers) == set(backends)
    for address in backends.values():
        assert cluster.client(f"ping -c 1 -W 3 {address} >/dev/null && echo reached") == "reached"
    if name == "course":
        _names(cluster, backends)
        _sharing(cluster)
        _api_from_inside(cluster)
        _from_outside(cluster, backends)


def _names(cluster: Course, backends: dict[str, str]) -> None:
    """A, headless, ExternalName, PTR, and what does not exist."""
    address = cluster.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    assert address in cluster.client("nslookup web.default.svc.cluster.local")
    heads = cluster.client("nslookup heads.default.svc.cluster.local")
    assert all(backend in heads for backend in backends.values())
    assert address in cluster.client("nslookup alias.default.svc.cluster.local")
    assert "web.default.svc.cluster.local" in cluster.client(f"nslookup {address}")
    assert "NXDOMAIN" in cluster.client("nslookup nothing.default.svc.cluster.local || true")
    resolv = cluster.client("cat /etc/resolv.conf").splitlines()
    assert resolv == [
        "search default.svc.cluster.local svc.cluster.local cluster.local",
        "nameserver 10.96.0.10",
        "options ndots:5",
    ]


def _sharing(cluster: Course) -> None:
    """Containers of a pod share localhost and its ports, but neither files nor processes."""
    assert cluster.client("wget -q -O - http://localhost:8000/") == "beside"
    wget = ("exec", "client", "-c", "main", "--", "wget", "-q", "-O", "-")
    assert cluster.kubectl(*wget, "--timeout=3", "http://localhost:8000/").strip() == "beside"
    late = cluster.user.klab("kubectl", *wget, "-T", "1", "http://10.244.255.1/")
    assert "download timed out" in late.stderr
    taken = cluster.client("httpd -f -p 8000 2>&1 || true")
    assert "Address already in use" in taken or "Address in use" in taken
    cluster.client("echo mine > /tmp/note")
    assert cluster.client("ls /tmp", "side") == "www"
    assert "httpd" not in cluster.client("ps")
    assert cluster.client("hostname") == cluster.client("hostname", "side") == "client"


def _api_from_inside(cluster: Course) -> None:
    """The `kubernetes` Service, with the pod's own token."""
    pod = next(iter(cluster.pods()))
    where = "/var/run/secrets/kubernetes.io/serviceaccount"
    group = "authentication.k8s.io/v1"
    script = (
        f'curl -s --cacert {where}/ca.crt -H "Authorization: Bearer $(cat {where}/token)" '
        f"-H 'Content-Type: application/json' -d '{json.dumps({'apiVersion': group, 'kind': 'SelfSubjectReview'})}' "
        f"https://kubernetes.default.svc/apis/{group}/selfsubjectreviews"
    )
    answer = json.loads(cluster.kubectl("exec", pod, "--", "sh", "-c", script))
    assert answer["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"


def _from_outside(cluster: Course, backends: dict[str, str]) -> None:
    """The NodePort on every node from the outside client; and pods seen from outside have their node's address."""
    for node in cluster.facts["nodes"]:
        url = f"http://{node['address']}:30080/hostname"
        seen = cluster.user.klab("exec", "client", "--", "timeout", "5", "busybox", "wget", "-q", "-O", "-", url)
        assert seen.stdout.strip() in backends, seen.stderr
    refused = cluster.user.klab(
        "exec", "client", "--", "timeout", "5", "busybox", "wget", "-O", "-", "http://192.168.77.3:30081/"
    )
    assert "refused" in refused.stderr
