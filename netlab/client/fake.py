"""An API server in memory that holds state and enforces the rules that clients depend on, behind `Transport`.

Optimistic concurrency, generateName, uid, generation, finalizers and graceful pod deletion, watches with history and
410, selectors, status, binding, eviction, scale and finalize subresources. No validation, no defaulting, no admission.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from netlab.api import errors, fields, labels, meta, resources
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.client import fake_patch
from netlab.client.kinds import ResourceRef, ref_of
from netlab.client.transport import ByteStream, Response, TransportError

Key = tuple[str, str]
"""(namespace or "", name)."""


@dataclass(frozen=True)
class Target:
    """What a path names."""

    resource: Resource
    namespace: str
    name: str
    subresource: str


@dataclass(frozen=True)
class Change:
    """One entry of the history: `old` is what the object was before, for selectors."""

    version: int
    storage: tuple[str, str]
    type_: str
    new: Obj
    old: Obj | None


def parse_path(path: str) -> Target:
    """Raises StatusError 404 for a path that the registry does not know."""
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    else:
        group, version, rest = parts[1], parts[2], parts[3:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    resource = resources.by_path(group, version, rest[0])
    if resource is None:
        raise errors.path_not_found()
    name = rest[1] if len(rest) > 1 else ""
    return Target(resource, namespace, name, rest[2] if len(rest) > 2 else "")


async def eventually(check: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Let the loop run until `check` holds. Raises TimeoutError that says what never came."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not check():
        if loop.time() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        await asyncio.sleep(0.002)


class _Stream:
    def __init__(self, status: int, chunks: AsyncIterator[bytes]) -> None:
        self.status = status
        self._chunks = chunks

    def chunks(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def read_all(self) -> bytes:
        return b"".join([chunk async for chunk in self._chunks])


class FakeApi:
    """A Transport. `Client(FakeApi())` is a cluster. Several clients may share one."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], dict[Key, Obj]] = {}
        self._history: list[Change] = []
        self._version = 0
        self._compacted = 0
        self._changed = asyncio.Event()
        self._epoch = 0
        self._failures: list[tuple[str, str, int, str]] = []
        self.up = True
        self.requests: list[tuple[str, str]] = []

    # what tests use

    def add(self, obj: Obj) -> Obj:
        """Put an object in, as a create would but with its status; returns it."""
        resource = resources.get(obj["apiVersion"], obj["kind"])
        return self._insert(resource, meta.namespace(obj), copy.deepcopy(obj))

    def objects(self, resource: ResourceRef, namespace: str | None = None) -> list[Obj]:
        """What is stored now."""
        found = self._objects.get(self._storage(resource), {})
        return [obj for (where, _), obj in found.items() if namespace is None or where == namespace]

    def find(self, resource: ResourceRef, key: str) -> Obj:
        """The object called "namespace/name" or "name". Raises KeyError."""
        return self._objects.get(self._storage(resource), {})[meta.split_key(key)]

    def modify(self, resource: ResourceRef, key: str, patch: Obj) -> Obj:
        """Strategic patch of everything, status included."""
        where = meta.split_key(key)
        storage = self._storage(resource)
        current = self._objects[storage][where]
        return self._replace(storage, where, current, fake_patch.strategic(copy.deepcopy(current), patch))

    def remove(self, resource: ResourceRef, key: str) -> None:
        """Gone at once, finalizers or not."""
        self._remove(self._storage(resource), meta.split_key(key))

    def fail_next(self, method: str, path_part: str, status: int, reason: str = "InternalError") -> None:
        """The next request of that method whose path contains `path_part` is answered with an error; 0 drops it."""
        self._failures.append((method, path_part, status, reason))

    def compact(self) -> None:
        """Forget history: watches from an older version get 410."""
        self._compacted = self._version
        self._history.clear()

    def drop_watches(self) -> None:
        """Close all open watches, as a restart of the server does."""
        self._epoch += 1
        self._notify()

    # Transport

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
        await asyncio.sleep(0)
        self.requests.append((method, path))
        try:
            self._maybe_fail(method, path)
            payload = orjson.loads(body) if body else None
            code, result = self._serve(method, path, dict(params or {}), payload, dict(headers or {}))
        except errors.StatusError as error:
            return Response(error.code, error.headers, orjson.dumps(error.status))
        return Response(code, {}, orjson.dumps(result))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        idle_timeout: float | None = None,
    ) -> AsyncIterator[ByteStream]:
        await asyncio.sleep(0)
        self.requests.append(("WATCH", path))
        self._maybe_fail("WATCH", path)
        target = parse_path(path)
        yield _Stream(200, self._watch(target, dict(params or {})))

    async def close(self) -> None:
        """Nothing to close."""

    def _maybe_fail(self, method: str, path: str) -> None:
        if not self.up:
            raise TransportError(f"{method} {path}: connection refused")
        for failure in self._failures:
            wanted, part, code, reason = failure
            if wanted == method and part in path:
                self._failures.remove(failure)
                if code == 0:
                    raise TransportError(f"{method} {path}: connection reset")
                raise errors.status(code, reason, f"injected failure of {method} {path}")

    def _storage(self, resource: ResourceRef) -> tuple[str, str]:
        api_version, plural = ref_of(resource)
        group, _, version = api_version.rpartition("/")
        found = resources.by_path(group, version, plural)
        if found is None:
            raise KeyError(f"{api_version} {plural}")
        return found.storage_key

    # verbs

    def _serve(
        self, method: str, path: str, params: dict[str, str], body: Any, headers: dict[str, str]
    ) -> tuple[int, Obj]:
        target = parse_path(path)
        if target.subresource and target.subresource not in ("status", "finalize"):
            return self._subresource(method, target, body)
        if not target.name:
            if method == "GET":
                return 200, self._list(target, params)
            if method == "POST":
                return 201, self._create(target, body)
            return 200, self._delete_collection(target, params)
        storage = target.resource.storage_key
        current = self._objects.get(storage, {}).get((target.namespace, target.name))
        if current is None:
            raise errors.not_found(target.resource, target.name)
        if method == "GET":
            return 200, current
        if method == "DELETE":
            return 200, self._delete(target, current, body or {})
        if method == "PATCH":
            body = fake_patch.apply(headers.get("Content-Type", ""), current, body)
        return 200, self._update(target, current, body)

    def _create(self, target: Target, body: Obj) -> Obj:
        if target.resource.namespaced and ("", "namespaces") in self._objects:
            holder = self._objects[("", "namespaces")].get(("", target.namespace))
            if holder is not None and meta.deleting(holder):
                why = f"unable to create new content in namespace {target.namespace} because it is being terminated"
                raise errors.forbidden(
                    target.resource, meta.name(body), why, [errors.cause("NamespaceTerminating", "", "")]
                )
        if "status" in body and target.resource.subresource("status"):
            del body["status"]
        return self._insert(target.resource, target.namespace or meta.namespace(body), body)

    def _insert(self, resource: Resource, namespace: str, obj: Obj) -> Obj:
        data = meta.metadata(obj)
        if not data.get("name"):
            data["name"] = meta.generate_name(data["generateName"])
        if resource.namespaced:
            data["namespace"] = namespace or "default"
        key = (data.get("namespace", ""), data["name"])
        table = self._objects.setdefault(resource.storage_key, {})
        if key in table:
            raise errors.already_exists(resource, data["name"])
        data.setdefault("uid", meta.new_uid())
        data.setdefault("creationTimestamp", meta.now_rfc3339())
        if "spec" in obj and resource.kind not in ("Pod", "Node", "Namespace"):
            data.setdefault("generation", 1)
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        if resource.kind == "Namespace":
            obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
            obj.setdefault("status", {}).setdefault("phase", "Active")
            meta.set_label(obj, "kubernetes.io/metadata.name", data["name"])
        if resource.kind == "Pod":
            obj.setdefault("status", {}).setdefault("phase", "Pending")
        table[key] = obj
        self._record(resource.storage_key, "ADDED", obj, None)
        return obj

    def _update(self, target: Target, current: Obj, body: Obj) -> Obj:
        version = meta.resource_version(body)
        if version and version != meta.resource_version(current):
            raise errors.conflict(target.resource, target.name)
        if meta.uid(body) and meta.uid(body) != meta.uid(current):
            why = f"Precondition failed: UID in precondition: {meta.uid(body)}, UID in object meta: {meta.uid(current)}"
            raise errors.conflict(target.resource, target.name, why)
        if target.subresource == "status":
            new = {**current, "status": body.get("status", {})}
            new["metadata"] = {**current["metadata"], "annotations": meta.annotations(body)}
            if not meta.annotations(body):
                new["metadata"].pop("annotations", None)
        else:
            new = dict(body)
            if target.resource.subresource("status") and "status" in current:
                new["status"] = current["status"]
            new["metadata"] = {**body["metadata"]}
            for field in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
                new["metadata"].pop(field, None)
                if field in current["metadata"]:
                    new["metadata"][field] = current["metadata"][field]
            if new.get("spec") != current.get("spec") and "generation" in current["metadata"]:
                new["metadata"]["generation"] = current["metadata"]["generation"] + 1
        storage = target.resource.storage_key
        return self._replace(storage, (target.namespace, target.name), current, new)

    def _replace(self, storage: tuple[str, str], key: Key, current: Obj, new: Obj) -> Obj:
        new = copy.deepcopy(new)
        new["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
        if new == current:
            return current
        self._objects[storage][key] = new
        spec_finalizers = new.get("spec", {}).get("finalizers") if storage == ("", "namespaces") else None
        if meta.deleting(new) and not meta.finalizers(new) and not spec_finalizers:
            grace = new["metadata"].get("deletionGracePeriodSeconds")
            if not grace:
                self._remove(storage, key)
                return new
        self._record(storage, "MODIFIED", new, current)
        return new

    def _delete(self, target: Target, current: Obj, options: Obj) -> Obj:
        wanted = options.get("preconditions") or {}
        if wanted.get("uid", meta.uid(current)) != meta.uid(current):
            why = f"Precondition failed: UID in precondition: {wanted['uid']}, UID in object meta: {meta.uid(current)}"
            raise errors.conflict(target.resource, target.name, why)
        if wanted.get("resourceVersion", meta.resource_version(current)) != meta.resource_version(current):
            raise errors.conflict(target.resource, target.name)
        new = copy.deepcopy(current)
        finalizer = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.get("propagationPolicy", ""))
        if finalizer and finalizer not in meta.finalizers(new):
            new["metadata"]["finalizers"] = [*meta.finalizers(new), finalizer]
        grace = self._grace(target, current, options)
        namespace = target.resource.kind == "Namespace" and bool(current.get("spec", {}).get("finalizers"))
        key, storage = (target.namespace, target.name), target.resource.storage_key
        if not grace and not meta.finalizers(new) and not namespace:
            self._remove(storage, key)
            return current
        if namespace:
            new["status"] = {**new.get("status", {}), "phase": "Terminating"}
        if not meta.deleting(new) or grace < new["metadata"].get("deletionGracePeriodSeconds", 0):
            new["metadata"]["deletionTimestamp"] = meta.rfc3339(time.time() + grace)
            new["metadata"]["deletionGracePeriodSeconds"] = grace
        return self._replace(storage, key, current, new)

    @staticmethod
    def _grace(target: Target, current: Obj, options: Obj) -> int:
        if target.resource.kind != "Pod":
            return 0
        if not meta.get(current, "spec", "nodeName") or meta.get(current, "status", "phase") in ("Succeeded", "Failed"):
            return 0
        default = meta.get(current, "spec", "terminationGracePeriodSeconds", default=30)
        return int(options.get("gracePeriodSeconds", default))

    def _delete_collection(self, target: Target, params: dict[str, str]) -> Obj:
        listed = self._list(target, params)
        for obj in listed["items"]:
            single = Target(target.resource, meta.namespace(obj), meta.name(obj), "")
            self._delete(single, obj, {})
        return listed

    def _remove(self, storage: tuple[str, str], key: Key) -> None:
        old = self._objects[storage].pop(key)
        self._record(storage, "DELETED", copy.deepcopy(old), old)

    def _subresource(self, method: str, target: Target, body: Obj | None) -> tuple[int, Obj]:
        storage = target.resource.storage_key
        current = self._objects.get(storage, {}).get((target.namespace, target.name))
        if current is None:
            raise errors.not_found(target.resource, target.name)
        key = (target.namespace, target.name)
        if target.subresource == "binding" and body is not None:
            if meta.get(current, "spec", "nodeName"):
                why = f'pod {target.name} is already assigned to node "{current["spec"]["nodeName"]}"'
                raise errors.conflict(target.resource, target.name, why)
            new = copy.deepcopy(current)
            new.setdefault("spec", {})["nodeName"] = body["target"]["name"]
            conditions = new.setdefault("status", {}).setdefault("conditions", [])
            meta.set_condition(conditions, {"type": "PodScheduled", "status": "True"}, meta.now_rfc3339())
            self._replace(storage, key, current, new)
            return 201, errors.success()
        if target.subresource == "eviction":
            self._delete(target, current, (body or {}).get("deleteOptions") or {})
            return 201, errors.success()
        if target.subresource == "scale":
            if method != "GET" and body is not None:
                spec = {**current["spec"], "replicas": body["spec"]["replicas"]}
                current = self._update(Target(target.resource, *key, ""), current, {**current, "spec": spec})
            selector = labels.from_label_selector(current["spec"].get("selector") or {})
            running = meta.get(current, "status", "replicas", default=0)
            return 200, {
                "kind": "Scale",
                "apiVersion": "autoscaling/v1",
                "metadata": {"name": target.name, "namespace": target.namespace},
                "spec": {"replicas": current["spec"]["replicas"]},
                "status": {"replicas": running, "selector": str(selector)},
            }
        raise errors.path_not_found()

    # lists and watches

    def _matcher(self, target: Target, params: dict[str, str]) -> Any:
        by_label = labels.parse_selector(params.get("labelSelector"))
        by_field = fields.parse_field_selector(params.get("fieldSelector"), target.resource)

        def matches(obj: Obj | None) -> bool:
            if obj is None or (target.namespace and meta.namespace(obj) != target.namespace):
                return False
            return by_label.matches(meta.labels(obj)) and by_field.matches(obj)

        return matches

    def _list(self, target: Target, params: dict[str, str]) -> Obj:
        matches = self._matcher(target, params)
        found = self._objects.get(target.resource.storage_key, {})
        items = [
            {k: v for k, v in obj.items() if k not in ("apiVersion", "kind")} for obj in found.values() if matches(obj)
        ]
        return {
            "kind": target.resource.list_kind,
            "apiVersion": target.resource.api_version,
            "metadata": {"resourceVersion": str(self._version)},
            "items": items,
        }

    async def _watch(self, target: Target, params: dict[str, str]) -> AsyncIterator[bytes]:
        matches = self._matcher(target, params)
        since = int(params.get("resourceVersion") or self._version)
        if since < self._compacted:
            yield _line("ERROR", errors.expired().status)
            return
        epoch = self._epoch
        while epoch == self._epoch:
            changed = self._changed
            fresh = [c for c in self._newer(since) if c.storage == target.resource.storage_key]
            since = self._version
            lines = [line for change in fresh if (line := _event(change, matches))]
            if lines:
                yield b"".join(lines)
            if since == self._version and epoch == self._epoch:
                await changed.wait()

    def _newer(self, since: int) -> list[Change]:
        first = self._history[0].version if self._history else self._version + 1
        return self._history[max(0, since + 1 - first) :]

    def _record(self, storage: tuple[str, str], type_: str, new: Obj, old: Obj | None) -> None:
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        self._history.append(Change(self._version, storage, type_, copy.deepcopy(new), old))
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _event(change: Change, matches: Any) -> bytes:
    """The line a watcher with these selectors sees; empty for none."""
    now = change.type_ != "DELETED" and matches(change.new)
    before = matches(change.old)
    if now:
        return _line("MODIFIED" if before else "ADDED", change.new)
    return _line("DELETED", change.new) if before else b""


def _line(type_: str, obj: Obj) -> bytes:
    return orjson.dumps({"type": type_, "object": obj}) + b"\n"
