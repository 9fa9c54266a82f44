"""sig-network's conformance names about Services, as upstream's test/e2e/network/service.go tests them."""

from __future__ import annotations

import time

import pytest

from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Obj, Space, kubectl, watch

pytestmark = pytest.mark.timeout(300)

BACKENDS = 3


def _nodes(ns: Space) -> dict[str, str]:
    """Addresses of the nodes that take pods."""
    found = {}
    for node in ns.api.get("/api/v1/nodes")["items"]:
        if not node["spec"].get("taints"):
            found[node["metadata"]["name"]] = node["status"]["addresses"][0]["address"]
    return found


def _controller(ns: Space, name: str, count: int, *arguments: str, port: int = 9376, wait: bool = True) -> set[str]:
    """A ReplicationController of agnhost pods labelled `name`; their names."""
    pod = {
        "metadata": {"labels": {"name": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": name, "image": "registry.k8s.io/e2e-test-images/agnhost:2.53", "args": list(arguments),
                 "ports": [{"containerPort": port}]}
            ],
        },
    }  # fmt: skip
    spec = {"replicas": count, "selector": {"name": name}, "template": pod}
    ns.create("replicationcontrollers", {"metadata": {"name": name}, "spec": spec})

    def running() -> bool:
        return len(_names(ns, name)) == count

    ns.wait(f"{count} pods of {name}", running)
    return _names(ns, name)


def _names(ns: Space, label: str) -> set[str]:
    pods = ns.api.get(ns.path("pods") + f"?labelSelector=name%3D{label}")["items"]
    ready = [one for one in pods if any(c["type"] == "Ready" and c["status"] == "True"
                                        for c in one.get("status", {}).get("conditions") or ())]  # fmt: skip
    return {one["metadata"]["name"] for one in ready}


def _all_answer(ns: Space, pod: str, url: str, names: set[str]) -> None:
    """Every backend answers, and nobody else, in the end."""
    ns.wait(f"{url} answered by all of {names}", lambda: set(ns.backends(pod, url, 20)) == names)


@conformance("Services should provide secure master service")
def test_master(space: Space) -> None:  # noqa: F811
    found = space.api.get("/api/v1/namespaces/default/services/kubernetes")
    assert [port["port"] for port in found["spec"]["ports"]] == [443]


@conformance("Services should find a service from listing all namespaces")
def test_listing(space: Space) -> None:  # noqa: F811
    listed = space.api.get("/api/v1/services")["items"]
    assert ("default", "kubernetes") in {(s["metadata"]["namespace"], s["metadata"]["name"]) for s in listed}


@conformance("Services should serve a basic endpoint from pods")
def test_basic(space: Space) -> None:  # noqa: F811
    labels = {"testid": "basic"}
    space.service("endpoint-test2", [{"port": 80, "targetPort": 80}], labels)
    space.wait_endpoints("endpoint-test2", {})
    arguments = ("netexec", "--http-port", "80")
    ports = [{"containerPort": 80}]
    execpod = space.exec_pod()
    space.pod("pod1", *arguments, labels=labels, ports=ports)
    space.wait_endpoints("endpoint-test2", {"pod1": {80}})
    space.wait("pod1 answers", lambda: space.reaches(execpod, "endpoint-test2", 80))
    space.pod("pod2", *arguments, labels=labels, ports=ports)
    space.wait_endpoints("endpoint-test2", {"pod1": {80}, "pod2": {80}})
    _all_answer(space, execpod, "http://endpoint-test2/hostname", {"pod1", "pod2"})
    space.delete("pods", "pod1")
    space.wait_endpoints("endpoint-test2", {"pod2": {80}})
    _all_answer(space, execpod, "http://endpoint-test2/hostname", {"pod2"})
    space.delete("pods", "pod2")
    space.wait_endpoints("endpoint-test2", {})


@conformance("Services should serve multiport endpoints from pods")
def test_multiport(space: Space) -> None:  # noqa: F811
    labels = {"foo": "bar"}
    ports = [{"name": "portname1", "port": 80, "targetPort": "svc1"},
             {"name": "portname2", "port": 81, "targetPort": "svc2"}]  # fmt: skip
    space.service("multi-endpoint-test", ports, labels)
    space.wait_endpoints("multi-endpoint-test", {})
    execpod = space.exec_pod()
    space.pod("pod1", "netexec", "--http-port", "100", labels=labels, ports=[{"name": "svc1", "containerPort": 100}])
    space.wait_endpoints("multi-endpoint-test", {"pod1": {100}})
    space.pod("pod2", "netexec", "--http-port", "101", labels=labels, ports=[{"name": "svc2", "containerPort": 101}])
    space.wait_endpoints("multi-endpoint-test", {"pod1": {100}, "pod2": {101}})
    for port, pod in ((80, "pod1"), (81, "pod2")):
        _all_answer(space, execpod, f"http://multi-endpoint-test:{port}/hostname", {pod})
    space.delete("pods", "pod1")
    space.wait_endpoints("multi-endpoint-test", {"pod2": {101}})
    space.delete("pods", "pod2")
    space.wait_endpoints("multi-endpoint-test", {})


@conformance("Services should serve endpoints on same port and different protocols")
def test_protocols(space: Space) -> None:  # noqa: F811
    labels = {"app": "multiprotocol"}
    both = [{"name": f"portname{i}", "port": 80, "protocol": p} for i, p in ((1, "TCP"), (2, "UDP"))]
    service = space.service("multiprotocol-test", both, labels)
    address = service["spec"]["clusterIP"]
    ports = [{"name": f"cont{p.lower()}", "containerPort": 80, "protocol": p} for p in ("TCP", "UDP")]
    space.pod("pod1", "netexec", "--http-port=80", "--udp-port=80", labels=labels, ports=ports)
    space.wait_endpoints("multiprotocol-test", {"pod1": {80}})
    execpod = space.exec_pod()

    def answers(tcp: bool, udp: bool) -> None:
        space.wait(
            f"TCP {tcp} and UDP {udp}",
            lambda: [space.reaches(execpod, address, 80, p) for p in ("tcp", "udp")] == [tcp, udp],
        )

    answers(True, True)
    space.change_service("multiprotocol-test", ports=both[:1])
    answers(True, False)
    space.change_service("multiprotocol-test", ports=both[1:])
    answers(False, True)


@conformance("Services should be able to create a functioning NodePort service")
def test_node_port(space: Space) -> None:  # noqa: F811
    ports = [{"port": 80, "targetPort": 9376, "protocol": "TCP"}]
    service = space.service("nodeport-test", ports, {"name": "nodeport-test"}, type="NodePort")
    pods = _controller(space, "nodeport-test", 2, "serve-hostname")
    execpod = space.exec_pod()
    _reachable_everywhere(space, execpod, service, pods)


def _reachable_everywhere(ns: Space, pod: str, service: Obj, names: set[str]) -> None:
    """By its name, its cluster IP, and its node port on every node."""
    spec, port = service["spec"], service["spec"]["ports"][0]
    where = [f"{service['metadata']['name']}:{port['port']}", f"{spec['clusterIP']}:{port['port']}"]
    if "nodePort" in port:
        where += [f"{address}:{port['nodePort']}" for address in _nodes(ns).values()]
    for one in where:
        _all_answer(ns, pod, f"http://{one}/", names)


@conformance("Services should be able to change the type from ExternalName to ClusterIP")
def test_external_to_cluster(space: Space) -> None:  # noqa: F811
    _external_to(space, "ClusterIP")


@conformance("Services should be able to change the type from ExternalName to NodePort")
def test_external_to_node_port(space: Space) -> None:  # noqa: F811
    _external_to(space, "NodePort")


def _external_to(ns: Space, kind: str) -> None:
    name = "externalname-service"
    ns.create("services", {"metadata": {"name": name}, "spec": {"type": "ExternalName", "externalName": "foo.example"}})
    ports = [{"port": 80, "name": "http", "protocol": "TCP", "targetPort": 9376}]
    changed = ns.change_service(name, type=kind, externalName=None, ports=ports, selector={"name": name})
    assert changed["spec"]["clusterIP"]
    pods = _controller(ns, name, 2, "serve-hostname")
    _reachable_everywhere(ns, ns.exec_pod(), changed, pods)


@conformance("Services should be able to change the type from ClusterIP to ExternalName")
def test_cluster_to_external(space: Space) -> None:  # noqa: F811
    _to_external(space, "clusterip-service", "ClusterIP")


@conformance("Services should be able to change the type from NodePort to ExternalName")
def test_node_port_to_external(space: Space) -> None:  # noqa: F811
    _to_external(space, "nodeport-service", "NodePort")


def _to_external(ns: Space, name: str, kind: str) -> None:
    ports = [{"port": 80, "name": "http", "protocol": "TCP", "targetPort": 9376}]
    ns.service(name, ports, {"name": name}, type=kind)
    ns.service("externalsvc", [{"port": 80, "targetPort": 9376}], {"name": "externalsvc"})
    _controller(ns, "externalsvc", 2, "serve-hostname")
    target = f"externalsvc.{ns.name}.svc.cluster.local"

    def change(obj: Obj) -> None:
        obj["spec"]["type"], obj["spec"]["externalName"] = "ExternalName", target
        for gone in ("clusterIP", "clusterIPs"):
            obj["spec"].pop(gone, None)
        for port in obj["spec"]["ports"]:
            port.pop("nodePort", None)

    changed = ns.api.update(ns.path("services", name), change)
    assert not changed["spec"].get("clusterIP")
    execpod = ns.exec_pod()
    full = f"{name}.{ns.name}.svc.cluster.local"
    ns.wait(f"{full} leads to {target}", lambda: target in ns.sh(execpod, f"dig +short {full} CNAME"))
    assert ns.sh(execpod, f"curl -s -m 10 http://{full}/").startswith("externalsvc-")


AFFINITY = {"sessionAffinity": "ClientIP"}


def _affinity(ns: Space, kind: str, switching: bool) -> None:
    """Upstream's execAffinityTestForSessionAffinity…: fifteen requests, one backend; switched off, more than one."""
    name = f"affinity-{kind.lower()}"
    ports = [{"port": 80, "name": "http", "protocol": "TCP", "targetPort": 9376}]
    service = ns.service(name, ports, {"name": name}, type=kind, **({} if switching else AFFINITY))
    pods = _controller(ns, name, BACKENDS, "serve-hostname")
    execpod = ns.exec_pod()
    port = service["spec"]["ports"][0]
    address, number = service["spec"]["clusterIP"], port["port"]
    if kind == "NodePort":
        address, number = next(iter(_nodes(ns).values())), port["nodePort"]
    url = f"http://{address}:{number}/"
    if switching:
        _all_answer(ns, execpod, url, pods)
        ns.change_service(name, **AFFINITY)
    ns.wait("one backend only", lambda: _kept(ns.backends(execpod, url, 15), pods))
    if switching:
        ns.change_service(name, sessionAffinity="None", sessionAffinityConfig=None)
        ns.wait("more than one backend", lambda: len(set(ns.backends(execpod, url, 15))) > 1)


def _kept(answers: list[str], pods: set[str]) -> bool:
    return len(answers) == 15 and len(set(answers)) == 1 and set(answers) <= pods


@conformance("Services should have session affinity work for service with type clusterIP [LinuxOnly]")
def test_affinity_cluster(space: Space) -> None:  # noqa: F811
    _affinity(space, "ClusterIP", False)


@conformance("Services should be able to switch session affinity for service with type clusterIP [LinuxOnly]")
def test_affinity_cluster_switched(space: Space) -> None:  # noqa: F811
    _affinity(space, "ClusterIP", True)


@conformance("Services should have session affinity work for NodePort service [LinuxOnly]")
def test_affinity_node_port(space: Space) -> None:  # noqa: F811
    _affinity(space, "NodePort", False)


@conformance("Services should be able to switch session affinity for NodePort service [LinuxOnly]")
def test_affinity_node_port_switched(space: Space) -> None:  # noqa: F811
    _affinity(space, "NodePort", True)


@conformance("Services should test the lifecycle of an Endpoint")
def test_endpoint_lifecycle(space: Space) -> None:  # noqa: F811
    name, path = "testservice", space.path("endpoints", "testservice")
    query = space.path("endpoints") + "?labelSelector=test-endpoint-static%3Dtrue"
    subsets = [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]
    body: Obj = {"metadata": {"name": name, "labels": {"test-endpoint-static": "true"}}, "subsets": subsets}
    watch(space.api, query, lambda: space.create("endpoints", body), ["ADDED"])
    listed = space.api.get("/api/v1/endpoints?labelSelector=test-endpoint-static%3Dtrue")["items"]
    assert (space.name, name) in {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in listed}

    def update() -> None:
        space.api.update(path, lambda obj: obj["metadata"]["labels"].update({"test-service": "updated"}))

    (event,) = watch(space.api, query, update, ["MODIFIED"])
    assert event["object"]["metadata"]["labels"]["test-service"] == "updated"
    moved = [{"addresses": [{"ip": "10.0.0.25"}], "ports": [{"name": "http-test", "port": 8080}]}]
    patch = {"metadata": {"labels": {"test-service": "patched"}}, "subsets": moved}
    (event,) = watch(space.api, query, lambda: space.api.merge(path, patch), ["MODIFIED"])
    assert event["object"]["subsets"][0]["addresses"][0]["ip"] == "10.0.0.25"
    assert event["object"]["subsets"][0]["ports"][0] == {"name": "http-test", "port": 8080, "protocol": "TCP"}
    watch(space.api, query, lambda: space.api.call("DELETE", query), ["DELETED"])
    assert space.api.gone(path)


@conformance("Services should complete a service status lifecycle")
def test_status_lifecycle(space: Space) -> None:  # noqa: F811
    path = space.path("services", "test-service")
    query = space.path("services") + "?labelSelector=test-service-static%3Dtrue"
    port = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80}
    spec: Obj = {"type": "LoadBalancer", "ports": [port], "loadBalancerClass": "example.com/internal-vip"}
    body: Obj = {"metadata": {"name": "test-service", "labels": {"test-service-static": "true"}}, "spec": spec}
    watch(space.api, query, lambda: space.create("services", body), ["ADDED"])
    assert space.api.get(path + "/status")["status"] == {"loadBalancer": {}}
    ingress = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    patch: Obj = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": ingress}
    (event,) = watch(space.api, query, lambda: space.api.merge(path + "/status", patch), ["MODIFIED"])
    assert event["object"]["metadata"]["annotations"]["patchedstatus"] == "true"
    assert event["object"]["status"]["loadBalancer"]["ingress"][0]["ip"] == "203.0.113.1"
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test",
                 "lastTransitionTime": "2024-01-01T00:00:00Z"}  # fmt: skip

    def update() -> None:
        space.api.update(path + "/status", lambda obj: obj["status"].update(conditions=[condition]))

    (event,) = watch(space.api, query, update, ["MODIFIED"])
    assert event["object"]["status"]["conditions"] == [condition]
    labels: Obj = {"metadata": {"labels": {"test-service": "patched"}}}
    (event,) = watch(space.api, query, lambda: space.api.merge(path, labels), ["MODIFIED"])
    assert event["object"]["metadata"]["labels"]["test-service"] == "patched"
    watch(space.api, query, lambda: space.api.call("DELETE", path), ["DELETED"])
    assert space.api.gone(path)


@conformance("Services should delete a collection of services")
def test_collection(space: Space) -> None:  # noqa: F811
    for name, labels in (("e2e-svc-a", "one"), ("e2e-svc-b", "one"), ("e2e-svc-c", "two")):
        body = {"metadata": {"name": name, "labels": {"e2e-test-service": labels}},
                "spec": {"ports": [{"port": 8001, "name": "http"}]}}  # fmt: skip
        space.create("services", body)
    space.api.call("DELETE", space.path("services") + "?labelSelector=e2e-test-service%3Done")
    left = {one["metadata"]["name"] for one in space.api.get(space.path("services"))["items"]}
    assert left == {"e2e-svc-c"}


@conformance("Service endpoints latency should not be very high")
def test_latency(space: Space) -> None:  # noqa: F811
    """Upstream: 200 Services over one pod, 15 at a time; half within 20 s, 99 of 100 within 50 s."""
    space.pod("svc-latency-rc", "pause", labels={"name": "svc-latency-rc"})
    took = []
    for number in range(200):
        began = time.monotonic()
        space.service(f"latency-svc-{number}", [{"port": 80, "protocol": "TCP"}], {"name": "svc-latency-rc"})
        took.append((f"latency-svc-{number}", began))
    latencies = []
    while took and time.monotonic() - took[0][1] < 50:
        there = {
            one["metadata"]["name"] for one in space.api.get(space.path("endpoints"))["items"] if one.get("subsets")
        }
        latencies += [time.monotonic() - began for name, began in took if name in there]
        took = [(name, began) for name, began in took if name not in there]
    assert not took, f"{len(took)} of 200 Services have no endpoints"
    latencies.sort()
    assert latencies[100] <= 20
    assert latencies[198] <= 50


@conformance("HostPort validates that there is no conflict between pods with same hostPort but different hostIP and "
             "protocol [LinuxOnly]")  # fmt: skip
def test_host_port(space: Space) -> None:  # noqa: F811
    node, address = next(iter(_nodes(space).items()))

    def pod(name: str, host_ip: str, protocol: str) -> None:
        port = {"hostPort": 54323, "containerPort": 8080, "protocol": protocol, "hostIP": host_ip}
        space.pod(name, "netexec", "--http-port=8080", "--udp-port=8080", ports=[port], node=node, probe=True)

    pod("pod1", "127.0.0.1", "TCP")
    pod("pod2", address, "TCP")
    pod("pod3", address, "UDP")
    space.pod("e2e-host-exec", "netexec", "--http-port=18080", "--udp-port=-1", node=node, hostNetwork=True)
    space.wait(
        "pod1 on 127.0.0.1",
        lambda: (
            space.sh("e2e-host-exec", f"curl -s -m 5 --interface {address} http://127.0.0.1:54323/hostname") == "pod1"
        ),
    )
    space.wait(
        "pod2 on the node's address",
        lambda: space.sh("e2e-host-exec", f"curl -s -m 5 http://{address}:54323/hostname") == "pod2",
    )
    query = f"host={address}&port=54323&protocol=udp&request=hostname"
    ask = f"curl -s -m 10 'http://127.0.0.1:18080/dial?{query}'"
    space.wait("pod3 over UDP", lambda: "pod3" in space.sh("e2e-host-exec", ask))
    refused = kubectl(space.user, "get", "pods", "-n", space.name, "-o", "wide")
    assert refused.stdout.count("Running") == 4, refused.stdout
