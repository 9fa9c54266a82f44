"""The default store: one SQLite file, one writer thread, many writes per fsync.

Theory. The file holds a log: one row per revision, appended. That keeps a commit to one B-tree's right edge, and the
history survives a restart, so watches resume over it. The present is held in memory (`index.py`), so no index by key
is needed on disk, and reading never waits for the disk. `synchronous=FULL` in WAL mode makes a commit durable before
it returns. While one commit is at the disk, the next batch gathers: under load, many writes share one fsync; alone, a
write waits for nobody.

Compaction deletes rows that neither the present nor the remembered history needs. Rejected: a table of current states
beside the log (twice the writes), and `synchronous=NORMAL` (loses acknowledged writes when the machine dies).
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from netlab.store.contract import (
    Conflict,
    Encoder,
    Event,
    Exists,
    Item,
    Listing,
    NotFound,
    StoreError,
    StoreFull,
    Subscriber,
    collection_of,
)
from netlab.store.index import Collection, list_collection

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
  revision INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, previous INTEGER NOT NULL,
  deleted INTEGER NOT NULL, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS floor (collection TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
"""
_INSERT = {rows: "INSERT INTO log VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows) for rows in (128, 32, 8, 1)}
"""Several rows a statement: each statement gives the interpreter's lock away and has to wait for it afterwards."""
_Row = tuple[int, str, int, int, bool, bytes]
_FLOOR = "INSERT INTO floor VALUES (?, ?) ON CONFLICT (collection) DO UPDATE SET revision = excluded.revision"
_DELETE = "DELETE FROM log WHERE revision = ?"
PAGE = 8192
"""Of a new file, in bytes. An object has 1 to 4 KB: of SQLite's usual 4 KB each would fill a page, or two."""
_CHECKPOINT = 4 << 20
"""Bytes of the write-ahead log after which it is brought into the file."""
HISTORY_BYTES = 32 << 20
"""A collection's history is halved when its values exceed this."""


@dataclass(slots=True)
class _Batch:
    """What goes to the disk in one transaction."""

    events: list[Event] = field(default_factory=list)
    futures: list[asyncio.Future[Item]] = field(default_factory=list)
    useless: list[int] = field(default_factory=list)
    floors: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.events or self.useless or self.floors)


class SqliteStore:
    """A Store (see contract.py) in the file `path`. Made by `open_sqlite` inside a running event loop."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._db = connection
        self._loop = asyncio.get_running_loop()
        self._collections: dict[str, Collection] = {}
        self._pending: dict[str, Event] = {}
        self._subscribers: dict[str, list[Subscriber]] = {}
        self._revision = self._next = 0
        self._gathering = _Batch()
        self._writing: _Batch | None = None
        self._scheduled = False
        self._closed = False
        self._queue: SimpleQueue[_Batch | None] = SimpleQueue()
        self._load()
        self._thread = threading.Thread(target=self._write_loop, name="store", daemon=True)
        self._thread.start()

    # reading

    @property
    def revision(self) -> int:
        return self._revision

    def get(self, key: str) -> Item | None:
        collection = self._collections.get(collection_of(key))
        return collection.items.get(key) if collection is not None else None

    def latest(self, key: str) -> Item | None:
        pending = self._pending.get(key)
        if pending is not None:
            return pending.item if pending.type != "DELETED" else None
        return self.get(key)

    def list(
        self, collection: str, namespace: str = "", *, start: str = "", revision: int = 0, limit: int = 0
    ) -> Listing:
        found = self._collections.get(collection)
        return list_collection(found, collection, namespace, start, revision, self._revision, limit)

    def count(self, collection: str) -> int:
        found = self._collections.get(collection)
        return len(found.keys) if found is not None else 0

    def changed(self, collection: str) -> int:
        found = self._collections.get(collection)
        return found.changed if found is not None else 0

    def history(self, collection: str, after: int) -> Sequence[Event]:
        found = self._collections.get(collection)
        return found.since(after) if found is not None else ()

    def subscribe(self, collection: str, subscriber: Subscriber) -> Callable[[], None]:
        # a new tuple-like list each time: a subscriber may leave while a commit is being told
        self._subscribers[collection] = [*self._subscribers.get(collection, ()), subscriber]

        def leave() -> None:
            self._subscribers[collection] = [s for s in self._subscribers[collection] if s is not subscriber]

        return leave

    # writing

    def create(self, key: str, encode: Encoder) -> asyncio.Future[Item]:
        if self.latest(key) is not None:
            raise Exists(key)
        return self._accept("ADDED", key, encode, None)

    def update(self, key: str, encode: Encoder, expected: int) -> asyncio.Future[Item]:
        return self._accept("MODIFIED", key, encode, self._expect(key, expected))

    def delete(self, key: str, encode: Encoder, expected: int) -> asyncio.Future[Item]:
        return self._accept("DELETED", key, encode, self._expect(key, expected))

    def _expect(self, key: str, expected: int) -> Item:
        current = self.latest(key)
        if current is None:
            raise NotFound(key)
        if current.revision != expected:
            raise Conflict(key, expected, current.revision)
        return current

    def _accept(
        self, kind: Literal["ADDED", "MODIFIED", "DELETED"], key: str, encode: Encoder, previous: Item | None
    ) -> asyncio.Future[Item]:
        if self._closed:
            raise StoreError("the store is closed")
        revision = self._next + 1
        item = Item(key, revision, previous.created if previous else revision, encode(revision))
        self._next = revision
        future: asyncio.Future[Item] = self._loop.create_future()
        event = self._pending[key] = Event(kind, item, previous)
        self._gathering.events.append(event)
        self._gathering.futures.append(future)
        self._schedule()
        return future

    async def durable(self, revision: int) -> None:
        while revision > self._revision:
            future = self._future_of(revision)
            if future is None:
                raise StoreError("the state this was computed from could not be written")
            await asyncio.wait([future])
            if (error := future.exception()) is not None:
                raise error

    def _future_of(self, revision: int) -> asyncio.Future[Item] | None:
        for batch in (self._writing, self._gathering):
            for event, future in zip(batch.events, batch.futures, strict=True) if batch is not None else ():
                if event.revision == revision:
                    return future
        return None

    def compact(self, revision: int, collection: str = "") -> None:
        for name in [collection] if collection else list(self._collections):
            found = self._collections.get(name)
            if found is None or not found.events or found.events[0].revision > revision:
                continue
            self._gathering.useless += found.forget(revision)
            self._gathering.floors[name] = revision
        if self._gathering:
            self._schedule()

    async def close(self) -> None:
        """Write what was accepted, then close the file. Writes that fail now were not acknowledged."""
        self._closed = True
        while self._writing is not None or self._gathering:
            self._flush()
            await asyncio.sleep(0.001)
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._db.close()

    # group commit

    def _schedule(self) -> None:
        # at the end of this turn of the loop, so that requests decided in one turn share a commit
        if not self._scheduled and self._writing is None:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._writing is None and self._gathering:
            self._writing, self._gathering = self._gathering, _Batch()
            self._queue.put(self._writing)

    def _committed(self, batch: _Batch, error: StoreError | None) -> None:
        self._writing = None
        if error is not None:
            self._failed(batch, error)
            return
        self._flush()
        by_collection: dict[str, list[Event]] = {}
        for event in batch.events:
            key = event.item.key
            by_collection.setdefault(collection_of(key), []).append(event)
            if self._pending.get(key) is event:
                del self._pending[key]
        if batch.events:
            self._revision = batch.events[-1].revision
        for name, events in by_collection.items():
            self._publish(name, events)
        for future, event in zip(batch.futures, batch.events, strict=True):
            if not future.done():
                future.set_result(event.item)

    def _publish(self, name: str, events: Sequence[Event]) -> None:
        collection = self._collections.get(name)
        if collection is None:
            collection = self._collections[name] = Collection()
        for event in events:
            collection.apply(event)
        for subscriber in self._subscribers.get(name, ()):
            subscriber(events)
        if collection.event_bytes > HISTORY_BYTES:
            self.compact(collection.events[len(collection.events) // 2].revision, name)

    def _failed(self, batch: _Batch, error: StoreError) -> None:
        later, self._gathering = self._gathering, _Batch()
        self._pending.clear()
        for future in (*batch.futures, *later.futures):
            if not future.done():
                future.set_exception(error)
        # compaction is kept for the next commit: memory has forgotten already
        for failed in (batch, later):
            self._gathering.useless += failed.useless
            self._gathering.floors.update(failed.floors)
        if self._closed:
            self._gathering = _Batch()

    # the disk; everything below but _load runs in the writer's thread

    def _write_loop(self) -> None:
        while (batch := self._queue.get()) is not None:
            error = self._write(batch)
            self._loop.call_soon_threadsafe(self._committed, batch, error)

    def _write(self, batch: _Batch) -> StoreError | None:
        rows: Sequence[_Row] = [
            (
                event.item.revision,
                event.item.key,
                event.item.created,
                event.previous.revision if event.previous is not None else 0,
                event.type == "DELETED",
                event.item.value,
            )
            for event in batch.events
        ]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._insert(rows)
            if batch.useless or batch.floors:
                self._db.executemany(_DELETE, [(revision,) for revision in batch.useless])
                self._db.executemany(_FLOOR, list(batch.floors.items()))
            self._db.execute("COMMIT")
        except sqlite3.Error as exception:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return self._explain(exception)
        return None

    def _insert(self, rows: Sequence[_Row]) -> None:
        start = 0
        for size, statement in _INSERT.items():
            while len(rows) - start >= size:
                self._db.execute(statement, [value for row in rows[start : start + size] for value in row])
                start += size

    def _explain(self, error: sqlite3.Error) -> StoreError:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return StoreFull(f"no space left on the disk that holds {self._path}")
        return StoreError(f"cannot write {self._path}: {error}")

    def _load(self) -> None:
        floors: dict[str, int] = dict(self._db.execute("SELECT collection, revision FROM floor"))
        self._collections = {name: Collection(floor=floor) for name, floor in floors.items()}
        known: dict[int, Item] = {}
        rows = self._db.execute("SELECT revision, key, created, previous, deleted, value FROM log ORDER BY revision")
        for revision, key, created, previous, deleted, value in rows:
            item = known[revision] = Item(key, revision, created, value)
            name = collection_of(key)
            collection = self._collections.get(name)
            if collection is None:
                collection = self._collections[name] = Collection()
            before = known.pop(previous, None)
            self._revision = revision
            if revision <= collection.floor:
                # what survived compaction below the floor is the state of its key then
                collection.items[key] = item
                continue
            kind: Literal["ADDED", "MODIFIED", "DELETED"] = "MODIFIED" if previous else "ADDED"
            event = Event("DELETED" if deleted else kind, item, before)
            collection.events.append(event)
            collection.event_bytes += len(value)
            if deleted:
                collection.items.pop(key, None)
            else:
                collection.items[key] = item
        for collection in self._collections.values():
            collection.keys = sorted(collection.items)
        self._revision = max(self._revision, max(floors.values(), default=0))
        self._next = self._revision


def open_sqlite(path: Path, *, timeout: float = 5.0) -> SqliteStore:
    """Open or make the store at `path`; waits `timeout` seconds for a predecessor that is still closing.

    Raises StoreFull or StoreError with one sentence that names the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
        # exclusive: a second server on the same file is a mistake, and no shared memory file is needed
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute(f"PRAGMA page_size={PAGE}")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT // PAGE}")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(_SCHEMA)
        return SqliteStore(path, db)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreFull(f"no space left on the disk that holds {path}") from error
        raise StoreError(f"cannot open the store {path}: {error}") from error
    except OSError as error:
        raise StoreError(f"cannot open the store {path}: {error}") from error
