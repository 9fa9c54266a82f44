"""The verbs of the Kubernetes API over a Transport.

Objects are plain dicts. An HTTP error raises `netlab.api.errors.StatusError`; no answer at all raises `TransportError`.
A resource is named by its registry entry or by (apiVersion, plural); `namespace` None is cluster scope or, for list and
watch, all namespaces.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Literal, TypeAlias

from netlab.api.types import Obj
from netlab.client.kinds import ResourceRef
from netlab.client.transport import Transport

PatchType: TypeAlias = Literal["strategic", "merge", "json", "apply"]


class Client:
    """One identity's view of one API server. Cheap: share one per identity and network namespace."""

    def __init__(self, transport: Transport, *, user_agent: str = "netlab") -> None:
        self.transport = transport

    async def get(self, resource: ResourceRef, name: str, namespace: str | None = None) -> Obj:
        """One object. Raises StatusError 404."""
        raise NotImplementedError

    async def list(
        self,
        resource: ResourceRef,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        resource_version: str | None = None,
        limit: int | None = None,
        continue_token: str | None = None,
    ) -> Obj:
        """The List object: `items`, each with apiVersion and kind filled in, and `metadata.resourceVersion`."""
        raise NotImplementedError

    async def create(
        self, resource: ResourceRef, obj: Obj, namespace: str | None = None, *, field_manager: str | None = None
    ) -> Obj:
        """POST; the namespace is the object's own unless given. Raises StatusError 409 AlreadyExists."""
        raise NotImplementedError

    async def update(self, resource: ResourceRef, obj: Obj) -> Obj:
        """PUT; the object's resourceVersion, when set, must be the current one (StatusError 409 Conflict)."""
        raise NotImplementedError

    async def update_status(self, resource: ResourceRef, obj: Obj) -> Obj:
        """PUT on the status subresource."""
        raise NotImplementedError

    async def patch(
        self,
        resource: ResourceRef,
        name: str,
        patch: Obj | list[Obj],
        namespace: str | None = None,
        *,
        patch_type: PatchType = "strategic",
        subresource: str = "",
        field_manager: str | None = None,
        force: bool = False,
    ) -> Obj:
        """PATCH; returns the object as it is afterwards."""
        raise NotImplementedError

    async def patch_status(
        self,
        resource: ResourceRef,
        name: str,
        patch: Obj,
        namespace: str | None = None,
        *,
        patch_type: PatchType = "strategic",
    ) -> Obj:
        """PATCH on the status subresource; `patch` holds the whole path, {"status": {…}}."""
        raise NotImplementedError

    async def delete(
        self,
        resource: ResourceRef,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period: int | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
    ) -> Obj:
        """DELETE with preconditions. Raises StatusError 404, or 409 when a precondition does not hold."""
        raise NotImplementedError

    async def delete_collection(
        self, resource: ResourceRef, namespace: str | None = None, *, label_selector: str | None = None
    ) -> Obj:
        """DELETE of a collection."""
        raise NotImplementedError

    async def subresource(
        self,
        resource: ResourceRef,
        name: str,
        subresource: str,
        namespace: str | None = None,
        *,
        method: str = "POST",
        body: Obj | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Obj:
        """Any verb on a subresource: binding, eviction, token, scale, …"""
        raise NotImplementedError

    def watch(
        self,
        resource: ResourceRef,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        bookmarks: bool = True,
        timeout: float | None = None,
    ) -> AsyncIterator[tuple[str, Obj]]:
        """(type, object) pairs: ADDED, MODIFIED, DELETED, BOOKMARK. Ends when the server closes the stream.

        An ERROR event, or an HTTP error, raises StatusError (410 when the version is compacted). Objects may be shared
        with other watchers of this process: do not change them.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close the transport."""
        await self.transport.close()
