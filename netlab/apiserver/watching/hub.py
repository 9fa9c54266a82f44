"""The channels of each collection, found by what an event touches."""

import asyncio
import time
from collections.abc import Iterator, Sequence

from netlab.apiserver.selection import INDEXED, Selection, attributes
from netlab.apiserver.storage import Stored
from netlab.apiserver.watching.channel import Channel, Frames
from netlab.apiserver.wire.message import Sink
from netlab.store import Event, Item, Store

_LONG = 0.002
"""Seconds of telling after which the loop gets a rest from it."""

Place = tuple[str, str]
"""Where a channel is looked up: ("", "") for all events, ("namespace", x), or (an indexed field, its value)."""


class Hub:
    """The channels of one collection."""

    def __init__(self, store: Store, stored: Stored) -> None:
        self.stored = stored
        self._channels: dict[tuple[Selection, Frames], Channel] = {}
        self._places: dict[Place, dict[Channel, None]] = {}
        self._waiting: list[Event] = []
        self._made: dict[object, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rested = 0.0
        self._leave = store.subscribe(stored.collection, self.publish)
        self.ended = asyncio.Event()
        """Set when the kind is no longer served as it was: whoever watches has to begin anew."""

    def channel(self, selection: Selection, show: Frames) -> Channel:
        """The channel of this selection and representation, made when it is the first of its kind."""
        found = self._channels.get((selection, show))
        return found if found is not None else Channel(self.stored, selection, show, self._made)

    def join(self, channel: Channel, sink: Sink) -> None:
        self._channels.setdefault((channel.selection, channel.frames), channel)
        self._places.setdefault(place_of(channel.selection), {})[channel] = None
        channel.sinks[sink] = None

    def leave(self, channel: Channel, sink: Sink) -> None:
        channel.sinks.pop(sink, None)
        if channel.sinks:
            return
        if self._channels.get((channel.selection, channel.frames)) is channel:
            del self._channels[(channel.selection, channel.frames)]
        place = place_of(channel.selection)
        members = self._places.get(place, {})
        members.pop(channel, None)
        if not members:
            self._places.pop(place, None)

    def publish(self, events: Sequence[Event]) -> None:
        """Take the events of one commit; called by the store. They are told soon, when whoever wrote has its answer."""
        if not self._places:
            return
        self._waiting += events
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(self._rested - time.monotonic(), 0.0), self.settle)

    def end(self) -> None:
        """Tell what is known, then let all watchers go."""
        self.settle()
        self._leave()
        self.ended.set()

    def settle(self) -> None:
        """Tell what waits. With very many watchers it rests as long again as telling took, and tells more at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events, self._waiting = self._waiting, []
        if not events:
            return
        began = time.monotonic()
        self._tell(events)
        ended = time.monotonic()
        self._rested = ended + 2 * (ended - began) if ended - began > _LONG else 0.0

    def _tell(self, events: Sequence[Event]) -> None:
        touched: dict[Channel, None] = {}
        for event in events:
            for channel in self._concerned(event):
                channel.collect(event)
                touched[channel] = None
        for channel in touched:
            channel.flush()
        # kept no longer than they are needed: history holds the values, not their frames
        self._made.clear()

    def _concerned(self, event: Event) -> Iterator[Channel]:
        places = self._places
        yield from places.get(("", ""), ())
        if len(places) == (("", "") in places):
            return
        namespace = event.item.key.split("/", 2)[1] if self.stored.resource.namespaced else ""
        yield from places.get(("namespace", namespace), ())
        if any(field in INDEXED for field, _ in places):
            for place in self._values(event):
                yield from places.get(place, ())

    def _values(self, event: Event) -> set[Place]:
        items: list[Item] = [event.item] if event.previous is None else [event.item, event.previous]
        found: set[Place] = set()
        for item in items:
            known = attributes(item, self.stored, self.stored.resource)[1]
            found.update((field, known[field]) for field in INDEXED if field in known)
        return found


def place_of(selection: Selection) -> Place:
    for field in INDEXED:
        value = selection.fields.requires(field)
        if value is not None:
            return field, value
    return ("namespace", selection.namespace) if selection.namespace else ("", "")


class Hubs:
    """The hub of each collection, made at its first watch."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hubs: dict[str, Hub] = {}

    def of(self, stored: Stored) -> Hub:
        found = self._hubs.get(stored.collection)
        if found is None:
            found = self._hubs[stored.collection] = Hub(self._store, stored)
        return found

    def end(self, collection: str) -> None:
        """End all watches of a collection; the next one gets a new hub."""
        found = self._hubs.pop(collection, None)
        if found is not None:
            found.end()
