"""The channels of each collection, found by what an event touches."""

from collections.abc import Iterator, Sequence

from netlab.apiserver.selection import Selection, attributes
from netlab.apiserver.storage import Stored
from netlab.apiserver.watching.channel import Channel, Frames
from netlab.apiserver.wire.message import Sink
from netlab.store import Event, Item, Store

_INDEXED = ("metadata.name", "spec.nodeName")
"""Fields that many watchers pin, one value each: a kubelet its own pods, `wait` and mounts one object."""

Place = tuple[str, str]
"""Where a channel is looked up: ("", "") for all events, ("namespace", x), or (an indexed field, its value)."""


class Hub:
    """The channels of one collection."""

    def __init__(self, store: Store, stored: Stored) -> None:
        self.stored = stored
        self._channels: dict[tuple[Selection, Frames], Channel] = {}
        self._places: dict[Place, dict[Channel, None]] = {}
        store.subscribe(stored.collection, self.publish)

    def channel(self, selection: Selection, show: Frames) -> Channel:
        """The channel of this selection and representation, made when it is the first of its kind."""
        found = self._channels.get((selection, show))
        return found if found is not None else Channel(self.stored, selection, show)

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
        """Tell the events of one commit. Called by the store."""
        touched: dict[Channel, None] = {}
        for event in events:
            for channel in self._concerned(event):
                channel.collect(event)
                touched[channel] = None
        for channel in touched:
            channel.flush()

    def _concerned(self, event: Event) -> Iterator[Channel]:
        places = self._places
        yield from places.get(("", ""), ())
        if len(places) == (("", "") in places):
            return
        namespace = event.item.key.split("/", 2)[1] if self.stored.resource.namespaced else ""
        yield from places.get(("namespace", namespace), ())
        if any(field in _INDEXED for field, _ in places):
            for place in self._values(event):
                yield from places.get(place, ())

    def _values(self, event: Event) -> set[Place]:
        items: list[Item] = [event.item] if event.previous is None else [event.item, event.previous]
        found: set[Place] = set()
        for item in items:
            known = attributes(item, self.stored, self.stored.resource)[1]
            found.update((field, known[field]) for field in _INDEXED if field in known)
        return found


def place_of(selection: Selection) -> Place:
    for field in _INDEXED:
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
