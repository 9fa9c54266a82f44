"""api-machinery's conformance names about admission webhooks (test/e2e/apimachinery/webhook.go)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.labs.conformance_crds import custom, definition, removed
from tests.labs.conformance_hooks import (
    HOOKS,
    Hooks,
    HookServer,
    config_map,
    denied,
    deploy,
    hook,
    hooks_of,
    mutated,
    rule,
)
from tests.labs.conformance_tools import JSON_PATCH, MERGE, PAUSE, STRATEGIC, refused
from tests.labs.sig_network_lab import conformance, lab, new_space, space  # noqa: F401
from tests.labs.sig_network_tools import ApiError, Obj, Space, kubectl
from tests.labs.tools import User

pytestmark = pytest.mark.timeout(300)
A = "AdmissionWebhook [Privileged:ClusterAdmin] "
ALL = ("CREATE", "UPDATE", "DELETE")


@pytest.fixture(scope="module")
def server(lab: User) -> HookServer:  # noqa: F811
    return deploy(new_space(lab), "webhook", "e2e-test-webhook")


@pytest.fixture
def hooks(space: Space, server: HookServer) -> Iterator[Hooks]:  # noqa: F811
    with hooks_of(space, server) as found:
        yield found


def _no_config_maps(hooks: Hooks) -> Obj:
    unless = {"key": "skip-webhook-admission", "operator": "NotIn", "values": ["yes"]}
    selector = {"matchLabels": {hooks.scope: "true"}, "matchExpressions": [unless]}
    only = rule("configmaps", operations=ALL)
    return hooks.hook("deny-unwanted-configmap-data", "/configmaps", only, namespaceSelector=selector)


def _mutate(hooks: Hooks, stage: int = 1, **more: Any) -> Obj:
    return hooks.hook(f"adding-configmap-data-stage-{stage}", "/mutating-configmaps", rule("configmaps"), **more)


def _unreachable(hooks: Hooks, name: str, policy: str, **more: Any) -> Obj:
    """Without a CA bundle every call fails."""
    client = hooks.server.client("/configmaps", trusted=False)
    return hook(name, client, rule("configmaps"), scope=hooks.scope, failurePolicy=policy, **more)


def _pod(name: str, container: str, label: str = "") -> Obj:
    labels = {"webhook-e2e-test": label} if label else {}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [{"name": container, "image": PAUSE}]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


@conformance(A + "should include webhook resources in discovery documents")
def test_discovery(space: Space) -> None:  # noqa: F811
    api, group = space.api, "admissionregistration.k8s.io"
    (found,) = [one for one in api.get("/apis")["groups"] if one["name"] == group]
    for document in (found, api.get(f"/apis/{group}")):
        assert {"groupVersion": f"{group}/v1", "version": "v1"} in document["versions"]
    listed = api.get(f"/apis/{group}/v1")
    assert listed["groupVersion"] == f"{group}/v1"
    names = {one["name"] for one in listed["resources"]}
    assert names >= {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"}


@conformance(A + "should be able to deny pod and configmap creation")
def test_pods_and_config_maps(hooks: Hooks) -> None:
    ns, api = hooks.ns, hooks.api
    pods = hooks.hook("deny-unwanted-pod-container-name-and-label", "/pods", rule("pods"))
    hooks.register("validating", pods, _no_config_maps(hooks), _unreachable(hooks, "fail-open", "Ignore"))
    said = refused(400, lambda: ns.create("pods", _pod("disallowed-pod", "webhook-disallow", "webhook-disallow")))
    assert "the pod contains unwanted container name" in said
    assert "the pod contains unwanted label" in said
    said = refused(500, lambda: ns.create("pods", _pod("hanging-pod", "wait-forever", "wait-forever")))
    assert "webhook" in said
    assert "deadline" in said
    assert api.gone(ns.path("pods", "hanging-pod"))
    wrong = {"data": {"webhook-e2e-test": "webhook-disallow"}}
    text = "the configmap contains unwanted key and value"
    with pytest.raises(ApiError, match=text):
        config_map(ns, "disallowed-configmap", webhook_e2e_test="webhook-disallow")
    made = config_map(ns, "allowed-configmap", admit="this")
    path = ns.path("configmaps", "allowed-configmap")
    with pytest.raises(ApiError, match=text):
        api.call("PUT", path, {**made, **wrong})
    with pytest.raises(ApiError, match=text):
        api.call("PATCH", path, wrong, STRATEGIC)
    skipped = {"name": f"{ns.name}-skipped", "labels": {hooks.scope: "true", "skip-webhook-admission": "yes"}}
    api.call("POST", "/api/v1/namespaces", {"metadata": skipped})
    config_map(ns, "disallowed-configmap", skipped["name"], webhook_e2e_test="webhook-disallow")
    api.call("DELETE", f"/api/v1/namespaces/{skipped['name']}")


@conformance(A + "should be able to deny attaching pod")
def test_attaching(hooks: Hooks) -> None:
    ns = hooks.ns
    connect = rule("pods/attach", operations=("CONNECT",))
    hooks.register("validating", hooks.hook("deny-attaching-pod", "/pods/attach", connect))
    ns.create("pods", _pod("to-be-attached-pod", "container1"))
    ns.ready("to-be-attached-pod")
    done = kubectl(ns.user, "attach", f"--namespace={ns.name}", "to-be-attached-pod", "-i", "-c=container1")
    assert done.returncode != 0
    assert "attaching to pod 'to-be-attached-pod' is not allowed" in done.stderr


@conformance(A + "should unconditionally reject operations on fail closed webhook")
def test_fail_closed(hooks: Hooks) -> None:
    ns = hooks.ns
    selector = {"matchLabels": {hooks.scope: "true"},
                "matchExpressions": [{"key": "fail-closed-webhook", "operator": "In", "values": ["yes"]}]}  # fmt: skip
    hooks.register("validating", _unreachable(hooks, "fail-closed", "Fail", namespaceSelector=selector))
    labels = {hooks.scope: "true", "fail-closed-webhook": "yes"}
    ns.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": f"{ns.name}-closed", "labels": labels}})
    with pytest.raises(ApiError) as problem:
        config_map(ns, "foo", f"{ns.name}-closed")
    assert (problem.value.code, problem.value.status["reason"]) == (500, "InternalError")
    ns.api.call("DELETE", f"/api/v1/namespaces/{ns.name}-closed")


@conformance(A + "should mutate configmap")
def test_mutate(hooks: Hooks) -> None:
    hooks.register("mutating", _mutate(hooks, 1), _mutate(hooks, 2))
    found = config_map(hooks.ns, "to-be-mutated", mutation_start="yes")
    assert found["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}


@conformance(A + "should mutate pod and apply defaults after mutation")
def test_mutate_pod(hooks: Hooks) -> None:
    hooks.register("mutating", hooks.hook("adding-init-container", "/mutating-pods", rule("pods")))
    (added,) = hooks.ns.create("pods", _pod("webhook-to-be-mutated", "example"))["spec"]["initContainers"]
    assert (added["name"], added["terminationMessagePolicy"]) == ("webhook-added-init-container", "File")


@conformance(A + "should not be able to mutate or prevent deletion of webhook configuration objects")
def test_configurations_are_exempt(hooks: Hooks) -> None:
    kinds = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
    own: Obj = {"group": "admissionregistration.k8s.io", "versions": ["*"]}
    deletions = rule(*kinds, operations=("DELETE",), **own)
    deny = hooks.hook("deny-webhook-configuration-deletions", "/always-deny", deletions, failurePolicy="Fail")
    label = hooks.hook("add-label-to-webhook-configurations", "/add-label", rule(*kinds, **own), failurePolicy="Fail")
    hooks.register("validating", deny, name=f"{hooks.scope}-blocking")
    hooks.register("mutating", label, name=f"{hooks.scope}-blocking")
    for kind in ("validating", "mutating"):
        dummy = hook(f"dummy-{kind}-webhook", hooks.server.client("", trusted=False), rule("invalid"),
                     scope=hooks.scope, failurePolicy="Ignore")  # fmt: skip
        path = hooks.register(kind, dummy)
        assert "added-label" not in (hooks.api.get(path)["metadata"].get("labels") or {})
        hooks.api.call("DELETE", path)
        assert hooks.api.gone(path)


@conformance(A + "should be able to deny custom resource creation, update and deletion")
def test_custom_resources(hooks: Hooks) -> None:
    ns, api = hooks.ns, hooks.api
    crd = definition(api, f"{ns.name}.deny.example.com", "v1")
    rules = rule(crd.plural, operations=ALL, group=crd.group)
    hooks.register("validating", hooks.hook("deny-unwanted-custom-resource-data", "/custom-resource", rules))
    collection = crd.path(ns.name)
    unwanted = "the custom resource contains unwanted data"
    with pytest.raises(ApiError, match=unwanted):
        api.call("POST", collection, custom(crd, "one", data={"webhook-e2e-test": "webhook-disallow"}))
    api.call("POST", collection, custom(crd, "two", data={"webhook-e2e-test": "webhook-nondeletable"}))
    with pytest.raises(ApiError, match=unwanted):
        api.update(f"{collection}/two", lambda obj: obj.update(data={"webhook-e2e-test": "webhook-disallow"}))
    text = "the custom resource cannot be deleted because it contains unwanted key and value"
    with pytest.raises(ApiError, match=text):
        api.call("DELETE", f"{collection}/two")
    api.update(f"{collection}/two", lambda obj: obj.update(data={"webhook-e2e-test": "webhook-allow"}))
    api.call("DELETE", f"{collection}/two")
    removed(api, crd)


def _mutating_custom(hooks: Hooks, crd: Any) -> None:
    both = rule(crd.plural, operations=("CREATE", "UPDATE"), group=crd.group, versions=crd.versions)
    first = rule(crd.plural, group=crd.group, versions=crd.versions)
    path = "/mutating-custom-resource"
    hooks.register("mutating", hooks.hook("mutate-custom-resource-data-stage-1", path, both),
                   hooks.hook("mutate-custom-resource-data-stage-2", path, first))  # fmt: skip


@conformance(A + "should mutate custom resource")
def test_mutate_custom(hooks: Hooks) -> None:
    crd = definition(hooks.api, f"{hooks.scope}.mutate.example.com", "v1")
    _mutating_custom(hooks, crd)
    made = hooks.api.call("POST", crd.path(hooks.ns.name), custom(crd, "one", data={"mutation-start": "yes"}))
    assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}
    removed(hooks.api, crd)


@conformance(A + "should mutate custom resource with pruning")
def test_mutate_and_prune(hooks: Hooks) -> None:
    known = {"mutation-start": {"type": "string"}, "mutation-stage-1": {"type": "string"}}
    schema = {"type": "object", "properties": {"data": {"type": "object", "properties": known}}}
    crd = definition(hooks.api, f"{hooks.scope}.prune.example.com", "v1", "v2", schema=schema)
    _mutating_custom(hooks, crd)
    made = hooks.api.call("POST", crd.path(hooks.ns.name), custom(crd, "one", data={"mutation-start": "yes"}))
    assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes"}
    removed(hooks.api, crd)


@conformance(A + "should mutate custom resource with different stored version")
def test_mutate_other_version(hooks: Hooks) -> None:
    api, ns = hooks.api, hooks.ns
    crd = definition(api, f"{hooks.scope}.stored.example.com", "v1", "v2")
    _mutating_custom(hooks, crd)
    api.call("POST", crd.path(ns.name), custom(crd, "one", data={"mutation-start": "yes"}))
    api.call("PATCH", crd.own, {"spec": {"versions": crd.listed(storage="v2")}}, MERGE)
    patch = [{"op": "add", "path": "/dummy", "value": "test"}]
    found = api.call("PATCH", f"{crd.path(ns.name, 'v2')}/one", patch, JSON_PATCH)  # type: ignore[arg-type]
    assert found["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}
    assert found["dummy"] == "test"
    removed(api, crd)


@conformance(A + "should deny crd creation")
def test_definitions(hooks: Hooks) -> None:
    crds = rule("customresourcedefinitions", group="apiextensions.k8s.io", versions=["*"])
    wanted = hook("deny-crd-with-unwanted-label", hooks.server.client("/crd"), crds, scope=hooks.scope)
    del wanted["namespaceSelector"]
    wanted["objectSelector"] = {"matchLabels": {hooks.scope: "true"}}
    hooks.register("validating", wanted)
    labels = {hooks.scope: "true", "webhook-e2e-test": "webhook-disallow"}
    with pytest.raises(ApiError, match="the crd contains unwanted label"):
        definition(hooks.api, f"{hooks.scope}.denied.example.com", "v1", labels=labels)


@conformance(A + "should honor timeout")
def test_timeout(hooks: Hooks) -> None:
    """The webhook answers after 5 s: too late for 1 s, in time for 10 s, which is also the default."""
    name, path = "e2e-test-slow-webhook-configmap", "/always-allow-delay-5s"
    cases: list[tuple[Obj, bool]] = [
        ({"failurePolicy": "Fail", "timeoutSeconds": 1}, False),
        ({"failurePolicy": "Ignore", "timeoutSeconds": 1}, True),
        ({"failurePolicy": "Fail", "timeoutSeconds": 10}, True),
        ({"failurePolicy": "Fail"}, True),
    ]
    for settings, allowed in cases:
        slow = hooks.hook("allow-configmap-with-delay-webhook", path, rule("configmaps"), **settings)
        where = hooks.register("validating", slow)
        assert hooks.api.get(where)["webhooks"][0]["timeoutSeconds"] == settings.get("timeoutSeconds", 10)
        if allowed:
            config_map(hooks.ns, name)
            hooks.api.call("DELETE", hooks.ns.path("configmaps", name))
        else:
            with pytest.raises(ApiError) as problem:
                config_map(hooks.ns, name)
            assert "context deadline exceeded" in str(problem.value) or "timeout" in str(problem.value)
            assert f"{path}?timeout=1s" in str(problem.value)
        hooks.api.call("DELETE", where)


def _operations(path: str, hooks: Hooks) -> None:
    """From CREATE to UPDATE by PUT."""
    hooks.api.update(path, lambda obj: obj["webhooks"][0]["rules"][0].update(operations=["UPDATE"]))


def _back(path: str, hooks: Hooks) -> None:
    patch = [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]
    hooks.api.call("PATCH", path, patch, JSON_PATCH)


@conformance(A + "patching/updating a validating webhook should work")
def test_change_validating(hooks: Hooks) -> None:
    path = hooks.register("validating", _no_config_maps(hooks))
    hooks.ns.wait("denied", lambda: denied(hooks.ns))
    _operations(path, hooks)
    hooks.ns.wait("allowed", lambda: not denied(hooks.ns))
    _back(path, hooks)
    hooks.ns.wait("denied again", lambda: denied(hooks.ns))


@conformance(A + "patching/updating a mutating webhook should work")
def test_change_mutating(hooks: Hooks) -> None:
    path = hooks.register("mutating", _mutate(hooks))
    _operations(path, hooks)
    hooks.ns.wait("not mutated", lambda: not mutated(hooks.ns))
    _back(path, hooks)
    hooks.ns.wait("mutated again", lambda: mutated(hooks.ns))


def _ten(hooks: Hooks, kind: str, one: Obj) -> str:
    """Ten configurations with a label of their own: their collection, selected."""
    for number in range(10):
        hooks.register(kind, one, name=f"{hooks.scope}-{number}", labels={"e2e-list-test": hooks.scope}, wait=False)
    query = f"{HOOKS}/{kind}webhookconfigurations?labelSelector=e2e-list-test%3D{hooks.scope}"
    assert len(hooks.api.get(query)["items"]) == 10
    hooks.wait()
    return query


@conformance(A + "listing validating webhooks should work")
def test_list_validating(hooks: Hooks) -> None:
    query = _ten(hooks, "validating", _no_config_maps(hooks))
    hooks.ns.wait("denied", lambda: denied(hooks.ns))
    hooks.api.call("DELETE", query)
    hooks.ns.wait("allowed", lambda: not denied(hooks.ns))


@conformance(A + "listing mutating webhooks should work")
def test_list_mutating(hooks: Hooks) -> None:
    query = _ten(hooks, "mutating", _mutate(hooks))
    hooks.ns.wait("mutated", lambda: mutated(hooks.ns))
    hooks.api.call("DELETE", query)
    hooks.ns.wait("not mutated", lambda: not mutated(hooks.ns))


PRODUCTION: list[Obj] = [{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}]
STAGING: list[Obj] = [*PRODUCTION, {"name": "expression-2", "expression": "object.metadata.namespace == 'staging'"}]
BAD: list[Obj] = [{"name": "invalid-expression-1", "expression": "... [] bad expression"}]


def _conditional(hooks: Hooks, kind: str, conditions: list[Obj]) -> str:
    path = "/always-deny" if kind == "validating" else "/mutating-configmaps"
    one = hooks.hook("with-match-conditions", path, rule("configmaps"), matchConditions=conditions)
    return hooks.register(kind, one, wait=False)


def _conditions(hooks: Hooks, kind: str) -> None:
    path = _conditional(hooks, kind, PRODUCTION)
    assert hooks.api.get(path)["webhooks"][0]["matchConditions"] == PRODUCTION
    hooks.api.update(path, lambda obj: obj["webhooks"][0].update(matchConditions=STAGING))
    assert hooks.api.get(path)["webhooks"][0]["matchConditions"] == STAGING


@conformance(A + "should be able to create and update validating webhook configurations with match conditions")
def test_conditions_validating(hooks: Hooks) -> None:
    _conditions(hooks, "validating")


@conformance(A + "should be able to create and update mutating webhook configurations with match conditions")
def test_conditions_mutating(hooks: Hooks) -> None:
    _conditions(hooks, "mutating")


@conformance(A + "should reject validating webhook configurations with invalid match conditions")
def test_bad_conditions_validating(hooks: Hooks) -> None:
    with pytest.raises(ApiError, match="compilation failed"):
        _conditional(hooks, "validating", BAD)


@conformance(A + "should reject mutating webhook configurations with invalid match conditions")
def test_bad_conditions_mutating(hooks: Hooks) -> None:
    with pytest.raises(ApiError, match="compilation failed"):
        _conditional(hooks, "mutating", BAD)


@conformance(A + "should mutate everything except 'skip-me' configmaps")
def test_skip(hooks: Hooks) -> None:
    conditions = [{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]
    hooks.register("mutating", _mutate(hooks, matchConditions=conditions))
    found = config_map(hooks.ns, "anything", mutation_start="yes")
    assert found["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes"}
    assert config_map(hooks.ns, "skip-me", mutation_start="yes")["data"] == {"mutation-start": "yes"}
