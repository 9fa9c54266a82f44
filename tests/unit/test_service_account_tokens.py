"""Secrets of type kubernetes.io/service-account-token: how they are filled, and when their tokens are good."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from apiserver_client import comes, controllers
from apiserver_harness import ACCOUNTS, Harness, account, harness

from netlab.api import legacy_tokens, meta
from netlab.apiserver.authn.legacy import AUTO_GENERATED, invalidated, problem, used_on
from netlab.controllers.serviceaccount_tokens import filled, without_reference

Obj = dict[str, Any]
SECRETS = "/api/v1/namespaces/default/secrets"
ME = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"
TYPE, NAME, UID = legacy_tokens.TYPE, "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
USED, INVALID = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"
CLAIM = "kubernetes.io/serviceaccount/"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(name: str = "t", of: str = "robot", **more: Any) -> Obj:
    metadata = {"name": name, "namespace": "default", "annotations": {NAME: of}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": TYPE, **more}


ROBOT: Obj = {"metadata": {"name": "robot", "namespace": "default", "uid": "7"}}
CLAIMS: Obj = {
    "iss": "kubernetes/serviceaccount",
    "sub": "system:serviceaccount:default:robot",
    f"{CLAIM}namespace": "default",
    f"{CLAIM}secret.name": "t",
    f"{CLAIM}service-account.name": "robot",
    f"{CLAIM}service-account.uid": "7",
}
WHOLE = {"ca.crt": b64("ca"), "namespace": b64("default"), "token": b64("signed")}


def test_the_claims() -> None:
    assert legacy_tokens.claims(ROBOT, secret()) == CLAIMS


@pytest.mark.parametrize(
    ("data", "root_ca", "wanted"),
    [
        (None, "ca", WHOLE),
        (None, "", {key: WHOLE[key] for key in ("namespace", "token")}),
        ({"token": b64("mine"), "more": b64("x")}, "ca", {**WHOLE, "token": b64("mine"), "more": b64("x")}),
        ({**WHOLE, "ca.crt": b64("old")}, "ca", WHOLE),
        ({**WHOLE, "token": ""}, "ca", WHOLE),
        (WHOLE, "ca", None),
        ({**WHOLE, "ca.crt": b64("old")}, "", None),
    ],
    ids=["empty", "no CA", "parts stay", "another CA", "empty token", "whole", "whole, no CA to compare"],
)
def test_what_is_filled(data: Obj | None, root_ca: str, wanted: Obj | None) -> None:
    found = filled(secret(data=data), ROBOT, root_ca, lambda claims: "signed")
    assert (found and found["data"]) == wanted
    assert found is None or found["metadata"]["annotations"] == {NAME: "robot", UID: "7"}


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [(None, None), ([{"name": "o"}], None), ([{"name": "t"}, {"name": "o"}, {"name": "t"}], [{"name": "o"}])],
)
def test_references_that_go(listed: list[Obj] | None, wanted: list[Obj] | None) -> None:
    found = without_reference({**ROBOT, "secrets": listed}, "t")
    assert (found and found["secrets"]) == wanted


ENDING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
HOLDS = secret(data={"token": b64("token")})


def ending(obj: Obj) -> Obj:
    return {**obj, "metadata": {**obj["metadata"], **ENDING}}


@pytest.mark.parametrize(
    ("claims", "holds", "owner", "why"),
    [
        ({}, HOLDS, ROBOT, ""),
        ({"sub": ""}, HOLDS, ROBOT, "sub claim is missing"),
        ({f"{CLAIM}namespace": None}, HOLDS, ROBOT, "namespace claim is missing"),
        ({f"{CLAIM}secret.name": ""}, HOLDS, ROBOT, "secretName claim is missing"),
        ({f"{CLAIM}service-account.name": 3}, HOLDS, ROBOT, "serviceAccountName claim is missing"),
        ({f"{CLAIM}service-account.uid": ""}, HOLDS, ROBOT, "serviceAccountUID claim is missing"),
        ({"sub": "system:serviceaccount:default:other"}, HOLDS, ROBOT, "sub claim is invalid"),
        ({}, None, ROBOT, "Token has been invalidated"),
        ({}, ending(HOLDS), ROBOT, "Token has been invalidated"),
        ({}, secret(data={"token": b64("tokem")}), ROBOT, "Token does not match server's copy"),
        ({}, secret(), ROBOT, "Token does not match server's copy"),
        ({}, HOLDS, None, 'serviceaccounts "robot" not found'),
        ({}, HOLDS, ending(ROBOT), "ServiceAccount default/robot has been deleted"),
        ({f"{CLAIM}service-account.uid": "8"}, HOLDS, ROBOT, "ServiceAccount UID (7) does not match claim (8)"),
    ],
)
def test_what_makes_a_token_bad(claims: Obj, holds: Obj | None, owner: Obj | None, why: str) -> None:
    assert problem("token", {**CLAIMS, **claims}, holds, owner) == why


@pytest.mark.parametrize(
    ("noted", "wanted"),
    [("", "2026-03-01"), ("2026-02-28", "2026-03-01"), ("2026-03-01", ""), ("2026-03-02", "")],
)
def test_the_day_of_the_last_use(noted: str, wanted: str) -> None:
    found = {"metadata": {"labels": {USED: noted}}}
    assert used_on(found, meta.parse_time("2026-03-01T23:59:59Z")) == wanted


def test_what_is_said_of_a_token_marked_invalid() -> None:
    marked = secret()
    assert invalidated(marked, "robot") == ""
    marked["metadata"]["labels"] = {INVALID: "2026-01-01"}
    assert invalidated(marked, "robot").startswith(
        "the token in secret default/t for service account default/robot has been marked invalid. Use tokens from"
    )


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        pki = made.api.pki
        keys = {"root_ca": pki.ca.cert.decode(), "account_key": pki.sa_key.decode()}
        async with controllers(made, "serviceaccount-token", **keys):
            yield made


async def token_of(server: Harness, name: str = "t") -> str:
    async def look() -> str:
        found = await server.ok("GET", f"{SECRETS}/{name}")
        return str((found.get("data") or {}).get("token", ""))

    return base64.b64decode(await comes(look, f"a token in Secret {name}")).decode()


async def gone(server: Harness, url: str) -> None:
    async def look() -> bool:
        return (await server.call("GET", url))[0] == 404

    await comes(look, f"{url} to go")


async def code(server: Harness, token: str) -> int:
    return (await server.call("POST", ME, {}, token=token))[0]


async def said(server: Harness, token: str, **spec: Any) -> Obj:
    return dict((await server.ok("POST", REVIEW, {"spec": {"token": token, **spec}}))["status"])


async def test_a_secret_is_filled_and_its_token_is_the_account(server: Harness) -> None:
    uid = meta.uid(await server.ok("POST", ACCOUNTS, account("robot")))
    await server.ok("POST", SECRETS, secret())
    token = await token_of(server)
    found = await server.ok("GET", f"{SECRETS}/t")
    assert found["metadata"]["annotations"] == {NAME: "robot", UID: uid}
    assert base64.b64decode(found["data"]["ca.crt"]) == server.api.pki.ca.cert
    assert base64.b64decode(found["data"]["namespace"]) == b"default"
    assert jwt.decode(token, options={"verify_signature": False}) == {**CLAIMS, f"{CLAIM}service-account.uid": uid}
    assert USED not in found["metadata"].get("labels", {})
    keys = (await server.ok("GET", "/openid/v1/jwks"))["keys"]
    bound = await server.ok("POST", f"{ACCOUNTS}/robot/token", {"spec": {}})
    names = {jwt.get_unverified_header(one)["kid"] for one in (token, bound["status"]["token"])}
    assert names == {keys[0]["kid"]}

    me = (await server.ok("POST", ME, {}, token=token))["status"]["userInfo"]
    groups = ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    assert me == {"username": "system:serviceaccount:default:robot", "uid": uid, "groups": groups}
    assert "Warning" not in server.headers
    issuer = server.api.authenticator.tokens.issuer
    assert await said(server, token) == {"authenticated": True, "user": me, "audiences": [issuer]}
    strange = await said(server, token, audiences=["vault"])
    why = f'token audiences ["{issuer}"] is invalid for the target audiences ["vault"]'
    assert strange == {"user": {}, "error": f"[invalid bearer token, {why}]"}

    async def marked() -> Obj | None:
        found = await server.ok("GET", f"{SECRETS}/t")
        return found if USED in found["metadata"].get("labels", {}) else None

    found = await comes(marked, "the day of the last use")
    assert used_on(found, server.api.clock()) == ""
    # once a day
    assert await code(server, token) == 201
    assert (await server.ok("GET", f"{SECRETS}/t"))["metadata"]["resourceVersion"] == meta.resource_version(found)
    # the signature counts, whatever the claims say
    head, claims, signature = token.split(".")
    forged = ".".join((head, claims, ("A" if signature[0] != "A" else "B") + signature[1:]))
    assert await code(server, forged) == 401


async def test_a_token_is_good_while_its_secret_holds_it(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("robot"))
    await server.ok("POST", SECRETS, secret())
    token = await token_of(server)
    patch = {"headers": {"content-type": "application/merge-patch+json"}}
    await server.ok("PATCH", f"{SECRETS}/t", {"metadata": {"labels": {INVALID: "2026-01-01"}}}, **patch)
    assert await code(server, token) == 401
    assert "has been marked invalid" in (await said(server, token))["error"]
    await server.ok("PATCH", f"{SECRETS}/t", {"metadata": {"labels": {INVALID: None}}}, **patch)
    assert await code(server, token) == 201
    await server.ok("PATCH", f"{SECRETS}/t", {"data": {"token": b64("x")}}, **patch)
    assert await code(server, token) == 401
    assert (await said(server, token))["error"] == "[invalid bearer token, Token does not match server's copy]"
    # one that is taken out is made anew: the same claims, another signature
    await server.ok("PATCH", f"{SECRETS}/t", {"data": {"token": None}}, **patch)
    again = await token_of(server)
    assert again != token and await code(server, again) == 201
    await server.ok("DELETE", f"{SECRETS}/t")
    assert await code(server, again) == 401
    assert (await said(server, again))["error"] == "[invalid bearer token, Token has been invalidated]"


async def test_secrets_go_with_their_account(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("robot"))
    await server.ok("POST", ACCOUNTS, account("other"))
    for name, of in (("t", "robot"), ("u", "robot"), ("v", "other")):
        await server.ok("POST", SECRETS, secret(name, of))
    token = await token_of(server)
    await token_of(server, "u")
    kept = await token_of(server, "v")
    await server.ok("POST", SECRETS, {"metadata": {"name": "w", "annotations": {NAME: "robot"}}})
    await server.ok("DELETE", f"{ACCOUNTS}/robot")
    for name in ("t", "u"):
        await gone(server, f"{SECRETS}/{name}")
    assert await code(server, token) == 401 and await code(server, kept) == 201
    # another of the same name is another account
    again = await server.ok("POST", ACCOUNTS, account("robot"))
    stale = secret("s")
    stale["metadata"]["annotations"][UID] = "of the first"
    await server.ok("POST", SECRETS, stale)
    await gone(server, f"{SECRETS}/s")
    stale["metadata"]["annotations"][UID] = meta.uid(again)
    await server.ok("POST", SECRETS, stale)
    assert await code(server, await token_of(server, "s")) == 201
    # a Secret for nobody goes; one of another type is nobody's business
    await server.ok("POST", SECRETS, secret("nobody", "nobody"))
    await gone(server, f"{SECRETS}/nobody")
    await server.ok("GET", f"{SECRETS}/w")


async def test_an_account_forgets_a_secret_that_is_gone_and_tokens_it_lists_warn(server: Harness) -> None:
    listed = {**account("robot"), "secrets": [{"name": "t"}, {"name": "other"}]}
    await server.ok("POST", ACCOUNTS, listed)
    await server.ok("POST", SECRETS, secret())
    token = await token_of(server)
    await server.ok("POST", ME, {}, token=token)
    assert server.headers["Warning"] == f'299 - "{AUTO_GENERATED}"'
    await server.ok("DELETE", f"{SECRETS}/t")

    async def forgotten() -> bool:
        return bool((await server.ok("GET", f"{ACCOUNTS}/robot"))["secrets"] == [{"name": "other"}])

    await comes(forgotten, "the reference to go")


async def test_the_annotation_is_required(server: Harness) -> None:
    code, reason, message = await server.refused("POST", SECRETS, {"metadata": {"name": "t"}, "type": TYPE})
    assert (code, reason) == (422, "Invalid")
    assert message == f'Secret "t" is invalid: metadata.annotations[{NAME}]: Required value'


async def test_without_a_key_nothing_is_filled(tmp_path: Path) -> None:
    async with harness(tmp_path) as made, controllers(made, "serviceaccount-token"):
        await made.ok("POST", ACCOUNTS, account("robot"))
        await made.ok("POST", SECRETS, secret())
        await asyncio.sleep(0.1)
        assert "data" not in await made.ok("GET", f"{SECRETS}/t")
