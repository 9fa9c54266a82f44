"""The registry: names, paths, and that every kind has what the other tables promise for it."""

import pytest

from netlab.api import gotypes, schema
from netlab.api.resources import BUILTIN, RESOURCES, Resource, by_kind, by_name, by_path


@pytest.mark.parametrize(
    ("name", "plural", "group"),
    [
        ("po", "pods", ""),
        ("pod", "pods", ""),
        ("deploy", "deployments", "apps"),
        ("deployments.apps", "deployments", "apps"),
        ("deployments.v1.apps", "deployments", "apps"),
        ("svc", "services", ""),
        ("ev", "events", ""),
        ("events.events.k8s.io", "events", "events.k8s.io"),
        ("netpol", "networkpolicies", "networking.k8s.io"),
        ("ing", "ingresses", "networking.k8s.io"),
        ("ep", "endpoints", ""),
        ("quota", "resourcequotas", ""),
    ],
)
def test_a_name_finds_its_resource(name: str, plural: str, group: str) -> None:
    found = by_name(name)
    assert found is not None
    assert (found.plural, found.group) == (plural, group)


def test_an_unknown_name_finds_nothing() -> None:
    assert by_name("widgets") is None
    assert by_path("apps", "v2", "deployments") is None


def test_paths() -> None:
    pods, nodes = by_name("pods"), by_name("nodes")
    deployments = by_name("deployments")
    assert pods is not None
    assert nodes is not None
    assert deployments is not None
    assert pods.path("p", "ns", "status") == "/api/v1/namespaces/ns/pods/p/status"
    assert pods.collection_path() == "/api/v1/pods"
    assert deployments.path("d", "ns") == "/apis/apps/v1/namespaces/ns/deployments/d"
    assert nodes.path("n") == "/api/v1/nodes/n"


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: f"{r.plural}.{r.version}.{r.group}")
def test_every_kind_has_a_schema_and_a_go_type(resource: Resource) -> None:
    assert schema.for_kind(resource.api_version, resource.kind) is not None
    assert gotypes.is_struct(gotypes.type_name(resource.api_version, resource.kind))
    assert by_kind(resource.api_version, resource.kind) is resource
    assert by_path(resource.group, resource.version, resource.plural) is resource


def test_versions_of_one_kind_share_a_store() -> None:
    keys = {r.storage_key for r in RESOURCES if r.plural in ("events", "horizontalpodautoscalers")}
    assert keys == {("", "events"), ("autoscaling", "horizontalpodautoscalers")}


def test_eviction_is_a_subresource_of_pods_in_policy() -> None:
    pods = by_name("pods")
    assert pods is not None
    eviction = pods.subresource("eviction")
    assert eviction is not None
    assert (eviction.group, eviction.version, eviction.kind) == ("policy", "v1", "Eviction")


def test_a_custom_resource_joins_a_new_registry() -> None:
    widget = Resource("example.com", "v1", "Widget", "widgets", "widget", True, ("get", "list"), custom=True)
    registry = BUILTIN.with_resources([widget])
    assert registry.by_name("widget") is widget
    assert BUILTIN.by_name("widget") is None
    assert registry.groups()[-1] == ("example.com", ("v1",))
