"""What a store promises to the API server.

Theory. There is one event loop. A write is decided in it, in one step and without waiting: the writer looks at
`latest()`, which includes writes that are accepted but not yet on disk, and calls `create`, `update` or `delete`,
which check the expected revision against that same state, assign the next revision and return a future. The future is
resolved when the write is durable; only then do `get`, `list` and watchers see it. So read-modify-write needs no retry
loop, many writers share one fsync, and nobody ever sees what a crash could take back. When a commit fails, every write
that is not yet durable fails with it, because later ones may have been decided on its outcome.

Rejected: compare-and-swap against the durable state only (each hot object would be limited to one write per fsync),
and answering before the fsync (an acknowledged write could be lost).

Keys are "<collection>/<name>" or "<collection>/<namespace>/<name>"; the collection is the part before the first slash
("pods", "deployments.apps"). Listing, history and watching are per collection.
"""

from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Encoder = Callable[[int], bytes]
"""Encodes a value once its revision is known (the value carries its own revision)."""


class StoreError(Exception):
    """The store could not do it, for a reason of its own (an I/O error, a closed store)."""


class StoreFull(StoreError):  # noqa: N818
    """There is no space left where the store lives; nothing was changed, and it may be tried again."""


class NotFound(StoreError):  # noqa: N818
    """There is no such key."""


class Exists(StoreError):  # noqa: N818
    """The key is taken."""


class Conflict(StoreError):  # noqa: N818
    """The key is there, at another revision than expected."""

    def __init__(self, key: str, expected: int, actual: int) -> None:
        super().__init__(f"{key}: expected revision {expected}, found {actual}")
        self.key, self.expected, self.actual = key, expected, actual


class Compacted(StoreError):  # noqa: N818
    """The history asked for is gone; `oldest` is the first revision still known."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")
        self.asked, self.oldest = asked, oldest


@dataclass(slots=True, eq=False)
class Item:
    """One version of one key. Immutable, except `cache`, where the reader keeps what it derived from the value."""

    key: str
    revision: int
    created: int
    value: bytes
    cache: dict[Any, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Event:
    """One durable change. For a deletion, `item` is the last state, at the deletion's revision."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    item: Item
    previous: Item | None
    cache: dict[Any, Any] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        return self.item.revision


Subscriber = Callable[[Sequence[Event]], None]
"""Called in the event loop with the events of one commit, in order of revision; may not raise and may not wait."""


class Store(Protocol):
    """See the module's theory. All methods belong to the event loop's thread."""

    @property
    def revision(self) -> int:
        """The last durable revision of the whole store."""
        ...

    def get(self, key: str) -> Item | None:
        """The durable state of a key."""
        ...

    def latest(self, key: str) -> Item | None:
        """The state that the next write will be checked against."""
        ...

    def list(
        self, collection: str, namespace: str = "", *, start: str = "", revision: int = 0, limit: int = 0
    ) -> "Listing":
        """Items in order of key, after the key `start`, at most `limit` (0: all), as they were at `revision` (0: now).

        Raises Compacted when that revision is no longer known.
        """
        ...

    def count(self, collection: str) -> int:
        """How many durable items a collection holds."""
        ...

    def changed(self, collection: str) -> int:
        """The revision of the last durable change of a collection (0: none is remembered)."""
        ...

    def create(self, key: str, encode: Encoder) -> "Future[Item]":
        """Raises Exists at once; the future fails with StoreFull or StoreError."""
        ...

    def update(self, key: str, encode: Encoder, expected: int) -> "Future[Item]":
        """`expected` is the revision the change was computed from. Raises NotFound or Conflict at once."""
        ...

    def delete(self, key: str, encode: Encoder, expected: int) -> "Future[Item]":
        """`encode` makes the last state, as the deletion's event shows it. Raises NotFound or Conflict at once."""
        ...

    async def durable(self, revision: int) -> None:
        """Wait until `revision`, returned by `latest`, is on disk. Raises StoreError when it did not get there."""
        ...

    def history(self, collection: str, after: int) -> Sequence[Event]:
        """Durable events of a collection with a revision > `after`. Raises Compacted when some are forgotten."""
        ...

    def subscribe(self, collection: str, subscriber: Subscriber) -> Callable[[], None]:
        """Calls `subscriber` with every commit that touches the collection; returns the function that ends it."""
        ...

    def compact(self, revision: int, collection: str = "") -> None:
        """Forget the history up to `revision` (of one collection, or of all); current states stay."""
        ...

    async def close(self) -> None:
        """Write what was accepted, then release the place."""
        ...


@dataclass(slots=True)
class Listing:
    """A page of a list: `remaining` items follow it (exact), all taken at `revision`."""

    items: Sequence[Item]
    revision: int
    remaining: int


def key_of(collection: str, namespace: str, name: str) -> str:
    return f"{collection}/{namespace}/{name}" if namespace else f"{collection}/{name}"


def collection_of(key: str) -> str:
    return key[: key.index("/")]
