"""Bootstrap tokens: the expired are deleted, and the public `cluster-info` is signed with each that may sign.

A machine that knows nothing but a token reads kube-public/cluster-info without credentials and believes it because of
its signature (a JWS with the token as key). Source followed: pkg/controller/bootstrap (tokencleaner, bootstrapsigner,
jws), cluster-bootstrap.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.informer import Informer
from netlab.client.kinds import CONFIG_MAPS, SECRETS
from netlab.controllers.context import Context

SYSTEM, PUBLIC, INFO = "kube-system", "kube-public", "cluster-info"
TYPE, PREFIX = "bootstrap.kubernetes.io/token", "bootstrap-token-"
KUBECONFIG, SIGNATURE = "kubeconfig", "jws-kubeconfig-"


def data_of(secret: Obj) -> dict[str, str]:
    """PURE. A Secret's data as text; what is no text is empty."""
    found = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            found[key] = base64.b64decode(value).decode()
        except ValueError:
            found[key] = ""
    return found


def left(secret: Obj, now: float) -> float | None:
    """PURE. Seconds until the token expires, never more than it says; None when it does not expire."""
    expiration = data_of(secret).get("expiration", "")
    if not expiration:
        return None
    try:
        return max(0.0, meta.parse_time(expiration) - now)
    except ValueError:
        return 0.0


def signing_key(secret: Obj, now: float) -> tuple[str, str] | None:
    """PURE. (id, secret) of a token that may sign."""
    data = data_of(secret)
    token_id, key = data.get("token-id", ""), data.get("token-secret", "")
    if secret.get("type") != TYPE or meta.name(secret) != PREFIX + token_id or not token_id or not key:
        return None
    if data.get("usage-bootstrap-signing") != "true" or left(secret, now) == 0:
        return None
    return token_id, key


def signature(content: str, token_id: str, key: str) -> str:
    """PURE. A detached JWS (RFC 7515, appendix F) of the content: HS256, keyed with the whole token."""
    header = _url(json.dumps({"alg": "HS256", "kid": token_id}, separators=(",", ":")).encode())
    signed = f"{header}.{_url(content.encode())}".encode()
    return f"{header}..{_url(hmac.new(f'{token_id}.{key}'.encode(), signed, hashlib.sha256).digest())}"


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(data: Mapping[str, str], secrets: Iterable[Obj], now: float) -> dict[str, str]:
    """PURE. The data of cluster-info with the signatures of exactly those tokens that may sign."""
    found = {name: value for name, value in data.items() if not name.startswith(SIGNATURE)}
    content = data.get(KUBECONFIG)
    if content is None:
        return dict(data)
    for secret in secrets:
        token = signing_key(secret, now)
        if token is not None:
            found[SIGNATURE + token[0]] = signature(content, *token)
    return found


def _tokens(context: Context) -> Informer:
    """The bootstrap tokens, shared by both controllers; no other Secret is held."""
    key = ("v1", "secrets of bootstrap tokens")
    found = context.informers.get(key)
    if found is None:
        selector = f"type={TYPE}"
        found = Informer(context.client, SECRETS, namespace=SYSTEM, field_selector=selector, timing=context.timing)
        context.informers[key] = found
    return found


class TokenCleaner:
    """A key is a bootstrap token's Secret; it is deleted when its time has come."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("token_cleaner")
        self.secrets = _tokens(context)
        self.secrets.add_handler(self._enqueue, lambda old, new: self._enqueue(new), None)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.secrets)
        await self.queue.run(self.reconcile, workers=1)

    async def reconcile(self, key: str) -> None:
        """Delete one token if it has expired, or look again when it will have."""
        secret = self.secrets.store.get(key)
        if secret is None:
            return
        seconds = left(secret, time.time())
        if seconds is None:
            return
        if seconds > 0:
            self.queue.add_after(key, seconds)
            return
        try:
            await self.client.delete(SECRETS, meta.name(secret), SYSTEM, uid=meta.uid(secret))
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    def _enqueue(self, secret: Obj) -> None:
        self.queue.add(meta.key(secret))


class BootstrapSigner:
    """The only key is cluster-info."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("bootstrap_signer_queue")
        self.secrets = _tokens(context)
        self.info = Informer(
            context.client,
            CONFIG_MAPS,
            namespace=PUBLIC,
            field_selector=f"metadata.name={INFO}",
            timing=context.timing,
        )
        context.informers["v1", f"configmaps/{INFO}"] = self.info
        for informer in (self.secrets, self.info):
            informer.add_handler(self._poke, self._poke, self._poke)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.secrets, self.info)
        await self.queue.run(self.reconcile, workers=1)

    async def reconcile(self, key: str) -> None:
        """Sign cluster-info with the tokens that there are."""
        info = self.info.store.get(key)
        if info is None:
            return
        data = signed(info.get("data") or {}, self.secrets.store.values(), time.time())
        if data == (info.get("data") or {}):
            return
        try:
            self.info.observe(await self.client.update(CONFIG_MAPS, {**info, "data": data}))
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    def _poke(self, *_: Obj) -> None:
        self.queue.add(f"{PUBLIC}/{INFO}")
