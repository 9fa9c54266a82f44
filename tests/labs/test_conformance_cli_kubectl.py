"""cli's conformance names: kubectl against the lab (test/e2e/kubectl)."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from tests.labs.conformance_tools import items, pause, pod
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import AGNHOST, LAB, Obj, Space, kubectl

pytestmark = pytest.mark.timeout(300)
K = "Kubectl client "
HTTPD, NAUTILUS = "registry.k8s.io/e2e-test-images/httpd:2.4.38-4", AGNHOST


def _feed(ns: Space, body: Any, *arguments: str, code: int = 0) -> str:
    """kubectl in the namespace with objects at its standard input: what it said."""
    config = ns.user.home / "state" / "netlab" / LAB / "kubeconfig"
    command = ["kubectl", f"--kubeconfig={config}", f"--namespace={ns.name}", *arguments]
    text = body if isinstance(body, str) else yaml.safe_dump_all(body)
    done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=90, env=ns.user.environment,
                          check=False)  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout


def _do(ns: Space, *arguments: str) -> str:
    done = kubectl(ns.user, f"--namespace={ns.name}", *arguments, timeout=90)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def _controller(name: str, replicas: int, container: Obj, labels: Obj) -> Obj:
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}
    spec = {"replicas": replicas, "selector": labels, "template": template}
    return {"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": name, "labels": labels},
            "spec": spec}  # fmt: skip


PRIMARY = {"app": "agnhost", "role": "primary"}


def _primary(ns: Space) -> str:
    """The controller and Service agnhost-primary; the name of its running pod."""
    container = {"name": "agnhost-primary", "image": AGNHOST, "args": ["serve-hostname", "--port=6379"],
                 "ports": [{"name": "agnhost-server", "containerPort": 6379}]}  # fmt: skip
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "agnhost-primary", "labels": PRIMARY},
               "spec": {"selector": PRIMARY, "ports": [{"port": 6379, "targetPort": "agnhost-server"}]}}  # fmt: skip
    _feed(ns, [_controller("agnhost-primary", 1, container, PRIMARY), service], "create", "-f", "-")
    return _running(ns, "app%3Dagnhost", 1)[0]


def _running(ns: Space, selector: str, count: int) -> list[str]:
    found: list[Obj] = []

    def ready() -> bool:
        found[:] = [one for one in items(ns.api, f"{ns.path('pods')}?labelSelector={selector}")
                    if "deletionTimestamp" not in one["metadata"]]  # fmt: skip
        return len(found) == count and all(one["status"].get("phase") == "Running" for one in found)

    ns.wait(f"{count} running pods {selector}", ready)
    return [one["metadata"]["name"] for one in found]


# -- guestbook, update demo


def _guestbook() -> list[Obj]:
    objects: list[Obj] = []
    for name, replicas, arguments, port, role in (
        ("frontend", 3, ["guestbook", "--backend-port", "6379"], 80, {"app": "guestbook", "tier": "frontend"}),
        ("agnhost-primary", 1, ["guestbook", "--http-port", "6379"], 6379, {**PRIMARY, "tier": "backend"}),
        ("agnhost-replica", 2, ["guestbook", "--replicaof", "agnhost-primary", "--http-port", "6379"], 6379,
         {"app": "agnhost", "role": "replica", "tier": "backend"}),
    ):  # fmt: skip
        objects.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": role},
                        "spec": {"selector": role, "ports": [{"port": port}]}})  # fmt: skip
        container = {"name": name, "image": AGNHOST, "args": arguments, "ports": [{"containerPort": port}],
                     "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}}}  # fmt: skip
        pods = {"terminationGracePeriodSeconds": 0, "containers": [container]}
        spec = {"replicas": replicas, "selector": {"matchLabels": role},
                "template": {"metadata": {"labels": role}, "spec": pods}}  # fmt: skip
        objects.append({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})
    return objects


@conformance(K + "Guestbook application should create and stop a working application")
def test_guestbook(space: Space) -> None:  # noqa: F811
    for one in _guestbook():
        _feed(space, [one], "create", "-f", "-")
    _running(space, "app%3Dguestbook,tier%3Dfrontend", 3)
    _running(space, "app%3Dagnhost", 3)

    def asks(query: str, wanted: str) -> None:
        path = space.path("services", f"frontend/proxy/guestbook?{query}")
        space.wait(f"{query} answers {wanted}", lambda: _answers(space, path) == wanted)

    asks("cmd=get&key=messages&value=", '{"data":""}')
    asks("cmd=set&key=messages&value=TestEntry", '{"message":"Updated"}')
    asks("cmd=get&key=messages&value=", '{"data":"TestEntry"}')
    _feed(space, _guestbook(), "delete", "--grace-period=0", "--force", "-f", "-")
    space.wait("no pods", lambda: not items(space.api, space.path("pods")))


def _answers(ns: Space, path: str) -> str:
    try:
        return ns.api.text(path)
    except Exception:
        return ""


def _nautilus(replicas: int) -> Obj:
    container = {"name": "update-demo", "image": NAUTILUS, "args": ["netexec", "--http-port=80", "--udp-port=-1"],
                 "ports": [{"containerPort": 80, "protocol": "TCP"}]}  # fmt: skip
    return _controller("update-demo-nautilus", replicas, container, {"name": "update-demo", "version": "nautilus"})


RUNNING = (
    '--template={{if (exists . "status" "containerStatuses")}}{{range .status.containerStatuses}}'
    '{{if (and (eq .name "update-demo") (exists . "state" "running"))}}true{{end}}{{end}}{{end}}'
)


def _demo(ns: Space, replicas: int) -> None:
    """So many pods run and answer, as kubectl's templates say."""
    template = "--template={{range.items}}{{.metadata.name}} {{end}}"

    def holds() -> bool:
        listed = _do(ns, "get", "pods", "-o", "template", template, "-l", "name=update-demo").split()
        if len(listed) != replicas:
            return False
        running = all(_do(ns, "get", "pods", name, "-o", "template", RUNNING) == "true" for name in listed)
        return running and all(_answers(ns, ns.path("pods", f"{name}:80/proxy/hostname")) == name for name in listed)

    ns.wait(f"{replicas} pods of the demo", holds)


@conformance(K + "Update Demo should create and stop a replication controller")
def test_demo(space: Space) -> None:  # noqa: F811
    _feed(space, [_nautilus(2)], "create", "-f", "-")
    _demo(space, 2)
    _feed(space, [_nautilus(2)], "delete", "--grace-period=0", "--force", "-f", "-")
    space.wait("nothing is left", lambda: not _do(space, "get", "rc,svc", "-l", "name=update-demo", "--no-headers"))
    space.wait("no pods", lambda: not items(space.api, space.path("pods")))


@conformance(K + "Update Demo should scale a replication controller")
def test_scale(space: Space) -> None:  # noqa: F811
    _feed(space, [_nautilus(2)], "create", "-f", "-")
    _demo(space, 2)
    for replicas in (1, 2):
        _do(space, "scale", "rc", "update-demo-nautilus", f"--replicas={replicas}", "--timeout=5m")
        _demo(space, replicas)


# -- single verbs


@conformance(K + "Kubectl api-versions should check if v1 is in available api versions")
def test_versions(space: Space) -> None:  # noqa: F811
    assert "v1" in _do(space, "api-versions").split()


@conformance(K + "Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info")
def test_cluster_info(space: Space) -> None:  # noqa: F811
    text = re.sub(r"\x1b\[[0-9;]*m", "", _do(space, "cluster-info"))
    assert "Kubernetes control plane" in text
    assert "is running at" in text


@conformance(K + "Kubectl version should check is all data is printed")
def test_version(space: Space) -> None:  # noqa: F811
    text = _do(space, "version")
    for item in ("Client Version", "Server Version"):
        assert item in text


@conformance(K + "Kubectl describe should check if kubectl describe prints relevant information for rc and pods")
def test_describe(space: Space) -> None:  # noqa: F811
    name = _primary(space)
    found = space.api.get(space.path("pods", name))

    def says(*rows: tuple[str, ...], of: tuple[str, ...]) -> None:
        lines = _do(space, "describe", *of).splitlines()
        for row in rows:
            assert any(all(word in line for word in row) for line in lines), (row, lines)

    says(("Name:", name), ("Namespace:", space.name), ("Node:", found["spec"]["nodeName"]), ("Labels:", "app=agnhost"),
         ("role=primary",), ("Annotations:",), ("Status:", "Running"), ("IP:", found["status"]["podIP"]),
         ("Controlled By:", "ReplicationController/agnhost-primary"), ("Image:", AGNHOST), ("State:", "Running"),
         ("QoS Class:", "BestEffort"), of=("pod", name))  # fmt: skip
    says(("Name:", "agnhost-primary"), ("Namespace:", space.name), ("Selector:", "app=agnhost,role=primary"),
         ("Labels:", "app=agnhost"), ("role=primary",), ("Annotations:",),
         ("Replicas:", "1 current", "1 desired"), ("Pods Status:", "1 Running", "0 Waiting", "0 Succeeded", "0 Failed"),
         ("Pod Template:",), ("Image:", AGNHOST), ("Events:",), of=("rc", "agnhost-primary"))  # fmt: skip
    says(("Name:", "agnhost-primary"), ("Namespace:", space.name), ("Labels:", "app=agnhost"), ("Annotations:",),
         ("Selector:", "app=agnhost", "role=primary"), ("Type:", "ClusterIP"), ("IP:",),
         ("Port:", "<unset>", "6379/TCP"),
         ("Endpoints:",), ("Session Affinity:", "None"), of=("service", "agnhost-primary"))  # fmt: skip
    node = found["spec"]["nodeName"]
    says(("Name:", node), ("Labels:",), ("Annotations:",), ("CreationTimestamp:",), ("Conditions:",),
         ("Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"), ("Addresses:",),
         ("Capacity:",), ("Kubelet Version:",), ("Pods:",), of=("node", node))  # fmt: skip
    says(("Name:", space.name), ("Labels:",), ("Annotations:",), ("Status:", "Active"), of=("namespace", space.name))


@conformance(K + "Kubectl diff should check if kubectl diff finds a difference for Deployments")
def test_diff(space: Space) -> None:  # noqa: F811
    labels = {"app": "httpd"}

    def deployment(image: str) -> list[Obj]:
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "httpd", "image": image}]}}
        return [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "httpd-deployment"},
                 "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}}]  # fmt: skip

    _feed(space, deployment("registry.k8s.io/e2e-test-images/httpd:2.4.38-4"), "create", "-f", "-")
    said = _feed(space, deployment("registry.k8s.io/e2e-test-images/httpd:2.4.39-4"), "diff", "-f", "-", code=1)
    for text in ("httpd:2.4.38-4", "httpd:2.4.39-4"):
        assert text in said
    assert said.count("httpd:2.4.39-4") == 1


@conformance(K + "Kubectl expose should create services for rc")
def test_expose(space: Space) -> None:  # noqa: F811
    _primary(space)

    def points(name: str, port: int) -> None:
        service = space.api.get(space.path("services", name))
        assert [one["port"] for one in service["spec"]["ports"]] == [port]
        space.wait(f"endpoints of {name}", lambda: list(space.endpoints(name).values()) == [{6379}])

    _do(space, "expose", "rc", "agnhost-primary", "--name=rm2", "--port=1234", "--target-port=6379")
    points("rm2", 1234)
    _do(space, "expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=6379")
    points("rm3", 2345)


@conformance(K + "Kubectl label should update the label on a resource")
def test_label(space: Space) -> None:  # noqa: F811
    _feed(space, [{"apiVersion": "v1", "kind": "Pod", **pod(pause(), name="pause")}], "create", "-f", "-")
    space.ready("pause")
    _do(space, "label", "pods", "pause", "testing-label=testing-label-value")
    assert "testing-label-value" in _do(space, "get", "pod", "pause", "-L", "testing-label")
    _do(space, "label", "pods", "pause", "testing-label-")
    assert "testing-label-value" not in _do(space, "get", "pod", "pause", "-L", "testing-label")


@conformance(K + "Kubectl patch should add annotations for pods in rc")
def test_patch(space: Space) -> None:  # noqa: F811
    name = _primary(space)
    _do(space, "patch", "pod", name, "-p", '{"metadata":{"annotations":{"x":"y"}}}')
    assert space.api.get(space.path("pods", name))["metadata"]["annotations"]["x"] == "y"


def _run_httpd(ns: Space) -> None:
    _do(ns, "run", "e2e-test-httpd-pod", f"--image={HTTPD}", "--labels=run=e2e-test-httpd-pod",
        "--pod-running-timeout=2m0s", "--restart=Never")  # fmt: skip


@conformance(K + "Kubectl run pod should create a pod from an image when restart is Never")
def test_run(space: Space) -> None:  # noqa: F811
    _run_httpd(space)
    spec = space.api.get(space.path("pods", "e2e-test-httpd-pod"))["spec"]
    assert [one["image"] for one in spec["containers"]] == [HTTPD]
    assert spec["restartPolicy"] == "Never"


@conformance(K + "Kubectl replace should update a single-container pod's image")
def test_replace(space: Space) -> None:  # noqa: F811
    _run_httpd(space)
    _running(space, "run%3De2e-test-httpd-pod", 1)
    body = json.loads(_do(space, "get", "pod", "e2e-test-httpd-pod", "-o", "json"))
    busybox = "registry.k8s.io/e2e-test-images/busybox:1.36.1-1"
    body["spec"]["containers"][0]["image"] = busybox
    _feed(space, json.dumps(body), "replace", "-f", "-")
    spec = space.api.get(space.path("pods", "e2e-test-httpd-pod"))["spec"]
    assert [one["image"] for one in spec["containers"]] == [busybox]


@conformance(K + "Kubectl server-side dry-run should check if kubectl can dry-run update Pods")
def test_dry_run(space: Space) -> None:  # noqa: F811
    _run_httpd(space)
    patch = {"spec": {"containers": [{"name": "e2e-test-httpd-pod", "image": "registry.k8s.io/busybox:1.29"}]}}
    _do(space, "patch", "pod", "e2e-test-httpd-pod", "-p", json.dumps(patch), "--dry-run=server")
    spec = space.api.get(space.path("pods", "e2e-test-httpd-pod"))["spec"]
    assert [one["image"] for one in spec["containers"]] == [HTTPD]


@conformance("Kubectl logs logs should be able to retrieve and filter logs")
def test_logs(space: Space) -> None:  # noqa: F811
    name = "logs-generator"
    _do(space, "run", name, f"--image={AGNHOST}", "--restart=Never", "--", name, "--log-lines-total", "100",
        "--run-duration", "20s")  # fmt: skip
    space.wait("a line", lambda: "/api/v1/namespaces" in _logs(space, name))
    assert len(_logs(space, name, "--tail=1").strip().splitlines()) == 1
    assert len(_logs(space, name, "--limit-bytes=1")) == 1
    (line,) = _logs(space, name, "--tail=1", "--timestamps").strip().splitlines()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d) ", line)
    time.sleep(2.5)
    recent, all_of_it = (len(_logs(space, name, f"--since={age}").splitlines()) for age in ("1s", "24h"))
    assert recent < all_of_it


def _logs(ns: Space, name: str, *arguments: str) -> str:
    return _do(ns, "logs", name, name, *arguments)


# -- proxy


@contextmanager
def _proxy(ns: Space, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    config = ns.user.home / "state" / "netlab" / LAB / "kubeconfig"
    command = ["kubectl", f"--kubeconfig={config}", "proxy", *arguments]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ns.user.environment)
    try:
        yield started
    finally:
        os.kill(started.pid, signal.SIGTERM)
        started.wait(30)
        if started.stdout is not None:
            started.stdout.close()


def _get(sock: socket.socket, path: str) -> str:
    with sock:
        sock.settimeout(30)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while part := sock.recv(65536):
            data += part
    return data.decode()


@conformance(K + "Proxy server should support proxy with --port 0")
def test_proxy(space: Space) -> None:  # noqa: F811
    with _proxy(space, "-p", "0", "--disable-filter") as started:
        assert started.stdout is not None
        found = re.search(r"Starting to serve on 127\.0\.0\.1:(\d+)", started.stdout.readline())
        assert found
        text = _get(socket.create_connection(("127.0.0.1", int(found[1]))), "/api/")
    assert "APIVersions" in text


@conformance(K + "Proxy server should support --unix-socket=/path")
def test_unix_proxy(space: Space) -> None:  # noqa: F811
    path = str(space.user.home / "proxy.sock")
    with _proxy(space, f"--unix-socket={path}") as started:
        assert started.stdout is not None
        assert "Starting to serve on" in started.stdout.readline()
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        text = _get(sock, "/api/")
    assert "APIVersions" in text
