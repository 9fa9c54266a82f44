"""Upstream's network tests beyond conformance (test/e2e/network of 1.33), as far as a change here could break them.

Names are upstream's. What they ask with `nc` is asked with `nc` here, too.
"""

from __future__ import annotations

import json

import pytest

from tests.labs.sig_network_lab import lab, space  # noqa: F401  (fixtures)
from tests.labs.sig_network_tools import AGNHOST, ApiError, Obj, Space, kubectl
from tests.labs.tools import until

pytestmark = pytest.mark.timeout(300)
CLIENT, SERVER = "node1", "node2"


def node_ip(space: Space, node: str) -> str:  # noqa: F811
    addresses = space.api.get(f"/api/v1/nodes/{node}")["status"]["addresses"]
    return str(next(one["address"] for one in addresses if one["type"] == "InternalIP"))


def log(space: Space, pod: str) -> str:  # noqa: F811
    return kubectl(space.user, "logs", f"--namespace={space.name}", pod).stdout


def says(space: Space, pod: str, url: str, patience: int = 3) -> str:  # noqa: F811
    return space.sh(pod, f"curl -q -s --connect-timeout {patience} {url}").strip()


def udp_client(space: Space, name: str, address: str, port: int) -> None:  # noqa: F811
    """Asks without end, always from one port: as long as it does, its conntrack entry does not run out."""
    ask = f"while :; do echo hostname | nc -u -w 1 -p 12345 {address} {port}; echo; done"
    container = {"name": name, "image": AGNHOST, "command": ["/bin/sh", "-c", ask]}
    spec = {"nodeName": CLIENT, "terminationGracePeriodSeconds": 0, "containers": [container]}
    space.create("pods", {"metadata": {"name": name}, "spec": spec})
    space.ready(name)


def test_udp_traffic_is_preserved_when_the_server_pod_cycles(space: Space) -> None:  # noqa: F811
    """Conntrack: for a NodePort service, for a ClusterIP service; from zero endpoints to one, and to another."""
    selector = {"app": "svc-udp"}
    ports = [{"name": "udp", "port": 80, "protocol": "UDP", "targetPort": 80}]
    spec = space.service("svc-udp", ports, selector, type="NodePort")["spec"]
    udp_client(space, "by-node-port", node_ip(space, SERVER), spec["ports"][0]["nodePort"])
    udp_client(space, "by-cluster-ip", spec["clusterIP"], 80)
    for number in (1, 2):
        server = f"pod-server-{number}"
        space.pod(server, "netexec", "--udp-port=80", labels=selector, node=SERVER)
        if number > 1:
            space.delete("pods", f"pod-server-{number - 1}")
        space.wait_endpoints("svc-udp", {server: {80}})
        for client in ("by-node-port", "by-cluster-ip"):
            until(f"{client} hears {server}", lambda: server in log(space, client), 60)  # noqa: B023


def test_tcp_close_wait_timeout(space: Space) -> None:  # noqa: F811
    """KubeProxy should set TCP CLOSE_WAIT timeout."""
    space.pod("e2e-net-exec", "pause", node=CLIENT, hostNetwork=True)
    port, server = 11302, node_ip(space, SERVER)
    options = {"LocalAddr": f":{port}", "PostFinTimeoutSeconds": 30}
    ports = [{"name": "tcp", "containerPort": port, "hostPort": port}]
    runner = ("net", "--runner")
    space.pod("server", *runner, "nat-closewait-server", "--options", json.dumps(options), node=SERVER, ports=ports)
    options = {"RemoteAddr": f"{server}:{port}", "PostFinTimeoutSeconds": 30, "LeakConnection": True}
    space.pod("client", *runner, "nat-closewait-client", "--options", json.dumps(options), node=CLIENT)
    where = ["exec", CLIENT, "--", "conntrack", "-L", "-f", "ipv4", "-d", server]

    def entry() -> str:
        found = space.user.klab(*where).stdout.splitlines()
        return next((line for line in found if "CLOSE_WAIT" in line and f"dport={port}" in line), "")

    until("the half-closed connection is tracked", lambda: bool(entry()), 60)
    assert 3500 < int(entry().split()[2]) <= 3600


@pytest.mark.parametrize("label", ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"])
def test_a_label_that_keeps_proxies_away(space: Space, label: str) -> None:  # noqa: F811
    """Services should implement service.kubernetes.io/service-proxy-name; …/headless."""
    address = space.service("toggled", [{"port": 80}], {"app": "toggled"})["spec"]["clusterIP"]
    space.pod("server", "netexec", "--http-port=80", labels={"app": "toggled"})
    space.pod("client", "pause")

    def up() -> bool:
        return says(space, "client", f"http://{address}/hostname") == "server"

    until("the Service answers", up, 60)
    space.api.merge(space.path("services", "toggled"), {"metadata": {"labels": {label: "x"}}})
    until("the Service is left alone", lambda: not says(space, "client", f"http://{address}/hostname", 1), 60)
    space.api.merge(space.path("services", "toggled"), {"metadata": {"labels": {label: None}}})
    until("the Service answers again", up, 60)


def test_terminating_endpoints(space: Space) -> None:  # noqa: F811
    """Services should fallback to (local) terminating endpoints when there are no ready endpoints, whatever the
    traffic policies; and should fail health check node port if there are only terminating endpoints."""
    selector, port = {"app": "ending"}, [{"name": "http", "port": 80, "targetPort": 80}]
    policies: dict[str, Obj] = {
        "cluster": {"type": "NodePort"},
        "internal": {"internalTrafficPolicy": "Local"},
        "external": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
    }
    specs = {name: space.service(name, port, selector, **policy)["spec"] for name, policy in policies.items()}
    web = ("netexec", "--http-port=80", "--delay-shutdown=100")
    space.pod("server", *web, labels=selector, node=CLIENT, terminationGracePeriodSeconds=100)
    near, far = (space.exec_pod(node=node) for node in (CLIENT, SERVER))
    here, there = (node_ip(space, node) for node in (CLIENT, SERVER))
    health = f"-o /dev/null -w '%{{http_code}}' {here}:{specs['external']['healthCheckNodePort']}/healthz"
    until("the health check node port says 200", lambda: says(space, near, health) == "200", 60)
    space.api.call("DELETE", space.path("pods", "server"))
    until("the health check node port says 503", lambda: says(space, near, health) == "503", 60)
    cluster, external = (f"{specs[name]['ports'][0]['nodePort']}/hostname" for name in ("cluster", "external"))
    wanted = {
        (near, f"{specs['cluster']['clusterIP']}/hostname"): "server",
        (far, f"{specs['cluster']['clusterIP']}/hostname"): "server",
        (near, f"{here}:{cluster}"): "server",
        (far, f"{here}:{cluster}"): "server",
        (near, f"{specs['internal']['clusterIP']}/hostname"): "server",
        (far, f"{specs['internal']['clusterIP']}/hostname"): "",
        (near, f"{here}:{external}"): "server",
        (far, f"{here}:{external}"): "server",
        (near, f"{there}:{external}"): "",
    }
    assert {way: says(space, *way, 3 if wanted[way] else 1) for way in wanted} == wanted


def test_ports_and_addresses_of_services(space: Space) -> None:  # noqa: F811
    """Services should prevent NodePort collisions; should check NodePort out-of-range; should be possible to connect
    to a service via ExternalIP when the external IP is not assigned to a node; should be able to update service type
    to NodePort listening on same port number but different protocols."""
    ports: list[Obj] = [{"name": "tcp-port", "port": 80, "targetPort": 9376}]
    one = space.service("one", ports, {"app": "one"}, type="NodePort", externalIPs=["203.0.113.250"])
    node_port = one["spec"]["ports"][0]["nodePort"]
    for port, problem in ((node_port, "port is already allocated"), (345, "port is not in the valid range")):
        with pytest.raises(ApiError, match=f"{port}.*{problem}"):
            space.service("two", [{"port": 80, "nodePort": port}], {"app": "two"}, type="NodePort")
    both = [
        {**ports[0], "nodePort": node_port},
        {"name": "udp-port", "port": 80, "protocol": "UDP", "targetPort": 9376, "nodePort": node_port},
    ]
    space.change_service("one", ports=both)
    space.pod("server", "netexec", "--http-port=9376", "--udp-port=9376", labels={"app": "one"})
    space.pod("client", "pause")
    space.wait_endpoints("one", {"server": {9376}})
    until("by the external IP", lambda: says(space, "client", "203.0.113.250/hostname") == "server", 60)
    address = f"{node_ip(space, SERVER)} {node_port}"
    assert "400 Bad Request" in space.sh("client", f"echo hostName | nc -v -t -w 2 {address}")
    until("by UDP", lambda: space.sh("client", f"echo hostName | nc -v -u -w 1 {address}") == "server", 60)
    space.change_service("one", type="ClusterIP")
    again = space.api.get(space.path("services", "one"))["spec"]
    assert again["externalTrafficPolicy"] == "Cluster", "it has an external IP"
    assert "nodePort" not in again["ports"][0]
