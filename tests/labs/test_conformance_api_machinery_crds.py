"""api-machinery's conformance names about custom kinds: definitions, watches, conversion, selectable fields."""

from __future__ import annotations

import time

import pytest

from tests.labs.conformance_crds import ANYTHING, CRDS, Custom, custom, definition, established, removed
from tests.labs.conformance_hooks import HookServer, deploy
from tests.labs.conformance_tools import JSON_PATCH, Watch, names
from tests.labs.sig_network_lab import conformance, lab, new_space, space  # noqa: F401
from tests.labs.sig_network_tools import Api, ApiError, Obj, Space
from tests.labs.tools import User, until

pytestmark = pytest.mark.timeout(300)
R = "CustomResourceDefinition resources [Privileged:ClusterAdmin] "
SIMPLE = R + "Simple CustomResourceDefinition "
STRING: Obj = {"type": "string"}


@pytest.fixture(scope="module")
def server(lab: User) -> HookServer:  # noqa: F811
    return deploy(new_space(lab), "crd-conversion-webhook", "e2e-test-crd-conversion-webhook")


@conformance(SIMPLE + "creating/deleting custom resource definition objects works")
def test_create_and_delete(space: Space) -> None:  # noqa: F811
    removed(space.api, definition(space.api, f"{space.name}.example.com", "v1beta1", namespaced=False))


@conformance(SIMPLE + "listing custom resource definition objects works")
def test_listing(space: Space) -> None:  # noqa: F811
    api, label = space.api, {"e2e-list-test": space.name}
    made = [definition(api, f"l{number}.{space.name}.example.com", "v1", labels=label) for number in range(10)]
    other = definition(api, f"other.{space.name}.example.com", "v1")
    query = f"{CRDS}?labelSelector=e2e-list-test%3D{space.name}"
    assert {one["metadata"]["name"]: one["spec"] for one in api.get(query)["items"]} == {
        one.name: api.get(one.own)["spec"] for one in made
    }
    api.call("DELETE", query)
    until("the labelled kinds are gone", lambda: not api.get(query)["items"])
    assert not api.gone(other.own)
    removed(api, other)


@conformance(SIMPLE + "getting/updating/patching custom resource definition status sub-resource works")
def test_status(space: Space) -> None:  # noqa: F811
    api = space.api
    crd = definition(api, f"{space.name}.example.com", "v1")
    assert api.get(f"{crd.own}/status")["spec"] == api.get(crd.own)["spec"]
    found = api.update(f"{crd.own}/status", lambda obj: obj["status"]["conditions"].append({"message": "updated"}))
    assert "updated" in {one.get("message") for one in found["status"]["conditions"]}
    patch = [{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]
    found = api.call("PATCH", f"{crd.own}/status", patch, JSON_PATCH)
    assert "patched" in {one.get("message") for one in found["status"]["conditions"]}
    removed(api, crd)


@conformance(R + "should include custom resource definition resources in discovery documents")
def test_discovery(space: Space) -> None:  # noqa: F811
    api, group = space.api, "apiextensions.k8s.io"
    (found,) = [one for one in api.get("/apis")["groups"] if one["name"] == group]
    own = api.get(f"/apis/{group}")
    assert own["name"] == group
    for document in (found, own):
        assert "v1" in {one["version"] for one in document["versions"]}
    listed = api.get(f"/apis/{group}/v1")
    assert listed["groupVersion"] == f"{group}/v1"
    assert "customresourcedefinitions" in {one["name"] for one in listed["resources"]}


@conformance(R + "custom resource defaulting for requests and from storage works")
def test_defaulting(space: Space) -> None:  # noqa: F811
    api = space.api
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": STRING, "b": STRING}}
    crd = definition(api, f"{space.name}.example.com", "v1beta1", schema=schema, namespaced=False)
    at = "/spec/versions/0/schema/openAPIV3Schema/properties"
    api.call("POST", crd.path(), custom(crd, "cr-1"))
    api.call("PATCH", crd.own, [{"op": "add", "path": f"{at}/a/default", "value": "A"}], JSON_PATCH)
    first, second = f"{crd.path()}/cr-1", f"{crd.path()}/cr-2"
    until("defaulted as it is read", lambda: api.get(first).get("a") == "A")
    assert api.call("POST", crd.path(), custom(crd, "cr-2"))["a"] == "A"
    patch = [{"op": "remove", "path": f"{at}/a/default"}, {"op": "add", "path": f"{at}/b/default", "value": "B"}]
    api.call("PATCH", crd.own, patch, JSON_PATCH)
    until("the other default", lambda: api.get(second).get("b") == "B")
    found = api.get(second)
    assert (found["a"], found["b"]) == ("A", "B"), "the first default was stored"
    assert "a" not in api.get(first), "it was not stored there"
    removed(api, crd)


@conformance(
    "CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch "
    "watch on custom resource definition objects"
)
def test_watch(space: Space) -> None:  # noqa: F811
    api = space.api
    crd = definition(api, f"{space.name}.example.com", "v1beta1", namespaced=False)
    watches = {name: Watch(api, f"{crd.path()}?fieldSelector=metadata.name%3D{name}") for name in ("name1", "name2")}
    for name, one in watches.items():
        made = api.call("POST", crd.path(), custom(crd, name))
        assert made["metadata"]["uid"]
        assert one.sees("ADDED") == made
    for name, one in watches.items():
        api.call("PATCH", f"{crd.path()}/{name}", [{"op": "add", "path": "/dummy", "value": "test"}], JSON_PATCH)
        assert one.sees("MODIFIED")["metadata"]["name"] == name
    for name, one in watches.items():
        api.call("DELETE", f"{crd.path()}/{name}")
        assert one.sees("DELETED")["metadata"]["name"] == name
    assert [one.events for one in watches.values()] == [[], []]
    removed(api, crd)


V1: Obj = {"type": "object", "properties": {"hostPort": STRING}}
V2: Obj = {"type": "object", "properties": {"host": STRING, "port": STRING}}


def _versions(stored: str, selectable: bool = False) -> list[Obj]:
    found: list[Obj] = []
    for name, schema, fields in (("v1", V1, (".hostPort",)), ("v2", V2, (".host", ".port"))):
        more: Obj = {"selectableFields": [{"jsonPath": field} for field in fields]} if selectable else {}
        found.append({"name": name, "served": True, "storage": name == stored, **more,
                      "schema": {"openAPIV3Schema": schema}})  # fmt: skip
    return found


def _converted(ns: Space, server: HookServer, selectable: bool = False) -> Custom:
    """stable.example.com's kind, stored as v1, whose versions the webhook converts; it does so already."""
    hook = {"clientConfig": server.client("/crdconvert"), "conversionReviewVersions": ["v1", "v1beta1"]}
    crd = Custom("stable.example.com", ("v1", "v2"), ANYTHING, f"{ns.name}-kinds".replace("-", ""), "Kind")
    conversion = {"strategy": "Webhook", "webhook": hook}
    body = crd.body(versions=_versions("v1", selectable), conversion=conversion)
    body["spec"]["names"] = {"plural": crd.plural, "singular": crd.plural[:-1], "kind": f"E2e{ns.name[4:]}"}
    ns.api.call("POST", CRDS, body)
    until("established", lambda: established(ns.api, crd))
    ns.wait("conversion works", lambda: _stub(ns.api, ns, crd))
    return crd


def _kind(crd: Custom, api: Api) -> str:
    return str(api.get(crd.own)["spec"]["names"]["kind"])


def _object(api: Api, crd: Custom, version: str, name: str, **content: str) -> Obj:
    return {**custom(crd, name, version, **content), "kind": _kind(crd, api)}


def _stub(api: Api, ns: Space, crd: Custom) -> bool:
    path = crd.path(ns.name, "v2")
    try:
        api.call("POST", path, _object(api, crd, "v2", "stub"))
    except ApiError:
        return False
    api.call("DELETE", f"{path}/stub")
    return True


W = "CustomResourceConversionWebhook [Privileged:ClusterAdmin] "


@conformance(W + "should be able to convert from CR v1 to CR v2")
def test_conversion(space: Space, server: HookServer) -> None:  # noqa: F811
    api, crd = space.api, _converted(space, server)
    api.call("POST", crd.path(space.name), _object(api, crd, "v1", "one", hostPort="localhost:8080"))
    found = api.get(f"{crd.path(space.name, 'v2')}/one")
    assert (found["apiVersion"], found["host"], found["port"]) == ("stable.example.com/v2", "localhost", "8080")
    assert "hostPort" not in found
    removed(api, crd)


@conformance(W + "should be able to convert a non homogeneous list of CRs")
def test_mixed_list(space: Space, server: HookServer) -> None:  # noqa: F811
    api, crd = space.api, _converted(space, server)
    api.call("POST", crd.path(space.name), _object(api, crd, "v1", "one", hostPort="localhost:8080"))
    api.update(crd.own, lambda obj: obj["spec"].update(versions=_versions("v2")))
    until("v2 is stored", lambda: "v2" in api.get(crd.own)["status"]["storedVersions"])
    api.call("POST", crd.path(space.name), _object(api, crd, "v1", "two", hostPort="localhost:8080"))
    for version, wanted in (("v1", {"hostPort": "localhost:8080"}), ("v2", {"host": "localhost", "port": "8080"})):
        found = api.get(crd.path(space.name, version))["items"]
        assert {one["metadata"]["name"] for one in found} == {"one", "two"}
        for one in found:
            assert one["apiVersion"] == f"stable.example.com/{version}"
            assert {key: one[key] for key in one if key not in ("apiVersion", "kind", "metadata")} == wanted
    removed(api, crd)


@conformance(
    "CustomResourceFieldSelectors [Privileged:ClusterAdmin] CustomResourceFieldSelectors "
    "MUST list and watch custom resources matching the field selector"
)
def test_selectable_fields(space: Space, server: HookServer) -> None:  # noqa: F811
    """Lists and watches of both versions by host, host and port, hostPort; an object may leave a selection."""
    api, crd = space.api, _converted(space, server, selectable=True)
    v1, v2 = crd.path(space.name, "v1"), crd.path(space.name, "v2")
    by_host, by_both = f"{v2}?fieldSelector=host%3Dhost1", f"{v2}?fieldSelector=host%3Dhost1,port%3D80"
    by_v1 = f"{v1}?fieldSelector=hostPort%3Dhost1:80"
    watches = {path: Watch(api, path) for path in (by_host, by_both, by_v1)}
    for name, fields in (("a", {"host": "host1", "port": "80"}), ("b", {"host": "host1", "port": "8080"}),
                         ("c", {"host": "host2"})):  # fmt: skip
        api.call("POST", v2, _object(api, crd, "v2", name, **fields))
    assert names(api, by_host) == {"a", "b"}
    assert names(api, by_both) == {"a"}
    assert names(api, by_v1) == {"a"}
    assert names(api, f"{v1}?fieldSelector=hostPort%3Dhost1:8080") == {"b"}
    api.call("DELETE", by_both, {"gracePeriodSeconds": 0})
    api.update(f"{v2}/b", lambda obj: obj.update(host="host2"))
    assert names(api, by_host) == set()
    assert names(api, by_both) == set()
    wanted = {by_host: [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("DELETED", "b")],
              by_both: [("ADDED", "a"), ("DELETED", "a")], by_v1: [("ADDED", "a"), ("DELETED", "a")]}  # fmt: skip
    for path, events in wanted.items():
        until(f"events of {path}", lambda path=path, events=events: len(watches[path].events) >= len(events))  # type: ignore[misc]
    time.sleep(0.2)
    found = {path: [(event["type"], event["object"]["metadata"]["name"]) for event in one.events]
             for path, one in watches.items()}  # fmt: skip
    assert found == wanted
    removed(api, crd)
