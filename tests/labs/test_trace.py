"""`klab trace` on live labs: for every cell of flow × mode each hop and the deciding rule, and prediction is
observation."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from netlab.kernel import features
from netlab.lab import faulting, looking, tracing
from netlab.lab.record import LabError
from netlab.sandbox.paths import LabPaths
from netlab.trace.model import Report
from tests.labs.tools import User, one_sentence, picture, until
from tests.labs.trace_table import FLOWS, MODES, Cell, filled, wrong

pytestmark = pytest.mark.timeout(300)

POD = """
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
spec:
  type: {type}
  ipFamilyPolicy: PreferDualStack
  selector: {{{selector}}}
  ports: [{{port: 80, targetPort: 8080}}]
  {more}
---
"""
PODS = (("call", "node1"), ("near", "node1"), ("far", "node2"))
SERVICES = (
    ("near", "ClusterIP", "app: near", ""),
    ("far", "NodePort", "app: far", ""),
    ("both", "ClusterIP", "kind: web", ""),
    ("local", "NodePort", "app: far", "externalTrafficPolicy: Local"),
    ("empty", "ClusterIP", "app: nobody", ""),
    ("balanced", "LoadBalancer", "app: far", ""),
)
DNS = "kube-system/kube-dns:dns"
CALL, NEAR, FAR = "default/call", "default/near", "default/far"
TOPOLOGY = """
name: traces
cluster:
  proxyMode: {mode}
  overlay: {overlay}
  podCIDR: 10.244.0.0/16,fd00:10:244::/56
  serviceCIDR: 10.96.0.0/12,fd00:10:96::/112
  loadBalancerPool: 192.168.77.200-192.168.77.210
nodes:
  node1: {{role: control-plane}}
  node2: {{}}
hosts: {{client: {{}}}}
routers: {{router: {{}}}}
switches:
  lan: {{subnet: "192.168.77.0/24,fd00:77::/64"}}
  internet: {{subnet: "203.0.113.0/24,2001:db8:1::/64"}}
links:
  - ends: [router, lan]
  - ends: [node1, lan]
  - ends: [node2, lan]
  - ends: [router, internet]
  - ends: [{{node: client, address: "203.0.113.10/24,2001:db8:1::10/64"}}, internet]
"""

# -- the table: flow × mode. In {braces} is what differs from lab to lab or from mode to mode.

PARTS = {
    "vxlan": {
        "over": "node1 flannel.1, node1 eth0, lan, lan, node2 eth0, node2 flannel.1",
        "back": "node2 flannel.1, node2 eth0, lan, lan, node1 eth0, node1 flannel.1",
    },
    "host-gw": {
        "over": "node1 eth0, lan, lan, node2 eth0",
    },
}
INTO = "client eth0, internet, internet, router eth1, router eth0, lan, lan"
FLANNEL = "flanneld forward"
RULES = {
    "iptables": {
        "dnat": "-j DNAT --to-destination", "masquerade": "KUBE-POSTROUTING", "nobody": "has no endpoints",
        "not here": "has no local endpoints",
    },
    "nftables": {
        "dnat": "dnat to", "masquerade": "masquerading", "nobody": "reject-chain", "not here": "no-endpoint-nodeports",
    },
}  # fmt: skip


@contextmanager
def fault(lab: Traced, kind: str, target: str, **options: str) -> Iterator[None]:
    found = faulting.inject(lab.paths, kind, [target], options)
    try:
        yield
    finally:
        faulting.heal(lab.paths, [found["id"]])


@contextmanager
def dropping(lab: Traced) -> Iterator[None]:
    rule = ("FORWARD", "-d", lab.words["far"], "-p", "tcp", "-m", "tcp", "--dport", "8080", "-j", "DROP")
    lab.on("node1", "iptables", "-I", *rule)
    try:
        yield
    finally:
        lab.on("node1", "iptables", "-D", *rule)


@contextmanager
def small_mtu(lab: Traced) -> Iterator[None]:
    lab.on("node2", "ip", "link", "set", "docker0", "mtu", "1300")
    try:
        yield
    finally:
        lab.on("node2", "ip", "link", "set", "docker0", "mtu", "1450")


def cells(lab: Traced) -> dict[str, Cell]:
    """The cells of a mode in a lab over VXLAN, by their flow; more flows than the table wants are welcome."""
    to_far = ("{dnat} {far}:8080", "default/far")
    return {
        "pod → pod, same node": Cell("call", "near", "call eth0, node1 veth, node1 veth, near eth0", (FLANNEL,)),
        "pod → pod, other node": Cell("call", "far", "call eth0, node1 veth, {there}", (FLANNEL,)),
        "pod → cluster IP, local endpoint": Cell(
            "call", "svc/near", "call eth0, node1 veth, node1 docker0?, node1 veth, near eth0",
            ("{dnat} {near}", "default/near"), ("delivered", NEAR),
        ),
        "pod → cluster IP, remote endpoint": Cell(
            "call", "svc/far", "call eth0, node1 veth, {there}", to_far, ("delivered", FAR)
        ),
        "pod → cluster IP, hairpin": Cell(
            "near", "svc/near", "near eth0, node1 veth, node1 docker0?, node1 veth, near eth0",
            ("{dnat} {near}", "{masquerade}"), ("delivered", NEAR), seen_as="{near bridge}",
        ),
        "pod → node port": Cell(
            "call", "192.168.77.2:{port far}", "call eth0, node1 veth, {there}", (*to_far, "{masquerade}"),
            ("delivered", FAR), seen_as="{leaves}",
        ),
        "outside → node port, policy Cluster": Cell(
            "outside", "192.168.77.2:{port far}", f"{INTO}, node1 eth0, {{over}}, node2 docker0, node2 veth, far eth0",
            (*to_far, "{masquerade}"), ("delivered", FAR), seen_as="{leaves}",
        ),
        "outside → node port, policy Local": Cell(
            "outside", "192.168.77.3:{port local}", f"{INTO}, node2 eth0, node2 docker0, node2 veth, far eth0",
            ("{dnat} {far}:8080", "default/local"), ("delivered", FAR), seen_as="203.0.113.10",
        ),
        "outside → load balancer": Cell(
            "outside", "svc/balanced", f"{INTO}, node2 eth0, node2 docker0, node2 veth, far eth0",
            ("{dnat} {far}:8080", "default/balanced", "{masquerade}"), ("delivered", FAR), seen_as="{far bridge}",
        ),
        "pod → outside": Cell(
            "call", "outside", "call eth0, node1 veth, node1 docker0, node1 eth0, lan, lan, router eth0, router eth1, "
            "internet, internet, client eth0", ("FLANNEL-POSTRTG",), ("delivered", "client"), seen_as="192.168.77.2",
        ),
        "pod → DNS": Cell(
            "call", "svc/kube-system/kube-dns:dns",
            "call eth0, node1 veth, {to dns}, {dns} eth0", ("{dnat}", "kube-system/kube-dns"),
            ("delivered", "{dns}"),
        ),
        "dropped: no endpoint": Cell(
            "call", "svc/empty", "call eth0, node1 veth, node1 docker0",
            ("{nobody}", "the Service default/empty has no ready endpoint"), ("rejected", "node1"),
        ),
        "dropped: policy Local, no endpoint here": Cell(
            "outside", "192.168.77.2:{port local}", f"{INTO}, node1 eth0",
            ("{not here}", "the Service default/local has traffic policy Local"), ("dropped", "node1"),
        ),
        "dropped: a filter's rule": Cell(
            "call", "far:8080", "call eth0, node1 veth, node1 docker0",
            ("iptables filter FORWARD 1", "-j DROP"), ("dropped", "node1"), breaks=partial(dropping, lab),
        ),
        "dropped: cut link": Cell(
            "call", "far", "call eth0, node1 veth, node1 docker0, node1 flannel.1, node1 eth0, lan",
            ("nobody behind lan has the MAC", "the cable of who has it is cut"), ("dropped", "switches"),
            breaks=partial(fault, lab, "link-down", "node2"),
        ),
        "dropped: no forwarding entry": Cell(
            "call", "far", "call eth0, node1 veth, node1 docker0, node1 flannel.1",
            ("no forwarding entry for {vtep}",), ("dropped", "node1"),
            breaks=partial(fault, lab, "wrong-fdb", "node1", peer="node2", to="none"),
        ),
        "dropped: MTU": Cell(
            "call", "far", "call eth0, node1 veth, node1 docker0, {over}",
            ("MTU 1300",), ("rejected", "node2"), {"size": 1400}, breaks=partial(small_mtu, lab),
        ),
        # Machines as ends, datagrams, a closed port, the node's own server, and by IPv6.
        "node → cluster IP": Cell(
            "node1", "svc/far", "{over}, node2 docker0, node2 veth, far eth0", to_far, ("delivered", FAR), seen_as=None
        ),
        "node → pod": Cell("node2", "near", "{back}, node1 docker0, node1 veth, near eth0", (), seen_as=None),
        "pod → node": Cell("call", "node1", "call eth0, node1 veth, node1 docker0", (), ("delivered", "node1")),
        "node → node": Cell("node2", "node1", "node2 eth0, lan, lan, node1 eth0"),
        "pod → the API server": Cell(
            "call", "svc/kubernetes", "call eth0, node1 veth, node1 docker0", ("default/kubernetes",),
            ("delivered", "node1"),
        ),
        "a datagram": Cell(
            "call", "far:8081", "call eth0, node1 veth, {there}", (FLANNEL,), ("delivered", FAR),
            {"protocol": "udp"},
        ),
        "a closed port": Cell(
            "call", "far:9", "call eth0, node1 veth, {there}", ("a reset",), ("refused", FAR), {"protocol": "tcp"}
        ),
        "a closed port, datagram": Cell(
            "call", "far:9", "call eth0, node1 veth, {there}", ("ICMP port unreachable",), ("refused", FAR),
            {"protocol": "udp"},
        ),
        "a big packet in fragments": Cell(
            "call", "outside", "call eth0, node1 veth, node1 docker0, node1 eth0, lan, lan, router eth0, router eth1, "
            "internet, internet, client eth0", ("leaves in fragments",), ("delivered", "client"),
            {"size": 3000, "df": False}, seen_as="192.168.77.2",
        ),
        "IPv6: pod → pod, other node": Cell(
            "call", "far", "call eth0, node1 veth, {there6}", (FLANNEL,), ("delivered", FAR), {"ipv6": True}
        ),
        "IPv6: pod → cluster IP": Cell(
            "call", "svc/far", "call eth0, node1 veth, {there6}", ("{dnat} [{far6}]:8080", "default/far"),
            ("delivered", FAR), {"ipv6": True},
        ),
        "IPv6: dropped: no endpoint": Cell(
            "call", "svc/empty", "call eth0, node1 veth, node1 docker0", ("{nobody}",), ("rejected", "node1"),
            {"ipv6": True},
        ),
        "IPv6: node → node": Cell(
            "node2", "node1", "node2 eth0, lan, lan, node1 eth0", (), ("delivered", "node1"), {"ipv6": True}
        ),
    }  # fmt: skip


HOSTGW = {
    "pod → pod, host-gw": Cell("call", "far", "call eth0, node1 veth, {there}", (FLANNEL,), ("delivered", FAR)),
    "pod → cluster IP, host-gw": Cell(
        "call",
        "svc/far",
        "call eth0, node1 veth, {there}",
        ("{dnat} {far}:8080", "default/far"),
        ("delivered", FAR),
    ),
}


class Traced:
    """A lab, and what its cells are filled with."""

    def __init__(self, user: User, backend: str, overlay: str) -> None:
        self.user = user
        self.paths = LabPaths("traces", user.home / "state/netlab/traces", user.home / "run/netlab/traces")
        services, pods = self.get("services"), self.get("pods", "-A")
        address = {pod["metadata"]["name"]: [one["ip"] for one in pod["status"].get("podIPs", ())] for pod in pods}
        ports = {f"port {one['metadata']['name']}": one["spec"]["ports"][0].get("nodePort") for one in services}
        (dns,) = (pod for pod in pods if pod["metadata"]["name"].startswith("coredns") and pod["status"].get("podIPs"))
        self.words: dict[str, str] = {
            **RULES[backend], **{name: str(port) for name, port in ports.items() if port},
            **{name: found[0] for name, found in address.items() if found},
            **{f"{name}6": found[1] for name, found in address.items() if found},
            **PARTS[overlay], "dns": f"kube-system/{dns['metadata']['name']}",
            **{f"{name} bridge": f"{address[name][0].rpartition('.')[0]}.1" for name in ("near", "far")},
            "leaves": f"{address['near'][0].rpartition('.')[0]}.0" if overlay == "vxlan" else "192.168.77.2",
            "vtep": self.on("node2", "cat", "/sys/class/net/flannel.1/address").strip() if overlay == "vxlan" else "",
        }  # fmt: skip
        self.words["there"] = f"node1 docker0, {self.words['over']}, node2 docker0, node2 veth, far eth0"
        away = dns["spec"]["nodeName"] == "node2"
        self.words["to dns"] = self.words["there"].rpartition(",")[0] if away else "node1 docker0?, node1 veth"
        self.words["there6"] = self.words["there"].replace("flannel.1", "flannel-v6.1")

    def get(self, *words: str) -> list[dict[str, Any]]:
        done = self.user.kubectl("get", *words, "-o", "json", lab="traces")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return found

    def on(self, machine: str, *command: str) -> str:
        return looking.text(self.paths, command, machine)

    def trace(self, source: str, target: str, **options: Any) -> Report:
        return tracing.trace(self.paths, tracing.Asked(source, target, **options))


def start(user: User, directory: Path, mode: str, overlay: str) -> Traced:
    """A lab with the pods and Services of the table."""
    proxy, _, backend = mode.partition(", ")
    if backend == "legacy" and not features.has("iptables_legacy"):
        pytest.skip("this kernel has no legacy tables")
    file = directory / "traces.yaml"
    file.write_text(TOPOLOGY.format(mode=proxy, overlay=overlay))
    up = replace(user, prefix=without_legacy(directory) if backend == "nft" else ()).klab("up", str(file))
    assert up.returncode == 0, up.stderr
    objects = "".join(POD.format(name=name, node=node) for name, node in PODS)
    objects += "".join(SERVICE.format(name=n, type=t, selector=s, more=m) for n, t, s, m in SERVICES)
    (directory / "objects.yaml").write_text(objects)
    applied = user.kubectl("apply", "-f", str(directory / "objects.yaml"), lab="traces")
    assert applied.returncode == 0, applied.stderr
    scaled = user.kubectl("scale", "-n", "kube-system", "deployment", "coredns", "--replicas=1", lab="traces")
    assert scaled.returncode == 0, scaled.stderr
    ready = user.run(
        "kubectl", f"--kubeconfig={user.home}/state/netlab/traces/kubeconfig", "wait", "pod",
        *(name for name, _ in PODS), "--for=condition=Ready", "--timeout=90s", timeout=120,
    )  # fmt: skip
    assert ready.returncode == 0, picture(user)
    one = (
        "get",
        "deployment",
        "-n",
        "kube-system",
        "coredns",
        "-o=jsonpath={.status.replicas} {.status.readyReplicas}",
    )
    until("there is one DNS pod", lambda: user.kubectl(*one, lab="traces").stdout == "1 1")
    pods = ("get", "pods", "-n", "kube-system", "-o=name")
    until("the other has gone", lambda: user.kubectl(*pods, lab="traces").stdout.count("coredns") == 1)
    lab = Traced(user, proxy, overlay)
    if backend:
        assert f"({'nf_tables' if backend == 'nft' else backend})" in lab.on("node1", "iptables", "--version")
    until("the Services are on the nodes", lambda: _answers(lab), 60)
    return lab


def _answers(lab: Traced) -> bool:
    """Computed from the nodes' rules."""
    for source, target in (
        ("outside", "svc/balanced"),
        *((pod, f"svc/{to}") for pod in ("call", "far") for to in ("both", DNS)),
    ):
        try:
            found = lab.trace(source, target, mode="predict").predicted
        except LabError:  # the load balancer has no address yet
            return False
        if len(found) != (3 if target == "svc/both" else 1) or any(one.verdict.kind != "delivered" for one in found):
            return False
    return True


def fill(lab: Traced, table: dict[str, Cell]) -> None:
    """Every cell is asked; all that is wrong is said at once."""
    failed = []
    for name, empty in table.items():
        cell = filled(empty, lab.words)
        with cell.breaks() if cell.breaks else contextlib.nullcontext():
            found = lab.trace(cell.source, cell.target, **(cell.options or {}))
        if cell.breaks:
            until(f"it is well again after: {name}", lambda cell=cell: _well(lab, cell))  # type: ignore[misc]
        assert found.observed is not None
        failed += [f"{name}: {one}" for one in wrong(cell, found.observed, found.difference, found.error)]
    assert not failed, "\n".join(failed)


def _well(lab: Traced, cell: Cell) -> bool:
    found = lab.trace(cell.source, cell.target).observed
    return found is not None and found.verdict.kind == "delivered"


def without_legacy(directory: Path) -> tuple[str, ...]:
    """Goes before a command that shall find no iptables-legacy, in a mount namespace of its own."""
    nothing = directory / "nothing"
    nothing.write_text("#!/bin/sh\nexit 1\n")
    nothing.chmod(0o755)
    hide = f'mount --bind {nothing} "$(readlink -f "$(command -v iptables-legacy)")" && exec "$@"'
    return ("unshare", "--mount", *(() if os.getuid() == 0 else ("--map-root-user",)), "sh", "-c", hide, "sh")


def outputs(lab: Traced, directory: Path) -> None:
    capture, image, page = (directory / name for name in ("way.pcapng", "way.svg", "way.html"))
    text = lab.user.klab("trace", NEAR, "svc/far", "-v", "-w", str(capture), "--svg", str(image), "--html", str(page))
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
    request = lab.user.klab("trace", NEAR, "--http", "http://far/hostname", "-o", "json")
    assert request.returncode == 0, request.stderr
    assert len(json.loads(request.stdout)["exchange"]) >= 5, "handshake, request, answer"
    computed = lab.user.klab("trace", NEAR, "svc/both", "--predict", "-o", "json")
    shares = [one["share"] for one in json.loads(computed.stdout)["predicted"]]
    assert (len(shares), round(sum(shares), 6)) == (3, 1.0)
    for refusal in (
        (NEAR, "svc/fra"),
        ("nera", "far"),
        (NEAR, "svc/far:1"),
        (NEAR, "no.such.name"),
        ("outside", "far.default"),
        (NEAR, "far:http"),
    ):
        refused = lab.user.klab("trace", *refusal)
        assert refused.returncode in (1, 2), refusal
        one_sentence(refused.stderr)
    _live(lab, directory)


def _live(lab: Traced, directory: Path) -> None:
    """Follows what a machine sends by itself."""
    command = [*lab.user.klab_command, "trace", "node1", "far:8080", "--live", "-o", "json"]
    told = directory / "live.json"
    with told.open("w") as file, subprocess.Popen(command, stdout=file, env=lab.user.environment, cwd="/") as process:
        while process.poll() is None:
            lab.on("node1", sys.executable, "-c", CONNECT, lab.words["far"])
            time.sleep(0.2)
    found = json.loads(told.read_text())
    assert found["difference"] is None, found["difference"]
    assert (found["observed"]["verdict"]["place"], found["observed"]["flow"]["dport"]) == (FAR, 8080)


CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 8080), 5).close()"


def assert_nothing_left(lab: Traced) -> None:
    for machine in ("node1", "node2"):
        assert "klab-trace" not in lab.on(machine, "nft", "list", "tables")
        assert lab.on(machine, "cat", "/proc/sys/net/netfilter/nf_log/2").strip() != "nfnetlink_log"


def test_no_cell_is_missing() -> None:
    """Each flow has a cell; all of a table are asked in every mode (IPVS: tests/vm/test_vm_trace.py)."""
    tables = {**cells(Traced.__new__(Traced)), **HOSTGW}
    assert [flow for flow in FLOWS if flow not in tables] == []


HERE = [mode for mode in MODES if mode != "ipvs"]


@pytest.mark.parametrize("mode", HERE)
def test_every_cell(caller: User, tmp_path: Path, mode: str) -> None:
    lab = start(caller, tmp_path, mode, "vxlan")
    fill(lab, cells(lab))
    if mode == HERE[0]:
        outputs(lab, tmp_path)
    assert_nothing_left(lab)


@pytest.mark.parametrize("mode", HERE)
def test_every_cell_of_hostgw(caller: User, tmp_path: Path, mode: str) -> None:
    lab = start(caller, tmp_path, mode, "host-gw")
    fill(lab, HOSTGW)
