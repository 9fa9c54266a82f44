"""Default roles: complete, as upstream's, brought back at every start. And nobody grants more than they have."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import Harness, harness

from netlab.apiserver.authz import policy
from netlab.apiserver.authz.reconcile import AUTO_UPDATE, led_elsewhere, reconciled
from netlab.apiserver.authz.rules import compact, shown, uncovered
from netlab.apiserver.bootstrap import bootstrap
from netlab.apiserver.late import make_late

Obj = dict[str, Any]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLES, BINDINGS = f"{RBAC}/clusterroles", f"{RBAC}/clusterrolebindings"
NAMES = Path(__file__).parent.parent / "golden" / "data" / "rbac_default_names.txt"
"""Kind and name of every default role of upstream 1.33."""


def upstream(kind: str) -> list[str]:
    rows = (line.split() for line in NAMES.read_text().splitlines())
    return sorted(name for found, name in rows if found == kind)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        await make_late(made.api, 0)
        yield made


async def names(server: Harness, url: str) -> list[str]:
    found = [one["metadata"] for one in (await server.ok("GET", url))["items"]]
    return [f"{one['namespace']}/{one['name']}" if "namespace" in one else one["name"] for one in found]


async def test_every_default_role_and_binding_is_there(server: Harness) -> None:
    roles = await names(server, ROLES)
    own = {"flannel", "kube-network-policies", "netlab:controllers", "system:coredns"}
    assert sorted({*roles} - own) == upstream("clusterrole")
    bindings = await names(server, BINDINGS)
    assert {one for one in roles if one.startswith("system:controller:")} <= set(bindings)
    theirs = [one for one in await names(server, f"{RBAC}/roles") if "kubeadm:" not in one]
    assert sorted(theirs) == upstream("role")
    bound = await names(server, f"{RBAC}/rolebindings")
    assert "kube-system/system::extension-apiserver-authentication-reader" in bound
    found = await server.ok("GET", f"{BINDINGS}/system:controller:job-controller")
    assert found["subjects"] == [{"kind": "ServiceAccount", "name": "job-controller", "namespace": "kube-system"}]
    assert found["roleRef"]["name"] == "system:controller:job-controller"


async def test_a_controllers_account_may_what_its_role_says(server: Harness) -> None:
    review = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    rows = [("job-controller", "patch", "batch", "jobs", True), ("job-controller", "delete", "", "nodes", False)]
    rows += [("namespace-controller", "deletecollection", "example.com", "things", True)]
    for account, verb, group, resource, allowed in rows:
        attributes = {"verb": verb, "group": group, "resource": resource}
        spec = {"user": f"system:serviceaccount:kube-system:{account}", "resourceAttributes": attributes}
        assert (await server.ok("POST", review, {"spec": spec}))["status"]["allowed"] is allowed, account


def rule(verbs: str, groups: str = "", resources: str = "", names: str = "", paths: str = "") -> Obj:
    return policy.Rule(verbs, groups, resources, names, paths).obj()


COVERED = [
    (rule("*", "*", "*"), rule("get", "core", "pods/log"), True),
    (rule("get list", "core apps", "pods deployments"), rule("list", "apps", "deployments"), True),
    (rule("get", "core", "pods"), rule("get", "core", "pods/log"), False),
    (rule("update", "*", "*/scale"), rule("update", "apps", "deployments/scale"), True),
    (rule("get", "core", "pods", "a b"), rule("get", "core", "pods", "a"), True),
    (rule("get", "core", "pods", "a"), rule("get", "core", "pods"), False),
    (rule("get", "core", "pods"), rule("get", "core", "pods", "a"), True),
    (rule("get", paths="/healthz/*"), rule("get", paths="/healthz/etcd"), True),
    (rule("get", paths="/healthz"), rule("get", paths="/healthz/etcd"), False),
    (rule("*", "*", "*"), rule("get", paths="/x"), False),
]


@pytest.mark.parametrize(("owner", "wanted", "covered"), COVERED)
def test_what_covers_what(owner: Obj, wanted: Obj, covered: bool) -> None:
    assert (not uncovered([owner], [wanted])) is covered


def test_what_is_missing_is_told_in_short() -> None:
    missing = uncovered([rule("get", "core", "pods")], [rule("get list watch", "core", "pods")])
    assert [shown(one) for one in compact(missing)] == ['{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}']


def cluster_role(*rules: Obj, **metadata: Any) -> Obj:
    return {"kind": "ClusterRole", "metadata": {"name": "r", **metadata}, "rules": list(rules)}


def test_reconciliation_adds_and_never_takes_away() -> None:
    wanted = cluster_role(rule("get list", "core", "pods"), labels={"a": "1"})
    stored = cluster_role(rule("list watch", "core", "pods"), labels={"a": "2"})
    found = reconciled(stored, wanted)
    assert found["rules"] == [rule("list watch", "core", "pods"), rule("get", "core", "pods")]
    assert found["metadata"]["labels"] == {"a": "2"}
    assert reconciled(found, wanted) == found
    mine = {**stored, "metadata": {"name": "r", "annotations": {AUTO_UPDATE: "false"}}}
    assert reconciled(mine, wanted) == mine


def test_reconciliation_of_bindings() -> None:
    subjects = [{"kind": "User", "apiGroup": "g", "name": "a"}]
    reference = {"kind": "ClusterRole", "name": "r"}
    wanted = {"kind": "ClusterRoleBinding", "metadata": {"name": "b"}, "roleRef": reference, "subjects": subjects}
    other = {**wanted, "subjects": [{"kind": "User", "apiGroup": "g", "name": "b"}]}
    assert reconciled(other, wanted)["subjects"] == [*other["subjects"], *subjects]
    assert not led_elsewhere(other, wanted)
    assert led_elsewhere({**other, "roleRef": {**reference, "name": "x"}}, wanted)


async def test_defaults_come_back_at_the_next_start(server: Harness) -> None:
    await server.ok("DELETE", f"{ROLES}/system:controller:job-controller")
    kept = await server.ok("GET", f"{ROLES}/system:discovery")
    await server.ok("PUT", f"{ROLES}/system:discovery", {**kept, "rules": []})
    own = await server.ok("GET", f"{ROLES}/system:basic-user")
    own["metadata"]["annotations"][AUTO_UPDATE] = "false"
    await server.ok("PUT", f"{ROLES}/system:basic-user", {**own, "rules": []})
    await bootstrap(server.api)
    await make_late(server.api, 0)
    assert (await server.ok("GET", f"{ROLES}/system:discovery"))["rules"]
    assert not (await server.ok("GET", f"{ROLES}/system:basic-user"))["rules"]
    await server.ok("GET", f"{ROLES}/system:controller:job-controller")


async def may_write_roles(server: Harness, *more: Obj) -> None:
    rules = [rule("*", "rbac.authorization.k8s.io", "roles rolebindings clusterroles"), *more]
    rules[0]["verbs"] = ["create", "update", "get"]
    await server.ok("POST", ROLES, {"metadata": {"name": "writer"}, "rules": rules})
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "joe"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "writer"}
    await server.ok("POST", BINDINGS, {"metadata": {"name": "writer"}, "roleRef": reference, "subjects": [subject]})
    await asyncio.sleep(0)


async def test_nobody_grants_more_than_they_have(server: Harness) -> None:
    await may_write_roles(server, rule("get", "core", "pods"))
    roles, bindings = (f"{RBAC}/namespaces/default/{kind}" for kind in ("roles", "rolebindings"))
    fine = {"metadata": {"name": "fine"}, "rules": [rule("get", "core", "pods")]}
    await server.ok("POST", roles, fine, token="joe-token")
    more = {"metadata": {"name": "more"}, "rules": [rule("get list delete", "core", "pods")]}
    code, _, message = await server.refused("POST", roles, more, token="joe-token")
    assert (code, message) == (
        403,
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "joe" (groups=["system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "list"]}',
    )
    grown = {**more, "metadata": fine["metadata"]}
    assert (await server.refused("PUT", f"{roles}/fine", grown, token="joe-token"))[0] == 403
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "joe"}]
    binding = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": subjects}
    assert (await server.refused("POST", bindings, binding, token="joe-token"))[0] == 403
    missing = {**binding, "roleRef": {**reference, "name": "nobody"}}
    code, _, message = await server.refused("POST", bindings, missing, token="joe-token")
    assert (code, message) == (404, 'clusterroles.rbac.authorization.k8s.io "nobody" not found')
    allowed = {**binding, "roleRef": {**reference, "kind": "Role", "name": "fine"}}
    await server.ok("POST", bindings, allowed, token="joe-token")
    selector = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    collecting = {"metadata": {"name": "all"}, "aggregationRule": selector}
    _, _, message = await server.refused("POST", ROLES, collecting, token="joe-token")
    assert message.endswith("must have cluster-admin privileges to use an aggregationRule")


async def test_escalate_and_bind_are_rights(server: Harness) -> None:
    group = "rbac.authorization.k8s.io"
    bind = rule("bind", group, "clusterroles", "cluster-admin")
    await may_write_roles(server, rule("escalate", group, "roles"), bind)
    roles, bindings = (f"{RBAC}/namespaces/default/{kind}" for kind in ("roles", "rolebindings"))
    await server.ok("POST", roles, {"metadata": {"name": "r"}, "rules": [rule("*", "*", "*")]}, token="joe-token")
    subjects = [{"kind": "User", "apiGroup": group, "name": "joe"}]
    for name, code in (("system:node", 403), ("cluster-admin", 201)):
        reference = {"apiGroup": group, "kind": "ClusterRole", "name": name}
        body = {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}
        assert (await server.call("POST", bindings, body, token="joe-token"))[0] == code, name
