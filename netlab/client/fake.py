"""An API server in memory that holds state and enforces the rules that clients depend on, behind `Transport`.

Optimistic concurrency, generateName, uid, generation, finalizers and graceful pod deletion, watches with history and
410, selectors, status/binding/eviction/scale subresources. No validation, no defaulting, no admission.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from netlab.api.types import Obj
from netlab.client.kinds import ResourceRef
from netlab.client.transport import ByteStream, Response


class FakeApi:
    """A Transport. `Client(FakeApi())` is a cluster. Several clients may share one."""

    def add(self, obj: Obj) -> Obj:
        """Put an object in, as a create would; returns it."""
        raise NotImplementedError

    def objects(self, resource: ResourceRef, namespace: str | None = None) -> list[Obj]:
        """What is stored now."""
        raise NotImplementedError

    def fail_next(self, method: str, path_part: str, status: int, reason: str = "InternalError") -> None:
        """The next request of that method whose path contains `path_part` is answered with an error; 0 drops it."""
        raise NotImplementedError

    def compact(self) -> None:
        """Forget history: watches from an older version get 410."""
        raise NotImplementedError

    def drop_watches(self) -> None:
        """Close all open watches, as a restart of the server does."""
        raise NotImplementedError

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        raise NotImplementedError

    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        idle_timeout: float | None = None,
    ) -> AbstractAsyncContextManager[ByteStream]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
