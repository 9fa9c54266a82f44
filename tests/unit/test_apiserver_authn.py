"""Who is asking: bootstrap tokens, the token file, bound tokens, impersonation, and the controllers beside them."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_client import controllers
from apiserver_harness import ACCOUNTS, PODS, Harness, account, harness, pod

from netlab.api import meta
from netlab.apiserver.authn.token_file import parse
from netlab.apiserver.late import make_late
from netlab.controllers.bootstrap_tokens import signature

Obj = dict[str, Any]
TOKENS = "/api/v1/namespaces/kube-system/secrets"
ME = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"
INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
ID, SECRET = "abcdef", "0123456789abcdef"
TOKEN = f"{ID}.{SECRET}"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path, token_file=tmp_path / "tokens.csv") as made:
        yield made


def bootstrap(**data: str) -> Obj:
    said = {
        "token-id": ID,
        "token-secret": SECRET,
        "usage-bootstrap-authentication": "true",
        **{key.replace("_", "-"): value for key, value in data.items()},
    }
    return {
        "metadata": {"name": f"bootstrap-token-{said['token-id']}"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {key: value for key, value in said.items() if value},
    }


def stamp(seconds: float) -> str:
    return meta.rfc3339(time.time() + seconds)


async def who(server: Harness, token: str) -> Obj | None:
    code, found = await server.call("POST", ME, {}, token=token)
    return found["status"]["userInfo"] if code == 201 else None


async def test_a_bootstrap_token_is_a_user(server: Harness) -> None:
    assert await who(server, TOKEN) is None
    groups = "system:bootstrappers:kubeadm:default-node-token,system:bootstrappers:team-a"
    await server.ok("POST", TOKENS, bootstrap(auth_extra_groups=groups, expiration=stamp(60)))
    found = await who(server, TOKEN)
    assert found == {
        "username": "system:bootstrap:abcdef",
        "groups": ["system:bootstrappers", *groups.split(","), "system:authenticated"],
    }
    # it may ask for a kubelet's certificate and not much else
    csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    await server.ok("GET", csrs, token=TOKEN)
    assert (await server.refused("GET", TOKENS, token=TOKEN))[0] == 403
    review = await server.ok("POST", REVIEW, {"spec": {"token": TOKEN}})
    assert review["status"]["authenticated"] is True
    await server.ok("DELETE", f"{TOKENS}/bootstrap-token-{ID}")
    assert await who(server, TOKEN) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"expiration": "2020-01-01T00:00:00Z"},
        {"expiration": "tomorrow"},
        {"usage_bootstrap_authentication": ""},
        {"usage_bootstrap_authentication": "false"},
        {"token_secret": "fedcba9876543210"},
        {"auth_extra_groups": "system:masters"},
    ],
    ids=["expired", "no date", "not for this", "said not to be", "another secret", "a group of others"],
)
async def test_bootstrap_tokens_that_are_not_good(server: Harness, changed: dict[str, str]) -> None:
    await server.ok("POST", TOKENS, bootstrap(**changed))
    assert await who(server, TOKEN) is None


async def test_a_secret_of_another_type_is_no_token(server: Harness) -> None:
    await server.ok("POST", TOKENS, {**bootstrap(), "type": "Opaque"})
    assert await who(server, TOKEN) is None


async def test_the_token_file_is_read_when_it_changes(server: Harness, tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    assert await who(server, "one") is None
    file.write_text('one,ann,7,"dev,ops"\n')
    assert await who(server, "one") == {
        "username": "ann",
        "uid": "7",
        "groups": ["dev", "ops", "system:authenticated"],
    }
    file.write_text("other,bob,8\nbroken\n")
    assert await who(server, "one") is None
    assert await who(server, "other") == {"username": "bob", "uid": "8", "groups": ["system:authenticated"]}
    file.unlink()
    assert await who(server, "other") is None


def test_lines_of_a_token_file(caplog: pytest.LogCaptureFixture) -> None:
    found = parse('a,ann,1\n\n a b , bob , 2 , "x, y"\n,nobody,3\nshort,1\n', "f")
    assert {token: (user.name, user.uid) for token, user in found.items()} == {"a": ("ann", "1"), "a b": ("bob", "2")}
    assert found["a b"].groups == ("x", "y", "system:authenticated")
    assert "must have at least 3 columns (token, user name, user uid), found 2" in caplog.text


async def token_for(server: Harness, **reference: str) -> str:
    spec = {"boundObjectRef": reference} if reference else {}
    found = await server.ok("POST", f"{ACCOUNTS}/default/token", {"spec": spec})
    return str(found["status"]["token"])


async def test_tokens_die_with_what_they_are_bound_to(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("default"))
    node = await server.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    bound = await server.ok("POST", PODS, pod("p", "n"))
    secrets = "/api/v1/namespaces/default/secrets"
    secret = await server.ok("POST", secrets, {"metadata": {"name": "s"}})
    objects = {"Pod": bound, "Secret": secret, "Node": node}
    tokens = {
        kind: await token_for(server, kind=kind, apiVersion="v1", name=obj["metadata"]["name"], uid=meta.uid(obj))
        for kind, obj in objects.items()
    }
    extra = (await who(server, tokens["Pod"]) or {})["extra"]
    assert extra["authentication.kubernetes.io/pod-uid"] == [meta.uid(bound)]
    assert extra["authentication.kubernetes.io/node-name"] == ["n"]
    assert extra["authentication.kubernetes.io/node-uid"] == [meta.uid(node)]
    await server.ok("DELETE", "/api/v1/nodes/n")
    # a pod's token only tells of the node
    assert await who(server, tokens["Node"]) is None and await who(server, tokens["Pod"]) is not None
    await server.ok("DELETE", f"{secrets}/s")
    assert await who(server, tokens["Secret"]) is None
    await server.ok("DELETE", f"{PODS}/p?gracePeriodSeconds=0")
    assert await who(server, tokens["Pod"]) is None


async def test_a_pod_that_has_long_been_ending_has_no_token(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("default"))
    made = pod("p", "n", finalizers=["example.com/wait"])
    made["spec"]["terminationGracePeriodSeconds"] = 0
    bound = await server.ok("POST", PODS, made)
    token = await token_for(server, kind="Pod", apiVersion="v1", name="p", uid=meta.uid(bound))
    await server.ok("DELETE", f"{PODS}/p")
    assert await who(server, token) is not None
    tokens = server.api.authenticator.tokens
    now = tokens._clock
    tokens._clock = lambda: now() + 90
    assert await who(server, token) is None


MEANT = [
    ({"impersonate-user": "joe"}, {"username": "joe", "groups": ["system:authenticated"]}),
    (
        {"impersonate-user": "joe", "impersonate-group": "system:unauthenticated"},
        {"username": "joe", "groups": ["system:unauthenticated"]},
    ),
    (
        {"impersonate-user": "system:anonymous"},
        {"username": "system:anonymous", "groups": ["system:unauthenticated"]},
    ),
    (
        {"impersonate-user": "system:serviceaccount:a:b"},
        {
            "username": "system:serviceaccount:a:b",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"],
        },
    ),
    (
        {"impersonate-user": "joe", "impersonate-uid": "7", "impersonate-extra-a%2fb": "x\ny"},
        {"username": "joe", "uid": "7", "groups": ["system:authenticated"], "extra": {"a/b": ["x", "y"]}},
    ),
]


@pytest.mark.parametrize(("headers", "meant"), MEANT)
async def test_whom_headers_mean(server: Harness, headers: dict[str, str], meant: Obj) -> None:
    token = {"headers": headers}
    if headers["impersonate-user"] == "system:anonymous" or "unauthenticated" in headers.get("impersonate-group", ""):
        # nobody may review himself, but to be refused he was understood
        code, _, said = await server.refused("POST", ME, {}, **token)
        assert code == 403 and f'User "{meant["username"]}"' in said
        return
    assert (await server.ok("POST", ME, {}, **token))["status"]["userInfo"] == meant


async def test_each_part_of_an_impersonation_needs_its_right(server: Harness) -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}]

    async def grant(name: str, group: str, resource: str, value: str) -> None:
        rule = {"apiGroups": [group], "resources": [resource], "verbs": ["impersonate"], "resourceNames": [value]}
        await server.ok("POST", f"{rbac}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        body = {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}
        await server.ok("POST", f"{rbac}/clusterrolebindings", body)

    authn = "authentication.k8s.io"
    parts = [
        ({"impersonate-user": "ann"}, ("u", "", "users", "ann"), 'users "ann"'),
        ({"impersonate-group": "dev"}, ("g", "", "groups", "dev"), 'groups "dev"'),
        ({"impersonate-extra-scopes": "a"}, ("e", authn, "userextras/scopes", "a"), f'userextras.{authn} "a"'),
        ({"impersonate-uid": "7"}, ("i", authn, "uids", "7"), f'uids.{authn} "7"'),
    ]
    headers: dict[str, str] = {}
    for more, right, named in parts:
        headers |= more
        code, _, said = await server.refused("POST", ME, {}, token="joe-token", headers=headers)
        assert code == 403 and said.startswith(f'{named} is forbidden: User "joe" cannot impersonate')
        await grant(*right)
        await server.ok("POST", ME, {}, token="joe-token", headers=headers)
    said = (await server.refused("POST", ME, {}, headers={"impersonate-group": "dev"}))[2]
    assert "requested [{Group  dev    }] without impersonating a user" in said


async def gone(server: Harness, url: str) -> None:
    for _ in range(1000):
        if (await server.call("GET", url))[0] == 404:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited 10 s for {url} to go")


async def test_expired_tokens_are_deleted_and_the_others_sign(server: Harness) -> None:
    await make_late(server.api, 0)
    async with controllers(server, "tokencleaner", "bootstrapsigner"):
        await server.ok("POST", TOKENS, bootstrap(usage_bootstrap_signing="true"))
        await server.ok(
            "POST", TOKENS, bootstrap(token_id="ffffff", usage_bootstrap_signing="true", expiration=stamp(-5))
        )
        await gone(server, f"{TOKENS}/bootstrap-token-ffffff")
        data: Obj = {}
        for _ in range(1000):
            data = (await server.ok("GET", INFO, token=""))["data"]
            if "jws-kubeconfig-abcdef" in data:
                break
            await asyncio.sleep(0.01)
        head, empty, signed = data["jws-kubeconfig-abcdef"].split(".")
        assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "kid": ID} and empty == ""
        payload = base64.urlsafe_b64encode(data["kubeconfig"].encode()).rstrip(b"=")
        digest = hmac.new(TOKEN.encode(), head.encode() + b"." + payload, hashlib.sha256).digest()
        assert base64.urlsafe_b64decode(signed + "==")[:32] == digest
        assert "jws-kubeconfig-ffffff" not in data
        await server.ok("DELETE", f"{TOKENS}/bootstrap-token-{ID}")
        for _ in range(1000):
            if "jws-kubeconfig-abcdef" not in (await server.ok("GET", INFO))["data"]:
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("waited 10 s for the signature to go")


def test_a_signature_as_upstreams_tests_have_it() -> None:
    found = signature("Hello from the other side. I must have called a thousand times.", "joshua", "my token")
    head, payload, signed = found.split(".")
    assert (head, payload) == ("eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9", "")
    assert len(signed) == 43
