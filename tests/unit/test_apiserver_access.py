"""Who may do what: tokens, certificates, impersonation, RBAC, reviews."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from apiserver_harness import ACCOUNTS, CMS, PODS, Harness, account, config_map, harness, pod

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        yield made


async def test_nobody_may_see_the_version_but_no_objects(server: Harness) -> None:
    assert (await server.call("GET", "/version", token=""))[0] == 200
    assert await server.refused("GET", PODS, token="") == (
        403,
        "Forbidden",
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" '
        'in the namespace "default"',
    )
    assert await server.refused("GET", "/metrics", token="") == (
        403,
        "Forbidden",
        'forbidden: User "system:anonymous" cannot get path "/metrics"',
    )


async def test_bad_credentials_are_not_nobody(server: Harness) -> None:
    assert await server.refused("GET", "/version", token="wrong") == (401, "Unauthorized", "Unauthorized")


async def token_of(server: Harness, name: str, **spec: object) -> str:
    request = {"kind": "TokenRequest", "spec": spec}
    return str((await server.ok("POST", f"{ACCOUNTS}/{name}/token", request))["status"]["token"])


async def grant(server: Harness, role: str, subject: dict[str, str]) -> None:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    body = {"metadata": {"name": f"{role}-{subject['name']}"}, "roleRef": reference, "subjects": [subject]}
    await server.ok("POST", f"{RBAC}/namespaces/default/rolebindings", body)


async def test_a_service_account_may_what_it_was_granted_where_it_was(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("robot"))
    token = await token_of(server, "robot")
    assert (await server.refused("GET", PODS, token=token))[0] == 403
    await grant(server, "system:aggregate-to-view", {"kind": "ServiceAccount", "name": "robot", "namespace": "default"})
    await server.ok("GET", PODS, token=token)
    assert (await server.refused("GET", "/api/v1/pods", token=token))[0] == 403
    assert (await server.refused("GET", "/api/v1/namespaces/default/secrets", token=token))[0] == 403
    assert (await server.refused("POST", CMS, config_map("a"), token=token))[0] == 403
    await grant(server, "system:aggregate-to-edit", {"kind": "User", "name": "system:serviceaccount:default:robot"})
    await server.ok("POST", CMS, config_map("a"), token=token)
    await server.ok(
        "DELETE", f"{RBAC}/namespaces/default/rolebindings/system:aggregate-to-edit-system:serviceaccount:default:robot"
    )
    assert (await server.refused("POST", CMS, config_map("b"), token=token))[0] == 403


async def test_a_token_dies_with_its_account_and_with_what_it_is_bound_to(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("default"))
    made = await server.ok("POST", PODS, pod("p"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}
    bound = await token_of(server, "default", boundObjectRef=reference)
    free = await token_of(server, "default")
    me = await server.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=bound)
    info = me["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:default:default"
    assert info["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    assert "system:serviceaccounts:default" in info["groups"]
    await server.ok("DELETE", f"{PODS}/p")
    assert (await server.refused("GET", "/version", token=bound))[0] == 401
    await server.ok("GET", "/version", token=free)
    await server.ok("DELETE", f"{ACCOUNTS}/default")
    assert (await server.refused("GET", "/version", token=free))[0] == 401
    await server.ok("POST", ACCOUNTS, account("default"))
    assert (await server.refused("GET", "/version", token=free))[0] == 401


async def test_token_requests_that_are_refused(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("a"))
    url = f"{ACCOUNTS}/a/token"
    assert (await server.refused("POST", url, {"spec": {"expirationSeconds": 5}}))[0] == 422
    reference = {"kind": "Pod", "name": "none"}
    assert (await server.refused("POST", url, {"spec": {"boundObjectRef": reference}}))[0] == 404
    assert (await server.refused("POST", f"{ACCOUNTS}/none/token", {"spec": {}}))[0] == 404


async def test_token_reviews(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("a"))
    token = await token_of(server, "a", audiences=["vault"])
    good = await server.ok("POST", REVIEW, {"spec": {"token": token, "audiences": ["vault", "other"]}})
    assert good["status"]["authenticated"] is True
    assert good["status"]["audiences"] == ["vault"]
    assert good["status"]["user"]["username"] == "system:serviceaccount:default:a"
    foreign = await server.ok("POST", REVIEW, {"spec": {"token": token}})
    assert "authenticated" not in foreign["status"]
    assert (await server.refused("GET", "/version", token=token))[0] == 401


async def test_expired_and_forged_tokens(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("a"))
    token = await token_of(server, "a")
    tokens = server.api.authenticator.tokens
    await server.ok("GET", "/version", token=token)
    now = tokens._clock
    tokens._clock = lambda: now() + 4000
    assert (await server.refused("GET", "/version", token=token))[0] == 401
    tokens._clock = now
    head, body, signature = token.split(".")
    assert (await server.refused("GET", "/version", token=f"{head}.{body}.{signature[::-1]}"))[0] == 401


async def test_nodes_and_controllers_may_do_their_work(server: Harness) -> None:
    review = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    rows = [
        ("system:node:n1", "system:nodes", "patch", "", "nodes", "status", True),
        ("system:node:n1", "system:nodes", "watch", "discovery.k8s.io", "endpointslices", "", False),
        ("system:kube-proxy", "system:authenticated", "watch", "discovery.k8s.io", "endpointslices", "", True),
        ("system:node:n1", "system:nodes", "watch", "", "services", "", True),
        ("system:serviceaccount:kube-flannel:flannel", "system:authenticated", "watch", "", "nodes", "", True),
        ("system:node:n1", "system:nodes", "delete", "", "nodes", "", False),
        ("system:node:n1", "system:nodes", "create", "apps", "deployments", "", False),
        ("system:kube-scheduler", "system:authenticated", "create", "", "pods", "binding", True),
        ("system:kube-scheduler", "system:authenticated", "create", "", "pods", "", False),
        ("system:kube-controller-manager", "system:authenticated", "create", "", "pods", "", True),
        ("joe", "system:authenticated", "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", True),
        ("joe", "system:masters", "delete", "", "nodes", "", True),
        ("system:serviceaccount:kube-system:coredns", "system:authenticated", "list", "", "services", "", True),
    ]
    for user, group, verb, api_group, resource, subresource, want in rows:
        attributes = {"verb": verb, "group": api_group, "resource": resource, "subresource": subresource}
        spec = {"user": user, "groups": [group], "resourceAttributes": attributes}
        found = await server.ok("POST", review, {"spec": spec})
        assert found["status"]["allowed"] is want, (user, verb, resource)


async def test_ones_own_access(server: Harness) -> None:
    url = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    attributes = {"verb": "get", "resource": "pods", "namespace": "default"}
    body = {"spec": {"resourceAttributes": attributes}}
    assert (await server.ok("POST", url, body, token="joe-token"))["status"] == {"allowed": False}
    await grant(server, "system:aggregate-to-view", {"kind": "User", "name": "joe"})
    assert (await server.ok("POST", url, body, token="joe-token"))["status"]["allowed"] is True
    rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    found = await server.ok("POST", rules, {"spec": {"namespace": "default"}}, token="joe-token")
    assert any("pods" in rule["resources"] for rule in found["status"]["resourceRules"])
    assert (await server.refused("POST", url, {"spec": {}}))[0] == 422


async def test_impersonation_needs_a_right(server: Harness) -> None:
    me = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    headers = {"impersonate-user": "joe", "impersonate-group": "a\nb"}
    found = await server.ok("POST", me, {}, headers=headers)
    assert found["status"]["userInfo"] == {"username": "joe", "groups": ["a", "b", "system:authenticated"]}
    code, _, message = await server.refused("POST", me, {}, headers={"impersonate-user": "x"}, token="joe-token")
    assert code == 403
    assert message == (
        'users "x" is forbidden: User "joe" cannot impersonate resource "users" in API group "" at the cluster scope'
    )
    assert (await server.refused("POST", me, {}, headers={"impersonate-group": "a"}))[0] == 500


async def test_rules_for_named_objects(server: Harness) -> None:
    rule = {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]}
    await server.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "one"}, "rules": [rule]})
    await grant(server, "one", {"kind": "User", "name": "joe"})
    for name in "ab":
        await server.ok("POST", CMS, config_map(name))
    await server.ok("GET", f"{CMS}/a", token="joe-token")
    assert (await server.refused("GET", f"{CMS}/b", token="joe-token"))[0] == 403
    assert (await server.refused("GET", CMS, token="joe-token"))[0] == 403
