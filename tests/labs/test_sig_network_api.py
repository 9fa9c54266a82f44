"""sig-network's conformance names about its API groups, EndpointSlices and the mirroring of Endpoints."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.labs.conformance_operations import discovered, operations
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import ApiError, Obj, Space, watch
from tests.labs.tools import until

pytestmark = pytest.mark.timeout(300)

DISCOVERY = "apis/discovery.k8s.io/v1"
NETWORKING = "apis/networking.k8s.io/v1"
MARK = {"special-label": "e2e"}


@conformance("Ingress API should support creating Ingress API operations")
def test_ingress(space: Space) -> None:  # noqa: F811
    discovered(space.api, NETWORKING, "Ingress", "ingresses", "ingresses/status")
    backend = {"service": {"name": "default-backend", "port": {"name": "", "number": 8080}}}
    rule = {"host": "foo.bar.com", "http": {"paths": [{"path": "/", "pathType": "ImplementationSpecific",
            "backend": {"service": {"name": "test-backend", "port": {"number": 8080}}}}]}}  # fmt: skip
    objects: list[Obj] = [
        {"metadata": {"name": f"e2e-example-ing-{number}", "labels": {"special-label": space.name}},
         "spec": {"defaultBackend": backend, "rules": [rule]}}
        for number in range(3)
    ]  # fmt: skip
    status = {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}
    operations(space.api, space.path("ingresses", group=NETWORKING), objects, f"/{NETWORKING}/ingresses", status)


@conformance("IngressClass API should support creating IngressClass API operations")
def test_ingress_class(space: Space) -> None:  # noqa: F811
    discovered(space.api, NETWORKING, "IngressClass", "ingressclasses")
    objects: list[Obj] = [
        {"metadata": {"name": f"{space.name}-class-{number}", "labels": {"special-label": space.name}},
         "spec": {"controller": "example.com/controller"}}
        for number in range(3)
    ]  # fmt: skip
    everywhere = f"/{NETWORKING}/ingressclasses"
    operations(space.api, everywhere, objects, everywhere)


@conformance("ServiceCIDR and IPAddress API should support ServiceCIDR API operations")
def test_service_cidr(space: Space) -> None:  # noqa: F811
    api = space.api
    discovered(api, NETWORKING, "ServiceCIDR", "servicecidrs", "servicecidrs/status")
    path = f"/{NETWORKING}/servicecidrs"
    default = api.get(f"{path}/kubernetes")
    assert default["spec"]["cidrs"]
    number = int(space.name.rpartition("-")[2]) % 250
    body: Obj = {"metadata": {"name": "svc-cidr-test", "labels": MARK}, "spec": {"cidrs": [f"172.31.{number}.0/24"]}}
    assert api.call("POST", path, body)["spec"]["cidrs"] == [f"172.31.{number}.0/24"]
    one = f"{path}/svc-cidr-test"
    assert api.get(one)["metadata"]["name"] == "svc-cidr-test"
    query = f"{path}?labelSelector=special-label%3De2e"
    assert [item["metadata"]["name"] for item in api.get(query)["items"]] == ["svc-cidr-test"]
    until("the controller has said so", lambda: (api.get(one).get("status") or {}).get("conditions"))
    (event,) = watch(api, query, lambda: api.merge(one, {"metadata": {"annotations": {"patched": "true"}}}),
                     ["MODIFIED"])  # fmt: skip
    assert event["object"]["metadata"]["annotations"]["patched"] == "true"
    api.update(one, lambda obj: obj["metadata"]["annotations"].update(updated="true"))
    assert api.get(one)["metadata"]["annotations"]["updated"] == "true"
    with pytest.raises(ApiError) as refused:
        api.merge(one, {"spec": {"cidrs": ["172.30.0.0/24"]}})
    assert refused.value.code == 422, "cidrs are immutable"
    condition = {"type": "E2E", "status": "True", "reason": "E2E", "message": "Set from e2e test",
                 "lastTransitionTime": "2024-01-01T00:00:00Z"}  # fmt: skip
    found = api.update(one + "/status", lambda obj: obj.setdefault("status", {}).update(conditions=[condition]))
    assert condition in found["status"]["conditions"]
    api.call("DELETE", one)
    space.wait("the ServiceCIDR is gone", lambda: api.gone(one))


@conformance("ServiceCIDR and IPAddress API should support IPAddress API operations")
def test_ip_address(space: Space) -> None:  # noqa: F811
    api = space.api
    discovered(api, NETWORKING, "IPAddress", "ipaddresses")
    service = space.service("ip-address", [{"port": 80}])
    parent = {"group": "", "resource": "services", "namespace": space.name, "name": "ip-address"}
    assert service["spec"]["clusterIP"]
    path = f"/{NETWORKING}/ipaddresses"
    objects: list[Obj] = [
        {"metadata": {"name": f"192.0.2.{number}", "labels": {"special-label": space.name}},
         "spec": {"parentRef": {**parent, "name": f"other-{number}"}}}
        for number in range(3)
    ]  # fmt: skip

    def there() -> bool:
        names = {item["metadata"]["name"]: item["spec"]["parentRef"] for item in api.get(path)["items"]}
        found = names.get(service["spec"]["clusterIP"], {})
        return bool((found.get("resource"), found.get("namespace"), found.get("name")) ==
                    ("services", space.name, "ip-address"))  # fmt: skip

    space.wait("the Service's IPAddress", there)
    operations(api, path, objects, path)


@conformance("EndpointSlice should support creating EndpointSlice API operations")
def test_sliceoperations(space: Space) -> None:  # noqa: F811
    discovered(space.api, DISCOVERY, "EndpointSlice", "endpointslices")
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    objects: list[Obj] = [
        {"metadata": {"name": f"e2e-slice-{number}", "labels": {"special-label": space.name}}, "addressType": "IPv4",
         "endpoints": [{"addresses": [f"1.2.3.{number}"], "conditions": {"ready": True}}], "ports": ports}
        for number in range(1, 4)
    ]  # fmt: skip
    path = space.path("endpointslices", group=DISCOVERY)
    operations(space.api, path, objects, f"/{DISCOVERY}/endpointslices")


@conformance("EndpointSlice should have Endpoints and EndpointSlices pointing to API Server")
def test_slices_of_the_api_server(space: Space) -> None:  # noqa: F811
    api = space.api
    endpoints = api.get("/api/v1/namespaces/default/endpoints/kubernetes")["subsets"]
    slices = api.get(f"/{DISCOVERY}/namespaces/default/endpointslices/kubernetes")
    assert len(endpoints) == 1
    addresses = {one["ip"] for one in endpoints[0]["addresses"]}
    assert addresses == {address for one in slices["endpoints"] for address in one["addresses"]}
    assert {one["port"] for one in endpoints[0]["ports"]} == {one["port"] for one in slices["ports"]}


def _slices(ns: Space, service: str) -> list[Obj]:
    query = f"?labelSelector=kubernetes.io/service-name%3D{service}"
    items: list[Obj] = ns.api.get(ns.path("endpointslices", group=DISCOVERY) + query)["items"]
    return items


@conformance(
    "EndpointSlice should create and delete Endpoints and EndpointSlices for a Service with a selector specified"
)
def test_slices_come_and_go(space: Space) -> None:  # noqa: F811
    name = "example-empty-selector"
    space.service(name, [{"name": "example", "port": 80, "protocol": "TCP"}], {"does-not-match-anything": "endpoints"})
    space.wait("empty Endpoints and a slice", lambda: space.endpoints(name) == {} and len(_slices(space, name)) == 1)
    (one,) = _slices(space, name)
    assert not one.get("endpoints")
    assert one["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    space.delete("services", name)
    path = space.path("endpoints", name)
    space.wait("both are gone", lambda: space.api.gone(path) and not _slices(space, name))


@conformance("EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service")
def test_slices_for_pods(space: Space) -> None:  # noqa: F811
    ports = [{"name": "example-name", "containerPort": 3000}]
    shared, distinct = {"shared": "example"}, {"different": "example"}
    space.pod("pod1", "pause", labels={"foo": "bar", **shared}, ports=ports)
    space.pod("pod2", "pause", labels={"foo": "bar", **shared, **distinct}, ports=ports)
    listen = [{"name": "example", "port": 80, "targetPort": 3000, "protocol": "TCP"}]
    named = [{"name": "example-named", "port": 80, "targetPort": "example-name", "protocol": "TCP"}]
    space.service("example-int-port", listen, distinct)
    space.service("example-named-port", named, shared)
    space.service("example-no-match", named, {"foo": "nobody"})
    space.wait_endpoints("example-int-port", {"pod2": {3000}})
    space.wait_endpoints("example-named-port", {"pod1": {3000}, "pod2": {3000}})
    space.wait_endpoints("example-no-match", {})
    (one,) = _slices(space, "example-int-port")
    pod = space.api.get(space.path("pods", "pod2"))
    (endpoint,) = one["endpoints"]
    assert endpoint["addresses"] == [pod["status"]["podIP"]]
    assert endpoint["nodeName"] == pod["spec"]["nodeName"]
    assert endpoint["targetRef"] == {"kind": "Pod", "namespace": space.name, "name": "pod2",
                                     "uid": pod["metadata"]["uid"]}  # fmt: skip
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert one["ports"] == [{"name": "example", "port": 3000, "protocol": "TCP"}]


@conformance("EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete")
def test_mirroring(space: Space) -> None:  # noqa: F811
    name = "example-custom-endpoints"
    space.service(name, [{"name": "example", "port": 80, "protocol": "TCP"}])
    ports = [{"name": "example", "port": 80, "protocol": "TCP"}]
    subsets: list[Obj] = [{"ports": ports, "addresses": [{"ip": "10.1.2.3"}]}]
    space.create("endpoints", {"metadata": {"name": name}, "subsets": subsets})

    def mirrored(address: str, port: int) -> Callable[[], bool]:
        def check() -> bool:
            found = _slices(space, name)
            return len(found) == 1 and (
                [one["addresses"] for one in found[0].get("endpoints") or ()] == [[address]]
                and [one["port"] for one in found[0]["ports"]] == [port]
                and found[0]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
                == "endpointslicemirroring-controller.k8s.io"
            )

        return check

    space.wait("the slice", mirrored("10.1.2.3", 80))
    subsets[0]["addresses"][0]["ip"], ports[0]["port"] = "10.2.3.4", 81
    space.api.update(space.path("endpoints", name), lambda obj: obj.update(subsets=subsets))
    space.wait("the slice follows", mirrored("10.2.3.4", 81))
    space.delete("endpoints", name)
    space.wait("the slice goes", lambda: not _slices(space, name))
