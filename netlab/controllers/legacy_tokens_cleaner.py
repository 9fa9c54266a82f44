"""Auto-generated token Secrets that nobody used for a year are marked invalid, and deleted a year later.

Source followed: pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Collection, Iterable

from netlab.api import legacy_tokens as legacy
from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS
from netlab.controllers.context import Context
from netlab.controllers.serviceaccount_tokens import token_secrets

log = logging.getLogger(__name__)

CLEAN_UP = 365 * 86400.0
"""Seconds without use, upstream's --legacy-service-account-token-clean-up-period."""
EVERY = 86400.0
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


def day(seconds: float) -> str:
    """PURE. The date (UTC) of a time."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def tracked_long_enough(tracking: Obj | None, now: float, period: float) -> bool:
    """PURE. Whether the API server notes uses for at least that long; its ConfigMap says since when."""
    since = str(meta.get(tracking or {}, "data", "since", default=""))
    return bool(_DATE.match(since)) and since <= day(now - period)


def mounted(pods: Iterable[Obj]) -> set[str]:
    """PURE. namespace/name of the Secrets that pods have as volumes or in their environment."""
    found: set[str] = set()
    for pod in pods:
        spec, where = pod.get("spec") or {}, meta.namespace(pod)
        names = [meta.get(one, "secret", "secretName") for one in spec.get("volumes") or ()]
        for volume in spec.get("volumes") or ():
            names += [meta.get(one, "secret", "name") for one in meta.get(volume, "projected", "sources") or ()]
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            names += [meta.get(one, "secretRef", "name") for one in container.get("envFrom") or ()]
            names += [meta.get(one, "valueFrom", "secretKeyRef", "name") for one in container.get("env") or ()]
        names += [one.get("name") for one in spec.get("imagePullSecrets") or ()]
        found |= {f"{where}/{name}" for name in names if name}
    return found


def verdict(secret: Obj, account: Obj | None, used: Collection[str], now: float, period: float) -> str:
    """PURE. "mark" the Secret as invalid, "delete" it, or "" leave it."""
    if secret.get("type") != legacy.TYPE or meta.deleting(secret) or account is None or meta.key(secret) in used:
        return ""
    if not any(one.get("name") == meta.name(secret) for one in account.get("secrets") or ()):
        return ""  # made by hand
    before, noted = day(now - period), meta.labels(secret)
    if meta.parse_time(secret["metadata"]["creationTimestamp"]) >= now - period:
        return ""
    last = noted.get(legacy.LAST_USED, "")
    if last >= before and _DATE.match(last):
        return ""
    invalid = noted.get(legacy.INVALID_SINCE, "")
    if not _DATE.match(invalid):
        return "mark"
    return "delete" if invalid < before and last < invalid else ""


class LegacyTokensCleaner:
    """Looks once a day; there are no keys."""

    def __init__(self, context: Context, period: float = CLEAN_UP) -> None:
        self.context, self.client, self.period = context, context.client, period
        self.accounts, self.pods = context.informer(SERVICE_ACCOUNTS), context.informer(PODS)
        self.secrets = token_secrets(context)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.accounts, self.secrets, self.pods)
        while True:
            try:
                await self.sweep(time.time())
            except (StatusError, OSError) as error:
                log.warning("legacy service account tokens: %s", error)
            await asyncio.sleep(EVERY)

    async def sweep(self, now: float) -> None:
        """Mark or delete what is due."""
        if not self.secrets.store or not tracked_long_enough(await self._tracking(), now, self.period):
            return
        used = mounted(self.pods.store.values())
        for secret in list(self.secrets.store.values()):
            name = meta.annotations(secret).get(legacy.ACCOUNT_NAME, "")
            account = self.accounts.store.get(meta.join_key(meta.namespace(secret), name))
            what = verdict(secret, account, used, now, self.period)
            if what:
                await self._apply(secret, what, now)

    async def _apply(self, secret: Obj, what: str, now: float) -> None:
        name, namespace = meta.name(secret), meta.namespace(secret)
        try:
            if what == "delete":
                await self.client.delete(SECRETS, name, namespace, uid=meta.uid(secret))
                return
            metadata = {"labels": {legacy.INVALID_SINCE: day(now)}, "resourceVersion": meta.resource_version(secret)}
            written = await self.client.patch(SECRETS, name, {"metadata": metadata}, namespace, patch_type="merge")
            self.secrets.observe(written)
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    async def _tracking(self) -> Obj | None:
        try:
            return await self.client.get(CONFIG_MAPS, legacy.TRACKING, "kube-system")
        except StatusError as error:
            if error.code != 404:
                raise
            return None
