"""Tokens out of Secrets: good while the Secret holds that very token and the ServiceAccount is the one it was made for.

The Secret's label says on which day the token was last used. Source followed: pkg/serviceaccount/legacy.go.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from netlab.api import legacy_tokens as legacy
from netlab.api import meta
from netlab.api.types import Obj
from netlab.api.validation.gofmt import quote
from netlab.apiserver.authn.tokens import MAX_CACHED, Reader, ServiceAccountTokens, account_user
from netlab.apiserver.wire.message import User

AUTO_GENERATED = (
    "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated "
    "secret-based tokens."
)
_REQUIRED = {
    "sub": "sub",
    legacy.NAMESPACE_CLAIM: "namespace",
    legacy.SECRET_CLAIM: "secretName",
    legacy.NAME_CLAIM: "serviceAccountName",
    legacy.UID_CLAIM: "serviceAccountUID",
}
_DAY = 86400.0


class Cluster(Reader, Protocol):
    """Where Secrets are read, and marked as used."""

    def latest_all(self, api_version: str, kind: str, namespace: str) -> list[Obj]: ...

    def overwrite(self, obj: Obj) -> None: ...


class TokenError(Exception):
    """A token that we signed once and that is not, or no longer, good; str() says why, as upstream."""


class LegacyTokens:
    """Recognises tokens signed with the same key as those of `tokens`; they are for the API server's own audience."""

    def __init__(self, tokens: ServiceAccountTokens) -> None:
        self._tokens = tokens
        self._verified: dict[str, Obj] = {}

    def issued(self, token: str) -> bool:
        """Whether the token says to be one of these; its signature is not looked at."""
        return token in self._verified or _issuer(token) == legacy.ISSUER

    def user(
        self, token: str, cluster: Cluster, audiences: Sequence[str], warnings: list[str]
    ) -> tuple[User, list[str]] | None:
        """The token's user and the audiences it is good for; None where the signature is not ours, or TokenError."""
        claims = self._verified.get(token) or self._verify(token)
        if claims is None:
            return None
        named = claims.get("aud") or [self._tokens.issuer]
        own = [named] if isinstance(named, str) else named
        wanted = list(audiences) or [self._tokens.issuer]
        good = [audience for audience in wanted if audience in own]
        if not good:
            raise TokenError(f"token audiences {_quoted(own)} is invalid for the target audiences {_quoted(wanted)}")
        namespace, name = str(claims.get(legacy.NAMESPACE_CLAIM, "")), str(claims.get(legacy.NAME_CLAIM, ""))
        secret = cluster.read("v1", "Secret", namespace, str(claims.get(legacy.SECRET_CLAIM, "")))
        account = cluster.read("v1", "ServiceAccount", namespace, name)
        why = problem(token, claims, secret, account)
        if secret is None or account is None or why:
            raise TokenError(why)
        mark(cluster, secret, self._tokens.now())
        if why := invalidated(secret, name):
            raise TokenError(why)
        if any(one.get("name") == meta.name(secret) for one in account.get("secrets") or ()):
            warnings.append(AUTO_GENERATED)
        return account_user(namespace, name, meta.uid(account)), good

    def _verify(self, token: str) -> Obj | None:
        import jwt

        unchecked: Any = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud")}
        key = self._tokens.public
        try:
            found: Obj = jwt.decode(token, key, algorithms=["ES256"], issuer=legacy.ISSUER, options=unchecked)
        except jwt.PyJWTError:
            return None
        if len(self._verified) >= MAX_CACHED:
            self._verified.clear()
        self._verified[token] = found
        return found


def problem(token: str, claims: Obj, secret: Obj | None, account: Obj | None) -> str:
    """PURE. Why a token with these claims is not good beside what its Secret and ServiceAccount are; "" if it is."""
    for claim, said in _REQUIRED.items():
        if not claims.get(claim) or not isinstance(claims[claim], str):
            return f"{said} claim is missing"
    namespace, name, uid = (claims[claim] for claim in (legacy.NAMESPACE_CLAIM, legacy.NAME_CLAIM, legacy.UID_CLAIM))
    if claims["sub"] != f"system:serviceaccount:{namespace}:{name}":
        return "sub claim is invalid"
    if secret is None or meta.deleting(secret):
        return "Token has been invalidated"
    if _decoded((secret.get("data") or {}).get(legacy.TOKEN) or "") != token.encode():
        return "Token does not match server's copy"
    if account is None:
        return f'serviceaccounts "{name}" not found'
    if meta.deleting(account):
        return f"ServiceAccount {namespace}/{name} has been deleted"
    if meta.uid(account) != uid:
        return f"ServiceAccount UID ({meta.uid(account)}) does not match claim ({uid})"
    return ""


def invalidated(secret: Obj, account: str) -> str:
    """PURE. What to say of a Secret that was marked invalid; "" when it was not."""
    if not meta.labels(secret).get(legacy.INVALID_SINCE):
        return ""
    namespace = meta.namespace(secret)
    return (
        f"the token in secret {namespace}/{meta.name(secret)} for service account {namespace}/{account} has been "
        "marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the "
        f"'{legacy.INVALID_SINCE}' label from the secret to temporarily allow use of this token"
    )


def used_on(secret: Obj, now: float) -> str:
    """PURE. The day (UTC) to note as that of the last use; "" when it is noted, or tomorrow is, by another clock."""
    today, tomorrow = (time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (now, now + _DAY))
    return "" if meta.labels(secret).get(legacy.LAST_USED) in (today, tomorrow) else today


def mark(cluster: Cluster, secret: Obj, now: float) -> None:
    """Note the day of the last use on the Secret, once a day."""
    if not used_on(secret, now):
        return
    for latest in cluster.latest_all("v1", "Secret", meta.namespace(secret)):
        if meta.uid(latest) == meta.uid(secret) and (today := used_on(latest, now)):
            meta.set_label(latest, legacy.LAST_USED, today)
            cluster.overwrite(latest)


def _quoted(words: Sequence[str]) -> str:
    return f"[{' '.join(map(quote, words))}]"


def _issuer(token: str) -> object:
    try:
        payload = token.split(".")[1]
        found = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return None
    return found.get("iss") if isinstance(found, dict) else None


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value)
    except binascii.Error:
        return b""
