"""Server-side apply and managedFields through the whole API server."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from apiserver_harness import ACCOUNTS, CMS, PODS, Harness, account, config_map, harness, pod
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Obj = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def deployment(**spec: Any) -> Obj:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


async def apply(h: Harness, url: str, obj: Obj, manager: str, query: str = "", **more: Any) -> tuple[int, Obj]:
    return await h.call("PATCH", f"{url}?fieldManager={manager}{query}", obj, headers={"content-type": APPLY}, **more)


def owners(obj: Obj) -> list[tuple[str, str, str]]:
    entries = obj["metadata"].get("managedFields", [])
    return [(entry["manager"], entry["operation"], entry.get("subresource", "")) for entry in entries]


def owned_by(obj: Obj, manager: str) -> Obj:
    return next((e["fieldsV1"] for e in obj["metadata"].get("managedFields", []) if e["manager"] == manager), {})


async def test_apply_creates_then_changes_nothing(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        code, made = await apply(h, f"{CMS}/a", config_map("a", k="1"), "me")
        assert code == 201
        assert owners(made) == [("me", "Apply", "")]
        assert owned_by(made, "me") == {"f:data": {"f:k": {}}}
        code, again = await apply(h, f"{CMS}/a", config_map("a", k="1"), "me")
        assert (code, again) == (200, made)


async def test_another_manager_conflicts_forces_and_the_first_loses(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await apply(h, f"{DEPLOYMENTS}/web", deployment(replicas=2), "one")
        code, refused = await apply(h, f"{DEPLOYMENTS}/web", deployment(replicas=3), "two")
        assert (code, refused["reason"]) == (409, "Conflict")
        assert refused["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
        assert refused["details"]["causes"] == [
            {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.replicas"}
        ]
        code, forced = await apply(h, f"{DEPLOYMENTS}/web", deployment(replicas=3), "two", "&force=true")
        assert (code, forced["spec"]["replicas"]) == (200, 3)
        assert "f:replicas" not in owned_by(forced, "one")["f:spec"]
        assert "f:replicas" in owned_by(forced, "two")["f:spec"]


async def test_what_is_no_longer_applied_goes_unless_another_owns_it(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await apply(h, f"{CMS}/a", config_map("a", k="1", shared="s"), "one")
        await apply(h, f"{CMS}/a", config_map("a", shared="s"), "two")
        _, left = await apply(h, f"{CMS}/a", {"apiVersion": "v1", "kind": "ConfigMap"}, "one")
        assert left["data"] == {"shared": "s"}
        assert owners(left) == [("two", "Apply", "")]


async def test_every_write_is_recorded_for_its_manager(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        agent = {"user-agent": "kubectl/v1.33.0 (linux/amd64)"}
        made = await h.ok("POST", DEPLOYMENTS, deployment(replicas=2), headers=agent)
        assert owners(made) == [("kubectl", "Update", "")]
        patched = await h.ok(
            "PATCH", f"{DEPLOYMENTS}/web?fieldManager=edit", {"spec": {"paused": True}}, headers={"content-type": MERGE}
        )
        assert owned_by(patched, "edit") == {"f:spec": {"f:paused": {}}}
        status = {"status": {"replicas": 1}}
        told = await h.ok(
            "PATCH", f"{DEPLOYMENTS}/web/status?fieldManager=ctl", status, headers={"content-type": MERGE}
        )
        assert ("ctl", "Update", "status") in owners(told)
        assert owned_by(told, "ctl") == {"f:status": {"f:replicas": {}}}
        scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 5}}
        await h.ok("PUT", f"{DEPLOYMENTS}/web/scale?fieldManager=hpa", scale)
        found = await h.ok("GET", f"{DEPLOYMENTS}/web")
        assert ("hpa", "Update", "scale") in owners(found)
        assert owned_by(found, "hpa") == {"f:spec": {"f:replicas": {}}}
        code, refused = await apply(h, f"{DEPLOYMENTS}/web", deployment(replicas=2), "me")
        assert code == 409
        why = 'conflict with "hpa" with subresource "scale" using apps/v1'
        assert refused["details"]["causes"] == [
            {"reason": "FieldManagerConflict", "message": why, "field": ".spec.replicas"}
        ]


async def test_what_admission_adds_is_owned_by_nobody(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await h.ok("POST", ACCOUNTS, account("default"))
        made = await h.ok("POST", PODS, pod("p"))
        assert made["spec"]["tolerations"] and made["spec"]["volumes"]
        spec = made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
        assert not {"f:tolerations", "f:volumes", "f:serviceAccountName"} & set(spec)


async def test_status_is_applied_through_its_subresource_only(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await h.ok("POST", DEPLOYMENTS, deployment(replicas=2))
        head = {"apiVersion": "apps/v1", "kind": "Deployment"}
        code, told = await apply(
            h, f"{DEPLOYMENTS}/web/status", {**head, "status": {"replicas": 4}, "spec": {"paused": True}}, "ctl"
        )
        assert (code, told["status"]["replicas"]) == (200, 4)
        assert "paused" not in told["spec"]
        assert ("ctl", "Apply", "status") in owners(told)
        code, _ = await apply(h, f"{DEPLOYMENTS}/none/status", {**head, "status": {"replicas": 4}}, "ctl")
        assert code == 404


async def test_from_client_side_apply(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        last = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"annotations":{},"name":"a"},"data":{"k":"1"}}\n'
        old = config_map("a", k="1")
        old["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": last}
        await h.ok("POST", f"{CMS}?fieldManager=kubectl-client-side-apply", old)
        code, now = await apply(h, f"{CMS}/a", config_map("a", k="2"), "kubectl")
        assert (code, now["data"]) == (200, {"k": "2"})
        assert '"k":"2"' in now["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]


async def test_before_the_first_apply(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        bare = await h.ok("POST", CMS, config_map("a", k="1"))
        bare["metadata"]["managedFields"] = [{}]
        cleared = await h.ok("PUT", f"{CMS}/a", bare)
        assert "managedFields" not in cleared["metadata"]
        cleared["data"]["j"] = "2"
        still = await h.ok("PUT", f"{CMS}/a", cleared)
        assert "managedFields" not in still["metadata"]
        _, applied = await apply(h, f"{CMS}/a", config_map("a", k="1"), "me")
        assert owners(applied) == [("me", "Apply", ""), ("before-first-apply", "Update", "")]


async def test_dry_run_stores_nothing(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        code, shown = await apply(h, f"{CMS}/a", config_map("a", k="1"), "me", "&dryRun=All")
        assert code == 201 and owners(shown) == [("me", "Apply", "")]
        assert (await h.call("GET", f"{CMS}/a"))[0] == 404
        await apply(h, f"{CMS}/a", config_map("a", k="1"), "me")
        code, shown = await apply(h, f"{CMS}/a", config_map("a", k="2"), "me", "&dryRun=All")
        assert (code, shown["data"]["k"]) == (200, "2")
        assert (await h.ok("GET", f"{CMS}/a"))["data"]["k"] == "1"


@pytest.mark.parametrize(
    ("url", "body", "code", "message"),
    [
        (
            f"{CMS}/a",
            config_map("a"),
            422,
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        ),
        (
            f"{CMS}/a?fieldManager=me",
            {**config_map("a"), "apiVersion": "v2"},
            400,
            "Incorrect version specified in apply patch. Specified patch version: v2, expected: v1",
        ),
        (
            f"{CMS}/a?fieldManager=me",
            {**config_map("a"), "bogus": 1},
            400,
            "failed to create typed patch object (/a; v1, Kind=ConfigMap): .bogus: field not declared in schema",
        ),
        (
            f"{CMS}/a?fieldManager=me",
            {**config_map("a"), "metadata": {"managedFields": [{"manager": "x"}]}},
            400,
            "metadata.managedFields must be nil",
        ),
        (
            f"{CMS}/a?fieldManager=me&fieldValidation=Strict",
            b"apiVersion: v1\nkind: ConfigMap\ndata:\n  k: a\n  k: b\n",
            400,
            'error strict decoding YAML: yaml: unmarshal errors:\n  line 5: key "k" already set in map',
        ),
        (f"{CMS}/a?fieldManager=me", b"{", 400, "error decoding YAML: "),
        (f"{CMS}/a?fieldManager=me", b"[]", 400, ""),
        (
            f"{CMS}/a?fieldManager=me",
            {**config_map("a"), "metadata": {"name": "b"}},
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            f"{CMS}/a?fieldManager=me",
            {**config_map("a"), "metadata": {"uid": "u"}},
            409,
            'Operation cannot be fulfilled on configmaps "a": uid mismatch: the provided object specified uid u, '
            "and no existing object was found",
        ),
    ],
)
async def test_bad_applies(tmp_path: Path, url: str, body: Any, code: int, message: str) -> None:
    async with harness(tmp_path) as h:
        found, _, said = await h.refused("PATCH", url, body, headers={"content-type": APPLY})
        assert found == code
        assert said.startswith(message)


async def test_force_is_for_applies(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await h.ok("POST", CMS, config_map("a"))
        code, _, said = await h.refused("PATCH", f"{CMS}/a?force=true", {}, headers={"content-type": MERGE})
        assert code == 422
        assert said.endswith("force: Forbidden: may not be specified for non-apply patch")


async def test_who_may_patch_only_does_not_create(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]
        rbac, head = "/apis/rbac.authorization.k8s.io/v1/namespaces/default", "rbac.authorization.k8s.io"
        meta = {"metadata": {"name": "patcher"}}
        await h.ok("POST", f"{rbac}/roles", {**meta, "rules": rules})
        subject = {"kind": "User", "name": "joe", "apiGroup": head}
        ref = {"kind": "Role", "name": "patcher", "apiGroup": head}
        await h.ok("POST", f"{rbac}/rolebindings", {**meta, "subjects": [subject], "roleRef": ref})
        code, refused = await apply(h, f"{CMS}/a", config_map("a", k="1"), "me", token="joe-token")
        assert code == 403
        assert 'User "joe" cannot create resource "configmaps"' in refused["message"]
        await apply(h, f"{CMS}/a", config_map("a", k="1"), "me")
        assert (await apply(h, f"{CMS}/a", config_map("a", k="1"), "joe", token="joe-token"))[0] == 200


# Properties, over the whole server; each example has an object of its own.


class Server:
    """A server and a loop to drive it from plain functions, as hypothesis calls them."""

    def __init__(self, h: Harness, runner: asyncio.Runner) -> None:
        self.h, self.runner, self.made = h, runner, 0

    def fresh(self) -> str:
        self.made += 1
        return f"{CMS}/c{self.made}"

    def apply(self, url: str, data: dict[str, str], manager: str, query: str = "") -> tuple[int, Obj]:
        config = {"apiVersion": "v1", "kind": "ConfigMap", "data": data}
        return self.runner.run(apply(self.h, url, config, manager, query))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        made = harness(Path(stack.enter_context(TemporaryDirectory())))
        h = runner.run(made.__aenter__())
        stack.callback(lambda: runner.run(made.__aexit__(None, None, None)))
        yield Server(h, runner)


DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("123"), min_size=1)
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(first=DATA, second=DATA)
def test_property_apply_is_idempotent(server: Server, first: dict[str, str], second: dict[str, str]) -> None:
    url = server.fresh()
    server.apply(url, first, "one")
    server.apply(url, second, "two", "&force=true")
    for manager, data in (("two", second), ("one", first)):
        once = server.apply(url, data, manager, "&force=true")
        assert server.apply(url, data, manager, "&force=true") == once


@few
@given(first=DATA, second=DATA)
def test_property_forced_apply_owns(server: Server, first: dict[str, str], second: dict[str, str]) -> None:
    url = server.fresh()
    server.apply(url, first, "one")
    code, obj = server.apply(url, second, "two")
    disputed = {key for key in first if key in second and first[key] != second[key]}
    assert code == (409 if disputed else 200)
    code, obj = server.apply(url, second, "two", "&force=true")
    assert code == 200 and obj["data"] == {**first, **second}
    assert {f"f:{key}" for key in second} <= set(owned_by(obj, "two")["f:data"])
    assert not {f"f:{key}" for key in disputed} & set(owned_by(obj, "one").get("f:data", {}))


@few
@given(first=DATA, second=DATA, other=DATA)
def test_property_removal_removes(
    server: Server, first: dict[str, str], second: dict[str, str], other: dict[str, str]
) -> None:
    url = server.fresh()
    server.apply(url, first, "one")
    server.apply(url, other, "two", "&force=true")
    _, obj = server.apply(url, second, "one", "&force=true")
    assert obj["data"] == {**other, **second}
