"""One channel: what it selects, how it shows it, and the sinks that get its bytes."""

from typing import Literal, Protocol

from netlab.apiserver.extensions.webhook_conversion import NotConvertedError
from netlab.apiserver.selection import Selection
from netlab.apiserver.storage import Stored, whole
from netlab.apiserver.wire import frames
from netlab.apiserver.wire.message import Sink
from netlab.store import Event, Item

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
MAX_BUFFERED = 8 << 20
"""A watcher this many bytes behind (what was there at its start apart) is let go, as upstream's slow watchers are."""


class Frames(Protocol):
    """How a channel shows an object: the bytes of an event's object. Equal for equal representations."""

    def __call__(self, item: Item, stored: Stored, selection: Selection) -> bytes: ...


def plain(item: Item, stored: Stored, selection: Selection) -> bytes:
    return whole(item, stored, selection.resource)


class Channel:
    """Sinks that watch the same selection in the same representation."""

    __slots__ = ("_pending", "_prefix", "frames", "made", "selection", "sinks", "stored")

    def __init__(self, stored: Stored, selection: Selection, show: Frames, made: dict[object, bytes]) -> None:
        self.stored, self.selection, self.frames = stored, selection, show
        self.made = made
        """Chunks of the events that are being told, shared by the channels of a collection."""
        self.sinks: dict[Sink, None] = {}
        self._pending: list[bytes] = []
        self._prefix = f"{stored.collection}/{selection.namespace}/" if selection.namespace else ""

    def seen(self, event: Event) -> tuple[EventType, Item] | None:
        """What this channel's watchers see of an event: selection turns changes into appearing and disappearing."""
        selection, stored, previous = self.selection, self.stored, event.previous
        if self._prefix and not event.item.key.startswith(self._prefix):
            return None
        if selection.all:
            return event.type, event.item
        before = previous is not None and selection.matches(previous, stored)
        if event.type == "DELETED":
            return ("DELETED", event.item) if before else None
        if selection.matches(event.item, stored):
            return ("MODIFIED" if before else "ADDED"), event.item
        if not before or previous is None:
            return None
        return "DELETED", _at_revision(previous, event)

    def frame(self, event: Event) -> bytes | None:
        """The HTTP chunk that tells an event, None when it does not concern this channel; equal channels share it."""
        seen = self.seen(event)
        if seen is None:
            return None
        key = (seen[0], seen[1].revision, self.frames, self.selection.resource.api_version)
        known = self.made.get(key)
        if known is None:
            known = self.made[key] = self.chunk(*seen)
        return known

    def chunk(self, kind: EventType, item: Item, show: Frames | None = None) -> bytes:
        """The HTTP chunk of one object; `show` instead of the channel's own representation."""
        value = (show or self.frames)(item, self.stored, self.selection)
        return frames.chunk(frames.event_line(kind, value))

    def collect(self, event: Event) -> None:
        try:
            frame = self.frame(event)
        except NotConvertedError:
            # nobody can be shown this event: they begin anew, and hear what is wrong
            self._pending = []
            for sink in list(self.sinks):
                sink.abort()
            return
        if frame is not None:
            self._pending.append(frame)

    def flush(self) -> None:
        """Write what was collected to every sink."""
        if not self._pending:
            return
        data = b"".join(self._pending) if len(self._pending) > 1 else self._pending[0]
        self._pending = []
        for sink in list(self.sinks):
            if sink.buffered > MAX_BUFFERED + sink.initial:
                self.sinks.pop(sink, None)
                sink.abort()
            else:
                sink.write(data)


def _at_revision(previous: Item, event: Event) -> Item:
    """The state that was selected last, at the revision of the event that took it out of sight, as upstream."""
    known: Item | None = event.cache.get("left")
    if known is None:
        old, new = str(previous.revision), str(event.revision)
        value = previous.value.replace(f'"resourceVersion":"{old}"'.encode(), f'"resourceVersion":"{new}"'.encode(), 1)
        known = event.cache["left"] = Item(previous.key, event.revision, previous.created, value)
    return known
