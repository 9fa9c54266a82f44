"""`klab trace` on live labs: for every cell of flow × mode each hop and the deciding rule, and prediction is
observation."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from netlab.kernel import features
from tests.labs.tools import User, one_sentence, picture, until

PODS = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}, kind: web}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: registry.k8s.io/e2e-test-images/agnhost:2.45
    args: [netexec, --http-port=8080]
    ports: [{{containerPort: 8080}}]
    readinessProbe: {{httpGet: {{port: 8080}}, periodSeconds: 1}}
---
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{type: {type}, selector: {{{selector}}}, ports: [{{port: 80, targetPort: 8080}}], {more}}}
---
"""
SERVICES = (
    ("near", "NodePort", "app: near", ""),
    ("far", "NodePort", "app: far", ""),
    ("both", "NodePort", "kind: web", ""),
    ("local", "NodePort", "app: far", "externalTrafficPolicy: Local"),
    ("empty", "ClusterIP", "app: nobody", ""),
    ("balanced", "LoadBalancer", "app: far", ""),
)
NEAR, FAR = "default/near", "default/far"
TOPOLOGY = """
name: traces
cluster: {{proxyMode: {mode}, overlay: {overlay}{more}}}
nodes:
  node1: {{role: control-plane}}
  node2: {{}}
hosts: {{client: {{}}}}
routers: {{router: {{}}}}
switches:
  lan: {{subnet: 192.168.77.0/24}}
  internet: {{subnet: 203.0.113.0/24}}
links:
  - ends: [router, lan]
  - ends: [node1, lan]
  - ends: [node2, lan]
  - ends: [router, internet]
  - ends: [{{node: client, address: 203.0.113.10/24}}, internet]
"""

Trace = dict[str, Any]


class Tracer:
    """`klab trace` as a user calls it, with what is true of every trace checked."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.ports = {
            s["metadata"]["name"]: s["spec"]["ports"][0].get("nodePort")
            for s in json.loads(self.kubectl("get", "services", "-o", "json"))["items"]
        }
        self.balanced = json.loads(self.kubectl("get", "service", "balanced", "-o", "json"))

    def kubectl(self, *arguments: str) -> str:
        done = self.user.kubectl(*arguments, lab="traces")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def __call__(self, source: str, target: str, *options: str) -> Trace:
        done = self.user.klab("trace", source, target, "-o", "json", *options)
        assert done.returncode in (0, 1), done.stderr
        found: Trace = json.loads(done.stdout)
        assert found["difference"] is None, (source, target, found["difference"], done.stdout[:4000])
        assert found["error"] == "", found["error"]
        seen: Trace = found["observed"]
        assert seen["hops"], done.stdout[:2000]
        assert (done.returncode == 0) == (seen["verdict"]["kind"] == "delivered")
        return seen

    def on(self, machine: str, *command: str) -> str:
        done = self.user.klab("exec", machine, "--", *command)
        assert done.returncode == 0, done.stderr
        return done.stdout


def rules(trace: Trace) -> str:
    """All that a trace says of rules and endings."""
    steps = [step for hop in trace["hops"] for step in hop["steps"]] + trace["verdict"]["steps"]
    words = [f"{step['where']} {step['text']} {step['owner']}" for step in steps if not step["outer"]]
    return "\n".join([*words, trace["verdict"]["text"], trace["verdict"]["cause"]])


def sights(trace: Trace) -> list[str]:
    return [f"{hop['place']} {hop['interface']}" for hop in trace["hops"]]


def client_at(trace: Trace) -> str:
    """The source address that the destination saw."""
    return str(trace["hops"][-1]["packet"]["src"])


def start(user: User, directory: Path, mode: str, overlay: str = "vxlan", more: str = "") -> Tracer:
    file = directory / "traces.yaml"
    file.write_text(TOPOLOGY.format(mode=mode, overlay=overlay, more=more))
    up = user.klab("up", str(file))
    assert up.returncode == 0, up.stderr
    objects = "".join(PODS.format(name=name, node=node) for name, node in (("near", "node1"), ("far", "node2")))
    objects += "".join(SERVICE.format(name=n, type=t, selector=s, more=m) for n, t, s, m in SERVICES)
    manifest = directory / "objects.yaml"
    manifest.write_text(objects)
    applied = user.kubectl("apply", "-f", str(manifest), lab="traces")
    assert applied.returncode == 0, applied.stderr
    config = f"--kubeconfig={user.home}/state/netlab/traces/kubeconfig"
    ready = user.run("kubectl", config, "wait", "pod", "near", "far",
                     "--for=condition=Ready", "--timeout=90s", timeout=120)  # fmt: skip
    assert ready.returncode == 0, picture(user)
    tracer = Tracer(user)
    until("the Services are on the nodes", lambda: _answers(tracer), 60)
    return tracer


def _answers(tracer: Tracer) -> bool:
    done = [tracer.user.klab("trace", "client", f"{node}:{tracer.ports[name]}", "-o", "json", "--no-reply")
            for node in ("192.168.77.2", "192.168.77.3") for name in ("near", "far", "both")]  # fmt: skip
    return all(one.returncode == 0 for one in done)


# -- the table: flow × mode


def flows(trace: Tracer, dnat: str) -> None:
    """`dnat`: the word of this mode's rule that translates."""
    same = trace(NEAR, "svc/near")
    assert same["verdict"]["kind"] == "delivered"
    assert "default/near" in rules(same), "the Service and the endpoint are named"
    assert client_at(same) != same["flow"]["src"], "a hairpin is masqueraded"
    far = trace(NEAR, "svc/far")
    assert dnat in rules(far)
    assert client_at(far) == far["flow"]["src"], "a pod's address is kept"
    assert far["reply"]["verdict"]["kind"] == "delivered"
    assert trace(FAR, "svc/near:80")["verdict"]["place"] == NEAR
    assert trace(FAR, "svc/both")["verdict"]["place"] in (NEAR, FAR)
    port = trace(NEAR, f"192.168.77.3:{trace.ports['near']}")
    assert client_at(port) != port["flow"]["src"], "a node port masquerades"
    outside = trace("outside", f"192.168.77.2:{trace.ports['far']}")
    assert (outside["verdict"]["place"], client_at(outside) != "203.0.113.10") == (FAR, True)
    local = trace("outside", f"192.168.77.3:{trace.ports['local']}")
    assert (local["verdict"]["kind"], client_at(local)) == ("delivered", "203.0.113.10"), "the source is kept"
    refused = trace("outside", f"192.168.77.2:{trace.ports['local']}")
    assert refused["verdict"]["kind"] == "dropped", "no endpoint on that node"
    assert "default/local" in rules(refused)
    address = [one["ip"] for one in (trace.balanced["status"].get("loadBalancer") or {}).get("ingress") or ()]
    assert address, "the pool gives the load balancer an address"
    assert trace("outside", "svc/balanced")["flow"]["dst"] == address[0]
    assert trace("node1", "svc/far")["verdict"]["place"] == FAR
    empty = trace(NEAR, "svc/empty")
    assert empty["verdict"]["kind"] == "rejected"
    assert "default/empty" in empty["verdict"]["cause"]


def plain_flows(trace: Tracer, overlay: str) -> None:
    """What no proxy has a part in."""
    other = trace(NEAR, "far")
    encapsulated = [hop for hop in other["hops"] if hop["packet"]["outer"]]
    assert bool(encapsulated) == (overlay == "vxlan")
    assert {hop["place"] for hop in other["hops"]} == {NEAR, "node1", "switches", "node2", FAR}
    if overlay == "vxlan":
        assert {hop["packet"]["outer"]["vni"] for hop in encapsulated} == {1}
        assert {"node1 flannel.1", "node2 flannel.1"} <= set(sights(other))
    assert trace(NEAR, "far:8080", "--proto", "tcp")["reply"]["verdict"]["kind"] == "delivered"
    assert trace(NEAR, "far:8081", "--proto", "udp")["verdict"]["kind"] == "delivered"
    assert trace(NEAR, "far:9", "--proto", "tcp")["verdict"]["kind"] == "refused"
    out = trace(NEAR, "outside")
    assert client_at(out) == "192.168.77.2"
    assert "FLANNEL-POSTRTG" in rules(out)
    named = trace(NEAR, "far.default.svc.cluster.local")
    assert named["dns"]["verdict"]["kind"] == "delivered"
    assert (named["dns"]["flow"]["dport"], named["verdict"]["place"]) == (53, FAR)
    assert trace("node2", "node1")["verdict"]["kind"] == "delivered"
    assert sights(trace(NEAR, "node1"))[-1] == "node1 docker0"


def losses(trace: Tracer) -> None:
    far = next(a for a in trace(NEAR, "far")["hops"])["packet"]["dst"]
    backend = "iptables-legacy" if features.has("iptables_legacy") else "iptables-nft"
    trace.on(
        "node1", backend, "-I", "FORWARD", "1", "-d", far, "-p", "tcp", "-m", "tcp", "--dport", "8080", "-j", "DROP"
    )
    dropped = trace(NEAR, "far:8080")
    assert dropped["verdict"]["place"] == "node1"
    assert "iptables filter FORWARD 1" in dropped["verdict"]["text"]
    assert dropped["verdict"]["remedy"]
    trace.on("node1", backend, "-D", "FORWARD", "1")
    trace.on("node2", "ip", "link", "set", "docker0", "mtu", "1300")
    assert "MTU 1300" in trace(NEAR, "far", "--size", "1400")["verdict"]["text"]
    assert trace(NEAR, "far", "--size", "1400", "--fragment")["verdict"]["kind"] == "delivered"
    trace.on("node2", "ip", "link", "set", "docker0", "mtu", "1450")
    _without_forwarding_entry(trace)
    cut = ("mininet", "-c", "link node2 lan down")
    assert trace.user.klab(*cut).returncode == 0
    gone = trace(NEAR, "far")
    assert (gone["verdict"]["kind"], gone["verdict"]["place"] != FAR) == ("dropped", True)
    assert trace.user.klab(*cut[:-1], "link node2 lan up").returncode == 0


def _without_forwarding_entry(trace: Tracer) -> None:
    """The node's own agent repairs it, so it may take more than one try."""
    mac = trace.on("node2", "cat", "/sys/class/net/flannel.1/address").strip()
    end = time.monotonic() + 60
    while True:
        trace.on("node1", "sh", "-c", f"bridge fdb del {mac} dev flannel.1 dst 192.168.77.3 || true")
        seen = trace(NEAR, "far")
        if seen["verdict"]["kind"] == "dropped":
            break
        assert time.monotonic() < end, "it was always repaired in between"
    assert sights(seen)[-1] == "node1 flannel.1"
    assert f"no forwarding entry for {mac}" in seen["verdict"]["text"]
    assert "bridge fdb replace" in seen["verdict"]["remedy"]
    trace.on("node1", "sh", "-c", f"bridge fdb replace {mac} dev flannel.1 dst 192.168.77.3 self permanent")


def outputs(trace: Tracer, directory: Path) -> None:
    capture, image, page = (directory / name for name in ("way.pcapng", "way.svg", "way.html"))
    text = trace.user.klab("trace", NEAR, "svc/far", "-v", "-w", str(capture), "--svg", str(image), "--html", str(page))
    assert text.returncode == 0, text.stderr
    assert "prediction and observation are the same" in text.stdout
    for words in (
        "10.244.",
        "VXLAN 1 192.168.77.2",
        "DNAT",
        "default/far",
        "KUBE-SVC-",
        "delivered to a socket of default/far",
    ):
        assert words in text.stdout
    assert ElementTree.parse(image).getroot().tag.endswith("svg")
    assert "<svg" in page.read_text()
    assert capture.read_bytes().startswith(b"\x0a\x0d\x0d\x0a")
    assert b"node1:flannel.1" in capture.read_bytes()
    request = trace.user.klab("trace", NEAR, "--http", "http://far/hostname", "-o", "json")
    assert request.returncode == 0, request.stderr
    assert len(json.loads(request.stdout)["exchange"]) >= 5, "handshake, request, answer"
    computed = trace.user.klab("trace", NEAR, "svc/both", "--predict", "-o", "json")
    shares = [one["share"] for one in json.loads(computed.stdout)["predicted"]]
    assert (len(shares), round(sum(shares), 6)) == (2, 1.0)
    for wrong in (
        (NEAR, "svc/fra"),
        ("nera", "far"),
        (NEAR, "svc/far:1"),
        (NEAR, "no.such.name"),
        ("outside", "far.default"),
        (NEAR, "far:http"),
    ):
        refused = trace.user.klab("trace", *wrong)
        assert refused.returncode in (1, 2), wrong
        one_sentence(refused.stderr)
    _live(trace, directory)


def _live(trace: Tracer, directory: Path) -> None:
    """Follows what a machine sends by itself."""
    far = trace("node1", "far")["flow"]["dst"]
    command = [*trace.user.klab_command, "trace", "node1", "far:8080", "--live", "-o", "json"]
    told = directory / "live.json"
    with told.open("w") as file, subprocess.Popen(command, stdout=file, env=trace.user.environment, cwd="/") as process:
        while process.poll() is None:
            trace.on("node1", sys.executable, "-c", CONNECT, far)
            time.sleep(0.2)
    found = json.loads(told.read_text())
    assert found["difference"] is None, found["difference"]
    assert (found["observed"]["verdict"]["place"], found["observed"]["flow"]["dport"]) == (FAR, 8080)


CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 8080), 5).close()"
POOL = ", loadBalancerPool: 192.168.77.200-192.168.77.210"


def test_iptables_over_vxlan(caller: User, tmp_path: Path) -> None:
    trace = start(caller, tmp_path, "iptables", more=POOL)
    flows(trace, "-j DNAT")
    plain_flows(trace, "vxlan")
    outputs(trace, tmp_path)
    losses(trace)
    assert_nothing_left(trace)


def test_nftables_over_hostgw(caller: User, tmp_path: Path) -> None:
    trace = start(caller, tmp_path, "nftables", "host-gw", POOL)
    flows(trace, "dnat to")
    plain_flows(trace, "host-gw")


def test_ipvs(caller: User, tmp_path: Path) -> None:
    if not all(features.has(name) for name in ("ip_vs", "dummy", "ip_set")):
        pytest.skip("this kernel has no IPVS; the stock-kernel lane runs this")
    trace = start(caller, tmp_path, "ipvs", more=POOL)
    flows(trace, "IPVS")
    plain_flows(trace, "vxlan")


def assert_nothing_left(trace: Tracer) -> None:
    for machine in ("node1", "node2"):
        assert "klab-trace" not in trace.on(machine, "nft", "list", "tables")
        assert trace.on(machine, "cat", "/proc/sys/net/netfilter/nf_log/2").strip() != "nfnetlink_log"
