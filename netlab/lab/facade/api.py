"""The lab's API without kubectl and without an event loop: one kept connection a thread, a millisecond a call."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from netlab.api.errors import StatusError
from netlab.api.resources import BUILTIN, Resource
from netlab.api.types import Obj
from netlab.client.kinds import ResourceRef, collection_path, object_path
from netlab.client.kubeconfig import load
from netlab.lab.record import LabError
from netlab.sandbox.paths import LabPaths

TIMEOUT = 15.0
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class ApiClient:
    """Verbs as the lab's administrator. StatusError where the server refuses, LabError where it does not answer."""

    def __init__(self, paths: LabPaths) -> None:
        self._lab = paths.name
        server, self._tls, _ = load(paths.kubeconfig)
        self._host = urlsplit(server).netloc
        self._kept = threading.local()
        self._every: list[http.client.HTTPConnection] = []
        self._custom: dict[tuple[str, str], tuple[str, bool]] = {}

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """One request; its decoded answer (text where it is no JSON)."""
        target = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else orjson.dumps(body)
        headers = {"Accept": accept, **({"Content-Type": content} if data is not None else {})}
        for attempt in (1, 2):
            connection, fresh = self._connection()
            try:
                connection.request(method, target, data, headers)
                response = connection.getresponse()
                raw = response.read()
                break
            except (OSError, http.client.HTTPException) as problem:
                self._drop()
                if attempt == 2 or (fresh and not isinstance(problem, http.client.RemoteDisconnected)):
                    raise LabError(f"the API server of lab '{self._lab}' does not answer: {problem}") from None
        return self._decoded(response, raw)

    @staticmethod
    def _decoded(response: http.client.HTTPResponse, raw: bytes) -> Any:
        is_json = (response.getheader("Content-Type") or "").startswith("application/json")
        decoded = orjson.loads(raw) if is_json and raw else raw.decode(errors="replace")
        if response.status >= 400:
            status = decoded if isinstance(decoded, dict) else {"message": decoded, "code": response.status}
            raise StatusError(status)
        return decoded

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """This thread's connection, and whether it is new."""
        known: http.client.HTTPConnection | None = getattr(self._kept, "connection", None)
        if known is not None:
            return known, False
        if isinstance(self._tls, ssl.SSLContext):
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, timeout=TIMEOUT, context=self._tls
            )
        else:
            made = http.client.HTTPConnection(self._host, timeout=TIMEOUT)
        self._kept.connection = made
        self._every.append(made)
        return made, True

    def _drop(self) -> None:
        connection = getattr(self._kept, "connection", None)
        if connection is not None:
            connection.close()
            self._every.remove(connection)
            self._kept.connection = None

    def close(self) -> None:
        """Close what every thread has kept: they are through."""
        for connection in self._every:
            connection.close()
        self._every.clear()
        self._kept = threading.local()

    # verbs

    def get(self, resource: ResourceRef, name: str, namespace: str | None = None) -> Obj:
        found: Obj = self.call("GET", object_path(resource, namespace, name))
        return found

    def find(self, resource: ResourceRef, name: str, namespace: str | None = None) -> Obj | None:
        """The object, or None where there is none."""
        try:
            return self.get(resource, name, namespace)
        except StatusError as error:
            if error.code == 404:
                return None
            raise

    def list(
        self, resource: ResourceRef, namespace: str | None = None, *, selector: str = "", fields: str = ""
    ) -> list[Obj]:
        """The objects of a namespace, or (None) of all."""
        query = {"labelSelector": selector, "fieldSelector": fields}
        found = self.call(
            "GET", collection_path(resource, namespace), query={key: value for key, value in query.items() if value}
        )
        return list(found["items"])

    def apply(self, obj: Obj, namespace: str) -> tuple[Obj, str]:
        """Server-side apply, taking over what others own; the object, and "created", "configured" or "unchanged"."""
        plural, namespaced = self.plural(obj["apiVersion"], obj["kind"])
        resource = (obj["apiVersion"], plural)
        name = obj["metadata"]["name"]
        where = (obj["metadata"].get("namespace") or namespace) if namespaced else None
        before = self.find(resource, name, where)
        query = {"fieldManager": "netlab", "force": "true"}
        path = object_path(resource, where, name)
        found: Obj = self.call("PATCH", path, query=query, body=obj, content=APPLY)
        if before is None:
            return found, "created"
        same = before["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]
        return found, "unchanged" if same else "configured"

    def plural(self, api_version: str, kind: str) -> tuple[str, bool]:
        """The plural of a kind, custom ones included, and whether it has namespaces. LabError: no such kind."""
        known = BUILTIN.by_kind(api_version, kind)
        if known is not None:
            return known.plural, known.namespaced
        if (api_version, kind) not in self._custom:
            self._discover()
        if (api_version, kind) not in self._custom:
            raise LabError(f"no kind '{kind}' in '{api_version}' in lab '{self._lab}'; is its definition applied?")
        return self._custom[api_version, kind]

    def named(self, word: str) -> tuple[ResourceRef, str, bool]:
        """A resource by plural, singular, short name or kind, as kubectl takes it; its kind, and whether namespaced."""
        found = self._builtin(word)
        if found is not None:
            return (found.api_version, found.plural), found.kind, found.namespaced
        self._discover()
        for (api_version, kind), (plural, namespaced) in self._custom.items():
            group = api_version.rpartition("/")[0]
            if word.lower() in (plural, kind.lower(), f"{plural}.{group}"):
                return (api_version, plural), kind, namespaced
        raise LabError(f"no resource '{word}' in lab '{self._lab}'; 'kubectl api-resources' lists them")

    @staticmethod
    def _builtin(word: str) -> Resource | None:
        for resource in BUILTIN:
            names = (resource.plural, resource.singular or resource.kind.lower(), *resource.short_names)
            if word.lower() in (*names, resource.kind.lower(), f"{resource.plural}.{resource.group}"):
                return resource
        return None

    def _discover(self) -> None:
        for group in self.call("GET", "/apis", accept=_DISCOVERY)["items"]:
            for version in group["versions"]:
                for one in version["resources"]:
                    api_version = f"{group['metadata']['name']}/{version['version']}"
                    kind = one["responseKind"]["kind"]
                    self._custom[api_version, kind] = (one["resource"], one["scope"] == "Namespaced")
