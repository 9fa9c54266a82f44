# ruff: noqa: E501 - upstream's sentences
"""ValidatingAdmissionPolicies through the API: named after upstream's conformance tests where there is one."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from apiserver_harness import CMS, Harness, config_map, harness

from netlab.apiserver.operations.create import create
from netlab.apiserver.wire.message import Request, User
from netlab.apiserver.wire.path import parse

Obj = dict[str, Any]
GROUP = "/apis/admissionregistration.k8s.io/v1"
POLICIES, BINDINGS = f"{GROUP}/validatingadmissionpolicies", f"{GROUP}/validatingadmissionpolicybindings"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = {"content-type": "application/merge-patch+json"}
MAPS: Obj = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
APPS: Obj = {**MAPS, "apiGroups": ["apps"], "resources": ["deployments"]}


def policy(*validations: Obj, rule: Obj = MAPS, name: str = "p", **spec: Any) -> Obj:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": list(validations), **spec},
    }


def binding(name: str = "b", actions: tuple[str, ...] = ("Deny",), **spec: Any) -> Obj:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": "p", "validationActions": list(actions), **spec},
    }


def deployment(name: str, replicas: int) -> Obj:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


async def bound(api: Harness, *validations: Obj, actions: tuple[str, ...] = ("Deny",), **spec: Any) -> None:
    await api.ok("POST", POLICIES, policy(*validations, **spec))
    await api.ok("POST", BINDINGS, binding(actions=actions))


async def test_should_validate_against_a_deployment(tmp_path: Path) -> None:
    async with harness(tmp_path) as api:
        validations = (
            {
                "expression": "object.spec.replicas > 1",
                "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)",
            },
            {
                "expression": "namespaceObject.metadata.name == 'default'",
                "message": "Internal error! Other namespace should not be allowed.",
            },
        )
        await bound(api, *validations, rule=APPS)
        await api.ok("POST", DEPLOYMENTS, deployment("replicated", 2))
        code, status = await api.call("POST", DEPLOYMENTS, deployment("non-replicated", 1))
        message = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: wants replicas > 1, got 1"
        assert (code, status["reason"]) == (422, "Invalid")
        assert status["message"] == f'deployments.apps "non-replicated" is forbidden: {message}'
        assert status["details"] == {
            "name": "non-replicated",
            "group": "apps",
            "kind": "deployments",
            "causes": [{"message": message}],
        }


async def test_should_allow_expressions_to_refer_variables(tmp_path: Path) -> None:
    variables = [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
        {"name": "lazy", "expression": "object.spec.nothing"},
    ]
    async with harness(tmp_path) as api:
        rules = ({"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"})
        await bound(api, *rules, rule=APPS, variables=variables)
        await api.ok("POST", DEPLOYMENTS, deployment("a", 3))
        _, _, message = await api.refused("POST", DEPLOYMENTS, deployment("b", 1))
        assert message.endswith("denied request: failed expression: variables.replicas > 1")
        _, _, message = await api.refused("POST", DEPLOYMENTS, deployment("c", 4))
        assert message.endswith("denied request: failed expression: variables.oddReplicas")


@pytest.mark.parametrize(("url", "body"), [(POLICIES, policy({"expression": "true"})), (BINDINGS, binding())])
async def test_should_support_api_operations(tmp_path: Path, url: str, body: Obj) -> None:
    async with harness(tmp_path) as api:
        made = await api.ok("POST", url, body)
        name = made["metadata"]["name"]
        watching = await api.watch(url)
        assert (await api.ok("GET", f"{url}/{name}"))["spec"] == made["spec"]
        assert [one["metadata"]["name"] for one in (await api.ok("GET", url))["items"]] == [name]
        labelled = {"metadata": {"labels": {"a": "b"}}}
        changed = await api.ok("PATCH", f"{url}/{name}", labelled, headers=MERGE)
        changed["metadata"]["annotations"] = {"c": "d"}
        assert (await api.ok("PUT", f"{url}/{name}", changed))["metadata"]["annotations"] == {"c": "d"}
        if url == POLICIES:
            status = {
                "status": {
                    "conditions": [
                        {
                            "type": "X",
                            "status": "True",
                            "reason": "R",
                            "message": "",
                            "lastTransitionTime": "2024-01-01T00:00:00Z",
                        }
                    ]
                }
            }
            shown = await api.ok("PATCH", f"{url}/{name}/status", status, headers=MERGE)
            assert shown["status"]["conditions"][0]["type"] == "X"
        await api.ok("DELETE", f"{url}/{name}")
        await api.ok("POST", url, {**body, "metadata": {"name": name, "labels": {"e": "f"}}})
        await api.ok("DELETE", f"{url}?labelSelector=e=f")
        assert (await api.ok("GET", url))["items"] == []
        assert ("DELETED", name) in [(e["type"], e["object"]["metadata"]["name"]) for e in await watching.until(4)]


async def test_defaults(tmp_path: Path) -> None:
    async with harness(tmp_path) as api:
        spec = (await api.ok("POST", POLICIES, policy({"expression": "true"})))["spec"]
        assert spec["failurePolicy"] == "Fail"
        matched = spec["matchConstraints"]
        assert (matched["matchPolicy"], matched["namespaceSelector"], matched["objectSelector"]) == (
            "Equivalent",
            {},
            {},
        )
        assert matched["resourceRules"][0]["scope"] == "*"


async def test_parameters(tmp_path: Path) -> None:
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    async with harness(tmp_path) as api:
        limit = {
            "expression": "object.spec.replicas <= int(params.data.max)",
            "messageExpression": "'at most ' + params.data.max",
        }
        await api.ok("POST", POLICIES, policy(limit, rule=APPS, paramKind=kind))
        reference = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}
        await api.ok("POST", BINDINGS, binding(paramRef=reference))
        _, _, message = await api.refused("POST", DEPLOYMENTS, deployment("a", 1))
        assert message.endswith(
            "with binding 'b' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        )
        await api.ok("POST", CMS, config_map("limits", max="2"))
        _, _, message = await api.refused("POST", DEPLOYMENTS, deployment("a", 3))
        assert message.endswith("denied request: at most 2")
        await api.ok("POST", DEPLOYMENTS, deployment("a", 2))
        by_label = {"selector": {"matchLabels": {"l": "x"}}, "parameterNotFoundAction": "Allow"}
        await api.ok(
            "PATCH",
            f"{BINDINGS}/b",
            {"spec": {"paramRef": {"name": None, "namespace": None, **by_label}}},
            headers=MERGE,
        )
        await api.ok("POST", DEPLOYMENTS, deployment("b", 9))
        await api.ok("POST", CMS, config_map("one", {"l": "x"}, max="5"))
        await api.ok("POST", CMS, config_map("two", {"l": "x"}, max="3"))
        _, _, message = await api.refused("POST", DEPLOYMENTS, deployment("c", 4))
        assert message.endswith("at most 3")


async def test_conditions_selectors_and_exclusions(tmp_path: Path) -> None:
    async with harness(tmp_path) as api:
        conditions = [
            {
                "name": "not-admin",
                "expression": "!('system:masters' in request.userInfo.groups) || has(object.data.strict)",
            }
        ]
        made = policy({"expression": "false", "message": "no"}, matchConditions=conditions)
        made["spec"]["matchConstraints"]["excludeResourceRules"] = [{**MAPS, "resourceNames": ["excluded"]}]
        await api.ok("POST", POLICIES, made)
        await api.ok("POST", BINDINGS, binding(matchResources={"objectSelector": {"matchLabels": {"l": "x"}}}))
        await api.ok("POST", CMS, config_map("a", {"l": "x"}, other="1"))
        await api.ok("POST", CMS, config_map("b", strict="yes"))
        await api.ok("POST", CMS, config_map("excluded", {"l": "x"}, strict="yes"))
        await api.refused("POST", CMS, config_map("c", {"l": "x"}, strict="yes"))


async def test_old_objects_deletions_and_requests(tmp_path: Path) -> None:
    rule = {**MAPS, "operations": ["*"]}
    kept = {
        "expression": "request.operation != 'DELETE' || oldObject.metadata.name != 'kept'",
        "message": "kept",
        "reason": "Forbidden",
    }
    grows = {
        "expression": "oldObject == null || object == null || size(object.data.v) >= size(oldObject.data.v)",
        "message": "shrinks",
    }
    async with harness(tmp_path) as api:
        await bound(api, kept, grows, rule=rule)
        await api.ok("POST", CMS, config_map("kept", v="abc"))
        code, reason, _ = await api.refused("DELETE", f"{CMS}/kept")
        assert (code, reason) == (403, "Forbidden")
        _, _, message = await api.refused("PATCH", f"{CMS}/kept", {"data": {"v": "a"}}, headers=MERGE)
        assert message.endswith("shrinks")
        await api.ok("PATCH", f"{CMS}/kept", {"data": {"v": "abcd"}}, headers=MERGE)


async def test_authorizer(tmp_path: Path) -> None:
    asks = "authorizer.group('').resource('configmaps').namespace(request.namespace).check('breakglass').allowed()"
    async with harness(tmp_path, authorization="AlwaysAllow") as api:
        await bound(api, {"expression": f"{asks} && authorizer.requestResource.check('create').allowed()"})
        await api.ok("POST", CMS, config_map("a"))


async def test_errors_follow_the_failure_policy(tmp_path: Path) -> None:
    async with harness(tmp_path) as api:
        await bound(api, {"expression": "object.data.missing == 'x'"})
        _, _, message = await api.refused("POST", CMS, config_map("a", b="c"))
        assert message.endswith(
            "denied request: expression 'object.data.missing == 'x'' resulted in error: no such key: missing"
        )
        await api.ok("PATCH", f"{POLICIES}/p", {"spec": {"failurePolicy": "Ignore"}}, headers=MERGE)
        await api.ok("POST", CMS, config_map("a", b="c"))


async def test_warn_and_audit(tmp_path: Path) -> None:
    async with harness(tmp_path) as api:
        await bound(api, {"expression": "false", "message": "careful"}, actions=("Warn", "Audit"))
        await api.ok("POST", CMS, config_map("a"))
        assert (
            api.headers["Warning"]
            == "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': careful\""
        )


async def test_policies_do_not_bind_what_configures_them(tmp_path: Path) -> None:
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    async with harness(tmp_path) as api:
        await bound(api, {"expression": "false"}, rule=everything)
        await api.refused("POST", CMS, config_map("a"))
        await api.ok("DELETE", f"{BINDINGS}/b")
        await api.ok("POST", CMS, config_map("a"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"validations": [{"expression": "object.spec +"}]}, 'spec.validations[0].expression: Invalid value: "object.spec +": compilation failed: ERROR: <input>:1:14: Syntax error: mismatched input \'<EOF>\''),
        ({"validations": [{"expression": "1"}]}, 'spec.validations[0].expression: Invalid value: "1": must evaluate to bool but got int'),
        ({"validations": [{"expression": "params.x == 1"}]}, "undeclared reference to 'params' (in container '')"),
        ({"validations": [{"expression": "request.foo == 1"}]}, "undefined field 'foo'"),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string but got int"),
        ({"validations": [{"expression": "true", "reason": "NotFound"}]}, 'spec.validations[0].reason: Unsupported value: "NotFound": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"'),
        ({"validations": []}, "spec.validations: Required value: validations or auditAnnotations must contain at least one item"),
        ({"variables": [{"name": "a b", "expression": "1"}]}, 'spec.variables[0].name: Invalid value: "a b": name is not a valid CEL identifier'),
        ({"variables": [{"name": "a", "expression": "variables.b"}]}, "spec.variables[0].expression: Invalid value: \"variables.b\": compilation failed: ERROR: <input>:1:10: undefined field 'b'"),
        ({"failurePolicy": "Maybe"}, 'spec.failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"'),
        ({"matchConstraints": {}}, "spec.matchConstraints.resourceRules: Required value"),
        ({"paramKind": {"apiVersion": "v1"}}, "spec.paramKind.kind: Required value"),
        ({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}, "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type] but got int"),
    ],
)  # fmt: skip
async def test_what_a_policy_may_not_say(tmp_path: Path, change: Obj, expected: str) -> None:
    async with harness(tmp_path) as api:
        body = policy({"expression": "true"})
        body["spec"] |= change
        code, _, message = await api.refused("POST", POLICIES, body)
        assert code == 422
        assert expected in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"validationActions": []}, "spec.validationActions: Required value: at least one validation action is required"),
        ({"validationActions": ["Deny", "Warn"]}, "must not contain both Deny and Warn"),
        ({"policyName": ""}, "spec.policyName: Required value"),
        ({"paramRef": {"parameterNotFoundAction": "Deny"}}, "spec.paramRef: Required value: one of name or selector must be specified"),
    ],
)  # fmt: skip
async def test_what_a_binding_may_not_say(tmp_path: Path, change: Obj, expected: str) -> None:
    async with harness(tmp_path) as api:
        body = binding()
        body["spec"] |= change
        _, _, message = await api.refused("POST", BINDINGS, body)
        assert expected in message


async def test_annotations_reach_the_audit_log(tmp_path: Path) -> None:
    told: dict[str, str] = {}

    class Record:
        annotations = told

    async with harness(tmp_path) as api:
        noted = [{"key": "name", "valueExpression": "'is ' + object.metadata.name"}]
        await bound(api, {"expression": "false", "message": "no"}, actions=("Audit",), auditAnnotations=noted)
        body = orjson.dumps(config_map("a"))
        headers = {"authorization": "Bearer admin-token", "content-type": "application/json"}
        request = Request(parse("POST", CMS, False), "POST", {}, "", headers, body)
        request.user, request.audit = User("admin", ("system:masters",)), Record()
        resource = api.api.registry.by_kind("v1", "ConfigMap")
        assert resource is not None
        await create(api.api, request, resource)
    assert told["p/name"] == "is a"
    (failure,) = orjson.loads(told["validation.policy.admission.k8s.io/validation_failure"])
    assert failure == {
        "message": "no",
        "policy": "p",
        "binding": "b",
        "expressionIndex": 0,
        "validationActions": ["Audit"],
    }
