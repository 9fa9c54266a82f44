"""Custom kinds over the API: served, answered, changed, ended, and there again after a restart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from apiserver_harness import Harness, harness

from netlab.apiserver.extensions.controller import keep
from netlab.apiserver.wire.message import Streaming

Obj = dict[str, Any]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
MERGE = {"content-type": "application/merge-patch+json"}
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


def version(name: str = "v1", *, storage: bool = True, **more: Any) -> Obj:
    spec = {"type": "object", "properties": {"size": {"type": "integer"}, "color": {"type": "string"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def definition(*versions: Obj, scope: str = "Namespaced", plural: str = "widgets", kind: str = "Widget") -> Obj:
    names = {"plural": plural, "kind": kind}
    spec = {"group": "example.com", "scope": scope, "names": names, "versions": list(versions) or [version()]}
    metadata = {"name": f"{plural}.example.com"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
    }


def widget(name: str, api_version: str = "example.com/v1", **spec: Any) -> Obj:
    return {"apiVersion": api_version, "kind": "Widget", "metadata": {"name": name}, "spec": spec}


@contextlib.asynccontextmanager
async def serving(state: Path) -> AsyncIterator[Harness]:
    async with harness(state) as made:
        made.tasks.append(asyncio.create_task(keep(made.api)))
        yield made


async def condition(api: Harness, name: str, kind: str, status: str) -> Obj:
    for _ in range(100):
        obj = await api.ok("GET", f"{DEFINITIONS}/{name}")
        for one in obj["status"].get("conditions") or ():
            if one["type"] == kind and one["status"] == status:
                return dict(one)
        await asyncio.sleep(0.02)
    raise AssertionError(obj["status"])


async def gone(api: Harness, path: str) -> None:
    for _ in range(150):
        code, _ = await api.call("GET", path)
        if code == 404:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(path)


async def test_served_as_soon_as_the_definition_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        index = await api.ok("GET", "/openapi/v3")
        await api.ok("POST", DEFINITIONS, definition())
        made = await api.ok("POST", WIDGETS, widget("a", size=1))
        assert made["metadata"]["generation"] == 1
        groups = [group["name"] for group in (await api.ok("GET", "/apis"))["groups"]]
        assert groups[-1] == "example.com"
        after = await api.ok("GET", "/openapi/v3")
        assert set(after["paths"]) - set(index["paths"]) == {"apis/example.com/v1"}
        document = await api.ok("GET", "/openapi/v2", headers={"accept": "application/json"})
        assert "com.example.v1.Widget" in document["definitions"]
        found = await condition(api, "widgets.example.com", "Established", "True")
        assert (found["reason"], found["message"]) == ("InitialNamesAccepted", "the initial names have been accepted")
        listed = await api.ok("GET", "/apis/example.com/v1/widgets")
        assert listed["kind"] == "WidgetList"
        assert [item["kind"] for item in listed["items"]] == ["Widget"]


async def test_names_that_are_taken_are_not_served(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.ok("POST", DEFINITIONS, definition())
        await condition(api, "widgets.example.com", "Established", "True")
        await api.ok("POST", DEFINITIONS, definition(plural="others"))
        found = await condition(api, "others.example.com", "NamesAccepted", "False")
        assert (found["reason"], found["message"]) == ("ListKindConflict", '"WidgetList" is already in use')
        assert (await api.call("GET", "/apis/example.com/v1/others"))[0] == 404
        await api.ok("DELETE", f"{DEFINITIONS}/widgets.example.com")
        await condition(api, "others.example.com", "Established", "True")
        assert (await api.call("GET", "/apis/example.com/v1/others"))[0] == 200


async def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.ok("POST", DEFINITIONS, definition())
        await api.ok("POST", WIDGETS, widget("a", size=1))
        await condition(api, "widgets.example.com", "Established", "True")
    async with serving(tmp_path) as api:
        assert (await api.ok("GET", f"{WIDGETS}/a"))["spec"] == {"size": 1}


async def test_versions_share_objects(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        old = version("v1beta1", storage=False)
        del old["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"]
        await api.ok("POST", DEFINITIONS, definition(old, version("v1")))
        await api.ok("POST", WIDGETS, widget("a", size=1, color="red"))
        beta = WIDGETS.replace("/v1/", "/v1beta1/")
        shown = await api.ok("GET", f"{beta}/a")
        assert (shown["apiVersion"], shown["spec"]) == ("example.com/v1beta1", {"size": 1})
        assert [one["spec"] for one in (await api.ok("GET", beta))["items"]] == [{"size": 1}]
        await api.ok("POST", beta, widget("b", "example.com/v1beta1", size=2))
        assert (await api.ok("GET", f"{WIDGETS}/b"))["apiVersion"] == "example.com/v1"
        group = await api.ok("GET", "/apis/example.com")
        assert [one["version"] for one in group["versions"]] == ["v1", "v1beta1"]


async def test_every_answer_of_a_deprecated_version_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        old = version("v1beta1", storage=False, deprecated=True)
        told = version("v1alpha1", storage=False, deprecated=True, deprecationWarning='"v1alpha1" goes soon')
        await api.ok("POST", DEFINITIONS, definition(told, old, version("v1")))
        beta, alpha = (WIDGETS.replace("/v1/", f"/{name}/") for name in ("v1beta1", "v1alpha1"))
        await api.ok("GET", beta)
        assert api.headers["Warning"] == '299 - "example.com/v1beta1 Widget is deprecated"'
        await api.ok("GET", alpha)
        assert api.headers["Warning"] == '299 - "\\"v1alpha1\\" goes soon"'
        watched = await api.raw("GET", f"{beta}?watch=1")
        assert isinstance(watched, Streaming) and watched.headers["Warning"].endswith('Widget is deprecated"')
        await api.ok("GET", WIDGETS)
        assert "Warning" not in api.headers
        await api.ok("GET", "/api/v1/endpoints")
        assert api.headers["Warning"].startswith(
            '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 '
        )


async def test_what_is_written_is_warned_of(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.ok("POST", DEFINITIONS, definition())
        made = widget("a")
        made["metadata"]["finalizers"] = ["mine"]
        await api.ok("POST", WIDGETS, made)
        assert api.headers["Warning"].startswith('299 - "metadata.finalizers: \\"mine\\": prefer a domain-qualified')
        await api.ok("PATCH", f"{WIDGETS}/a", {"spec": {"size": 2}}, headers=MERGE)
        assert "Warning" not in api.headers
        account = {"metadata": {"name": "a", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}}
        for dry in ("?dryRun=All", ""):
            await api.ok("POST", f"/api/v1/namespaces/default/serviceaccounts{dry}", account)
            assert "deprecated in v1.32+; prefer separate namespaces" in api.headers["Warning"]


async def test_a_changed_schema_shows_on_objects_and_ends_watches(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.ok("POST", DEFINITIONS, definition())
        await api.ok("POST", WIDGETS, widget("a", size=1, color="red"))
        await condition(api, "widgets.example.com", "Established", "True")
        watching = await api.watch(WIDGETS)
        await watching.until(1)
        new = version()
        properties = new["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        del properties["color"]
        properties["shape"] = {"type": "string", "default": "round"}
        await api.ok("PATCH", f"{DEFINITIONS}/widgets.example.com", {"spec": {"versions": [new]}}, headers=MERGE)
        assert (await api.ok("GET", f"{WIDGETS}/a"))["spec"] == {"size": 1, "shape": "round"}
        assert (await api.ok("GET", WIDGETS))["items"][0]["spec"] == {"size": 1, "shape": "round"}
        assert watching.task is not None
        await asyncio.wait_for(watching.task, 5)


async def test_a_version_in_which_objects_are_stored_stays(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.ok("POST", DEFINITIONS, definition())
        path, patch = f"{DEFINITIONS}/widgets.example.com", {"spec": {"versions": [version("v2")]}}
        code, _, message = await api.refused("PATCH", path, patch, headers=MERGE)
        assert code == 422
        assert 'status.storedVersions[0]: Invalid value: "v1": must appear in spec.versions' in message


async def test_what_a_definition_may_not_say(tmp_path: Path) -> None:
    text, at = {"type": "string"}, "spec.validation.openAPIV3Schema.properties[spec]"
    array = {"type": "array", "items": text}
    cases = (
        ({"type": "array"}, f"{at}.items: Required value: must be specified"),
        ({}, f"{at}.type: Required value: must not be empty for specified object fields"),
        (
            {**array, "x-kubernetes-list-type": "map"},
            f"{at}.x-kubernetes-list-map-keys: Required value: must not be empty",
        ),
        ({**array, "x-kubernetes-list-type": "bag"}, f'{at}.x-kubernetes-list-type: Unsupported value: "bag"'),
        (
            {"type": "object", "properties": {"a": text}, "additionalProperties": text},
            f"{at}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
    )
    async with serving(tmp_path) as api:
        for schema, expected in cases:
            bad = version()
            bad["schema"]["openAPIV3Schema"]["properties"]["spec"] = schema
            code, _, message = await api.refused("POST", DEFINITIONS, definition(bad))
            assert code == 422
            assert expected in message
        scale = {"specReplicasPath": ".status.x", "statusReplicasPath": ".status.replicas"}
        code, _, message = await api.refused("POST", DEFINITIONS, definition(version(subresources={"scale": scale})))
        assert "spec.subresources.scale.specReplicasPath: Invalid value" in message


async def test_deleting_waits_for_the_objects(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.ok("POST", DEFINITIONS, definition())
        held = widget("held")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await api.ok("POST", WIDGETS, held)
        await api.ok("POST", WIDGETS, widget("free"))
        watching = await api.watch(WIDGETS)
        await watching.until(2)
        marked = await api.ok("DELETE", f"{DEFINITIONS}/widgets.example.com")
        assert marked["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        await gone(api, f"{WIDGETS}/free")
        code, _, message = await api.refused("POST", WIDGETS, widget("late"))
        assert (code, message) == (405, "create not allowed while custom resource definition is terminating")
        assert (await api.call("GET", f"{WIDGETS}/held"))[0] == 200
        await api.ok("PATCH", f"{WIDGETS}/held", {"metadata": {"finalizers": None}}, headers=MERGE)
        await gone(api, f"{DEFINITIONS}/widgets.example.com")
        assert (await api.call("GET", WIDGETS))[0] == 404
        assert sorted(name for kind, name in watching.seen() if kind == "DELETED") == ["free", "held"]


async def test_cluster_scope_fields_columns(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        columns = [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}]
        fields = [{"jsonPath": ".spec.color"}]
        await api.ok("POST", DEFINITIONS, definition(
            version(additionalPrinterColumns=columns, selectableFields=fields), scope="Cluster"
        ))  # fmt: skip
        everywhere = "/apis/example.com/v1/widgets"
        for name, color in (("a", "red"), ("b", "blue")):
            await api.ok("POST", everywhere, widget(name, color=color))
        found = await api.ok("GET", f"{everywhere}?fieldSelector=spec.color%3Dred")
        assert [one["metadata"]["name"] for one in found["items"]] == ["a"]
        code, _, message = await api.refused("GET", f"{everywhere}?fieldSelector=spec.size%3D1")
        assert (code, message) == (400, "field label not supported: spec.size")
        table = await api.ok("GET", everywhere, headers=TABLE)
        assert [row["cells"] for row in table["rows"]] == [["a", "red"], ["b", "blue"]]
        assert (await api.call("POST", WIDGETS, widget("c")))[0] == 404


async def test_a_kind_named_as_a_built_in_one_is_nobody_elses(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.ok("POST", DEFINITIONS, definition(plural="services", kind="Service"))
        path = "/apis/example.com/v1/namespaces/default/services"
        made = await api.ok("POST", path, {**widget("s", size=1), "kind": "Service"})
        assert made["spec"] == {"size": 1}
        await api.ok("PATCH", f"{path}/s", {"spec": {"size": 2}}, headers=MERGE)
        await api.ok("DELETE", f"{path}/s")
        assert (await api.ok("GET", path))["items"] == []


async def test_replacing_needs_the_version_it_was_made_from(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.ok("POST", DEFINITIONS, definition())
        await api.ok("POST", WIDGETS, widget("a", size=1))
        code, _, message = await api.refused("PUT", f"{WIDGETS}/a", widget("a", size=2))
        assert code == 422
        assert "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update" in message
