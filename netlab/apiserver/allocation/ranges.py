"""Keeps the allocation told of the ServiceCIDRs there are, and of IPAddresses that are no Service's.

Source followed: pkg/registry/core/service/ipallocator/cidrallocator.go.
"""

from collections.abc import Sequence

from netlab.api import meta
from netlab.api.resources import get
from netlab.apiserver.allocation.records import GROUP, MANAGER
from netlab.apiserver.api import Api
from netlab.apiserver.storage import load
from netlab.store import Event, Item


def follow_ranges(api: Api) -> None:
    """From now on. A cluster whose first ServiceCIDR is yet to be written gives from what it was told at its start."""
    cidrs, records = (api.stored(get(GROUP, kind)) for kind in ("ServiceCIDR", "IPAddress"))

    def renew(events: Sequence[Event] = ()) -> None:
        found = api.read_all(GROUP, "ServiceCIDR", "")
        if found:
            api.allocation.use(found)

    def note(item: Item, kept: bool) -> None:
        # read only where it is not one of ours, of which there are as many as Services have addresses
        if MANAGER.encode() not in item.value:
            api.allocation.reserve(meta.name(load(item, records)), kept=kept)

    def look(events: Sequence[Event]) -> None:
        for event in events:
            note(event.item, event.type != "DELETED")

    api.store.subscribe(cidrs.collection, renew)
    api.store.subscribe(records.collection, look)
    renew()
    for item in api.store.list(records.collection).items:
        note(item, kept=True)
