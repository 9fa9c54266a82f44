"""Reading and writing objects: what a client is answered, and what is stored then."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from apiserver_harness import ACCOUNTS, CMS, PODS, Harness, account, config_map, harness, pod


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        yield made


async def test_a_created_object_gets_its_system_fields_and_is_read_back_as_it_was_answered(server: Harness) -> None:
    code, made = await server.call("POST", CMS, config_map("a", x="1"))
    assert code == 201
    metadata = made["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("a", "default")
    assert {"uid", "creationTimestamp", "resourceVersion"} <= set(metadata)
    assert await server.ok("GET", f"{CMS}/a") == made


async def test_a_taken_name_is_409(server: Harness) -> None:
    await server.ok("POST", CMS, config_map("a"))
    assert await server.refused("POST", CMS, config_map("a")) == (
        409,
        "AlreadyExists",
        'configmaps "a" already exists',
    )


async def test_generate_name(server: Harness) -> None:
    body = {"metadata": {"generateName": "x-"}}
    names = {(await server.ok("POST", CMS, body))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("x-") and len(name) == 7 for name in names)


async def test_missing_things_are_404_in_upstreams_words(server: Harness) -> None:
    assert await server.refused("GET", f"{CMS}/no") == (404, "NotFound", 'configmaps "no" not found')
    assert await server.refused("GET", "/apis/apps/v1/namespaces/default/deployments/no") == (
        404,
        "NotFound",
        'deployments.apps "no" not found',
    )
    assert (await server.refused("GET", "/apis/no.such/v1/things"))[2] == (
        "the server could not find the requested resource"
    )
    assert await server.refused("POST", "/api/v1/namespaces/nowhere/configmaps", config_map("a")) == (
        404,
        "NotFound",
        'namespaces "nowhere" not found',
    )


@pytest.mark.parametrize(
    "url, method",
    [
        ("/api/v1/configmaps", "POST"),
        ("/api/v1/configmaps/a", "GET"),
        ("/api/v1/namespaces/default/nodes/n", "GET"),
        ("/api/v1/namespaces/default/configmaps/a/status", "GET"),
        ("/api/v2/pods", "GET"),
    ],
)
async def test_paths_that_lead_nowhere(server: Harness, url: str, method: str) -> None:
    assert (await server.refused(method, url, config_map("a") if method == "POST" else None))[0] == 404


async def test_verbs_that_a_path_does_not_take_are_405(server: Harness) -> None:
    assert (await server.refused("DELETE", "/api/v1/namespaces"))[:2] == (405, "MethodNotAllowed")
    assert (await server.refused("PUT", CMS, config_map("a")))[:2] == (405, "MethodNotAllowed")
    assert (await server.refused("POST", "/version"))[0] == 405


async def test_an_update_from_an_old_version_is_409_with_upstreams_message(server: Harness) -> None:
    old = await server.ok("POST", CMS, config_map("a", x="1"))
    await server.ok("PUT", f"{CMS}/a", {**old, "data": {"x": "2"}})
    code, reason, message = await server.refused("PUT", f"{CMS}/a", {**old, "data": {"x": "3"}})
    assert (code, reason) == (409, "Conflict")
    assert message == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_an_update_that_changes_nothing_keeps_the_version_and_tells_nobody(server: Harness) -> None:
    made = await server.ok("POST", CMS, config_map("a", x="1"))
    listener = await server.watch(f"{CMS}?resourceVersion={made['metadata']['resourceVersion']}")
    assert await server.ok("PUT", f"{CMS}/a", made) == made
    patch = {"headers": {"content-type": "application/merge-patch+json"}}
    assert await server.ok("PATCH", f"{CMS}/a", {"data": {"x": "1"}}, **patch) == made
    await server.ok("PATCH", f"{CMS}/a", {"data": {"x": "2"}}, **patch)
    assert [event["type"] for event in await listener.until(1)] == ["MODIFIED"]


@pytest.mark.parametrize(
    "kind, document, want",
    [
        ("merge-patch", {"data": {"x": None, "y": "2"}}, {"y": "2"}),
        ("strategic-merge-patch", {"data": {"y": "2"}}, {"x": "1", "y": "2"}),
        ("json-patch", [{"op": "replace", "path": "/data/x", "value": "9"}], {"x": "9"}),
    ],
)
async def test_patches(server: Harness, kind: str, document: object, want: dict[str, str]) -> None:
    await server.ok("POST", CMS, config_map("a", x="1"))
    headers = {"content-type": f"application/{kind}+json"}
    assert (await server.ok("PATCH", f"{CMS}/a", document, headers=headers))["data"] == want


async def test_a_patch_in_an_unknown_format_is_415(server: Harness) -> None:
    await server.ok("POST", CMS, config_map("a"))
    code, reason, _ = await server.refused("PATCH", f"{CMS}/a", {}, headers={"content-type": "text/plain"})
    assert (code, reason) == (415, "UnsupportedMediaType")


async def test_a_dry_run_answers_as_the_real_thing_and_stores_nothing(server: Harness) -> None:
    made = await server.ok("POST", f"{CMS}?dryRun=All", config_map("a", x="1"))
    assert made["data"] == {"x": "1"}
    assert "resourceVersion" not in made["metadata"]
    assert (await server.refused("GET", f"{CMS}/a"))[0] == 404
    kept = await server.ok("POST", CMS, config_map("a", x="1"))
    assert (await server.refused("POST", f"{CMS}?dryRun=All", config_map("a")))[0] == 409
    changed = await server.ok("PUT", f"{CMS}/a?dryRun=All", {**kept, "data": {"x": "2"}})
    assert changed["data"] == {"x": "2"}
    await server.ok("DELETE", f"{CMS}/a?dryRun=All")
    assert await server.ok("GET", f"{CMS}/a") == kept


async def test_a_deletion_answers_with_a_status_that_names_the_object(server: Harness) -> None:
    made = await server.ok("POST", CMS, config_map("a"))
    gone = await server.ok("DELETE", f"{CMS}/a")
    assert gone["status"] == "Success"
    assert gone["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}


async def test_finalizers_keep_an_object_until_the_last_one_goes(server: Harness) -> None:
    body = config_map("a")
    body["metadata"]["finalizers"] = ["example.com/one", "example.com/two"]
    await server.ok("POST", CMS, body)
    marked = await server.ok("DELETE", f"{CMS}/a")
    assert "deletionTimestamp" in marked["metadata"]
    again = await server.ok("DELETE", f"{CMS}/a")
    assert again == marked
    headers = {"content-type": "application/merge-patch+json"}
    left = await server.ok("PATCH", f"{CMS}/a", {"metadata": {"finalizers": ["example.com/two"]}}, headers=headers)
    assert left["metadata"]["finalizers"] == ["example.com/two"]
    await server.ok("PATCH", f"{CMS}/a", {"metadata": {"finalizers": None}}, headers=headers)
    assert (await server.refused("GET", f"{CMS}/a"))[0] == 404


@pytest.mark.parametrize(
    "policy, finalizers",
    [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), ("Background", None)],
)
async def test_propagation_becomes_a_finalizer(server: Harness, policy: str, finalizers: list[str] | None) -> None:
    await server.ok("POST", CMS, config_map("a"))
    await server.ok("DELETE", f"{CMS}/a", {"kind": "DeleteOptions", "propagationPolicy": policy})
    code, found = await server.call("GET", f"{CMS}/a")
    if finalizers is None:
        assert code == 404
    else:
        assert found["metadata"]["finalizers"] == finalizers


async def test_preconditions_of_a_deletion(server: Harness) -> None:
    made = await server.ok("POST", CMS, config_map("a"))
    code, reason, message = await server.refused("DELETE", f"{CMS}/a", {"preconditions": {"uid": "other"}})
    assert (code, reason) == (409, "Conflict")
    assert message.endswith(
        f"Precondition failed: UID in precondition: other, UID in object meta: {made['metadata']['uid']}"
    )
    assert (await server.refused("DELETE", f"{CMS}/a", {"preconditions": {"resourceVersion": "1"}}))[0] == 409
    await server.ok("DELETE", f"{CMS}/a", {"preconditions": {"uid": made["metadata"]["uid"]}})


async def test_a_running_pod_is_given_its_grace_period(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("default"))
    await server.ok("POST", PODS, pod("waiting"))
    await server.ok("POST", PODS, pod("running", node="n1"))
    assert (await server.ok("DELETE", f"{PODS}/waiting"))["kind"] == "Pod"
    assert (await server.refused("GET", f"{PODS}/waiting"))[0] == 404
    marked = await server.ok("DELETE", f"{PODS}/running")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = await server.ok("DELETE", f"{PODS}/running", {"gracePeriodSeconds": 5})
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = await server.ok("DELETE", f"{PODS}/running", {"gracePeriodSeconds": 60})
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5
    await server.ok("DELETE", f"{PODS}/running", {"gracePeriodSeconds": 0})
    assert (await server.refused("GET", f"{PODS}/running"))[0] == 404


async def test_deletecollection_deletes_what_is_selected(server: Harness) -> None:
    for name in "abc":
        await server.ok("POST", CMS, config_map(name, {"app": "x" if name != "b" else "y"}))
    gone = await server.ok("DELETE", f"{CMS}?labelSelector=app=x")
    assert [item["metadata"]["name"] for item in gone["items"]] == ["a", "c"]
    left = await server.ok("GET", CMS)
    assert [item["metadata"]["name"] for item in left["items"]] == ["b"]


async def test_strictness_about_unknown_fields(server: Harness) -> None:
    body = {**config_map("a"), "bogus": 1}
    code, reason, message = await server.refused("POST", f"{CMS}?fieldValidation=Strict", body)
    assert (code, reason) == (400, "BadRequest")
    assert message.endswith('strict decoding error: unknown field "bogus"')
    made = await server.ok("POST", f"{CMS}?fieldValidation=Warn", body)
    assert "bogus" not in made
    assert server.headers["Warning"] == '299 - "unknown field \\"bogus\\""'
    assert (await server.refused("POST", f"{CMS}?fieldValidation=Maybe", body))[0] == 422


async def test_namespace_mismatch_and_foreign_names(server: Harness) -> None:
    body = config_map("a")
    body["metadata"]["namespace"] = "kube-system"
    assert (await server.refused("POST", CMS, body))[2] == (
        "the namespace of the provided object does not match the namespace sent on the request"
    )
    made = await server.ok("POST", CMS, config_map("a"))
    made["metadata"]["name"] = "b"
    assert (await server.refused("PUT", f"{CMS}/a", made))[:2] == (400, "BadRequest")


async def test_yaml_goes_in_and_out(server: Harness) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: 'y'}\n"
    made = await server.ok("POST", CMS, body, headers={"content-type": "application/yaml"})
    assert made["data"] == {"x": "y"}
    found = await server.raw("GET", f"{CMS}/a", headers={"accept": "application/yaml"})
    assert b"\ndata:\n  x: y\n" in found.body  # type: ignore[union-attr]


async def test_what_cannot_be_represented_is_406(server: Harness) -> None:
    await server.ok("POST", CMS, config_map("a"))
    assert (await server.refused("GET", f"{CMS}/a", headers={"accept": "text/html"}))[:2] == (406, "NotAcceptable")


async def test_an_unexpected_error_is_a_500_without_a_traceback(
    server: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(key: str) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server.api.store, "get", explode, raising=False)
    code, reason, message = await server.refused("GET", f"{CMS}/a")
    assert (code, reason) == (500, "InternalError")
    assert "secret" not in message
    request = message.rpartition(" ")[2]
    assert request in caplog.text
    assert "secret detail" in caplog.text


async def test_a_full_disk_is_a_507_and_the_next_write_may_succeed(server: Harness) -> None:
    database = server.api.store._db  # type: ignore[attr-defined]
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count={pages}")
    code, reason, message = await server.refused("POST", CMS, config_map("big", x="y" * 200_000))
    assert (code, reason) == (507, "InsufficientStorage")
    assert "no space left on the disk" in message
    assert (await server.refused("GET", f"{CMS}/big"))[0] == 404
    database.execute("PRAGMA max_page_count=1000000")
    await server.ok("POST", CMS, config_map("big", x="y" * 200_000))


async def test_claims_and_volumes_are_born_protected(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        resources = {"requests": {"storage": "1Gi"}}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": resources}
        url = "/api/v1/namespaces/default/persistentvolumeclaims"
        made = await h.ok("POST", url, {"metadata": {"name": "c", "finalizers": ["example.com/x"]}, "spec": spec})
        assert made["metadata"]["finalizers"] == ["example.com/x", "kubernetes.io/pvc-protection"]
        await h.ok("DELETE", f"{url}/c")
        kept = await h.ok("GET", f"{url}/c")
        assert kept["metadata"]["deletionTimestamp"]
