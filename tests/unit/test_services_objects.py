"""From API objects to service ports and endpoints."""

from typing import Any

import pytest

from netlab.dataplane.services import NodeView, ServiceTable, endpoints, service_ports
from netlab.dataplane.services.stale import Flow, served


def service(**spec: Any) -> dict[str, Any]:
    base = {"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    return {"metadata": {"namespace": "ns", "name": "svc"}, "spec": {**base, **spec}}


def endpoint_slice(*items: dict[str, Any], name: str = "s", **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns", "name": name, "labels": {"kubernetes.io/service-name": "svc"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(items),
        **fields,
    }


def item(address: str, node: str | None = None, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions, "nodeName": node}


NOT_PROXIED = {
    "headless": service(clusterIP="None"),
    "ExternalName": service(type="ExternalName", externalName="example.com", clusterIP=""),
    "no address yet": service(clusterIP=""),
    "of another proxy": {
        **service(),
        "metadata": {"namespace": "ns", "name": "svc", "labels": {"service.kubernetes.io/service-proxy-name": "x"}},
    },
    "other family": service(clusterIP="fd00::1", clusterIPs=["fd00::1"]),
}


@pytest.mark.parametrize("what", NOT_PROXIED)
def test_services_that_are_no_business_of_a_proxy(what: str) -> None:
    assert service_ports(NOT_PROXIED[what], "IPv4") == ()


def test_dual_stack_gives_each_family_its_own_addresses() -> None:
    both = service(
        clusterIPs=["10.96.0.20", "fd00::20"],
        externalIPs=["203.0.113.9", "2001:db8::9"],
        type="LoadBalancer",
        loadBalancerSourceRanges=["10.0.0.0/8", " 2001:db8::/32"],
    )
    both["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}, {"ip": "2001:db8::1"}, {"hostname": "x"}]}}
    (four,), (six,) = service_ports(both, "IPv4"), service_ports(both, "IPv6")
    assert (four.cluster_ip, four.external_ips, four.load_balancer_ips, four.source_ranges) == (
        "10.96.0.20", ("203.0.113.9",), ("198.51.100.1",), ("10.0.0.0/8",))  # fmt: skip
    assert (six.cluster_ip, six.external_ips, six.load_balancer_ips, six.source_ranges) == (
        "fd00::20", ("2001:db8::9",), ("2001:db8::1",), ("2001:db8::/32",))  # fmt: skip


def test_a_load_balancer_in_proxy_mode_is_not_answered_by_nodes() -> None:
    balanced = service(type="LoadBalancer")
    balanced["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.1", "ipMode": "Proxy"}]}}
    assert service_ports(balanced, "IPv4")[0].load_balancer_ips == ()


def test_external_policy_and_health_check_count_only_where_there_is_an_outside() -> None:
    local = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    assert service_ports(service(type="ClusterIP", **local), "IPv4")[0].external_local is False
    assert service_ports(service(type="NodePort", **local), "IPv4")[0].health_check_node_port == 0
    assert service_ports(service(type="LoadBalancer", **local), "IPv4")[0].health_check_node_port == 32000
    assert service_ports(service(externalIPs=["1.2.3.4"], **local), "IPv4")[0].external_local is True


def test_affinity_has_a_timeout() -> None:
    affine = service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 5}})
    assert service_ports(affine, "IPv4")[0].affinity_seconds == 5
    assert service_ports(service(sessionAffinity="ClientIP"), "IPv4")[0].affinity_seconds == 10800


def test_ports_are_told_apart_by_protocol() -> None:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]
    assert [str(port.name) + port.protocol for port in service_ports(service(ports=ports), "IPv4")] == [
        "ns/svc:dnsUDP", "ns/svc:dns-tcpTCP"]  # fmt: skip


def test_conditions_that_are_not_said_mean_ready() -> None:
    found = endpoints([endpoint_slice(item("10.0.0.1"), item("10.0.0.2", ready=False, serving=True, terminating=True))],
                      "IPv4", "here")["http", "TCP"]  # fmt: skip
    assert [(ep.ready, ep.serving, ep.terminating) for ep in found] == [(True, True, False), (False, True, True)]


def test_an_endpoint_in_two_slices_counts_once_and_as_local_if_either_says_so() -> None:
    slices = [endpoint_slice(item("10.0.0.1", "here")), endpoint_slice(item("10.0.0.1"), name="t")]
    found = endpoints(slices, "IPv4", "here")["http", "TCP"]
    assert [(ep.ip, ep.local) for ep in found] == [("10.0.0.1", True)]


def test_endpoints_are_sorted_as_text_as_upstream_does() -> None:
    found = endpoints([endpoint_slice(*(item(f"10.0.0.{n}") for n in (2, 10, 1)))], "IPv4", "x")["http", "TCP"]
    assert [ep.ip for ep in found] == ["10.0.0.10", "10.0.0.1", "10.0.0.2"]


def table(*objects: dict[str, Any]) -> ServiceTable:
    made = ServiceTable(NodeView("here"))
    for obj in objects:
        key = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        if "addressType" in obj:
            made.set_slice(key, obj)
        else:
            made.set_service(key, obj)
    return made


def test_a_table_tells_only_what_changed() -> None:
    made = table(service(), endpoint_slice(item("10.0.0.1")))
    assert list(made.take_changes()) == ["ns/svc"]
    made.set_service("ns/svc", service())
    assert not made.pending
    made.set_slice("ns/s", endpoint_slice(item("10.0.0.1")))
    assert made.take_changes() == {}
    made.set_slice("ns/s", None)
    (before, after) = made.take_changes()["ns/svc"]
    assert [len(next(iter(part.values())).endpoints) for part in (before, after)] == [1, 0]
    made.set_service("ns/svc", None)
    assert made.take_changes()["ns/svc"][1] == {}
    assert list(made.states()) == []


def test_a_slice_that_moves_to_another_service_changes_both() -> None:
    other = service()
    other["metadata"]["name"] = "other"
    made = table(service(), other, endpoint_slice(item("10.0.0.1")))
    made.take_changes()
    moved = endpoint_slice(item("10.0.0.1"))
    moved["metadata"]["labels"] = {"kubernetes.io/service-name": "other"}
    made.set_slice("ns/s", moved)
    assert set(made.take_changes()) == {"ns/svc", "ns/other"}


def test_udp_flows_to_what_no_longer_serves_are_stale() -> None:
    ports = [{"name": "http", "port": 53, "protocol": "UDP", "nodePort": 30053}]
    slices = endpoint_slice(
        item("10.0.0.1"),
        item("10.0.0.2", ready=False, serving=True, terminating=True),
        item("10.0.0.3", ready=False, serving=False),
        ports=[{"name": "http", "port": 5353, "protocol": "UDP"}],
    )
    made = table(service(type="NodePort", ports=ports), slices)
    made.take_changes()
    now = served(made.states())
    stale = {
        "10.0.0.1": False,
        "10.0.0.2": False,  # still serving
        "10.0.0.3": True,
        "10.96.0.20": True,  # never translated
    }
    for source, expected in stale.items():
        assert now.is_stale(Flow("10.96.0.20", 53, source, 5353)) is expected
        assert now.is_stale(Flow("192.168.0.2", 30053, source, 5353)) is expected
    assert not now.is_stale(Flow("8.8.8.8", 53, "8.8.8.8", 53))


def test_udp_flows_of_a_service_that_nobody_serves_are_kept() -> None:
    """As upstream: there is nothing that they could be translated to."""
    ports = [{"name": "http", "port": 53, "protocol": "UDP", "nodePort": 30053}]
    gone = item("10.0.0.3", ready=False, serving=False)
    slices = endpoint_slice(gone, ports=[{"name": "http", "port": 5353, "protocol": "UDP"}])
    made = table(service(type="NodePort", ports=ports), slices)
    made.take_changes()
    now = served(made.states())
    assert not now.is_stale(Flow("10.96.0.20", 53, "10.0.0.3", 5353))
    assert not now.is_stale(Flow("192.168.0.2", 30053, "10.0.0.3", 5353))


def test_slices_that_disagree_are_taken_in_the_order_of_their_names() -> None:
    def one(number: int, ready: bool) -> dict[str, Any]:
        meta = {"namespace": "ns", "name": f"web-{number}", "labels": {"kubernetes.io/service-name": "web"}}
        endpoint = {"addresses": ["10.244.0.5"], "conditions": {"ready": ready}}
        ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
        return {"metadata": meta, "addressType": "IPv4", "ports": ports, "endpoints": [endpoint]}

    spec = {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    for order in ((1, 2), (2, 1)):
        found = ServiceTable(NodeView("node"))
        found.set_service("ns/web", {"metadata": {"namespace": "ns", "name": "web"}, "spec": spec})
        for number in order:
            found.set_slice(f"ns/web-{number}", one(number, number == 1))
        found.take_changes()
        (state,) = found.states()
        assert [endpoint.ready for endpoint in state.endpoints] == [True], order


def test_what_a_change_must_find_quickly_follows_every_change() -> None:
    """The kept counts equal those of a table that is read anew, whatever came and went."""
    ports = [
        {"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080},
        {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053},
    ]
    local = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000}
    slices = endpoint_slice(item("10.0.0.1"), item("10.0.0.2"), ports=[{"name": "dns", "port": 53, "protocol": "UDP"}])
    made = ServiceTable(NodeView("node"))
    for key, obj in (
        ("service", service(ports=ports, **local)),
        ("slice", slices),
        ("service", service(ports=ports[1:], type="ClusterIP")),
        ("slice", None),
        ("slice", slices),
        ("service", None),
        ("service", service(ports=ports, **local)),
    ):
        made.set_service("ns/svc", obj) if key == "service" else made.set_slice("ns/s", obj)
        made.take_changes()
        states = list(made.states())
        assert made.endpoint_count() == sum(len(state.endpoints) for state in states)
        assert list(made.udp_states()) == [state for state in states if state.port.protocol == "UDP"]
        assert list(made.health_checked_states()) == [state for state in states if state.port.health_check_node_port]
    assert made.endpoint_count() == 2
