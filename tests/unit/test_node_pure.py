"""Environment, files, addresses, admission, QoS, probes, log reading: the kubelet's pure parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from node_fakes import pod

from netlab.node.config import AgentConfig, NodeConfig
from netlab.node.kubelet import environment, files
from netlab.node.kubelet.admission import Admission
from netlab.node.kubelet.clock import go_duration, parse, rfc3339, rfc3339_micro, rfc3339_nano
from netlab.node.kubelet.downward import PodFacts, container_field, format_map, pod_field
from netlab.node.kubelet.environment import ConfigError
from netlab.node.kubelet.ipam import ExhaustedError, HostLocal
from netlab.node.kubelet.logs import LogOptions, read_log
from netlab.node.kubelet.podspec import pod_requests, qos_class
from netlab.node.kubelet.probes import Threshold
from netlab.node.kubelet.volumes.atomic import File, write
from netlab.node.overlay import flannel_annotations, node_net
from netlab.node.registration import node_labels, node_object

Obj = dict[str, Any]


class Data:
    def __init__(self, configmaps: Obj | None = None, secrets: Obj | None = None) -> None:
        self.configmaps, self.secrets = configmaps or {}, secrets or {}

    def configmap(self, name: str) -> Mapping[str, str] | None:
        return self.configmaps.get(name)

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        return self.secrets.get(name)


EXPANSIONS = [
    ("plain", "plain"),
    ("$(A)", "1"),
    ("x$(A)y$(B)", "x1y2"),
    ("$(NONE)", "$(NONE)"),
    ("$$(A)", "$(A)"),
    ("$$$(A)", "$1"),
    ("$(A", "$(A"),
    ("$A", "$A"),
    ("100$", "100$"),
    ("$()", "$()"),
]


@pytest.mark.parametrize(("text", "expected"), EXPANSIONS)
def test_expansion(text: str, expected: str) -> None:
    assert environment.expand(text, {"A": "1", "B": "2"}.get) == expected


def facts(**spec: Any) -> PodFacts:
    obj = pod(metadata={"uid": "u", "labels": {"b": "2", "a": 'x"y'}, "annotations": {}}, **spec)
    return PodFacts(obj, "n1", ("192.168.0.2",), ("10.244.1.2",), {"cpu": "4", "memory": "8Gi"})


def test_environment_order_and_sources() -> None:
    container = {
        "name": "c",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}, {"secretRef": {"name": "s"}}],
        "env": [
            {"name": "A", "value": "own"},
            {"name": "B", "value": "$(A)-$(P_K)-$(SVC)-$(LATER)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "OPT", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
            {"name": "LATER", "value": "z"},
        ],
    }
    data = Data({"m": {"K": "v", "bad key": "x"}}, {"s": {"A": b"from secret"}})
    found = environment.build(container, facts(), data, {"SVC": "10.96.0.1", "A": "no"})
    assert found.variables == {
        "P_K": "v",
        "A": "own",
        "B": "own-v-10.96.0.1-$(LATER)",
        "IP": "10.244.1.2",
        "LATER": "z",
        "SVC": "10.96.0.1",
    }
    assert found.invalid == [("ConfigMap default/m", ["bad key"])]


MISSING = [
    ({"configMapKeyRef": {"name": "x", "key": "k"}}, 'configmap "x" not found'),
    ({"secretKeyRef": {"name": "x", "key": "k"}}, 'secret "x" not found'),
    ({"configMapKeyRef": {"name": "m", "key": "k"}}, "couldn't find key k in ConfigMap default/m"),
    ({"secretKeyRef": {"name": "s", "key": "k"}}, "couldn't find key k in Secret default/s"),
]


@pytest.mark.parametrize(("source", "message"), MISSING)
def test_what_is_missing_has_upstreams_words(source: Obj, message: str) -> None:
    container = {"name": "c", "env": [{"name": "A", "valueFrom": source}]}
    with pytest.raises(ConfigError) as caught:
        environment.build(container, facts(), Data({"m": {}}, {"s": {}}), {})
    assert str(caught.value) == message


def test_service_variables() -> None:
    services = [
        {
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]},
        },
        {
            "metadata": {"name": "my-db", "namespace": "x"},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 53, "protocol": "UDP"}]},
        },
        {"metadata": {"name": "headless", "namespace": "x"}, "spec": {"clusterIP": "None", "ports": []}},
    ]
    found = environment.service_variables(services, "x", True)
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1" and found["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert found["MY_DB_PORT"] == "udp://10.96.0.9:53" and found["MY_DB_PORT_53_UDP_PROTO"] == "udp"
    assert not any(name.startswith("HEADLESS") for name in found)
    assert not any(name.startswith("MY_DB") for name in environment.service_variables(services, "x", False))


def test_downward_fields() -> None:
    found = facts()
    assert pod_field(found, "metadata.labels['b']") == "2"
    assert pod_field(found, "metadata.labels") == 'a="x\\"y"\nb="2"'
    assert pod_field(found, "status.hostIPs") == "192.168.0.2"
    assert format_map({"k": "a\nb"}) == 'k="a\\nb"'
    container = {"name": "c", "resources": {"requests": {"cpu": "250m", "memory": "32Mi"}}}
    assert container_field(found, {"resource": "requests.cpu"}, container) == "1"
    assert container_field(found, {"resource": "requests.cpu", "divisor": "1m"}, container) == "250"
    assert container_field(found, {"resource": "requests.memory", "divisor": "1Mi"}, container) == "32"
    assert container_field(found, {"resource": "limits.cpu"}, container) == "4"
    assert container_field(found, {"resource": "limits.memory"}, container) == str(8 << 30)


def test_hosts_file() -> None:
    obj = pod("web-0", subdomain="db", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    text = files.hosts_file(obj, ["10.244.1.2"], "cluster.local")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.244.1.2\tweb-0.db.default.svc.cluster.local\tweb-0\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")
    hosted = files.hosts_file(pod(hostNetwork=True), [], "cluster.local", "127.0.0.1 localhost\n")
    assert hosted == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"


def test_hostnames() -> None:
    assert files.hostname(pod("x" * 70), "cluster.local") == "x" * 63
    named = pod(hostname="h", subdomain="s", setHostnameAsFQDN=True)
    assert files.hostname(named, "cluster.local") == "h.s.default.svc.cluster.local"


NODE_RESOLVER = files.Resolver(("9.9.9.9",), ("example.org",), ())
CLUSTER = "search default.svc.cluster.local svc.cluster.local cluster.local example.org\n"
RESOLVERS = [
    ({}, CLUSTER + "nameserver 10.96.0.10\noptions ndots:5\n"),
    ({"dnsPolicy": "Default"}, "search example.org\nnameserver 9.9.9.9\n"),
    ({"hostNetwork": True}, "search example.org\nnameserver 9.9.9.9\n"),
    (
        {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
        CLUSTER + "nameserver 10.96.0.10\noptions ndots:5\n",
    ),
    (
        {
            "dnsPolicy": "None",
            "dnsConfig": {
                "nameservers": ["1.1.1.1"],
                "searches": ["a.b"],
                "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
            },
        },
        "search a.b\nnameserver 1.1.1.1\noptions ndots:2 edns0\n",
    ),
    (
        {"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}},
        CLUSTER + "nameserver 10.96.0.10\noptions ndots:1\n",
    ),
]


@pytest.mark.parametrize(("spec", "text"), RESOLVERS)
def test_resolv_conf(spec: Obj, text: str) -> None:
    assert files.resolver(pod(**spec), "10.96.0.10", "cluster.local", NODE_RESOLVER).text() == text


def test_addresses_go_round() -> None:
    ipam = HostLocal("10.244.1.0/29")
    assert ipam.gateway == "10.244.1.1"
    assert [ipam.allocate(f"p{i}") for i in range(5)] == [f"10.244.1.{i}" for i in (2, 3, 4, 5, 6)]
    with pytest.raises(ExhaustedError, match=r"no IP addresses available in range set: 10\.244\.1\.1-10\.244\.1\.6"):
        ipam.allocate("more")
    ipam.release("p1")
    ipam.release("p3")
    assert ipam.allocate("a") == "10.244.1.3" and ipam.allocate("b") == "10.244.1.5"
    fresh = HostLocal("10.244.1.0/29")
    assert fresh.reserve("10.244.1.4", "old") and not fresh.reserve("10.244.1.4", "other")
    assert not fresh.reserve("10.9.9.9", "x")
    assert fresh.allocate("new") == "10.244.1.5"


def with_resources(**resources: Obj) -> Obj:
    return {"name": "c", "resources": resources}


QOS = [
    ([with_resources()], "BestEffort"),
    ([with_resources(requests={"cpu": "1"})], "Burstable"),
    ([with_resources(requests={"cpu": "1", "memory": "1Gi"}, limits={"cpu": "1", "memory": "1Gi"})], "Guaranteed"),
    ([with_resources(limits={"cpu": "1", "memory": "1Gi"}), with_resources()], "Burstable"),
    ([with_resources(requests={"cpu": "1", "memory": "1Gi"}, limits={"cpu": "2", "memory": "1Gi"})], "Burstable"),
]


@pytest.mark.parametrize(("containers", "expected"), QOS)
def test_qos(containers: list[Obj], expected: str) -> None:
    assert qos_class({"containers": containers}) == expected


def test_requests_count_init_containers_and_sidecars() -> None:
    def cpu(amount: str, **more: Any) -> Obj:
        return {"name": amount, "resources": {"requests": {"cpu": amount}}, **more}

    spec = {"containers": [cpu("1"), cpu("1")], "initContainers": [cpu("1", restartPolicy="Always"), cpu("4")]}
    assert pod_requests(spec)["cpu"] == 5


ADMISSION = [
    ({"nodeSelector": {"disk": "ssd"}}, "NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
    ({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]}, "NodePorts", "free ports"),
    ({}, "TaintToleration", "node(s) had taints that the pod didn't tolerate"),
]


@pytest.mark.parametrize(("spec", "reason", "text"), ADMISSION)
def test_admission(spec: Obj, reason: str, text: str) -> None:
    admission = Admission({"cpu": "4", "pods": "110"})
    taints = [{"key": "k", "effect": "NoExecute"}] if reason == "TaintToleration" else []
    taken = {"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": "127.0.0.1"}]}]}
    admission.add({"metadata": {"uid": "first"}, "spec": taken})
    node = {"metadata": {"name": "n1", "labels": {}}, "spec": {"taints": taints}}
    obj = pod(metadata={"uid": "u"})
    obj["spec"].update(spec)
    rejection = admission.admit(obj, node)
    assert rejection is not None and rejection.reason == reason and text in rejection.message
    assert rejection.message.startswith(f"Predicate {reason} failed: ")


def test_too_many_pods() -> None:
    admission = Admission({"cpu": "4", "pods": "1"})
    assert admission.admit(pod(metadata={"uid": "a"}), None) is None
    rejection = admission.admit(pod(metadata={"uid": "b"}), None)
    assert rejection is not None and rejection.reason == "OutOfpods"
    assert rejection.message == "Node didn't have enough resource: pods, requested: 1, used: 1, capacity: 1"
    admission.remove("a")
    assert admission.admit(pod(metadata={"uid": "b"}), None) is None


def test_probe_thresholds() -> None:
    threshold = Threshold(success=2, failure=3)
    verdicts = [threshold.add(r) for r in (False, False, True, False, False, False, True, True)]
    assert verdicts == [None, None, None, None, None, False, None, True]


def test_times() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z" and parse("1970-01-01T00:00:01.5Z") == 1.5
    assert parse("2023-11-14T23:13:20+01:00") == 1_700_000_000
    assert rfc3339_nano(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"
    assert rfc3339_micro(1_700_000_000.25) == "2023-11-14T22:13:20.250000Z"
    assert [go_duration(s) for s in (10, 80, 160, 300, 3661)] == ["10s", "1m20s", "2m40s", "5m0s", "1h1m1s"]


def test_atomic_directories(tmp_path: Path) -> None:
    assert write(tmp_path, {"a": File(b"1"), "d/b": File(b"2", 0o600)})
    assert not write(tmp_path, {"a": File(b"1"), "d/b": File(b"2", 0o600)})
    first = (tmp_path / "..data").readlink()
    assert (tmp_path / "a").readlink() == Path("..data/a") and (tmp_path / "d" / "b").read_text() == "2"
    assert write(tmp_path, {"a": File(b"3")})
    assert (tmp_path / "..data").readlink() != first and not (tmp_path / first).exists()
    assert (tmp_path / "a").read_text() == "3" and not (tmp_path / "d").is_symlink()


LOG = (
    "2023-11-14T22:13:20.1Z stdout F one\n"
    "2023-11-14T22:13:21.1Z stderr P tw\n"
    "2023-11-14T22:13:21.2Z stderr F o\n"
    "2023-11-14T22:13:22.1Z stdout F three\n"
)
READS = [
    (LogOptions(), "one\ntwo\nthree\n"),
    (LogOptions(tail=1), "three\n"),
    (LogOptions(tail=0), ""),
    (LogOptions(tail=99), "one\ntwo\nthree\n"),
    (LogOptions(since=1_700_000_002), "three\n"),
    (LogOptions(limit=6), "one\ntw"),
    (LogOptions(stream="stderr"), "two\n"),
    (LogOptions(timestamps=True, tail=1), "2023-11-14T22:13:22.1Z three\n"),
]


@pytest.mark.parametrize(("options", "text"), READS)
async def test_reading_logs(tmp_path: Path, options: LogOptions, text: str) -> None:
    path = tmp_path / "0.log"
    path.write_text(LOG)
    assert b"".join([piece async for piece in read_log(path, options, lambda: False)]).decode() == text


async def test_following_a_log(tmp_path: Path) -> None:
    import asyncio

    path, alive, seen = tmp_path / "0.log", True, []

    async def follow() -> None:
        seen.extend([piece async for piece in read_log(path, LogOptions(follow=True), lambda: alive)])

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.01)
    path.write_text(LOG)
    await asyncio.sleep(0.05)
    alive = False
    with path.open("a") as file:
        file.write("2023-11-14T22:13:23.1Z stdout F last\n")
    await asyncio.wait_for(task, 5)
    assert b"".join(seen) == b"one\ntwo\nthree\nlast\n"


def test_a_node_registers_as_upstream_has_it() -> None:
    config = NodeConfig("m", "192.168.0.2", "m", "", "", "", "", control_plane=True, labels={"zone": "a"})
    node = node_object(config, flannel_annotations(config, "vxlan"), [], "2023-11-14T22:13:20Z")
    assert node_labels(config)["kubernetes.io/hostname"] == "m" and node_labels(config)["zone"] == "a"
    # NodeRestriction: this one is the administrator's to set
    assert "node-role.kubernetes.io/control-plane" not in node["metadata"]["labels"]
    assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "192.168.0.2"}
    ready = node["status"]["conditions"][-1]
    assert ready["type"] == "Ready" and ready["reason"] == "KubeletNotReady"
    notes = node["metadata"]["annotations"]
    assert notes["flannel.alpha.coreos.com/public-ip"] == "192.168.0.2"
    node["spec"]["podCIDR"] = "10.244.0.0/24"
    net = node_net(node, "vxlan")
    assert net is not None and net.mac in notes["flannel.alpha.coreos.com/backend-data"]
    assert node_net(node, "host-gw") is None


def test_the_agents_configuration_crosses_a_fork_as_json() -> None:
    import json

    node = NodeConfig("n", "1.2.3.4", "n", "", "", "", "", taints=({"key": "k", "effect": "NoSchedule"},))
    config = AgentConfig((node,), "/pods", overlay="host-gw")
    assert AgentConfig.from_obj(json.loads(json.dumps(config.to_obj()))) == config
