"""Secrets of type `kubernetes.io/service-account-token` get their token, and go with their ServiceAccount.

Source followed: pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from netlab.api import legacy_tokens as legacy
from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.token_keys import key_id
from netlab.api.types import Obj
from netlab.client.informer import Informer
from netlab.client.kinds import SECRETS, SERVICE_ACCOUNTS
from netlab.controllers.context import Context

log = logging.getLogger(__name__)

BY_ACCOUNT = "namespace and name of the ServiceAccount"
MOST_RETRIES = 10
"""As upstream: a Secret that cannot be written (immutable, say) is left alone after that."""


def account_of(secret: Obj) -> tuple[str, str]:
    """PURE. Name and uid of the ServiceAccount as the annotations say it; "" where they do not."""
    notes = meta.annotations(secret)
    return notes.get(legacy.ACCOUNT_NAME, ""), notes.get(legacy.ACCOUNT_UID, "")


def filled(secret: Obj, account: Obj, root_ca: str, sign: Callable[[Obj], str]) -> Obj | None:
    """PURE. The Secret with all that it lacks, None when that is nothing; `sign` makes a token of claims.

    A certificate other than `root_ca` (PEM, empty: none) is replaced; a token that is there stays.
    """
    have = secret.get("data") or {}
    data = dict(have)
    if root_ca:
        data[legacy.ROOT_CA] = _b64(root_ca)
    data[legacy.NAMESPACE] = have.get(legacy.NAMESPACE) or _b64(meta.namespace(secret))
    data[legacy.TOKEN] = have.get(legacy.TOKEN) or _b64(sign(legacy.claims(account, secret)))
    if data == have:
        return None
    notes = {legacy.ACCOUNT_NAME: meta.name(account), legacy.ACCOUNT_UID: meta.uid(account)}
    metadata = {**secret["metadata"], "annotations": {**meta.annotations(secret), **notes}}
    return {**secret, "metadata": metadata, "data": data}


def without_reference(account: Obj, secret: str) -> Obj | None:
    """PURE. The ServiceAccount without its references to a Secret; None when it has none."""
    have = account.get("secrets") or []
    left = [one for one in have if one.get("name") != secret]
    return {**account, "secrets": left} if len(left) < len(have) else None


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _by_account(secret: Obj) -> Sequence[str]:
    return (meta.join_key(meta.namespace(secret), account_of(secret)[0]),)


def token_secrets(context: Context) -> Informer:
    """The one informer of such Secrets."""
    key = ("v1", f"secrets of type {legacy.TYPE}")
    if key not in context.informers:
        made = Informer(context.client, SECRETS, field_selector=f"type={legacy.TYPE}", timing=context.timing)
        context.informers[key] = made
    return context.informers[key]


class ServiceAccountTokens:
    """A key is a token's Secret; `references` forgets the names of those that are gone. Ends without a key."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("serviceaccount_tokens_secret")
        self.references = context.queue("serviceaccount_tokens_service")
        self.accounts = context.informer(SERVICE_ACCOUNTS)
        self.secrets = token_secrets(context)
        self.secrets.add_index(BY_ACCOUNT, _by_account)
        self.secrets.add_handler(self._enqueue, lambda old, new: self._enqueue(new), self._secret_gone)
        self.accounts.add_handler(None, self._account_changed, self._account_gone)

    async def run(self) -> None:
        """Until cancelled."""
        if not self.context.config.account_key:
            log.warning("serviceaccount-token controller is disabled because there is no private key")
            return
        await self.context.synced(self.accounts, self.secrets)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(self.reconcile, workers=4))
            group.create_task(self.references.run(self.forget, workers=1))

    async def reconcile(self, key: str) -> None:
        """Fill one Secret, or delete it where its ServiceAccount does not exist."""
        secret = self.secrets.store.get(key)
        if secret is None:
            return
        try:
            account = await self._account(meta.namespace(secret), *account_of(secret))
            if account is None:
                await self.client.delete(SECRETS, meta.name(secret), meta.namespace(secret), uid=meta.uid(secret))
            elif (new := filled(secret, account, self.context.config.root_ca, self._sign)) is not None:
                self.secrets.observe(await self.client.update(SECRETS, new))
        except StatusError as error:
            if error.code in (404, 409):
                return  # gone, or changed: that comes as an event of its own
            if self.queue.retries(key) < MOST_RETRIES:
                raise
            log.warning("%s: %s; retried %d times", key, error, MOST_RETRIES)

    async def forget(self, key: str) -> None:
        """Take a Secret that is gone out of the list of its ServiceAccount."""
        namespace, name, uid, account_name = key.split("/", 3)
        account = await self._live(namespace, account_name, uid)
        new = without_reference(account, name) if account is not None else None
        if new is None:
            return
        try:
            await self.client.update(SERVICE_ACCOUNTS, new)
        except StatusError as error:
            if error.code != 404:
                raise

    def _sign(self, claims: Obj) -> str:
        import jwt

        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": key_id(self._key.public_key())})

    @cached_property
    def _key(self) -> Any:
        """Read once: reading it takes longer than signing."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        return load_pem_private_key(self.context.config.account_key.encode(), None)

    async def _account(self, namespace: str, name: str, uid: str) -> Obj | None:
        """The ServiceAccount, with this uid if one is named; the server is asked before it counts as missing."""
        known = self.accounts.store.get(meta.join_key(namespace, name))
        if known is not None and uid in ("", meta.uid(known)):
            return known
        return await self._live(namespace, name, uid)

    async def _live(self, namespace: str, name: str, uid: str) -> Obj | None:
        try:
            found = await self.client.get(SERVICE_ACCOUNTS, name, namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            return None
        return found if uid in ("", meta.uid(found)) else None

    def _enqueue(self, secret: Obj) -> None:
        self.queue.add(meta.key(secret))

    def _secret_gone(self, secret: Obj) -> None:
        name, uid = account_of(secret)
        self.references.add(f"{meta.key(secret)}/{uid}/{name}")

    def _account_changed(self, old: Obj, new: Obj) -> None:
        if meta.uid(old) != meta.uid(new):
            self._account_gone(old)

    def _account_gone(self, account: Obj) -> None:
        for secret in self.secrets.by_index(BY_ACCOUNT, meta.key(account)):
            self._enqueue(secret)
