"""OpenAPI documents from one schema source: v3 (JSON, one per group and version), v2 (JSON and gnostic's protobuf).

Everything is computed on first use and kept as bytes; hashes come from what the documents are made of, so the index
costs nothing. `OpenApi(registry)` is immutable: a registry that changes (custom resources) gets a new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property

import orjson

from netlab.api.openapi import definitions, paths
from netlab.api.resources import Registry
from netlab.api.types import Obj

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""The content type of the answer: without the `@` that clients ask with, which Go's mime package does not parse."""
V2_PROTOBUF_ACCEPTED = (
    V2_PROTOBUF,
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.googleapis.gnostic.OpenAPIv2@68f4ded+protobuf",
)
"""What clients ask for (the last one: kubectl up to 1.20); always the same bytes."""
V3_PROTOBUF = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
"""Asked for by some clients first; not served: they fall back to JSON."""

_FORMAT = "1"
"""Raise it when the documents are made differently from the same schema."""


class OpenApi:
    """The documents of one registry. `extra` are definitions of custom resources, `version` the server's version."""

    def __init__(self, registry: Registry, *, version: str = "v1.33.0", extra: Mapping[str, Obj] | None = None) -> None:
        self._registry = registry
        self._version = version
        self._extra = dict(extra or {})
        self._v3: dict[tuple[str, str], bytes] = {}

    def _hash(self, *parts: object) -> str:
        digest = hashlib.sha256(repr((_FORMAT, self._version, *parts)).encode())
        return digest.hexdigest()[:32].upper()

    def v3_hash(self, group: str, version: str) -> str:
        """Changes when the document of this group and version does."""
        extra = sorted(name for name in self._extra if name.startswith(definitions.package(group, version)))
        return self._hash(
            self._registry.in_version(group, version), [(name, orjson.dumps(self._extra[name])) for name in extra]
        )

    @cached_property
    def v3_index(self) -> bytes:
        """`/openapi/v3`: where each document is."""
        found = {}
        for group, versions in self._registry.groups():
            for version in versions:
                path = f"apis/{group}/{version}" if group else f"api/{version}"
                found[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={self.v3_hash(group, version)}"}
        return orjson.dumps({"paths": found})

    def v3(self, group: str, version: str) -> bytes | None:
        """`/openapi/v3/apis/<group>/<version>`; None where nothing is served there."""
        known = self._v3.get((group, version))
        if known is not None:
            return known
        resources = self._registry.in_version(group, version)
        if not resources:
            return None
        items = paths.v3_paths(resources)
        schemas = definitions.v3_schemas(definitions.roots(resources), self._extra)
        document = orjson.dumps(
            {
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes", "version": self._version},
                "paths": items,
                "components": {"schemas": schemas},
            }
        )
        self._v3[group, version] = document
        return document

    @cached_property
    def v2_etag(self) -> str:
        """Changes when the v2 document does; quoted, as the header wants it."""
        extra = [(name, orjson.dumps(one)) for name, one in sorted(self._extra.items())]
        return f'"{self._hash(self._registry.resources, extra)}"'

    def v2_document(self) -> Obj:
        """`/openapi/v2` as an object."""
        roots = definitions.roots(self._registry.resources)
        return {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": paths.v2_paths(self._registry.resources),
            "definitions": definitions.v2_definitions(roots, self._extra),
            "parameters": paths.v2_parameters(),
        }

    @cached_property
    def v2_json(self) -> bytes:
        """`/openapi/v2` as JSON."""
        return orjson.dumps(self.v2_document())

    @cached_property
    def v2_protobuf(self) -> bytes:
        """`/openapi/v2` as gnostic's protobuf, which kubectl up to 1.28 insists on."""
        from netlab.api.openapi.gnostic import encode_document

        return encode_document(self.v2_document())


__all__ = ["V2_PROTOBUF", "V2_PROTOBUF_ACCEPTED", "V3_PROTOBUF", "OpenApi"]
