"""Leader election by Lease, as client-go's leaderelection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from netlab.api.errors import StatusError
from netlab.api.meta import now_micro
from netlab.api.timing import LAB, Timing
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.kinds import LEASES

log = logging.getLogger(__name__)


class _Elector:
    def __init__(self, client: Client, name: str, namespace: str, identity: str, timing: Timing, adopt: bool) -> None:
        self.client, self.name, self.namespace = client, name, namespace
        self.identity, self.timing, self.adopt = identity, timing, adopt
        self.lease: Obj | None = None
        self._seen: tuple[str, float] = ("", 0.0)

    async def attempt(self) -> bool:
        """Acquire or renew once. True: the lease is ours."""
        try:
            current = await self.client.get(LEASES, self.name, self.namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            await self.client.create(LEASES, self._lease(None))
            return True
        spec = current.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        now = asyncio.get_running_loop().time()
        version = current["metadata"]["resourceVersion"]
        if self._seen[0] != version:
            self._seen = (version, now)  # a foreign clock is not trusted: expiry counts from when we saw the renewal
        duration = float(spec.get("leaseDurationSeconds") or self.timing.leader_lease_duration)
        if holder not in ("", self.identity) and not self.adopt and now < self._seen[1] + duration:
            return False
        updated = await self.client.update(LEASES, self._lease(current))
        self._seen = (updated["metadata"]["resourceVersion"], now)
        return True

    def _lease(self, current: Obj | None) -> Obj:
        now = now_micro()
        old = (current or {}).get("spec") or {}
        ours = old.get("holderIdentity") == self.identity
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, int(self.timing.leader_lease_duration)),
            "acquireTime": old.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if ours or not current else 1),
        }
        meta = dict(current["metadata"]) if current else {"name": self.name, "namespace": self.namespace}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}

    async def acquire(self) -> None:
        while True:
            try:
                if await self.attempt():
                    return
            except (StatusError, OSError) as error:
                log.info("lease %s: %s", self.name, error)
            await asyncio.sleep(self.timing.leader_retry)

    async def renew(self) -> None:
        """Renew until the deadline passes without success (RuntimeError)."""
        loop = asyncio.get_running_loop()
        good = loop.time()
        while True:
            await asyncio.sleep(self.timing.leader_retry)
            try:
                async with asyncio.timeout(self.timing.leader_renew_deadline):
                    held = await self.attempt()
            except (StatusError, OSError) as error:
                log.info("lease %s: %s", self.name, error)
                if self.adopt:
                    continue  # nobody else can take it
                held = loop.time() - good < self.timing.leader_renew_deadline
            else:
                good = loop.time()
            if not held:
                raise RuntimeError(f"leader election lost: lease {self.namespace}/{self.name}")


async def run_as_leader(
    client: Client,
    name: str,
    identity: str,
    lead: Callable[[], Awaitable[None]],
    *,
    namespace: str = "kube-system",
    timing: Timing = LAB,
    adopt: bool = False,
) -> None:
    """Hold Lease `name` and run `lead` while holding it; ends when `lead` ends or the lease is lost (RuntimeError).

    With `adopt` there is nobody to wait for (the only control plane of a lab): `lead` starts at once, the lease is
    taken beside it and never lost.
    """
    elector = _Elector(client, name, namespace, identity, timing, adopt)
    if not adopt:
        await elector.acquire()

    async def keep() -> None:
        if adopt:
            await elector.acquire()
        await elector.renew()

    leading = asyncio.ensure_future(lead())
    keeping = asyncio.create_task(keep(), name=f"lease {name}")
    try:
        done, _ = await asyncio.wait({leading, keeping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (leading, keeping):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
