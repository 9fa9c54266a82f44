"""CertificateSigningRequests that are done with are deleted. Source: pkg/controller/certificates/cleaner."""

from __future__ import annotations

import asyncio
import base64
import logging
import time

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.controllers.context import Context
from netlab.controllers.csr_signing import REQUESTS

log = logging.getLogger(__name__)

PERIOD = 3600.0
DECIDED, PENDING = 3600.0, 86400.0
"""How long requests that were approved, denied or failed stay, and those that nobody decided on, in seconds."""
_LASTING = ("Approved", "Denied", "Failed")


def outdated(request: Obj, now: float) -> str:
    """PURE. Why the request can go; "" while it stays."""
    conditions = meta.get(request, "status", "conditions", default=[])
    decided = [one for one in conditions if one.get("type") in _LASTING]
    certificate = meta.get(request, "status", "certificate")
    for condition in decided:
        stamp = condition.get("lastUpdateTime")
        if condition["type"] == "Approved" and not certificate:
            continue
        if stamp and now - meta.parse_time(stamp) > DECIDED:
            return f"{condition['type'].lower()} more than an hour ago"
    if certificate and _expired(certificate, now):
        return "the certificate has expired"
    created = request["metadata"].get("creationTimestamp")
    waits = not decided or (not certificate and all(one["type"] == "Approved" for one in decided))
    if waits and created and now - meta.parse_time(created) > PENDING:
        return "nobody decided on it for a day"
    return ""


def _expired(encoded: str, now: float) -> bool:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(base64.b64decode(encoded))
    except ValueError:
        return False
    return bool(found) and found[0].not_valid_after_utc.timestamp() < now


class CsrCleaner:
    """Looks at all requests once an hour."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.requests = context.informer(REQUESTS)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.requests)
        while True:
            await self.clean(time.time())
            await asyncio.sleep(PERIOD)

    async def clean(self, now: float) -> None:
        """Delete every request that is outdated at `now`."""
        for request in list(self.requests.store.values()):
            why = outdated(request, now)
            if not why:
                continue
            log.info("deleting certificate request %s: %s", meta.name(request), why)
            try:
                await self.client.delete(REQUESTS, meta.name(request), uid=meta.uid(request))
            except StatusError as error:
                if error.code not in (404, 409):
                    log.warning("certificate request %s: %s", meta.name(request), error)
