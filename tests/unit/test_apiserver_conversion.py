"""Versions converted by a webhook: named after upstream's conformance tests ("CustomResourceConversionWebhook …")."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from apiserver_harness import Harness, harness
from webhook_server import Obj, Webhook, webhook

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
V1 = "/apis/example.com/v1/namespaces/default/widgets"
V2 = V1.replace("/v1/", "/v2/")
MERGE = {"content-type": "application/merge-patch+json"}


def convert(path: str, request: Obj) -> Obj:
    """v1 has hostPort, v2 host and port."""
    found = []
    for obj in request["objects"]:
        made = {**obj, "apiVersion": request["desiredAPIVersion"]}
        if made["apiVersion"] == "example.com/v2" and "hostPort" in made:
            made["host"], _, made["port"] = made.pop("hostPort").partition(":")
        elif made["apiVersion"] == "example.com/v1" and "host" in made:
            made["hostPort"] = f"{made.pop('host')}:{made.pop('port')}"
        found.append(made)
    return {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": found}


def definition(server: Webhook, stored: str = "v1") -> Obj:
    text = {"type": "string"}
    fields = {"v1": {"hostPort": text}, "v2": {"host": text, "port": text}}
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == stored,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": fields[name]}},
        }
        for name in ("v1", "v2")
    ]
    client = {"url": f"{server.url}/convert", "caBundle": server.bundle}
    conversion = {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}}
    names = {"plural": "widgets", "kind": "Widget"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": names,
            "versions": versions,
            "conversion": conversion,
        },
    }


def widget(name: str, version: str = "v1", **fields: str) -> Obj:
    return {"apiVersion": f"example.com/{version}", "kind": "Widget", "metadata": {"name": name}, **fields}


@contextlib.asynccontextmanager
async def serving(state: Path, decide: Any = convert) -> AsyncIterator[tuple[Harness, Webhook]]:
    async with webhook(state, decide) as server, harness(state) as api:
        try:
            yield api, server
        finally:
            await api.api.dynamic.close()


async def test_should_be_able_to_convert_from_cr_v1_to_cr_v2(tmp_path: Path) -> None:
    async with serving(tmp_path) as (api, server):
        await api.ok("POST", DEFINITIONS, definition(server))
        made = await api.ok("POST", V1, widget("a", hostPort="localhost:1234"))
        shown = await api.ok("GET", f"{V2}/a")
        assert (shown["apiVersion"], shown["host"], shown["port"]) == ("example.com/v2", "localhost", "1234")
        assert "hostPort" not in shown
        for key in ("uid", "resourceVersion", "creationTimestamp", "generation"):
            assert shown["metadata"][key] == made["metadata"][key]
        review = server.seen[0][1]
        assert (review["kind"], review["apiVersion"]) == ("ConversionReview", "apiextensions.k8s.io/v1")
        assert (await api.ok("GET", f"{V1}/a"))["hostPort"] == "localhost:1234"


async def test_should_be_able_to_convert_a_non_homogeneous_list_of_crs(tmp_path: Path) -> None:
    async with serving(tmp_path) as (api, server):
        await api.ok("POST", DEFINITIONS, definition(server, "v1"))
        await api.ok("POST", V1, widget("a", hostPort="one:1"))
        # from now on objects are stored in the other version; what is there stays as it is
        await api.ok("PATCH", f"{DEFINITIONS}/widgets.example.com", definition(server, "v2"), headers=MERGE)
        await api.ok("POST", V2, widget("b", "v2", host="two", port="2"))
        listed = (await api.ok("GET", V1))["items"]
        assert [(one["apiVersion"], one["hostPort"]) for one in listed] == [
            ("example.com/v1", "one:1"),
            ("example.com/v1", "two:2"),
        ]
        listed = (await api.ok("GET", V2))["items"]
        assert [(one["apiVersion"], one["host"], one["port"]) for one in listed] == [
            ("example.com/v2", "one", "1"),
            ("example.com/v2", "two", "2"),
        ]


async def test_writes_in_the_version_that_is_not_stored(tmp_path: Path) -> None:
    async with serving(tmp_path) as (api, server):
        await api.ok("POST", DEFINITIONS, definition(server))
        made = await api.ok("POST", V2, widget("a", "v2", host="h", port="1"))
        assert (made["apiVersion"], made["host"]) == ("example.com/v2", "h")
        assert (await api.ok("GET", f"{V1}/a"))["hostPort"] == "h:1"
        changed = await api.ok("PATCH", f"{V2}/a", {"port": "2"}, headers=MERGE)
        assert (changed["host"], changed["port"]) == ("h", "2")
        changed["host"] = "other"
        await api.ok("PUT", f"{V2}/a", changed)
        assert (await api.ok("GET", f"{V1}/a"))["hostPort"] == "other:2"
        labelled = await api.ok("PATCH", f"{V2}/a", {"metadata": {"labels": {"x": "y"}}}, headers=MERGE)
        assert (labelled["metadata"]["labels"], labelled["host"]) == ({"x": "y"}, "other")
        await api.ok("DELETE", f"{V2}/a")


async def test_watches_see_their_version(tmp_path: Path) -> None:
    async with serving(tmp_path) as (api, server):
        await api.ok("POST", DEFINITIONS, definition(server))
        await api.ok("POST", V1, widget("a", hostPort="one:1"))
        watching = await api.watch(V2)
        await watching.until(1)
        await api.ok("PATCH", f"{V1}/a", {"hostPort": "two:2"}, headers=MERGE)
        await api.ok("POST", V1, widget("b", hostPort="three:3"))
        events = [(e["type"], e["object"]["apiVersion"], e["object"]["host"]) for e in await watching.until(3)]
        assert events == [
            ("ADDED", "example.com/v2", "one"),
            ("MODIFIED", "example.com/v2", "two"),
            ("ADDED", "example.com/v2", "three"),
        ]


async def test_what_a_webhook_may_not_answer(tmp_path: Path) -> None:
    answers: list[Obj] = []

    def decide(path: str, request: Obj) -> Obj:
        return {**convert(path, request), **answers[-1]}

    async with serving(tmp_path, decide) as (api, server):
        await api.ok("POST", DEFINITIONS, definition(server))
        failed = "Internal error occurred: conversion webhook for example.com/v2, Kind=Widget failed: "
        for answer, expected in (
            ({"result": {"status": "Failure", "message": "cannot"}}, "cannot"),
            ({"result": {"status": "?"}}, "response.result.status was '?', not 'Success'"),
            ({"convertedObjects": []}, "webhook returned 0 objects, expected 1"),
            (
                {"convertedObjects": [widget("x", "v2")]},
                "invalid converted object at index 0: invalid groupVersion (expected example.com/v1, received "
                "example.com/v2)",
            ),
            (
                {"convertedObjects": [widget("other")]},
                "invalid converted object at index 0: must have the same name: other != a",
            ),
        ):
            answers.append(answer)
            code, _, message = await api.refused("POST", V2, widget("a", "v2", host="h", port="1"))
            assert (code, message) == (500, failed + expected)
        assert (await api.ok("GET", V1))["items"] == []


async def test_a_webhook_that_is_away_does_not_hinder_the_stored_version(tmp_path: Path) -> None:
    async with serving(tmp_path) as (api, server):
        away = definition(server)
        away["spec"]["conversion"]["webhook"]["clientConfig"]["url"] = "https://127.0.0.1:1/convert"
        await api.ok("POST", DEFINITIONS, away)
        await api.ok("POST", V1, widget("a", hostPort="one:1"))
        assert (await api.ok("GET", f"{V1}/a"))["hostPort"] == "one:1"
        code, _, message = await api.refused("GET", f"{V2}/a")
        assert code == 500
        assert message == (
            "Internal error occurred: conversion webhook for example.com/v1, Kind=Widget failed: "
            'Post "https://127.0.0.1:1/convert?timeout=30s": dial tcp 127.0.0.1:1: connect: connection refused'
        )
        await api.ok("PATCH", f"{DEFINITIONS}/widgets.example.com", definition(server), headers=MERGE)
        watching = await api.watch(V2)
        assert (await watching.until(1))[0]["object"]["host"] == "one"
        assert watching.task is not None
        await asyncio.sleep(0)
        assert not watching.task.done()
