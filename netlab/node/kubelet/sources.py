"""ConfigMaps, Secrets and Services as pods of one node use them: fetched on need, then watched while in use.

`kube-root-ca.crt` is in every namespace and in every pod and practically never changes: it is fetched once per
namespace and kept for a while instead of being watched.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.informer import Informer
from netlab.client.kinds import CONFIG_MAPS, SECRETS, SERVICES
from netlab.client.transport import TransportError
from netlab.node.kubelet.environment import service_variables

ROOT_CA = "kube-root-ca.crt"
ROOT_CA_TTL = 60.0
FETCH_TIMEOUT = 5.0

Ref = tuple[str, str, str]
"""(plural, namespace, name)."""


class UnavailableError(Exception):
    """The API server did not say whether the object exists."""


@dataclass(slots=True)
class _Entry:
    informer: Informer
    users: set[str] = field(default_factory=set)


class ObjectSource:
    """`on_change(uids)` is called with the pods that use an object when it changed."""

    def __init__(self, client: Client, on_change: Callable[[set[str]], None]) -> None:
        self._client = client
        self._on_change = on_change
        self._entries: dict[Ref, _Entry] = {}
        self._of_user: dict[str, set[Ref]] = {}
        self._root_ca: dict[str, tuple[float, asyncio.Future[Obj]]] = {}
        self._services: Informer | None = None
        self._service_env: dict[tuple[str, bool], dict[str, str]] = {}

    async def get(self, plural: str, namespace: str, name: str, user: str) -> Obj | None:
        """The object now, None if there is none. `user` is the pod's uid; it holds the watch until `release`."""
        if plural == "configmaps" and name == ROOT_CA:
            return await self._get_root_ca(namespace)
        ref = (plural, namespace, name)
        entry = self._entries.get(ref)
        if entry is None:
            entry = self._entries[ref] = _Entry(self._watch(ref))
        entry.users.add(user)
        self._of_user.setdefault(user, set()).add(ref)
        try:
            await entry.informer.wait_synced(FETCH_TIMEOUT)
        except TimeoutError as problem:
            raise UnavailableError(str(problem)) from problem
        return entry.informer.store.get(f"{namespace}/{name}")

    def _watch(self, ref: Ref) -> Informer:
        plural, namespace, name = ref
        resource = CONFIG_MAPS if plural == "configmaps" else SECRETS
        informer = Informer(self._client, resource, namespace=namespace, field_selector=f"metadata.name={name}")

        def changed(*_: Obj) -> None:
            entry = self._entries.get(ref)
            if entry is not None and entry.informer.synced:
                self._on_change(set(entry.users))

        informer.add_handler(changed, changed, changed)
        informer.start()
        return informer

    async def _get_root_ca(self, namespace: str) -> Obj | None:
        known = self._root_ca.get(namespace)
        if known is None or known[0] < time.monotonic():
            task = asyncio.ensure_future(self._client.get(CONFIG_MAPS, ROOT_CA, namespace))
            known = self._root_ca[namespace] = (time.monotonic() + ROOT_CA_TTL, task)
        try:
            return await asyncio.shield(known[1])
        except StatusError as problem:
            self._root_ca.pop(namespace, None)
            if problem.code == 404:
                return None
            raise UnavailableError(str(problem)) from problem
        except TransportError as problem:
            self._root_ca.pop(namespace, None)
            raise UnavailableError(str(problem)) from problem

    async def release(self, user: str) -> None:
        """The pod is gone: watches that nobody else needs end."""
        for ref in self._of_user.pop(user, set()):
            entry = self._entries[ref]
            entry.users.discard(user)
            if not entry.users:
                del self._entries[ref]
                await entry.informer.stop()

    async def service_env(self, namespace: str, links: bool) -> Mapping[str, str]:
        """Service variables for pods of `namespace`; the watch on Services starts with the first caller."""
        if self._services is None:
            self._services = Informer(self._client, SERVICES, transform=_slim_service)
            self._services.add_handler(self._forget_env, self._forget_env, self._forget_env)
            self._services.start()
        if not self._services.synced:
            try:
                await self._services.wait_synced(FETCH_TIMEOUT)
            except TimeoutError as problem:
                text = "services have not yet been read at least once, cannot construct envvars"
                raise UnavailableError(text) from problem
        known = self._service_env.get((namespace, links))
        if known is None:
            known = service_variables(self._services.store.values(), namespace, links)
            self._service_env[namespace, links] = known
        return known

    def _forget_env(self, *_: Obj) -> None:
        self._service_env.clear()

    async def close(self) -> None:
        for entry in self._entries.values():
            await entry.informer.stop()
        self._entries.clear()
        if self._services is not None:
            await self._services.stop()


def _slim_service(service: Obj) -> Obj:
    """What service variables need of a Service."""
    meta, spec = service["metadata"], service.get("spec") or {}
    return {
        "metadata": {key: meta.get(key) for key in ("name", "namespace", "uid", "resourceVersion")},
        "spec": {"clusterIP": spec.get("clusterIP"), "ports": spec.get("ports")},
    }


def configmap_text(obj: Obj) -> dict[str, str]:
    """`data` of a ConfigMap (binaryData has no place in variables)."""
    return dict(obj.get("data") or {})


def configmap_bytes(obj: Obj) -> dict[str, bytes]:
    """`data` and `binaryData`, for files."""
    found = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    found.update({key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()})
    return found


def secret_bytes(obj: Obj) -> dict[str, bytes]:
    """`data` of a Secret, decoded."""
    return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}


@dataclass(slots=True)
class FetchedData:
    """environment.Data over objects that were fetched beforehand."""

    configmaps: Mapping[str, Obj | None] = field(default_factory=dict)
    secrets: Mapping[str, Obj | None] = field(default_factory=dict)

    def configmap(self, name: str) -> Mapping[str, str] | None:
        obj = self.configmaps.get(name)
        return None if obj is None else configmap_text(obj)

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        obj = self.secrets.get(name)
        return None if obj is None else secret_bytes(obj)
