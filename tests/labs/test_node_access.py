"""A lab's own kubelets, proxies and overlays work with the rights that upstream's have, and with no more.

The audit log is the witness: until somebody tries what is not allowed, nobody of them was refused anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.labs.tools import User

pytestmark = pytest.mark.timeout(300)

TOPOLOGY = """
name: access
nodes:
  master: {role: control-plane}
  node1: {labels: {disk: ssd, node-role.kubernetes.io/worker: ""}}
switches: {s1: {}}
links:
  - ends: [master, s1]
  - ends: [node1, s1]
"""
POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:nodes", "system:serviceaccounts:kube-flannel"]
  - level: Metadata
    users: ["system:kube-proxy"]
"""
MANIFESTS = """
apiVersion: v1
kind: Secret
metadata: {name: used}
stringData: {word: secret-of-the-pod}
---
apiVersion: v1
kind: Secret
metadata: {name: other}
stringData: {word: nobody}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  nodeName: node1
  containers:
    - name: main
      image: busybox
      command: [sh, -c, "cat /secret/word; echo; echo $COLOUR; sleep 86400"]
      env: [{name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}]
      volumeMounts: [{name: secret, mountPath: /secret}]
  volumes: [{name: secret, secret: {secretName: used}}]
"""


class Access:
    """The lab, and kubectl as anybody of it."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.state = user.home / "state" / "netlab" / "access"
        self.state.mkdir(parents=True)
        (self.state / "audit-policy.yaml").write_text(POLICY)
        topology = user.home / "access.yaml"
        topology.write_text(TOPOLOGY)
        up = user.klab("up", str(topology), "--name", "access")
        assert up.returncode == 0, up.stderr
        manifests = user.home / "manifests.yaml"
        manifests.write_text(MANIFESTS)
        self.admin("apply", "-f", str(manifests))
        self.admin("wait", "--for=condition=Ready", "pod/reader", "--timeout=90s")

    def admin(self, *arguments: str) -> str:
        found = self.user.run("kubectl", f"--kubeconfig={self.state / 'kubeconfig'}", *arguments, timeout=120)
        assert found.returncode == 0, f"{' '.join(arguments)}: {found.stderr}"
        return found.stdout

    def acting_as(self, who: str, *arguments: str) -> tuple[int, str]:
        """kubectl with the certificate of one of the lab's components: its code, and what it said."""
        config = json.loads((self.state / "pki" / f"{who}.kubeconfig").read_text())
        server = self.admin("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
        config["clusters"][0]["cluster"]["server"] = server
        path = self.user.home / "acting.kubeconfig"
        path.write_text(json.dumps(config))
        found = self.user.run("kubectl", f"--kubeconfig={path}", *arguments)
        return found.returncode, found.stdout + found.stderr

    def audited(self) -> list[dict[str, Any]]:
        whole, _, _ = Path(self.state / "logs" / "audit.log").read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]


def test_nodes_work_within_their_rights(caller: User) -> None:
    lab = Access(caller)
    assert lab.admin("logs", "reader").split() == ["secret-of-the-pod", "blue"]
    nodes = {node["metadata"]["name"]: node for node in json.loads(lab.admin("get", "nodes", "-o", "json"))["items"]}
    labels = {name: node["metadata"]["labels"] for name, node in nodes.items()}
    # what a kubelet may not say of itself, the add-ons say for it
    assert "node-role.kubernetes.io/control-plane" in labels["master"]
    assert labels["node1"]["disk"] == "ssd" and "node-role.kubernetes.io/worker" in labels["node1"]
    before = lab.audited()
    refused = [
        (event["user"]["username"], event["verb"], event["requestURI"])
        for event in before
        if event["annotations"]["authorization.k8s.io/decision"] != "allow" or event["responseStatus"]["code"] == 403
    ]
    assert refused == []
    seen = {event["user"]["username"] for event in before}
    flannel = "system:serviceaccount:kube-flannel:flannel"
    assert {"system:node:master", "system:node:node1", "system:kube-proxy", flannel} <= seen
    assert {event["sourceIPs"][-1] for event in before} == {
        next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP") for node in nodes.values()
    }

    node = "kubelet-node1"
    assert lab.acting_as(node, "get", "secret", "used")[0] == 0
    code, said = lab.acting_as(node, "get", "secret", "other")
    assert code != 0 and "no relationship found between node 'node1' and this object" in said
    code, said = lab.acting_as(node, "get", "nodes")
    assert code != 0 and "node 'node1' cannot read all nodes, only its own Node object" in said
    code, said = lab.acting_as(node, "label", "node", "node1", "node-role.kubernetes.io/master=")
    assert code != 0 and "is not allowed to modify labels: node-role.kubernetes.io/master" in said
    code, said = lab.acting_as("kube-proxy", "get", "secrets")
    assert code != 0 and 'User "system:kube-proxy" cannot list resource "secrets"' in said
    assert lab.acting_as("kube-proxy", "get", "nodes")[0] == 0
