"""WATCH: what is there, then what changes, over one connection; resumed at a resourceVersion, ended by a time-out.

Listing, replaying and joining happen in one turn of the event loop, so nothing is missed or told twice.
"""

import asyncio
import contextlib

from netlab.api import errors
from netlab.api.resources import Resource
from netlab.apiserver.api import Api
from netlab.apiserver.extensions.kinds import CustomResource
from netlab.apiserver.operations.list_ import select
from netlab.apiserver.operations.options import flag, revision, timeout_seconds
from netlab.apiserver.representation import accept
from netlab.apiserver.selection import Selection, parse
from netlab.apiserver.storage import Stored, value_for
from netlab.apiserver.watching import Channel, Frames
from netlab.apiserver.watching.channel import EventType
from netlab.apiserver.watching.shows import chosen, opening
from netlab.apiserver.wire import frames
from netlab.apiserver.wire.message import Answer, Request, Sink, Streaming
from netlab.store import Compacted, Item


async def watch(api: Api, request: Request, resource: Resource) -> Answer:
    query, info = request.query, request.info
    field_text = query.get("fieldSelector", "")
    if info.name:
        field_text = f"metadata.name={info.name}" + (f",{field_text}" if field_text else "")
    selection = parse(resource, info.namespace, query.get("labelSelector", ""), field_text)
    start = revision(query.get("resourceVersion", ""))
    initial = flag(request, "sendInitialEvents")
    _check(request, initial)
    wish = accept(request), query.get("includeObject", "")
    shows = chosen(*wish), opening(*wish)
    seconds = timeout_seconds(request, api.config.min_request_timeout)
    bookmarks = flag(request, "allowWatchBookmarks")

    if isinstance(resource, CustomResource) and resource.conversion is not None:
        # here the webhook can be waited for; what is written from now on comes converted
        for item in select(api, api.stored(resource), selection).items:
            value_for(item, api.stored(resource), resource)

    async def run(sink: Sink) -> None:
        watcher = _Watcher(api, api.stored(resource), selection, shows, sink, bookmarks)
        await watcher.run(start, initial, seconds)

    return Streaming(run)


def _check(request: Request, initial: bool) -> None:
    match = request.query.get("resourceVersionMatch", "")
    problem = ""
    if initial and match != "NotOlderThan":
        problem = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    elif match and "sendInitialEvents" not in request.query:
        problem = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
    if problem:
        cause = errors.cause("FieldValueForbidden", "resourceVersionMatch", problem)
        raise errors.invalid("ListOptions", "", [cause], group="meta.k8s.io")


class _Watcher:
    """One watch from its first byte to its last."""

    def __init__(
        self,
        api: Api,
        stored: Stored,
        selection: Selection,
        shows: tuple[Frames, Frames],
        sink: Sink,
        bookmarks: bool,
    ) -> None:
        self.api, self.stored, self.selection, self.sink, self.bookmarks = api, stored, selection, sink, bookmarks
        self.hub = api.hubs.of(stored)
        show, self.opening = shows
        self.channel: Channel = self.hub.channel(selection, show)

    async def run(self, start: int, initial: bool, seconds: float) -> None:
        # who is there already hears what is in the store before this watcher reads the store
        self.hub.settle()
        try:
            begin = self._begin(start, initial)
        except Compacted as error:
            status = errors.expired(f"too old resource version: {error.asked} ({error.oldest})").status
            self.sink.write(frames.chunk(frames.event_line("ERROR", frames.encode(status))))
            return
        if begin:
            self.sink.initial = len(begin)
            self.sink.write(begin)
        self.hub.join(self.channel, self.sink)
        try:
            await self._stay(seconds)
        finally:
            self.hub.leave(self.channel, self.sink)

    def _begin(self, start: int, initial: bool) -> bytes:
        if start and not initial:
            events = self.api.store.history(self.stored.collection, start)
            return self._told([seen for event in events if (seen := self.channel.seen(event)) is not None])
        listing = select(self.api, self.stored, self.selection)
        told = self._told([("ADDED", item) for item in listing.items])
        return told + self._bookmark(initial_end=True) if initial and self.bookmarks else told

    def _told(self, seen: list[tuple[EventType, Item]]) -> bytes:
        """The frames of what is there already; the first one opens the watch."""
        if not seen:
            # whatever comes first must open it: this watcher keeps to the opening representation
            self.channel = self.hub.channel(self.selection, self.opening)
            return b""
        first = self.channel.chunk(*seen[0], self.opening)
        return first + b"".join([self.channel.chunk(*one) for one in seen[1:]])

    def _bookmark(self, *, initial_end: bool = False) -> bytes:
        resource = self.selection.resource
        value = frames.bookmark_value(resource.api_version, resource.kind, self.api.store.revision, initial_end)
        return frames.chunk(frames.event_line("BOOKMARK", value))

    async def _stay(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self.sink.closed and not self.hub.ended.is_set() and (left := end - loop.time()) > 0:
            await self._rest(min(left, self.api.config.bookmark_seconds))
            if self.bookmarks and not self.sink.closed and not self.hub.ended.is_set():
                self.sink.write(self._bookmark())

    async def _rest(self, seconds: float) -> None:
        """Only custom kinds can cease to be served; the others save themselves the timer."""
        if not self.stored.resource.custom:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.hub.ended.wait(), seconds)
