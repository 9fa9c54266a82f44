"""PURE. The published schemas with those of extension servers among them (kube-aggregator pkg/controllers/openapi*)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import orjson

from netlab.api.openapi import OpenApi
from netlab.api.resources import Registry
from netlab.api.types import Obj
from netlab.apiserver.aggregation.documents import mark, v3_hash, v3_path, with_v2
from netlab.apiserver.aggregation.remotes import Documents, Remote

Mergers = tuple[tuple[Remote, Documents], ...]


class Merged(OpenApi):
    """As OpenApi; `more` are the remotes and what they said of themselves."""

    def __init__(self, registry: Registry, *, version: str, extra: Mapping[str, Obj], more: Mergers) -> None:
        super().__init__(registry, version=version, extra=extra)
        self._more = more

    @cached_property
    def v3_index(self) -> bytes:
        """The index, in which every remote has its place."""
        local: bytes = super().v3_index
        if not self._more:
            return local
        index = orjson.loads(local)
        for remote, documents in self._more:
            if documents.v3:
                path = v3_path(remote)
                index["paths"][path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={v3_hash(documents.v3)}"}
        return orjson.dumps(index)

    @cached_property
    def v2_etag(self) -> str:
        local: str = super().v2_etag
        return f'"{local.strip(chr(34))}{mark(self._more)}"' if self._more else local

    def v2_document(self) -> Obj:
        return with_v2(super().v2_document(), self._more) if self._more else super().v2_document()
