"""sig-network's conformance names about pods that talk to each other, and about the API server's proxy.

Also here: that no name of the list is without a test.
"""

from __future__ import annotations

import pytest

from tests.labs import (
    test_sig_network_api,
    test_sig_network_dns,
    test_sig_network_services,
)
from tests.labs.sig_network_lab import MARK, conformance, lab, listed, short, space  # noqa: F401
from tests.labs.sig_network_tools import ApiError, Obj, Space

pytestmark = pytest.mark.timeout(300)

PORTS = [{"name": "http", "containerPort": 8083}, {"name": "udp", "containerPort": 8081, "protocol": "UDP"}]


def _network_pods(ns: Space) -> dict[str, str]:
    """A netexec pod on each node that takes pods: name → address."""
    nodes = [one["metadata"]["name"] for one in ns.api.get("/api/v1/nodes")["items"] if not one["spec"].get("taints")]
    found = {}
    for number, node in enumerate(nodes):
        pod = ns.pod(f"netserver-{number}", "netexec", "--http-port=8083", "--udp-port=8081", node=node, ports=PORTS)
        found[f"netserver-{number}"] = pod["status"]["podIP"]
    return found


def _between_pods(ns: Space, protocol: str) -> None:
    servers = _network_pods(ns)
    ns.pod("test-container-pod", "netexec", "--http-port=8080")
    for name, address in servers.items():
        port = 8083 if protocol == "http" else 8081
        ns.wait(
            f"{name} over {protocol}",
            lambda name=name, address=address, port=port: (
                ns.dial(  # type: ignore[misc]
                    "test-container-pod", address, port, protocol
                )
                == {name}
            ),
        )


def _from_node(ns: Space, protocol: str) -> None:
    servers = _network_pods(ns)
    ns.pod("host-test-container-pod", "netexec", "--http-port=18080", "--udp-port=-1", hostNetwork=True)
    for name, address in servers.items():
        if protocol == "http":
            command = f"curl -g -q -s --max-time 15 --connect-timeout 1 http://{address}:8083/hostName"
            wanted = name
        else:
            query = f"host={address}&port=8081&protocol=udp&request=hostname"
            command, wanted = f"curl -s -m 15 'http://127.0.0.1:18080/dial?{query}'", f'{{"responses":["{name}"]}}'
        ns.wait(
            f"{name} over {protocol}",
            lambda command=command, wanted=wanted: ns.sh("host-test-container-pod", command).strip() == wanted,  # type: ignore[misc]
        )


@conformance("Networking Granular Checks: Pods should function for intra-pod communication: http")
def test_between_pods_http(space: Space) -> None:  # noqa: F811
    _between_pods(space, "http")


@conformance("Networking Granular Checks: Pods should function for intra-pod communication: udp")
def test_between_pods_udp(space: Space) -> None:  # noqa: F811
    _between_pods(space, "udp")


@conformance("Networking Granular Checks: Pods should function for node-pod communication: http [LinuxOnly]")
def test_from_node_http(space: Space) -> None:  # noqa: F811
    _from_node(space, "http")


@conformance("Networking Granular Checks: Pods should function for node-pod communication: udp [LinuxOnly]")
def test_from_node_udp(space: Space) -> None:  # noqa: F811
    _from_node(space, "udp")


@conformance("Proxy version v1 should proxy through a service and a pod")
def test_proxy(space: Space) -> None:  # noqa: F811
    """A porter pod behind a Service with plain, TLS and named ports, each way through the API server."""
    labels = {"proxy-service": "true"}
    ports = [
        {"name": "portname1", "port": 80, "targetPort": "dest1"},
        {"name": "portname2", "port": 81, "targetPort": 162},
    ]
    service = space.service("proxy-service", ports, labels)
    env = [
        {"name": "SERVE_PORT_80", "value": '<a href="/rewriteme">test</a>'},
        {"name": "SERVE_PORT_1080", "value": '<a href="/rewriteme">test</a>'},
        {"name": "SERVE_PORT_160", "value": "foo"},
        {"name": "SERVE_PORT_162", "value": "bar"},
    ]
    named: list[Obj] = [
        {"containerPort": 80},
        {"name": "dest1", "containerPort": 160},
        {"name": "dest2", "containerPort": 162},
    ]
    space.pod("proxy-pod", "porter", labels=labels, env=env, ports=named)
    space.wait_endpoints("proxy-service", {"proxy-pod": {160, 162}})
    assert service["spec"]["clusterIP"]
    wanted = {
        space.path("services", "proxy-service:portname1") + "/proxy/": "foo",
        space.path("services", "proxy-service:80") + "/proxy/": "foo",
        space.path("services", "proxy-service:portname2") + "/proxy/": "bar",
        space.path("services", "http:proxy-service:portname1") + "/proxy/": "foo",
        space.path("services", "http:proxy-service:portname2") + "/proxy/": "bar",
        space.path("pods", "proxy-pod:160") + "/proxy/": "foo",
        space.path("pods", "proxy-pod:162") + "/proxy/": "bar",
        space.path("pods", "http:proxy-pod:160") + "/proxy/": "foo",
        space.path("pods", "http:proxy-pod:162") + "/proxy/": "bar",
    }
    rewritten = {
        space.path("pods", "proxy-pod") + "/proxy/": space.path("pods", "proxy-pod") + "/proxy/rewriteme",
        space.path("pods", "proxy-pod:1080") + "/proxy/": space.path("pods", "proxy-pod:1080") + "/proxy/rewriteme",
    }
    for path, body in wanted.items():
        space.wait(f"{path} says {body}", lambda path=path, body=body: _said(space, path) == body)  # type: ignore[misc]
    for path, link in rewritten.items():
        body = f'<a href="{link}">test</a>'
        space.wait(f"{path} says {body}", lambda path=path, body=body: _said(space, path) == body)  # type: ignore[misc]


def _said(ns: Space, path: str) -> str:
    try:
        return ns.api.text(path)
    except ApiError:
        return ""


def _proxied(ns: Space, tail: str) -> None:
    """Every verb through a pod's and a Service's proxy; upstream's agnhost answers what it was asked."""
    ns.pod("agnhost", "porter", labels={"e2e-test": "proxy"}, env=[{"name": "SERVE_PORT_80", "value": "foo"}])
    ns.service("e2e-proxy-test-service", [{"port": 80, "targetPort": 80}], {"e2e-test": "proxy"})
    ns.wait_endpoints("e2e-proxy-test-service", {"agnhost": {80}})
    for where in (ns.path("pods", "agnhost"), ns.path("services", "e2e-proxy-test-service")):
        for method in ("DELETE", "OPTIONS", "PATCH", "POST", "PUT", "GET"):
            with ns.api.open(method, f"{where}/proxy{tail}?method={method}") as answer:
                assert (answer.status, answer.read().decode()) == (200, "foo"), (where, method)
        with ns.api.open("HEAD", f"{where}/proxy{tail}?method=HEAD") as answer:
            assert answer.status == 200


@conformance("Proxy version v1 A set of valid responses are returned for both pod and service Proxy")
def test_proxy_verbs(space: Space) -> None:  # noqa: F811
    _proxied(space, "")


@conformance("Proxy version v1 A set of valid responses are returned for both pod and service ProxyWithPath")
def test_proxy_verbs_with_path(space: Space) -> None:  # noqa: F811
    _proxied(space, "/some/path/with/PUT")


def test_no_name_is_missing() -> None:
    modules = (test_sig_network_api, test_sig_network_dns, test_sig_network_services)
    everything: list[Obj] = [vars(module) for module in modules]
    everything.append(globals())
    found = [name for names in everything for test in names.values() for name in getattr(test, MARK, ())]
    wanted = [short(name) for name in listed()]
    assert len(wanted) == len(set(wanted)) == 43
    assert sorted(found) == sorted(wanted)
