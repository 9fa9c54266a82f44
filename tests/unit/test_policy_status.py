"""Type checking of ValidatingAdmissionPolicies: what is looked at, what is found, and what the status says."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_client import comes, controllers
from apiserver_harness import Harness, harness

from netlab.controllers.policy_status import MANAGER
from netlab.controllers.policy_types import places

Obj = dict[str, Any]
URL = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"


def rule(groups: list[str], versions: list[str], resources: list[str]) -> Obj:
    return {"apiGroups": groups, "apiVersions": versions, "resources": resources, "operations": ["CREATE", "UPDATE"]}


DEPLOYMENTS = rule(["apps"], ["v1"], ["deployments"])


def policy(name: str, *expressions: str, rules: tuple[Obj, ...] = (DEPLOYMENTS,), **spec: Any) -> Obj:
    validations = [{"expression": text} for text in expressions]
    constraints = {"resourceRules": list(rules)}
    return {"metadata": {"name": name}, "spec": {"matchConstraints": constraints, "validations": validations, **spec}}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (DEPLOYMENTS, [[("apps", "v1", "deployments")]]),
        (
            rule(["apps", ""], ["v1"], ["pods/exec", "z", "a"]),
            [[("", "v1", r) for r in "az"] + [("apps", "v1", r) for r in "az"]],
        ),
        (rule(["*"], ["v1"], ["pods"]), []),
        (rule([""], ["*"], ["pods"]), []),
        (rule([""], ["v1"], ["*"]), [[]]),
    ],
)
def test_what_is_looked_at(given: Obj, wanted: Any) -> None:
    assert places({"matchConstraints": {"resourceRules": [given]}}) == wanted


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made, controllers(made, "validatingadmissionpolicy-status"):
        yield made


async def status(server: Harness, name: str, generation: int = 1) -> Obj:
    async def look() -> Obj | None:
        found: Obj = (await server.ok("GET", f"{URL}/{name}")).get("status") or {}
        return found if found.get("observedGeneration") == generation else None

    found: Obj = await comes(look, f"the status of {name}")
    return found


async def test_a_wrong_field_is_told_as_upstream_tells_it(server: Harness) -> None:
    await server.ok("POST", URL, policy("wrong", "object.replicas > 1", "object.spec.replicas > 1"))
    found = await status(server, "wrong")
    assert found["typeChecking"]["expressionWarnings"] == [
        {
            "fieldRef": "spec.validations[0].expression",
            "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n"
            " | object.replicas > 1\n | ......^\n",
        }
    ]
    stored = await server.ok("GET", f"{URL}/wrong")
    managers = [(one["manager"], one.get("subresource")) for one in stored["metadata"]["managedFields"]]
    assert (MANAGER, "status") in managers


ROWS: list[tuple[str, Obj, str]] = [
    ("has(object.spec.template.spec.containers) && object.metadata.labels['a'] == 'b'", {}, ""),
    ("object.spec.strategy.rollingUpdate.maxSurge == 1", {}, ""),
    (
        "object.spec.template.spec.containers.all(c, c.image > 1)",
        {},
        "no matching overload for '_>_'",
    ),
    ("oldObject == null || object.spec.replicas <= oldObject.spec.replicas", {}, ""),
    ("variables.n > 1", {"variables": [{"name": "n", "expression": "object.spec.replicas"}]}, ""),
    ("params.data['max'] == 'x'", {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}, ""),
    ("params.info == 'x'", {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}, "undefined field 'info'"),
    ("authorizer.group('').resource('pods').check('get').allowed()", {}, ""),
    ("object.spec.template.spec.serviceAccount == 1", {}, "no matching overload for '_==_'"),
]


@pytest.mark.parametrize(("text", "spec", "wanted"), ROWS)
async def test_types(server: Harness, text: str, spec: Obj, wanted: str) -> None:
    await server.ok("POST", URL, policy("p", text, **spec))
    found = (await status(server, "p"))["typeChecking"].get("expressionWarnings", [])
    if wanted:
        assert len(found) == 1 and wanted in found[0]["warning"]
    else:
        assert found == []


async def test_messages_several_kinds_and_the_next_generation(server: Harness) -> None:
    both = rule(["apps"], ["v1"], ["daemonsets", "deployments"])
    given = policy("p", "object.spec.replicas > 0", rules=(both,))
    given["spec"]["validations"][0]["messageExpression"] = "'has ' + object.nothing"
    made = await server.ok("POST", URL, given)
    found = (await status(server, "p"))["typeChecking"]["expressionWarnings"]
    assert [one["fieldRef"].rpartition(".")[2] for one in found] == ["expression", "messageExpression"]
    assert found[0]["warning"].startswith("apps/v1, Kind=DaemonSet: ERROR") and "Deployment" not in found[0]["warning"]
    assert (
        found[1]["warning"].count("undefined field 'nothing'") == 2 and "\n\napps/v1, Kind=Dep" in found[1]["warning"]
    )
    spec = {**made["spec"], "validations": [{"expression": "true"}]}
    await server.ok("PUT", f"{URL}/p", {**made, "metadata": {"name": "p"}, "spec": spec})
    assert not (await status(server, "p", 2)).get("typeChecking")


async def test_custom_kinds(server: Harness) -> None:
    fields = {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}
    version = {"name": "v1", "served": True, "storage": True}
    version["schema"] = {"openAPIV3Schema": {"type": "object", "properties": fields}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    crd = {"metadata": {"name": "things.example.com"}, "spec": spec}
    await server.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    things = rule(["example.com"], ["v1"], ["things"])

    async def served() -> bool:
        return (await server.call("GET", "/apis/example.com/v1"))[0] == 200

    await comes(served, "the custom kind")
    await server.ok("POST", URL, policy("p", "object.spec.size > 1", "object.spec.colour == 'red'", rules=(things,)))
    found = (await status(server, "p"))["typeChecking"]["expressionWarnings"]
    assert [one["fieldRef"] for one in found] == ["spec.validations[1].expression"]
    assert "example.com/v1, Kind=Thing: ERROR: <input>:1:12: undefined field 'colour'" in found[0]["warning"]
