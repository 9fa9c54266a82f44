"""Aggregated ClusterRoles: what they collect, and that a role added later reaches the users of `view`."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_client import comes, controllers
from apiserver_harness import Harness, harness

from netlab.controllers import clusterrole_aggregation as aggregation

Obj = dict[str, Any]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def role(name: str, *verbs: str, labels: dict[str, str] | None = None, **more: Any) -> Obj:
    rules = [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]} for verb in verbs]
    return {"metadata": {"name": name, "labels": labels or {}}, "rules": rules, **more}


def collecting(name: str, *selectors: Obj, **more: Any) -> Obj:
    return role(name, aggregationRule={"clusterRoleSelectors": list(selectors)}, **more)


def verbs(rules: list[Obj]) -> list[str]:
    return [verb for rule in rules for verb in rule["verbs"]]


ROLES = [
    role("b", "get", "list", labels={"x": "1"}),
    role("a", "list", "watch", labels={"x": "1", "y": "1"}),
    role("c", "delete", labels={"y": "1"}),
    {"metadata": {"name": "d", "labels": {"x": "1"}}, "rules": None},
]
BY_X, BY_Y = {"matchLabels": {"x": "1"}}, {"matchLabels": {"y": "1"}}


@pytest.mark.parametrize(
    ("selectors", "wanted"),
    [
        ((), []),
        ((BY_X,), ["list", "watch", "get"]),
        ((BY_Y, BY_X), ["list", "watch", "delete", "get"]),
        (({"matchExpressions": [{"key": "y", "operator": "Exists"}]},), ["list", "watch", "delete"]),
        (({},), ["list", "watch", "get", "delete"]),
        (({"matchLabels": {"x": "2"}},), []),
    ],
)
def test_what_is_collected(selectors: tuple[Obj, ...], wanted: list[str]) -> None:
    assert verbs(aggregation.collected(collecting("all", *selectors), ROLES)) == wanted


def test_a_role_does_not_collect_itself() -> None:
    own = {**collecting("a", BY_X), "metadata": {"name": "a", "labels": {"x": "1"}}}
    assert verbs(aggregation.collected(own, [own, ROLES[0]])) == ["get", "list"]


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    monkeypatch.setattr(aggregation, "CALM", 0.0)
    async with harness(tmp_path) as made, controllers(made, "clusterrole-aggregation"):
        yield made


async def until(server: Harness, name: str, resource: str, verb: str) -> Obj:
    async def look() -> Obj | None:
        role = await server.ok("GET", f"{RBAC}/clusterroles/{name}")
        grants = [rule for rule in role["rules"] or () if resource in rule.get("resources", ())]
        return role if any(verb in rule["verbs"] for rule in grants) else None

    found: Obj = await comes(look, f"{name}: {verb} {resource}")
    return found


async def test_view_is_collected_and_grows(server: Harness) -> None:
    viewer = {
        "metadata": {"name": "joe"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "joe", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    await server.ok("POST", f"{RBAC}/clusterrolebindings", viewer)
    view = await until(server, "view", "pods", "get")
    applied = [one for one in view["metadata"]["managedFields"] if one["operation"] == "Apply"]
    assert [one["manager"] for one in applied] == [aggregation.MANAGER]
    await until(server, "admin", "pods", "get")
    await server.ok("GET", "/api/v1/pods", token="joe-token")
    assert (await server.refused("GET", "/api/v1/secrets", token="joe-token"))[0] == 403
    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    more = {"verbs": ["list"], "apiGroups": [""], "resources": ["nodes"]}
    await server.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "more", "labels": label}, "rules": [more]})
    for name in ("view", "edit", "admin"):
        await until(server, name, "nodes", "list")
    await server.ok("GET", "/api/v1/nodes", token="joe-token")
    await server.ok("DELETE", f"{RBAC}/clusterroles/more")

    async def refused() -> bool:
        return (await server.call("GET", "/api/v1/nodes", token="joe-token"))[0] == 403

    await comes(refused, "the end of what was collected")


async def test_a_users_own_aggregated_role(server: Harness) -> None:
    await server.ok("POST", f"{RBAC}/clusterroles", collecting("mine", {"matchLabels": {"team": "a"}}))
    await server.ok("POST", f"{RBAC}/clusterroles", role("part", "get", labels={"team": "a"}))
    found = await until(server, "mine", "pods", "get")
    assert found["rules"] == [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]
