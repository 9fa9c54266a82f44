"""The verbs of the Kubernetes API over a Transport.

Objects are plain dicts. An HTTP error raises `netlab.api.errors.StatusError`; no answer at all raises `TransportError`.
A resource is named by its registry entry or by (apiVersion, plural); `namespace` None is cluster scope or, for list and
watch, all namespaces.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Literal, NoReturn, TypeAlias

import orjson

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import ResourceRef, collection_path, object_path
from netlab.client.transport import Response, Transport
from netlab.client.watch import decode_event, decode_list, line_batches

PatchType: TypeAlias = Literal["strategic", "merge", "json", "apply"]

JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}
PATCH_HEADERS: Mapping[PatchType, Mapping[str, str]] = {
    "strategic": {"Content-Type": "application/strategic-merge-patch+json"},
    "merge": {"Content-Type": "application/merge-patch+json"},
    "json": {"Content-Type": "application/json-patch+json"},
    "apply": {"Content-Type": "application/apply-patch+yaml"},
}

RETRIES = 5
"""How often a 429 or 503 that carries Retry-After is tried again, as client-go does (there 10)."""


class Client:
    """One identity's view of one API server. Cheap: share one per identity and network namespace."""

    def __init__(self, transport: Transport, *, watch_idle_timeout: float | None = None) -> None:
        """`watch_idle_timeout` ends a watch that was silent for so long; the transport notices dead peers anyway."""
        self.transport = transport
        self._watch_idle = watch_idle_timeout

    async def get(self, resource: ResourceRef, name: str, namespace: str | None = None) -> Obj:
        """One object. Raises StatusError 404."""
        return await self._call("GET", object_path(resource, namespace, name))

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
        """The List object: `items`, each with apiVersion and kind filled in, and `metadata.resourceVersion`.

        With the process-wide decode cache on, the result may be shared: do not change it.
        """
        params = _params(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version,
            limit=None if limit is None else str(limit),
            **{"continue": continue_token},
        )
        response = await self._send("GET", collection_path(resource, namespace), params=params)
        return decode_list(response.body)

    async def create(
        self,
        resource: ResourceRef,
        obj: Obj,
        namespace: str | None = None,
        *,
        field_manager: str | None = None,
        dry_run: bool = False,
    ) -> Obj:
        """POST; the namespace is the object's own unless given. Raises StatusError 409 AlreadyExists."""
        path = collection_path(resource, namespace or obj.get("metadata", {}).get("namespace"))
        return await self._call("POST", path, obj, params=_params(fieldManager=field_manager, dryRun=_dry(dry_run)))

    async def update(self, resource: ResourceRef, obj: Obj) -> Obj:
        """PUT; the object's resourceVersion, when set, must be the current one (StatusError 409 Conflict)."""
        return await self._call("PUT", _own_path(resource, obj), obj)

    async def update_status(self, resource: ResourceRef, obj: Obj) -> Obj:
        """PUT on the status subresource."""
        return await self._call("PUT", _own_path(resource, obj) + "/status", obj)

    async def patch(
        self,
        resource: ResourceRef,
        name: str,
        patch: Obj | builtins.list[Obj],
        namespace: str | None = None,
        *,
        patch_type: PatchType = "strategic",
        subresource: str = "",
        field_manager: str | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> Obj:
        """PATCH; returns the object as it is afterwards."""
        if patch_type == "apply" and field_manager is None:
            field_manager = "netlab"
        params = _params(fieldManager=field_manager, force="true" if force else None, dryRun=_dry(dry_run))
        path = object_path(resource, namespace, name, subresource)
        return await self._call("PATCH", path, patch, params=params, headers=PATCH_HEADERS[patch_type])

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
        return await self.patch(resource, name, patch, namespace, patch_type=patch_type, subresource="status")

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
        options: Obj = {}
        if uid is not None or resource_version is not None:
            options["preconditions"] = _params(uid=uid, resourceVersion=resource_version)
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        if propagation is not None:
            options["propagationPolicy"] = propagation
        if options:
            options = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
        return await self._call("DELETE", object_path(resource, namespace, name), options or None)

    async def delete_collection(
        self, resource: ResourceRef, namespace: str | None = None, *, label_selector: str | None = None
    ) -> Obj:
        """DELETE of a collection."""
        return await self._call(
            "DELETE", collection_path(resource, namespace), params=_params(labelSelector=label_selector)
        )

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
        return await self._call(method, object_path(resource, namespace, name, subresource), body, params=params)

    async def watch(
        self,
        resource: ResourceRef,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        bookmarks: bool = True,
        timeout: float | None = None,
    ) -> AsyncGenerator[tuple[str, Obj], None]:
        """(type, object) pairs: ADDED, MODIFIED, DELETED, BOOKMARK. Ends when the server closes the stream.

        An ERROR event, or an HTTP error, raises StatusError (410 when the version is compacted). Objects may be shared
        with other watchers of this process: do not change them.
        """
        batches = self.watch_batches(
            resource,
            namespace,
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
            bookmarks=bookmarks,
            timeout=timeout,
        )
        async with aclosing(batches):
            async for batch in batches:
                for event in batch:
                    yield event

    async def watch_batches(
        self,
        resource: ResourceRef,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        bookmarks: bool = True,
        timeout: float | None = None,
    ) -> AsyncGenerator[builtins.list[tuple[str, Obj]], None]:
        """As `watch`, what arrived together together. The first batch is empty and says that the watch is open."""
        params = _params(
            watch="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            allowWatchBookmarks="true" if bookmarks else None,
            timeoutSeconds=None if timeout is None else str(int(timeout)),
        )
        path = collection_path(resource, namespace)
        async with self.transport.stream("GET", path, params=params, idle_timeout=self._watch_idle) as stream:
            if stream.status != 200:
                _raise("GET", path, Response(stream.status, {}, await stream.read_all()))
            yield []
            async for lines in line_batches(stream.chunks()):
                batch = [decode_event(line) for line in lines]
                for position, (type_, obj) in enumerate(batch):
                    if type_ == "ERROR":
                        yield batch[:position]
                        raise StatusError(obj)
                yield batch

    async def close(self) -> None:
        """Close the transport."""
        await self.transport.close()

    async def _call(
        self,
        method: str,
        path: str,
        body: Obj | builtins.list[Obj] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] = JSON_HEADERS,
    ) -> Obj:
        response = await self._send(method, path, body, params=params, headers=headers)
        result: Obj = orjson.loads(response.body) if response.body else {}
        return result

    async def _send(
        self,
        method: str,
        path: str,
        body: Obj | builtins.list[Obj] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] = JSON_HEADERS,
    ) -> Response:
        data = None if body is None else orjson.dumps(body)
        for attempt in range(RETRIES + 1):
            response = await self.transport.request(
                method, path, params=params, body=data, headers=None if data is None else headers
            )
            if response.status < 400:
                return response
            wait = _retry_after(response, path) if attempt < RETRIES else None
            if wait is None:
                _raise(method, path, response)
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt neither returned nor raised")


def _retry_after(response: Response, path: str) -> float | None:
    """Seconds to wait before the same request is sent again; None: do not. An eviction's 429 is the caller's."""
    if response.status not in (429, 503) or path.endswith("/eviction"):
        return None
    value = response.headers.get("Retry-After", "")
    return min(float(value), 5.0) if value.isdigit() else None


def _params(**values: str | None) -> dict[str, str]:
    return {key: value for key, value in values.items() if value is not None}


def _dry(dry_run: bool) -> str | None:
    return "All" if dry_run else None


def _own_path(resource: ResourceRef, obj: Obj) -> str:
    meta = obj["metadata"]
    return object_path(resource, meta.get("namespace"), meta["name"])


def _raise(method: str, path: str, response: Response) -> NoReturn:
    """The StatusError in an error answer's body; one made up from the HTTP status when the body holds none."""
    try:
        status = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        text = response.body[:200].decode("utf-8", "replace").strip()
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": f"{method} {path}: HTTP {response.status}" + (f": {text}" if text else ""),
            "reason": "",
        }
    status.setdefault("code", response.status)
    raise StatusError(status)
