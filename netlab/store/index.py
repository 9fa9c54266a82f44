"""The durable state in memory: per collection, items in order of key and the history that can still be watched.

Nothing here is O(all objects) on a write: a key enters a sorted list by bisection, an event is appended. A list of the
past is the present with the events since then taken back.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from netlab.store.contract import Compacted, Event, Item, Listing

_AFTER = "\U0010ffff"


@dataclass(slots=True)
class Collection:
    items: dict[str, Item] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    event_bytes: int = 0
    floor: int = 0
    """History up to and including this revision is forgotten."""

    @property
    def changed(self) -> int:
        """The revision of the last change."""
        return self.events[-1].revision if self.events else self.floor

    def apply(self, event: Event) -> None:
        key = event.item.key
        if event.type == "DELETED":
            del self.items[key]
            del self.keys[bisect_left(self.keys, key)]
        else:
            if event.previous is None:
                insort(self.keys, key)
            self.items[key] = event.item
        self.events.append(event)
        self.event_bytes += len(event.item.value)

    def since(self, after: int) -> Sequence[Event]:
        if after < self.floor:
            raise Compacted(after, self.floor)
        if not self.events or self.events[-1].revision <= after:
            return ()
        return self.events[bisect_right(self.events, after, key=_revision) :]

    def forget(self, revision: int) -> list[int]:
        """Drop events up to `revision`; returns the revisions whose values nothing needs any more."""
        if revision <= self.floor:
            return []
        self.floor = revision
        cut = bisect_right(self.events, revision, key=_revision)
        dropped, self.events = self.events[:cut], self.events[cut:]
        useless = [event.previous.revision for event in dropped if event.previous is not None]
        useless += [event.revision for event in dropped if event.type == "DELETED"]
        self.event_bytes -= sum(len(event.item.value) for event in dropped)
        return useless

    def page(self, first: str, last: str, limit: int) -> tuple[list[Item], int]:
        """Present items with first <= key < last, and how many more there are after the page."""
        keys, low = self.keys, bisect_left(self.keys, first)
        high = bisect_left(keys, last, low)
        end = min(high, low + limit) if limit else high
        items = self.items
        return [items[key] for key in keys[low:end]], high - end

    def page_at(self, first: str, last: str, limit: int, revision: int) -> tuple[list[Item], int]:
        """As `page`, at a revision of the past."""
        then: dict[str, Item | None] = {}
        for event in self.since(revision):
            then.setdefault(event.item.key, event.previous)
        if not then:
            return self.page(first, last, limit)
        keys, low = self.keys, bisect_left(self.keys, first)
        found = {key: self.items[key] for key in keys[low : bisect_left(keys, last, low)] if key not in then}
        found.update({key: item for key, item in then.items() if item is not None and first <= key < last})
        ordered = [found[key] for key in sorted(found)]
        end = min(len(ordered), limit) if limit else len(ordered)
        return ordered[:end], len(ordered) - end


def _revision(event: Event) -> int:
    return event.item.revision


def list_collection(
    collection: Collection | None, name: str, namespace: str, start: str, revision: int, now: int, limit: int
) -> Listing:
    """See Store.list; `now` is the store's revision."""
    if collection is None:
        return Listing((), revision or now, 0)
    prefix = f"{name}/{namespace}/" if namespace else f"{name}/"
    # the successor of a key in order of strings is the key and a NUL
    first = max(prefix, start + "\0") if start else prefix
    if revision and revision < now:
        items, remaining = collection.page_at(first, prefix + _AFTER, limit, revision)
        return Listing(items, revision, remaining)
    items, remaining = collection.page(first, prefix + _AFTER, limit)
    return Listing(items, now, remaining)
