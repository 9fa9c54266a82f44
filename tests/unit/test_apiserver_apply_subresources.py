"""Server-side apply through `scale` and `status`, and of lists: who owns what, in upstream's words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from apiserver_harness import Harness, harness
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Obj = dict[str, Any]
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
TYPE = {"content-type": "application/apply-patch+yaml"}


def deployment(name: str, **spec: Any) -> Obj:
    labels = {"app": name}
    container = {"name": "c", "image": "nginx"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def scale(name: str, replicas: int | None) -> Obj:
    spec = {} if replicas is None else {"replicas": replicas}
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": name}, "spec": spec}


async def apply(h: Harness, url: str, body: Obj, manager: str, query: str = "") -> tuple[int, Obj]:
    return await h.call("PATCH", f"{url}?fieldManager={manager}{query}", orjson.dumps(body), headers=TYPE)


def owners(obj: Obj, field: str) -> set[tuple[str, str, str]]:
    """(manager, operation, subresource) of a field below spec or status."""
    section, name = field.split(".")
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", ""))
        for entry in obj["metadata"]["managedFields"]
        if f"f:{name}" in entry["fieldsV1"].get(f"f:{section}", {})
    }


async def test_scale_is_applied(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await apply(h, f"{DEPLOYMENTS}/web", deployment("web"), "gitops")
        code, shown = await apply(h, f"{DEPLOYMENTS}/web/scale", scale("web", 3), "hpa")
        assert (code, shown["kind"], shown["spec"]) == (200, "Scale", {"replicas": 3})
        held = await h.ok("GET", f"{DEPLOYMENTS}/web")
        assert owners(held, "spec.replicas") == {("hpa", "Apply", "scale")}
        code, again = await apply(h, f"{DEPLOYMENTS}/web/scale", scale("web", 3), "hpa")
        assert again["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"], "idempotent"
        code, refused = await apply(h, f"{DEPLOYMENTS}/web", deployment("web", replicas=1), "gitops")
        assert code == 409
        assert 'conflict with "hpa" with subresource "scale": .spec.replicas' in refused["message"]
        code, refused = await apply(h, f"{DEPLOYMENTS}/web/scale", scale("web", 4), "other")
        assert (code, refused["details"]["causes"][0]["field"]) == (409, ".spec.replicas")
        code, _ = await apply(h, f"{DEPLOYMENTS}/web/scale", scale("web", 4), "other", "&force=true")
        held = await h.ok("GET", f"{DEPLOYMENTS}/web")
        assert (code, held["spec"]["replicas"]) == (200, 4)
        assert owners(held, "spec.replicas") == {("other", "Apply", "scale")}
        # the template is still the first manager's, untouched
        assert owners(held, "spec.template") == {("gitops", "Apply", "")}


@pytest.mark.parametrize(
    "body, query, code, message",
    [
        (
            scale("other", 1),
            "?fieldManager=m",
            400,
            "the name of the object (other) does not match the name on the URL",
        ),
        (
            scale("web", -1),
            "?fieldManager=m",
            422,
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (scale("web", 1), "", 422, "fieldManager: Required value: is required for apply patch"),
        (deployment("web"), "?fieldManager=m", 400, "expected: autoscaling/v1"),
    ],
)
async def test_scales_that_cannot_be_applied(tmp_path: Path, body: Obj, query: str, code: int, message: str) -> None:
    async with harness(tmp_path) as h:
        await apply(h, f"{DEPLOYMENTS}/web", deployment("web"), "gitops")
        found, refused = await h.call("PATCH", f"{DEPLOYMENTS}/web/scale{query}", orjson.dumps(body), headers=TYPE)
        assert (found, message in refused["message"]) == (code, True), refused


async def test_there_must_be_something_to_scale(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        code, refused = await apply(h, f"{DEPLOYMENTS}/none/scale", scale("none", 1), "m")
        assert (code, refused["reason"]) == (404, "NotFound")


async def test_status_is_owned_apart_from_the_rest(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await apply(h, f"{DEPLOYMENTS}/web", deployment("web", replicas=2), "gitops")

        def status(kind: str, value: str) -> Obj:
            condition = {"type": kind, "status": value, "reason": "R", "message": "m"}
            config = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
            return {**config, "status": {"conditions": [condition]}}

        for manager, kind in (("one", "A"), ("two", "B")):
            code, obj = await apply(h, f"{DEPLOYMENTS}/web/status", status(kind, "True"), manager)
            assert code == 200, obj
        assert [condition["type"] for condition in obj["status"]["conditions"]] == ["A", "B"]
        code, refused = await apply(h, f"{DEPLOYMENTS}/web/status", status("A", "False"), "two")
        assert code == 409
        assert 'conflict with "one" with subresource "status"' in refused["message"]
        assert '.status.conditions[type="A"].status' in refused["message"]
        # what one no longer says goes; the other's stays, and so does the spec
        none = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
        code, obj = await apply(h, f"{DEPLOYMENTS}/web/status", none, "one")
        assert [condition["type"] for condition in obj["status"]["conditions"]] == ["B"]
        assert obj["spec"]["replicas"] == 2
        # a status in an apply of the object itself is nobody's
        code, obj = await apply(h, f"{DEPLOYMENTS}/web", {**deployment("web", replicas=2), **status("C", "True")} | {
            "spec": deployment("web", replicas=2)["spec"]}, "gitops")  # fmt: skip
        assert code == 200
        assert [condition["type"] for condition in obj["status"]["conditions"]] == ["B"]


# Properties of lists that are merged by key.


class Server:
    def __init__(self, h: Harness, runner: asyncio.Runner) -> None:
        self.h, self.runner, self.made = h, runner, 0

    def fresh(self) -> str:
        self.made += 1
        return f"d{self.made}"

    def apply(self, name: str, env: dict[str, str], manager: str, query: str = "&force=true") -> tuple[int, Obj]:
        body = deployment(name)
        container = body["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [{"name": key, "value": value} for key, value in env.items()]
        return self.runner.run(apply(self.h, f"{DEPLOYMENTS}/{name}", body, manager, query))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        made = harness(Path(stack.enter_context(TemporaryDirectory())))
        h = runner.run(made.__aenter__())
        stack.callback(lambda: runner.run(made.__aexit__(None, None, None)))
        yield Server(h, runner)


ENV = st.dictionaries(st.sampled_from("ABCD"), st.sampled_from("123"), min_size=1)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def env_of(obj: Obj) -> dict[str, str]:
    entries = obj["spec"]["template"]["spec"]["containers"][0].get("env", [])
    assert len({entry["name"] for entry in entries}) == len(entries), "one of each key"
    return {entry["name"]: entry.get("value", "") for entry in entries}


def keys_of(obj: Obj, manager: str) -> set[str]:
    found: set[str] = set()
    for entry in obj["metadata"]["managedFields"]:
        if entry["manager"] == manager:
            fields: Obj = entry["fieldsV1"]
            for step in ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"c"}', "f:env"):
                fields = fields.get(step, {})
            found |= {orjson.loads(key[2:])["name"] for key in fields if key.startswith("k:")}
    return found


@few
@given(ENV, ENV)
def test_property_applies_commute_where_they_agree(
    server: Server, first: dict[str, str], second: dict[str, str]
) -> None:
    agreed = {**second, **{key: value for key, value in first.items() if key in second}}
    results = []
    for order in ((("one", first), ("two", agreed)), (("two", agreed), ("one", first))):
        name = server.fresh()
        for manager, env in order:
            code, obj = server.apply(name, env, manager, "")
            assert code in (200, 201), obj
        results.append((env_of(obj), keys_of(obj, "one"), keys_of(obj, "two")))
    assert results[0] == results[1] == ({**first, **agreed}, set(first), set(agreed))


@few
@given(ENV, ENV, ENV)
def test_property_removal_removes_what_nobody_else_owns(
    server: Server, first: dict[str, str], other: dict[str, str], second: dict[str, str]
) -> None:
    name = server.fresh()
    server.apply(name, first, "one")
    server.apply(name, other, "two")
    code, obj = server.apply(name, second, "one")
    assert code == 200
    assert env_of(obj) == {**other, **second}
    assert keys_of(obj, "one") == set(second)
    assert server.apply(name, second, "one") == (code, obj), "idempotent"


@few
@given(ENV, ENV)
def test_property_a_conflict_changes_nothing(server: Server, first: dict[str, str], second: dict[str, str]) -> None:
    name = server.fresh()
    _, before = server.apply(name, first, "one")
    code, found = server.apply(name, second, "two", "")
    disputed = {key for key in first if second.get(key, first[key]) != first[key]}
    assert code == (409 if disputed else 200)
    if disputed:
        where = '.spec.template.spec.containers[name="c"].env[name="%s"].value'
        assert {cause["field"] for cause in found["details"]["causes"]} == {where % key for key in disputed}
        _, after = server.apply(name, first, "one")
        assert after == before
