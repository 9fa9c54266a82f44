# ruff: noqa: E501 - upstream's sentences
"""Admission webhooks through the API: named after upstream's conformance tests ("AdmissionWebhook …")."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import ACCOUNTS, CMS, PODS, Harness, account, config_map, harness, pod
from webhook_server import Obj, Webhook, allow, deny, patched, webhook

GROUP = "/apis/admissionregistration.k8s.io/v1"
MUTATING, VALIDATING = f"{GROUP}/mutatingwebhookconfigurations", f"{GROUP}/validatingwebhookconfigurations"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
MERGE = {"content-type": "application/merge-patch+json"}
ADD_ONE = {"op": "add", "path": "/data/mutation-stage-1", "value": "yes"}
ADD_TWO = {"op": "add", "path": "/data/mutation-stage-2", "value": "yes"}


def rule(
    resources: tuple[str, ...] = ("configmaps",),
    group: str = "",
    versions: tuple[str, ...] = ("v1",),
    operations: tuple[str, ...] = ("CREATE",),
) -> Obj:
    return {
        "operations": list(operations),
        "apiGroups": [group],
        "apiVersions": list(versions),
        "resources": list(resources),
    }


def hook(
    server: Webhook, path: str = "/", name: str = "hook.example.com", rules: tuple[Obj, ...] = (), **more: Any
) -> Obj:
    client = {"url": server.url + path, "caBundle": server.bundle}
    found = {"name": name, "clientConfig": client, "rules": list(rules) or [rule()], "sideEffects": "None"}
    return {**found, "admissionReviewVersions": ["v1"], "timeoutSeconds": 5, **more}


def configuration(kind: str, *hooks: Obj, name: str = "test") -> Obj:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": list(hooks),
    }


@contextlib.asynccontextmanager
async def serving(state: Path, decide: Any) -> AsyncIterator[tuple[Harness, Webhook]]:
    async with webhook(state, decide) as server, harness(state) as api:
        await api.ok("POST", ACCOUNTS, account("default"))
        try:
            yield api, server
        finally:
            await api.api.dynamic.close()


def definition(*versions: str, stored: str = "v1") -> Obj:
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    data = {"type": "object", "properties": {key: {"type": "string"} for key in ("mutation-start", "mutation-stage-1")}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"data": data, "spec": free}}}
    names = {"plural": "widgets", "kind": "Widget"}
    rows = [{"name": one, "served": True, "storage": one == stored, "schema": schema} for one in versions or ("v1",)]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": rows},
    }


def widget(name: str, **data: str) -> Obj:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "data": data}


async def test_should_include_webhook_resources_in_discovery_documents(tmp_path: Path) -> None:
    async with harness(tmp_path) as api:
        groups = {one["name"] for one in (await api.ok("GET", "/apis"))["groups"]}
        assert "admissionregistration.k8s.io" in groups
        listed = {one["name"] for one in (await api.ok("GET", GROUP))["resources"]}
        assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= listed


async def test_should_be_able_to_deny_pod_and_configmap_creation(tmp_path: Path) -> None:
    def decide(path: str, request: Obj) -> Obj:
        return deny(f"the {request['kind']['kind']} contains unwanted {path[1:]}")

    async with serving(tmp_path, decide) as (api, server):
        pods = hook(server, "/label", "pods.example.com", (rule(("pods",)),))
        maps = hook(server, "/key", "maps.example.com", (rule(operations=("CREATE", "UPDATE")),))
        await api.ok("POST", VALIDATING, configuration("Validating", pods, maps))
        code, status = await api.call("POST", PODS, pod("p"))
        assert (code, status["message"]) == (
            400,
            'admission webhook "pods.example.com" denied the request: the Pod contains unwanted label',
        )
        code, status = await api.call("POST", CMS, config_map("c", a="b"))
        assert status["message"].endswith('"maps.example.com" denied the request: the ConfigMap contains unwanted key')
        assert (await api.call("GET", f"{CMS}/c"))[0] == 404
        (sent,) = server.requests("/key")
        assert sent["resource"] == sent["requestResource"] == {"group": "", "version": "v1", "resource": "configmaps"}
        assert (sent["operation"], sent["name"], sent["namespace"]) == ("CREATE", "c", "default")
        assert sent["userInfo"]["username"] == "admin"
        assert sent["object"]["data"] == {"a": "b"} and sent["oldObject"] is None
        assert sent["object"]["metadata"]["uid"] and sent["options"]["kind"] == "CreateOptions"


async def test_updates_by_put_and_patch_are_seen_with_old_and_new(tmp_path: Path) -> None:
    def decide(path: str, request: Obj) -> Obj:
        kept = request["oldObject"]["data"] == {"a": "1"}
        return (
            deny("no change", code=409, reason="Conflict")
            if kept and request["object"]["data"]["a"] == "2"
            else allow()
        )

    async with serving(tmp_path, decide) as (api, server):
        await api.ok("POST", CMS, config_map("c", a="1"))
        await api.ok(
            "POST", VALIDATING, configuration("Validating", hook(server, rules=(rule(operations=("UPDATE",)),)))
        )
        for method, body in (("PUT", config_map("c", a="2")), ("PATCH", {"data": {"a": "2"}})):
            code, reason, message = await api.refused(
                method, f"{CMS}/c", body, headers=MERGE if method == "PATCH" else {}
            )
            assert (code, reason) == (409, "Conflict")
            assert message == 'admission webhook "hook.example.com" denied the request: no change'
        await api.ok("PATCH", f"{CMS}/c", {"data": {"a": "3"}}, headers=MERGE)


async def test_should_be_able_to_deny_attaching_pod(tmp_path: Path) -> None:
    async with serving(
        tmp_path, lambda path, request: deny("attaching to pod 'to-be-attached-pod' is not allowed")
    ) as (api, server):
        await api.ok("POST", PODS, pod("to-be-attached-pod"))
        attach = rule(("pods/attach",), operations=("CONNECT",))
        await api.ok("POST", VALIDATING, configuration("Validating", hook(server, rules=(attach,))))
        code, _, message = await api.refused("POST", f"{PODS}/to-be-attached-pod/attach?stdin=true&container=c")
        assert code == 400
        assert message.endswith("denied the request: attaching to pod 'to-be-attached-pod' is not allowed")
        (sent,) = server.requests()
        assert (sent["operation"], sent["subResource"]) == ("CONNECT", "attach")
        assert sent["kind"] == {"group": "", "version": "v1", "kind": "PodAttachOptions"}
        assert sent["object"] == {"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": True, "container": "c"}


async def test_should_be_able_to_deny_custom_resource_creation_update_and_deletion(tmp_path: Path) -> None:
    def decide(path: str, request: Obj) -> Obj:
        shown = request["oldObject"] if request["operation"] == "DELETE" else request["object"]
        return deny("unwanted") if shown["data"].get("mutation-start") == request["operation"] else allow()

    async with serving(tmp_path, decide) as (api, server):
        await api.ok("POST", DEFINITIONS, definition())
        every = rule(("widgets",), "example.com", operations=("CREATE", "UPDATE", "DELETE"))
        await api.ok("POST", VALIDATING, configuration("Validating", hook(server, rules=(every,))))
        await api.refused("POST", WIDGETS, widget("a", **{"mutation-start": "CREATE"}))
        await api.ok("POST", WIDGETS, widget("a", **{"mutation-start": "DELETE"}))
        await api.refused("PATCH", f"{WIDGETS}/a", {"data": {"mutation-start": "UPDATE"}}, headers=MERGE)
        await api.refused("DELETE", f"{WIDGETS}/a")
        await api.ok("PATCH", f"{WIDGETS}/a", {"data": {"mutation-start": "fine"}}, headers=MERGE)
        await api.ok("DELETE", f"{WIDGETS}/a")


async def test_should_unconditionally_reject_operations_on_fail_closed_webhook(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda path, request: allow()) as (api, server):
        closed = hook(server, name="fail-closed.example.com", failurePolicy="Fail")
        closed["clientConfig"] = {"url": "https://127.0.0.1:1/x", "caBundle": server.bundle}
        await api.ok("POST", VALIDATING, configuration("Validating", closed))
        code, reason, message = await api.refused("POST", CMS, config_map("c"))
        assert (code, reason) == (500, "InternalError")
        assert message == (
            'Internal error occurred: failed calling webhook "fail-closed.example.com": failed to call webhook: '
            'Post "https://127.0.0.1:1/x?timeout=5s": dial tcp 127.0.0.1:1: connect: connection refused'
        )
        opened = {**closed, "failurePolicy": "Ignore"}
        await api.ok("PATCH", f"{VALIDATING}/test", {"webhooks": [opened]}, headers=MERGE)
        await api.ok("POST", CMS, config_map("c"))


async def test_failures_are_told_as_upstream_tells_them(tmp_path: Path) -> None:
    answers: dict[str, Obj] = {
        "/500": {"raw": "sorry", "code": 500},
        "/404": {"raw": {}, "code": 404},
        "/uid": allow(uid="other"),
        "/kind": {"raw": {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "response": {}}},
        "/none": {"raw": {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}},
        "/patch": {"allowed": True, "patch": "W10="},
    }
    expected = {
        "/500": 'an error on the server ("\\"sorry\\"") has prevented the request from succeeding',
        "/404": "the server could not find the requested resource",
        "/uid": 'received invalid webhook response: expected response.uid="',
        "/kind": "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview",
        "/none": "received invalid webhook response: webhook response was absent",
        "/patch": "received invalid webhook response: validating webhook may not return response.patch",
    }
    async with serving(tmp_path, lambda path, request: answers[path]) as (api, server):
        for path, words in expected.items():
            await api.ok("POST", VALIDATING, configuration("Validating", hook(server, path)))
            code, _, message = await api.refused("POST", CMS, config_map("c"))
            assert code == 500
            assert words in message
            await api.ok("DELETE", f"{VALIDATING}/test")
        untrusted = hook(server)
        del untrusted["clientConfig"]["caBundle"]
        await api.ok("POST", VALIDATING, configuration("Validating", untrusted))
        _, _, message = await api.refused("POST", CMS, config_map("c"))
        assert message.endswith("tls: failed to verify certificate: x509: certificate signed by unknown authority")


async def test_should_honor_timeout(tmp_path: Path) -> None:
    async def slow(path: str, request: Obj) -> Obj:
        await asyncio.sleep(1.5)
        return allow()

    async with serving(tmp_path, slow) as (api, server):
        await api.ok("POST", VALIDATING, configuration("Validating", hook(server, "/slow", timeoutSeconds=1)))
        code, _, message = await api.refused("POST", CMS, config_map("c"))
        assert code == 500
        assert message.endswith(
            f'failed to call webhook: Post "{server.url}/slow?timeout=1s": context deadline exceeded'
        )
        longer = hook(server, "/slow", timeoutSeconds=30)
        await api.ok("PATCH", f"{VALIDATING}/test", {"webhooks": [longer]}, headers=MERGE)
        await api.ok("POST", CMS, config_map("c"))


async def test_should_mutate_configmap(tmp_path: Path) -> None:
    def decide(path: str, request: Obj) -> Obj:
        data = request["object"]["data"]
        if data.get("mutation-start") == "yes" and path == "/1":
            return patched(ADD_ONE)
        return patched(ADD_TWO) if data.get("mutation-stage-1") == "yes" and path == "/2" else allow()

    async with serving(tmp_path, decide) as (api, server):
        # by the names of the configurations, not in the order in which they were made
        await api.ok("POST", MUTATING, configuration("Mutating", hook(server, "/2", "b.example.com"), name="b"))
        await api.ok("POST", MUTATING, configuration("Mutating", hook(server, "/1", "a.example.com"), name="a"))
        made = await api.ok("POST", CMS, config_map("c", **{"mutation-start": "yes"}))
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}
        assert [path for path, _ in server.seen] == ["/1", "/2"]


async def test_reinvocation(tmp_path: Path) -> None:
    def decide(path: str, request: Obj) -> Obj:
        data = request["object"]["data"]
        if path == "/2":
            return patched(ADD_TWO)
        return patched(ADD_ONE) if "mutation-stage-2" in data else allow()

    async with serving(tmp_path, decide) as (api, server):
        first = hook(server, "/1", "a.example.com", reinvocationPolicy="IfNeeded")
        await api.ok("POST", MUTATING, configuration("Mutating", first, hook(server, "/2", "b.example.com")))
        made = await api.ok("POST", CMS, config_map("c", start="x"))
        assert set(made["data"]) == {"start", "mutation-stage-1", "mutation-stage-2"}
        assert [path for path, _ in server.seen] == ["/1", "/2", "/1"]


async def test_should_mutate_everything_except_skip_me_configmaps(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda path, request: patched(ADD_ONE)) as (api, server):
        unless = [{"name": "skip", "expression": "object.metadata.name != 'skip-me'"}]
        await api.ok("POST", MUTATING, configuration("Mutating", hook(server, matchConditions=unless)))
        assert "mutation-stage-1" in (await api.ok("POST", CMS, config_map("other", a="b")))["data"]
        assert "mutation-stage-1" not in (await api.ok("POST", CMS, config_map("skip-me", a="b")))["data"]


async def test_match_conditions_that_fail(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda path, request: deny("never asked")) as (api, server):
        wrong = [{"name": "wrong", "expression": "object.data.missing == 'x'"}]
        await api.ok("POST", VALIDATING, configuration("Validating", hook(server, matchConditions=wrong)))
        code, reason, message = await api.refused("POST", CMS, config_map("c", a="b"))
        assert (code, reason) == (403, "Forbidden")
        assert message.endswith("expression 'object.data.missing == 'x'' resulted in error: no such key: missing")
        lenient = hook(server, matchConditions=wrong, failurePolicy="Ignore")
        await api.ok("PATCH", f"{VALIDATING}/test", {"webhooks": [lenient]}, headers=MERGE)
        await api.ok("POST", CMS, config_map("c", a="b"))
        assert server.seen == []
        false = [*wrong, {"name": "no", "expression": "request.userInfo.username == 'nobody'"}]
        strict = hook(server, matchConditions=false)
        await api.ok("PATCH", f"{VALIDATING}/test", {"webhooks": [strict]}, headers=MERGE)
        await api.ok("POST", CMS, config_map("d", a="b"))


@pytest.mark.parametrize("kind", ["Mutating", "Validating"])
async def test_should_reject_webhook_configurations_with_invalid_match_conditions(tmp_path: Path, kind: str) -> None:
    url = MUTATING if kind == "Mutating" else VALIDATING
    async with serving(tmp_path, lambda path, request: allow()) as (api, server):
        invalid = [{"name": "invalid-expression-1", "expression": "... [] bad expression"}]
        code, _, message = await api.refused("POST", url, configuration(kind, hook(server, matchConditions=invalid)))
        assert code == 422
        assert "compilation failed: ERROR: <input>:1:" in message
        fine = [{"name": "fine", "expression": "object.metadata.name != 'x'"}]
        made = await api.ok("POST", url, configuration(kind, hook(server, matchConditions=fine)))
        assert made["webhooks"][0]["matchConditions"] == fine


async def test_should_mutate_custom_resource_with_pruning(tmp_path: Path) -> None:
    unknown = {"op": "add", "path": "/data/unknown", "value": "x"}
    async with serving(tmp_path, lambda path, request: patched(ADD_ONE, unknown)) as (api, server):
        await api.ok("POST", DEFINITIONS, definition())
        await api.ok(
            "POST", MUTATING, configuration("Mutating", hook(server, rules=(rule(("widgets",), "example.com"),)))
        )
        made = await api.ok("POST", WIDGETS, widget("a", **{"mutation-start": "yes"}))
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes"}


async def test_should_mutate_custom_resource_with_different_stored_version(tmp_path: Path) -> None:
    def decide(path: str, request: Obj) -> Obj:
        assert request["object"]["apiVersion"] == "example.com/v1"
        return patched(ADD_ONE)

    async with serving(tmp_path, decide) as (api, server):
        await api.ok("POST", DEFINITIONS, definition("v1", "v2", stored="v2"))
        only = rule(("widgets",), "example.com", ("v1",), ("CREATE", "UPDATE"))
        await api.ok("POST", MUTATING, configuration("Mutating", hook(server, rules=(only,))))
        body = {**widget("a", **{"mutation-start": "yes"}), "apiVersion": "example.com/v2"}
        made = await api.ok("POST", WIDGETS.replace("/v1/", "/v2/"), body)
        assert made["apiVersion"] == "example.com/v2"
        assert made["data"]["mutation-stage-1"] == "yes"
        (sent,) = server.requests()
        assert (sent["kind"]["version"], sent["requestKind"]["version"]) == ("v1", "v2")
        exact = hook(server, rules=(only,), matchPolicy="Exact")
        await api.ok("PATCH", f"{MUTATING}/test", {"webhooks": [exact]}, headers=MERGE)
        await api.ok("PATCH", f"{WIDGETS.replace('/v1/', '/v2/')}/a", {"data": {"mutation-start": "x"}}, headers=MERGE)
        assert len(server.seen) == 1


async def test_should_mutate_pod_and_apply_defaults_after_mutation(tmp_path: Path) -> None:
    init = {
        "op": "add",
        "path": "/spec/initContainers",
        "value": [{"name": "webhook-added-init-container", "image": "i"}],
    }
    async with serving(tmp_path, lambda path, request: patched(init)) as (api, server):
        await api.ok("POST", MUTATING, configuration("Mutating", hook(server, rules=(rule(("pods",)),))))
        made = await api.ok("POST", PODS, pod("p"))
        (added,) = made["spec"]["initContainers"]
        assert (added["name"], added["terminationMessagePolicy"]) == ("webhook-added-init-container", "File")
        # the service account's token reaches containers that webhooks add, too
        assert added["imagePullPolicy"] == "Always"


async def test_should_not_be_able_to_mutate_or_prevent_deletion_of_webhook_configuration_objects(
    tmp_path: Path,
) -> None:
    label = {"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}

    def decide(path: str, request: Obj) -> Obj:
        return patched(label) if path == "/mutate" else deny("no")

    async with serving(tmp_path, decide) as (api, server):
        every = rule(("*/*",), "*", ("*",), ("*",))
        await api.ok("POST", MUTATING, configuration("Mutating", hook(server, "/mutate", rules=(every,)), name="m"))
        await api.ok("POST", VALIDATING, configuration("Validating", hook(server, "/deny", rules=(every,)), name="v"))
        made = await api.ok("POST", VALIDATING, configuration("Validating", name="dummy"))
        assert "labels" not in made["metadata"]
        for url in (f"{VALIDATING}/dummy", f"{VALIDATING}/v", f"{MUTATING}/m"):
            await api.ok("DELETE", url)
        await api.ok("POST", CMS, config_map("c"))


async def test_should_deny_crd_creation(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda path, request: deny("the crd contains unwanted label")) as (api, server):
        only = rule(("customresourcedefinitions",), "apiextensions.k8s.io", ("*",))
        await api.ok("POST", VALIDATING, configuration("Validating", hook(server, rules=(only,))))
        _, _, message = await api.refused("POST", DEFINITIONS, definition())
        assert message.endswith("the crd contains unwanted label")


@pytest.mark.parametrize("kind", ["Mutating", "Validating"])
async def test_patching_and_updating_and_listing_a_webhook_should_work(tmp_path: Path, kind: str) -> None:
    url = MUTATING if kind == "Mutating" else VALIDATING

    def decide(path: str, request: Obj) -> Obj:
        return patched(ADD_ONE) if kind == "Mutating" else deny("no")

    async def acts(api: Harness, name: str) -> bool:
        code, obj = await api.call("POST", CMS, config_map(name, a="b"))
        return code == 400 or "mutation-stage-1" in obj.get("data", {})

    async with serving(tmp_path, decide) as (api, server):
        made = await api.ok("POST", url, configuration(kind, hook(server)))
        assert await acts(api, "a")
        made["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
        await api.ok("PUT", f"{url}/test", made)
        assert not await acts(api, "b")
        operations = [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]
        await api.ok("PATCH", f"{url}/test", operations, headers={"content-type": "application/json-patch+json"})
        assert await acts(api, "c")
        assert len((await api.ok("GET", f"{url}?labelSelector="))["items"]) == 1
        await api.call("DELETE", url)
        assert not await acts(api, "d")


async def test_selectors(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda path, request: deny("no")) as (api, server):
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "guarded", "labels": {"guard": "yes"}},
        }
        await api.ok("POST", "/api/v1/namespaces", namespace)
        only = hook(
            server, namespaceSelector={"matchLabels": {"guard": "yes"}}, objectSelector={"matchLabels": {"a": "b"}}
        )
        await api.ok("POST", VALIDATING, configuration("Validating", only))
        await api.ok("POST", CMS, config_map("c", {"a": "b"}))
        guarded = CMS.replace("/default/", "/guarded/")
        await api.ok("POST", guarded, config_map("c"))
        await api.refused("POST", guarded, config_map("d", {"a": "b"}))


async def test_dry_run_needs_a_webhook_without_side_effects(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda path, request: deny("dry" if request["dryRun"] else "wet")) as (api, server):
        await api.ok("POST", VALIDATING, configuration("Validating", hook(server)))
        _, _, message = await api.refused("POST", f"{CMS}?dryRun=All", config_map("c"))
        assert message.endswith("denied the request: dry")


async def test_warnings_reach_the_client(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda path, request: allow(warnings=["careful"])) as (api, server):
        await api.ok("POST", VALIDATING, configuration("Validating", hook(server)))
        await api.ok("POST", CMS, config_map("c"))
        assert api.headers["Warning"] == '299 - "careful"'


async def test_generated_names_and_uids(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda path, request: allow()) as (api, server):
        await api.ok("POST", MUTATING, configuration("Mutating", hook(server, "/m")))
        await api.ok("POST", VALIDATING, configuration("Validating", hook(server, "/v")))
        body = config_map("x")
        body["metadata"] = {"generateName": "gen-"}
        made = await api.ok("POST", CMS, body)
        early, late = server.requests("/m")[0]["object"]["metadata"], server.requests("/v")[0]["object"]["metadata"]
        assert "uid" not in early and not early.get("name")
        assert (late["uid"], late["name"]) == (made["metadata"]["uid"], made["metadata"]["name"])
        assert "name" not in server.requests("/v")[0]


async def test_a_service_is_called_by_its_cluster_ip(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda path, request: allow()) as (api, server):
        client = {
            "service": {"namespace": "default", "name": "hook", "path": "/x", "port": 8443},
            "caBundle": server.bundle,
        }
        await api.ok("POST", VALIDATING, configuration("Validating", {**hook(server), "clientConfig": client}))
        _, _, message = await api.refused("POST", CMS, config_map("c"))
        assert message.endswith('Post "https://hook.default.svc:8443/x?timeout=5s": service "hook" not found')
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "hook"},
            "spec": {"ports": [{"port": 443}]},
        }
        await api.ok("POST", "/api/v1/namespaces/default/services", service)
        _, _, message = await api.refused("POST", CMS, config_map("c"))
        assert message.endswith('no service port 8443 found for service "hook"')


async def test_subresources_are_seen_in_their_own_form(tmp_path: Path) -> None:
    """pods/binding, serviceaccounts/token, pods/eviction, deployments/scale and CONNECT."""

    def decide(path: str, request: Obj) -> Obj:
        return deny(f"no {request['subResource']}") if path == "/deny" else allow()

    async with serving(tmp_path, decide) as (api, server):
        seen = ("pods/binding", "pods/eviction", "pods/exec", "serviceaccounts/token")
        rules = (
            rule(seen, operations=("CREATE", "CONNECT")),
            rule(("deployments/scale",), "apps", operations=("UPDATE",)),
        )
        await api.ok("POST", VALIDATING, configuration("Validating", hook(server, rules=rules)))
        await api.ok("POST", PODS, pod("p"))
        await api.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
        selector, labels = {"matchLabels": {"a": "b"}}, {"labels": {"a": "b"}}
        template = {"metadata": labels, "spec": pod("x")["spec"]}
        deployments = "/apis/apps/v1/namespaces/default/deployments"
        spec = {"selector": selector, "template": template, "replicas": 1}
        await api.ok("POST", deployments, {"metadata": {"name": "d"}, "spec": spec})
        binding = {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}, "target": {"name": "n1"}}
        scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "d"}, "spec": {"replicas": 3}}
        requests: list[tuple[str, str, Obj | None]] = [
            ("POST", f"{PODS}/p/binding", binding),
            ("POST", f"{ACCOUNTS}/default/token", {"spec": {"expirationSeconds": 600}}),
            ("PUT", f"{deployments}/d/scale", scale),
            ("POST", f"{PODS}/p/exec?command=ls", None),
            ("POST", f"{PODS}/p/eviction", {"metadata": {"name": "p"}}),
        ]
        for method, url, body in requests:
            if url.endswith("command=ls"):
                await api.raw(method, url)
            else:
                await api.ok(method, url, body)
        found = [(one["operation"], one["subResource"], one["object"]["kind"]) for one in server.requests()]
        assert found == [
            ("CREATE", "binding", "Binding"),
            ("CREATE", "token", "TokenRequest"),
            ("UPDATE", "scale", "Scale"),
            ("CONNECT", "exec", "PodExecOptions"),
            ("CREATE", "eviction", "Eviction"),
        ]
        scaled = server.requests()[2]
        assert (scaled["oldObject"]["spec"]["replicas"], scaled["object"]["spec"]["replicas"]) == (1, 3)
        assert scaled["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        assert scaled["resource"]["resource"] == "deployments"

        strict = hook(server, "/deny", rules=rules)
        await api.ok("PATCH", f"{VALIDATING}/test", {"webhooks": [strict]}, headers=MERGE)
        await api.ok("POST", PODS, pod("q"))
        for method, url, body in requests:
            code, _, message = await api.refused(method, url.replace("/p/", "/q/"), body and {**body, "metadata": {}})
            assert (code, message.rpartition(" no ")[0]) == (
                400, 'admission webhook "hook.example.com" denied the request:'
            ), url  # fmt: skip
        assert (await api.ok("GET", f"{deployments}/d"))["spec"]["replicas"] == 3


async def test_a_scale_can_be_changed_by_a_webhook(tmp_path: Path) -> None:
    most = {"op": "replace", "path": "/spec/replicas", "value": 2}
    async with serving(tmp_path, lambda path, request: patched(most)) as (api, server):
        limits = hook(server, rules=(rule(("replicasets/scale",), "apps", operations=("UPDATE",)),))
        await api.ok("POST", MUTATING, configuration("Mutating", limits))
        sets = "/apis/apps/v1/namespaces/default/replicasets"
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": 1}
        await api.ok("POST", sets, {"metadata": {"name": "r"}, "spec": spec})
        scaled = await api.ok("PATCH", f"{sets}/r/scale", {"spec": {"replicas": 50}}, headers=MERGE)
        assert scaled["spec"]["replicas"] == 2
        assert (await api.ok("GET", f"{sets}/r"))["spec"]["replicas"] == 2
