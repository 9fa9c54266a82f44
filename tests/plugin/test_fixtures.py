"""The fixtures as users see them: labs as they were, failures that explain themselves, nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from scapy.layers.inet import TCP
from scapy.utils import rdpcap

from netlab.sandbox.paths import known_labs
from tests.plugin.inner import Outcome, command, environment, run

DIRTY = '''
import re
import time

import pytest
from netlab.testing import assert_reachable

POD = """
apiVersion: v1
kind: Namespace
metadata: {name: mine}
---
apiVersion: v1
kind: Pod
metadata: {name: stubborn, namespace: mine, finalizers: [example.com/never]}
spec: {containers: [{name: c, image: busybox, command: [sleep, "1000"]}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ways.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {plural: ways, singular: way, kind: Way}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: registry.k8s.io/e2e-test-images/agnhost:2.53, args: [netexec, --http-port=8080]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
"""
STATE = {}


def kernel(lab):
    """Rules without their counters, addresses, and how many pod namespaces and processes there are."""
    script = "iptables-save; ip -o addr; ip -o link; ls /run/netns; ps -eo comm"
    said = lab.exec("node", "sh", "-c", script).splitlines()
    parts = (re.sub(r"\\[\\d+:\\d+\\]|<.*?>|state \\S+|\\S+_lft \\S+", "", line) for line in said)
    return sorted(line for line in parts if line[:1] not in "#*:" and not line.startswith(("ps", "sh", "iptables")))


def flows(lab, addresses):
    said = lab.exec("node", "conntrack", "-L").splitlines()
    return [line for line in said if any(f"={address} " in line for address in addresses)]


def state(lab):
    kinds = ["namespaces", "nodes", "deployments", "configmaps", "clusterroles", "crds", "services"]
    found = {kind: names(lab, kind) for kind in kinds}
    node = lab.api.get(("v1", "nodes"), "node")
    return found | {"labels": node["metadata"]["labels"], "spec": node["spec"], "deployment": replicas(lab)}


def names(lab, kind):
    found = sorted(obj["metadata"]["name"] for obj in lab.api.list(lab.api.named(kind)[0]))
    return [name for name in found if name != "cluster-info"]  # made late, as on a real cluster


def replicas(lab):
    return lab.api.get(("apps/v1", "deployments"), "coredns", "kube-system")["spec"]["replicas"]


def test_0_serves(lab):
    lab.wait("pods", namespace="kube-system")
    while any("has no endpoints" in line for line in kernel(lab)):  # the proxy hears of the pods a moment later
        time.sleep(0.05)
    STATE.update(kernel=kernel(lab))
    lab.apply(WEB)
    lab.wait("deployment/web")
    assert_reachable(lab, "client", "http://node:30080/hostname", within=10)
    STATE["addresses"] = [pod["status"]["podIP"] for pod in lab.pods("app=web")]
    assert flows(lab, STATE["addresses"]) and kernel(lab) != STATE["kernel"]


def test_0_served(lab):
    assert (flows(lab, STATE["addresses"]), kernel(lab)) == ([], STATE["kernel"])


def test_1_makes_a_mess(lab):
    STATE.update(name=lab.name, before=state(lab))
    lab.apply(POD)
    lab.wait("pod/stubborn", namespace="mine")
    lab.wait("crd/ways.example.com", "Established")
    lab.apply({"apiVersion": "example.com/v1", "kind": "Way", "metadata": {"name": "w", "finalizers": ["a.b/c"]}})
    node = lab.node("node").object
    node["spec"] |= {"unschedulable": True, "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]}
    node["metadata"]["labels"]["disk"] = "ssd"
    lab.api.call("PUT", "/api/v1/nodes/node", body=node)
    lab.kubectl("-n", "kube-system", "scale", "deployment", "coredns", "--replicas=1")
    lab.delete("configmap/coredns", namespace="kube-system")
    lab.delete("clusterrole/view")
    lab.cut("client")
    lab.fault("link-down", "node").__enter__()  # and is never left


def test_2_finds_it_clean(lab):
    assert lab.name == STATE["name"]
    assert state(lab) == STATE["before"]
    status = lab.klab("status", "-o", "json")
    assert "stubborn" not in status
    assert_reachable(lab, "client", "icmp://node")


@pytest.mark.topology("nonesuch")
def test_3_no_such_topology(lab):
    raise AssertionError("not reached")


def test_4_fails(lab):
    lab.exec("node", "true")
    assert_reachable(lab, "client", "http://node:81/", timeout=1)


def test_5_waits(lab):
    lab.wait("deployment/nothing", timeout=0.2)
'''

WORKERS = """
import os, signal

def test_name_a(lab, worker_id):
    assert worker_id in lab.name and len(lab.nodes) == 1

def test_name_b(lab, worker_id):
    assert worker_id in lab.name and len(lab.nodes) == 1

def test_worker_dies(lab):
    os.kill(os.getpid(), signal.SIGKILL)
"""

SLOW = """
import time

def test_slow(lab, tmp_path_factory):
    open("running", "w").close()
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def outcome(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    directory = tmp_path_factory.mktemp("inner")
    (directory / "test_dirty.py").write_text(DIRTY)
    result = run(directory, f"--netlab-artifacts={home / 'artifacts'}")
    assert known_labs() == []
    return result


def test_a_lab_is_as_it_was(outcome: Outcome) -> None:
    assert outcome.tests["test_0_serves"] == outcome.tests["test_0_served"] == "", outcome.output
    assert outcome.tests["test_1_makes_a_mess"] == "", outcome.output
    assert outcome.tests["test_2_finds_it_clean"] == "", outcome.output


def test_a_lab_that_cannot_start_is_a_sentence(outcome: Outcome) -> None:
    said = outcome.tests["test_3_no_such_topology"]
    assert "no lab for this test: no topology 'nonesuch'" in said
    assert "Traceback" not in said and "pytest_plugin.py" not in said


def test_a_failure_holds_packets_and_leaves_artifacts(outcome: Outcome, home: Path) -> None:
    said = outcome.tests["test_4_fails"]
    assert "http://node:81/: refused" in said
    assert "client eth0 out: TCP" in said and "ACK,RST" in said
    assert "probable cause: no process of node listens on tcp port 81" in said
    (place,) = (home / "artifacts").glob("*test_4_fails/*")
    flags = [str(packet[TCP].flags) for packet in rdpcap(str(place / "packets-1.pcapng")) if TCP in packet]
    assert "S" in flags and "RA" in flags
    assert {"events.json", "pods.json", "logs", "trace.txt"} <= {file.name for file in place.iterdir()}
    assert list((place / "logs").glob("kube-system_coredns-*_coredns.log"))


def test_a_wait_says_what_it_waited_for(outcome: Outcome) -> None:
    assert "waited 0.2 s for deployment/nothing to be Available: there is none" in outcome.tests["test_5_waits"]


def test_workers_have_labs_of_their_own_and_a_dead_one_leaves_nothing(home: Path, tmp_path: Path) -> None:
    (tmp_path / "test_workers.py").write_text(WORKERS)
    result = run(tmp_path, "-n", "2", "--dist", "load", "--max-worker-restart=1")
    assert "crashed while running" in result.output
    assert result.tests["test_name_a"] == result.tests["test_name_b"] == "", result.output
    assert known_labs() == []


def test_an_interrupted_session_leaves_nothing(home: Path, tmp_path: Path) -> None:
    (tmp_path / "test_slow.py").write_text(SLOW)
    with subprocess.Popen(
        command(tmp_path), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "running").exists() and process.poll() is None:
            assert time.monotonic() < deadline, "the inner test did not begin within 120 s"
            time.sleep(0.05)
        assert process.poll() is None and known_labs()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output.decode()
    assert known_labs() == []
