"""Discovery and OpenAPI documents: complete, consistent with each other, and as kubectl reads them."""

from functools import cache
from typing import Any

import orjson
import pytest

from netlab.api import discovery
from netlab.api.openapi import OpenApi
from netlab.api.openapi.gnostic import varint as encode_varint
from netlab.api.protobuf.wire import fields, varint
from netlab.api.resources import BUILTIN, RESOURCES, Resource, get
from netlab.api.types import Obj

VERSIONS = [(group, version) for group, versions in BUILTIN.groups() for version in versions]


@cache
def documents() -> OpenApi:
    return OpenApi(BUILTIN)


def test_groups_are_in_upstreams_order_of_priority() -> None:
    names = [group["name"] for group in discovery.api_group_list(BUILTIN)["groups"]]
    assert names[:6] == [
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
    ]
    autoscaling = discovery.api_group(BUILTIN, "autoscaling")
    assert autoscaling is not None
    assert autoscaling["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}
    assert discovery.api_group(BUILTIN, "nonsense") is None


def test_drain_finds_evictions_in_policy_v1() -> None:
    document = discovery.api_resource_list(BUILTIN, "", "v1")
    assert document is not None
    eviction = next(r for r in document["resources"] if r["name"] == "pods/eviction")
    assert (eviction["group"], eviction["version"], eviction["kind"]) == ("policy", "v1", "Eviction")


def test_storage_version_hashes_are_upstreams() -> None:
    assert discovery.storage_version_hash("", "v1", "ConfigMap") == "qFsyl6wFWjQ="
    assert discovery.storage_version_hash("", "v1", "Pod") == "xPOwRZ+Yhw8="


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_discovery_says_what_the_legacy_documents_say(version: str) -> None:
    found = {}
    for core in (True, False):
        document = discovery.aggregated(BUILTIN, core=core, version=version)
        assert document["apiVersion"] == f"apidiscovery.k8s.io/{version}"
        for group in document["items"]:
            for one in group["versions"]:
                for resource in one["resources"]:
                    key = (group["metadata"].get("name", ""), one["version"], resource["resource"])
                    found[key] = resource["verbs"]
                    for sub in resource.get("subresources", []):
                        found[(*key[:2], f"{key[2]}/{sub['subresource']}")] = sub["verbs"]
    legacy = {}
    for group_name, group_version in VERSIONS:
        document = discovery.api_resource_list(BUILTIN, group_name, group_version) or {}
        for resource in document["resources"]:
            legacy[group_name, group_version, resource["name"]] = resource["verbs"]
    assert found == legacy


def test_the_v3_index_names_every_version_with_a_hash() -> None:
    index = orjson.loads(documents().v3_index)["paths"]
    assert len(index) == len(VERSIONS)
    assert index["apis/apps/v1"]["serverRelativeURL"].startswith("/openapi/v3/apis/apps/v1?hash=")


@pytest.mark.parametrize(("group", "version"), VERSIONS)
def test_v3_references_lead_somewhere(group: str, version: str) -> None:
    text = documents().v3(group, version)
    assert text is not None
    document = orjson.loads(text)
    schemas = document["components"]["schemas"]

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                assert node["$ref"].startswith("#/components/schemas/")
                assert node["$ref"].rpartition("/")[2] in schemas
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: f"{r.plural}.{r.version}.{r.group}")
def test_kubectl_finds_kind_and_query_parameters(resource: Resource) -> None:
    document = orjson.loads(documents().v3(resource.group, resource.version) or b"{}")
    gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    path = resource.collection_path("{namespace}")
    operations = document["paths"][path]
    assert any(
        operation["x-kubernetes-group-version-kind"] == gvk
        for method, operation in operations.items()
        if method != "parameters"
    )
    assert any(
        gvk in (s.get("x-kubernetes-group-version-kind") or []) for s in document["components"]["schemas"].values()
    )
    if "patch" in resource.verbs:
        parameters = {p["name"] for p in document["paths"][f"{path}/{{name}}"]["patch"]["parameters"]}
        assert {"fieldValidation", "dryRun", "fieldManager", "force"} <= parameters


def test_a_hash_follows_its_own_group_only() -> None:
    widget = Resource("example.com", "v1", "Widget", "widgets", "widget", True, ("get",), custom=True)
    registry = BUILTIN.with_resources([widget])
    first = OpenApi(registry, extra={"com.example.v1.Widget": {"type": "object"}})
    second = OpenApi(registry, extra={"com.example.v1.Widget": {"type": "object", "description": "x"}})
    assert first.v3_hash("apps", "v1") == documents().v3_hash("apps", "v1") == second.v3_hash("apps", "v1")
    assert first.v3_hash("example.com", "v1") != second.v3_hash("example.com", "v1")
    assert first.v2_etag != second.v2_etag != documents().v2_etag
    served = orjson.loads(second.v3("example.com", "v1") or b"{}")
    assert served["components"]["schemas"]["com.example.v1.Widget"]["description"] == "x"


def test_definitions_say_what_upstream_says() -> None:
    definitions = orjson.loads(documents().v2_json)["definitions"]
    assert definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] == {
        "type": "string",
        "format": "int-or-string",
    }
    deployment = definitions["io.k8s.api.apps.v1.Deployment"]
    assert deployment["type"] == "object"
    assert "enum" not in deployment["properties"]["kind"]
    assert deployment["properties"]["spec"]["$ref"] == "#/definitions/io.k8s.api.apps.v1.DeploymentSpec"
    containers = definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"


def test_v2_protobuf_carries_every_definition_and_path() -> None:
    document = orjson.loads(documents().v2_json)
    top: dict[int, list[bytes]] = {}
    for number, value in fields(documents().v2_protobuf):
        assert isinstance(value, bytes)
        top.setdefault(number, []).append(value)
    assert top[1] == [b"2.0"]
    assert _names(top[9][0], 1) == list(document["definitions"])
    assert _names(top[8][0], 2) == list(document["paths"])
    assert _names(top[10][0], 1) == list(document["parameters"])


def test_v2_says_what_lists_take() -> None:
    document = orjson.loads(documents().v2_json)
    listing = document["paths"]["/api/v1/namespaces/{namespace}/pods"]["get"]["parameters"]
    assert {"$ref": "#/parameters/watch"} in listing
    assert {one["$ref"].rpartition("/")[2] for one in listing} == set(document["parameters"])
    texts = {name: one["description"] for name, one in document["parameters"].items()}
    assert texts["watch"].startswith("Watch for changes to the described resources")
    assert "list of returned objects by their fields" in texts["fieldSelector"]


def _names(message: bytes, number: int) -> list[str]:
    found = []
    for one, value in fields(message):
        assert one == number
        assert isinstance(value, bytes)
        name = next(inner for field, inner in fields(value) if field == 1)
        assert isinstance(name, bytes)
        found.append(name.decode())
    return found


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**32, 2**63 - 1])
def test_varints_go_both_ways(number: int) -> None:
    assert varint(encode_varint(number), 0) == (number, len(encode_varint(number)))


def test_documents_are_made_once() -> None:
    api = documents()
    assert api.v3("apps", "v1") is api.v3("apps", "v1")
    assert api.v2_protobuf is api.v2_protobuf
    assert api.v3("apps", "v9") is None


def test_subresources_have_paths() -> None:
    document: Obj = orjson.loads(documents().v3("", "v1") or b"{}")
    pod = get("v1", "Pod")
    for sub in pod.subresources:
        assert f"/api/v1/namespaces/{{namespace}}/pods/{{name}}/{sub.name}" in document["paths"]
