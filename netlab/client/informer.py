"""A local, indexed copy of a collection, kept true by list and watch, and handlers called for each change.

Who writes through `observe` and `observe_deleted` reads its own writes: the answer of a create, update or delete is in
the store at once, and the watch's later word of the same version is silent. That is what keeps a controller from acting
twice on a stale cache (upstream counts expectations for the same end).

It resumes from the last resourceVersion, lists anew after 410, and waits with a bounded, jittered back-off while there
is no server; once the server is back everything converges by itself. Objects are shared and read-only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from netlab.api.errors import StatusError
from netlab.api.meta import key as key_of
from netlab.api.timing import LAB, Timing
from netlab.api.types import Obj
from netlab.client.backoff import Backoff
from netlab.client.client import Client
from netlab.client.kinds import ResourceRef, ref_of

log = logging.getLogger(__name__)

OnAdd: TypeAlias = Callable[[Obj], None]
OnUpdate: TypeAlias = Callable[[Obj, Obj], None]
OnDelete: TypeAlias = Callable[[Obj], None]
IndexFunc: TypeAlias = Callable[[Obj], Iterable[str]]

GONE_REMEMBERED = 1024
"""How many uids are remembered as deleted, so that a late answer to a write does not bring one back."""

STEADY = 1.0
"""A watch that stayed open for so many seconds was a good one: the back-off starts anew."""


class Informer:
    """Keys of `store` are "namespace/name", or "name" for cluster scope."""

    def __init__(
        self,
        client: Client,
        resource: ResourceRef,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        resync: float | None = None,
        transform: Callable[[Obj], Obj] | None = None,
        timing: Timing = LAB,
    ) -> None:
        """`transform` may thin an object out before it is stored; it must return a new one. `resync` calls on_update
        for everything every so many seconds."""
        self._client = client
        self.resource = ref_of(resource)
        self._namespace, self._labels, self._fields = namespace, label_selector, field_selector
        self._resync, self._transform, self._timing = resync, transform, timing
        self._items: dict[str, Obj] = {}
        self.store: Mapping[str, Obj] = self._items
        self._indexes: dict[str, tuple[IndexFunc, dict[str, dict[str, Obj]]]] = {}
        self._handlers: list[tuple[OnAdd | None, OnUpdate | None, OnDelete | None]] = []
        self._version: str | None = None
        self._gone: dict[str, Obj] = {}
        """uid → the last state of what left the store. One that a selector left out comes back with a later one."""
        self._connected = False
        self._synced = asyncio.Event()
        self._last_error = "no request was answered yet"
        self._tasks: list[asyncio.Task[None]] = []

    def add_index(self, name: str, func: IndexFunc) -> None:
        """Keep an index: `func` gives the values under which an object is found."""
        if name in self._indexes:
            return
        buckets: dict[str, dict[str, Obj]] = {}
        self._indexes[name] = (func, buckets)
        for key, obj in self._items.items():
            for value in func(obj):
                buckets.setdefault(value, {})[key] = obj

    def by_index(self, name: str, value: str) -> list[Obj]:
        """The objects that the index files under `value`."""
        bucket = self._indexes[name][1].get(value)
        return list(bucket.values()) if bucket else []

    def add_handler(
        self, on_add: OnAdd | None = None, on_update: OnUpdate | None = None, on_delete: OnDelete | None = None
    ) -> None:
        """Plain functions, called on the event loop in order; they should only enqueue. A late handler is first
        called with on_add for everything already in the store."""
        self._handlers.append((on_add, on_update, on_delete))
        if on_add:
            for obj in list(self._items.values()):
                _call(on_add, obj)

    def observe(self, obj: Obj) -> None:
        """Take the answer to a create, update or patch into the store, unless something newer is there."""
        if self._transform:
            obj = self._transform(obj)
        key = key_of(obj)
        known = self._items.get(key)
        if known is not None and not _newer(obj, known):
            return
        if self._is_gone(obj):
            return
        self._put(key, obj)

    def observe_deleted(self, obj: Obj) -> None:
        """Take into account that a delete call removed this object at once (it had no grace period or finalizer)."""
        key = key_of(obj)
        known = self._items.get(key)
        if known is not None and known["metadata"].get("uid") == obj["metadata"].get("uid"):
            self._drop(key, known)

    def start(self) -> None:
        """Start the list-and-watch task. Idempotent."""
        if self._tasks:
            return
        name = f"informer {self.resource[1]}"
        self._tasks.append(asyncio.create_task(self._run(), name=name))
        if self._resync:
            self._tasks.append(asyncio.create_task(self._resync_loop(self._resync), name=f"{name} resync"))

    @property
    def synced(self) -> bool:
        """Whether the first list is in the store."""
        return self._synced.is_set()

    @property
    def connected(self) -> bool:
        """Whether a watch is open now; False means that the store may be behind."""
        return self._connected

    async def wait_synced(self, timeout: float | None = None) -> None:
        """Return once the first list is in the store. Raises TimeoutError that says what it waited for and why."""
        self.start()
        if self._synced.is_set():
            return
        try:
            async with asyncio.timeout(timeout):
                await self._synced.wait()
        except TimeoutError:
            what = "/".join(self.resource)
            raise TimeoutError(f"first list of {what} not received within {timeout} s: {self._last_error}") from None

    async def stop(self) -> None:
        """End the task."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()

    async def _run(self) -> None:
        backoff = Backoff(self._timing.reconnect_min, self._timing.reconnect_max)
        loop = asyncio.get_running_loop()
        while True:
            opened = loop.time()
            try:
                if self._version is None:
                    await self._list()
                opened = loop.time()
                await self._watch()
            except StatusError as error:
                self._last_error = str(error)
                if error.code == 410:
                    log.info("%s: version %s is gone, listing anew", self.resource[1], self._version)
                    self._version = None
                else:
                    log.warning("%s: %s", self.resource[1], error)
            except (OSError, ValueError) as error:
                self._last_error = str(error) or type(error).__name__
                log.info("%s: %s", self.resource[1], self._last_error)
            except Exception as error:
                self._last_error = repr(error)
                self._version = None
                log.exception("%s: list and watch failed", self.resource[1])
            if loop.time() - opened >= STEADY:
                backoff.reset()
            await asyncio.sleep(backoff.step())

    async def _list(self) -> None:
        listed = await self._client.list(
            self.resource,
            self._namespace,
            label_selector=self._labels,
            field_selector=self._fields,
            resource_version="0",
        )
        self._replace(listed["items"])
        self._version = listed.get("metadata", {}).get("resourceVersion") or "0"
        self._synced.set()

    async def _watch(self) -> None:
        batches = self._client.watch_batches(
            self.resource,
            self._namespace,
            resource_version=self._version,
            label_selector=self._labels,
            field_selector=self._fields,
            timeout=self._timing.watch_timeout * (1 + random.random()),
        )
        try:
            async with contextlib.aclosing(batches):
                async for batch in batches:
                    self._connected = True
                    for type_, obj in batch:
                        if type_ != "BOOKMARK":
                            self._apply(type_, obj)
                        self._version = obj["metadata"]["resourceVersion"]
        finally:
            self._connected = False

    def _apply(self, type_: str, obj: Obj) -> None:
        key = key_of(obj)
        known = self._items.get(key)
        if type_ == "DELETED":
            if known is not None and known["metadata"].get("uid") == obj["metadata"].get("uid"):
                self._drop(key, self._transform(obj) if self._transform else obj)
            return
        if known is not None:
            if not _newer(obj, known):
                return
        elif self._is_gone(obj):
            return
        self._put(key, self._transform(obj) if self._transform else obj)

    def _drop(self, key: str, last: Obj) -> None:
        """Take a key out; `last` is what the handlers are told."""
        self._unindex(key, self._items.pop(key))
        self._gone[last["metadata"].get("uid", "")] = last["metadata"]
        if len(self._gone) > GONE_REMEMBERED:
            del self._gone[next(iter(self._gone))]
        for _, _, on_delete in self._handlers:
            if on_delete:
                _call(on_delete, last)

    def _is_gone(self, obj: Obj) -> bool:
        """Whether this is a state from before the object left."""
        last = self._gone.get(obj["metadata"].get("uid", ""))
        return last is not None and not _newer(obj, {"metadata": last})

    def _put(self, key: str, obj: Obj) -> None:
        old = self._items.get(key)
        if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
            self._drop(key, old)
            old = None
        self._items[key] = obj
        if old is not None:
            self._unindex(key, old)
        for func, buckets in self._indexes.values():
            for value in func(obj):
                buckets.setdefault(value, {})[key] = obj
        for on_add, on_update, _ in self._handlers:
            if old is None:
                if on_add:
                    _call(on_add, obj)
            elif on_update:
                _call(on_update, old, obj)

    def _unindex(self, key: str, obj: Obj) -> None:
        for func, buckets in self._indexes.values():
            for value in func(obj):
                bucket = buckets.get(value)
                if bucket is not None:
                    bucket.pop(key, None)
                    if not bucket:
                        del buckets[value]

    def _replace(self, items: list[Obj]) -> None:
        """Make the store equal a fresh list; handlers hear of the differences only."""
        fresh = {key_of(obj) for obj in items}
        for key in [key for key in self._items if key not in fresh]:
            self._drop(key, self._items[key])
        for obj in items:
            key = key_of(obj)
            known = self._items.get(key)
            if known is None or known["metadata"].get("resourceVersion") != obj["metadata"].get("resourceVersion"):
                self._put(key, self._transform(obj) if self._transform else obj)

    async def _resync_loop(self, period: float) -> None:
        while True:
            await asyncio.sleep(period)
            for obj in list(self._items.values()):
                for _, on_update, _ in self._handlers:
                    if on_update:
                        _call(on_update, obj, obj)


def _newer(obj: Obj, known: Obj) -> bool:
    """Whether `obj` is a later state than `known`, or another object of that name."""
    new, old = obj["metadata"], known["metadata"]
    if new.get("uid") != old.get("uid"):
        return True
    try:
        return int(new["resourceVersion"]) > int(old["resourceVersion"])
    except (KeyError, ValueError):
        return True


def _call(handler: Callable[..., None], *args: Obj) -> None:
    """One handler's error must not cost the others their events."""
    try:
        handler(*args)
    except Exception:
        log.exception("handler %s failed", getattr(handler, "__qualname__", handler))
