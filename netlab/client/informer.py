"""A local, indexed copy of a collection, kept true by list and watch, and handlers called for each change.

It resumes from the last resourceVersion, lists anew after 410, and waits with a bounded, jittered back-off while there
is no server; once the server is back everything converges by itself. Objects are shared and read-only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.kinds import ResourceRef

OnAdd: TypeAlias = Callable[[Obj], None]
OnUpdate: TypeAlias = Callable[[Obj, Obj], None]
OnDelete: TypeAlias = Callable[[Obj], None]
IndexFunc: TypeAlias = Callable[[Obj], "list[str] | tuple[str, ...]"]


class Informer:
    """Keys of `store` are "namespace/name", or "name" for cluster scope."""

    store: Mapping[str, Obj]

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
    ) -> None:
        raise NotImplementedError

    def add_index(self, name: str, func: IndexFunc) -> None:
        """Keep an index: `func` gives the values under which an object is found. Before `start`."""
        raise NotImplementedError

    def by_index(self, name: str, value: str) -> list[Obj]:
        """The objects that the index files under `value`."""
        raise NotImplementedError

    def add_handler(
        self, on_add: OnAdd | None = None, on_update: OnUpdate | None = None, on_delete: OnDelete | None = None
    ) -> None:
        """Plain functions, called on the event loop in order; they should only enqueue. A late handler is first
        called with on_add for everything already in the store."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the list-and-watch task. Idempotent."""
        raise NotImplementedError

    async def wait_synced(self, timeout: float | None = None) -> None:
        """Return once the first list is in the store. Raises TimeoutError that says what it waited for and why."""
        raise NotImplementedError

    @property
    def synced(self) -> bool:
        raise NotImplementedError

    async def stop(self) -> None:
        """End the task."""
        raise NotImplementedError
