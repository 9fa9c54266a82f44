"""What the API shows of the addresses of Services: an IPAddress for each one taken.

Upstream allocates by these objects; here the Services themselves are the book (see the package), and these follow them,
a moment later. Source followed: pkg/registry/core/service/ipallocator.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence

from netlab.api import errors, meta
from netlab.api.resources import Resource, get
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.bootstrap import ensure
from netlab.apiserver.storage import load
from netlab.apiserver.writing import Conflict, NotFound, write_gone
from netlab.store import Event, Item

log = logging.getLogger(__name__)

GROUP = "networking.k8s.io/v1"
FAMILY_LABEL, MANAGED_LABEL = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
_RETRY = 1.0


def ip_address(address: str, namespace: str, name: str) -> Obj:
    """PURE. The record of an address and the Service that has it."""
    parsed = ipaddress.ip_address(address)
    return {
        "apiVersion": GROUP,
        "kind": "IPAddress",
        "metadata": {
            "name": str(parsed),
            "labels": {FAMILY_LABEL: f"IPv{parsed.version}", MANAGED_LABEL: MANAGER},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    }


def addresses(service: Obj) -> list[str]:
    """PURE. The cluster addresses that a Service has, in their one usual spelling."""
    found = service.get("spec", {}).get("clusterIPs") or ()
    return [str(ipaddress.ip_address(one)) for one in found if one and one != "None"]


class Records:
    """Keeps the objects true to the Services. What is to be looked at again is in `_dirty`, by address."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._services = api.stored(get("v1", "Service"))
        self._resource: Resource = get(GROUP, "IPAddress")
        self._records = api.stored(self._resource)
        self._owners: dict[str, tuple[str, str]] = {}
        self._dirty: dict[str, None] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        leave = self._api.store.subscribe(self._services.collection, self._look)
        leave_records = self._api.store.subscribe(self._records.collection, self._look_at_records)
        try:
            self._read()
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._dirty:
                    address = next(iter(self._dirty))
                    del self._dirty[address]
                    await self._settle(address)
        finally:
            leave()
            leave_records()

    def _read(self) -> None:
        """Everything, once: Services as they are, and records that nobody has any more."""
        for item in self._api.store.list(self._services.collection).items:
            self._take(item)
        for item in self._api.store.list(self._records.collection).items:
            self._mark(meta.name(load(item, self._records)))

    def _look(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.previous is not None:
                service = load(event.previous, self._services)
                for address in addresses(service):
                    if self._owners.get(address) == (meta.namespace(service), meta.name(service)):
                        del self._owners[address]
                    self._mark(address)
            if event.type != "DELETED":
                self._take(event.item)

    def _look_at_records(self, events: Sequence[Event]) -> None:
        """Somebody may have deleted or bent one: it is put right."""
        for event in events:
            self._mark(event.item.key.rpartition("/")[2])

    def _take(self, item: Item) -> None:
        service = load(item, self._services)
        for address in addresses(service):
            self._owners[address] = (meta.namespace(service), meta.name(service))
            self._mark(address)

    def _mark(self, address: str) -> None:
        self._dirty[address] = None
        self._wake.set()

    async def _settle(self, address: str) -> None:
        """One record: made, put right or removed; what an administrator made by hand stays."""
        owner = self._owners.get(address)
        current = self._api.store.latest(self._records.key("", address))
        record = load(current, self._records) if current is not None else None
        try:
            if owner is not None:
                wanted = ip_address(address, *owner)
                if record is None or record.get("spec") != wanted["spec"]:
                    await self._write(wanted)
            elif current is not None and record is not None and meta.labels(record).get(MANAGED_LABEL) == MANAGER:
                await write_gone(self._api, self._records, self._resource, record, current.revision)
        except (Conflict, NotFound):
            self._mark(address)

    async def _write(self, wanted: Obj) -> None:
        try:
            await ensure(self._api, wanted)
        except errors.StatusError as error:
            log.error("%s %s: %s", wanted["kind"], meta.name(wanted), error)
            await asyncio.sleep(_RETRY)


async def keep_records(api: Api, after: float = 0.0) -> None:
    """Runs them until cancelled, from so many seconds on: nobody waits for them while a lab starts."""
    await asyncio.sleep(after)
    await Records(api).run()
