"""What every write records: which fields its manager owns now.

Upstream records between decoding and admission, so what admission, strategies and allocators add is owned by nobody.
Source followed: apiserver/pkg/endpoints/handlers (create, update, patch: FieldManager.UpdateNoErrors).
"""

from functools import lru_cache

from netlab.api import managedfields
from netlab.api.resources import Resource
from netlab.api.schema import Schema
from netlab.api.types import Obj
from netlab.apiserver.extensions.kinds import CustomResource
from netlab.apiserver.extensions.openapi import kind_definition
from netlab.apiserver.operations.options import field_manager
from netlab.apiserver.wire.message import Request


def shape_of(resource: Resource) -> Schema | None:
    """The schema of a custom resource; None for the built-in kinds, whose schema is published."""
    return _custom_shape(resource) if isinstance(resource, CustomResource) else None


@lru_cache(maxsize=256)
def _custom_shape(resource: CustomResource) -> Schema:
    return Schema(kind_definition(resource))


def record(request: Request, resource: Resource, live: Obj | None, wanted: Obj, now: str, subresource: str) -> None:
    """Set `wanted`'s managedFields in place; both objects are defaulted, in the version of `resource`.

    An object whose managers are not known (written before they were recorded) stays without, as upstream.
    """
    if live is not None and not live["metadata"].get("managedFields") and not _given(wanted):
        wanted["metadata"].pop("managedFields", None)
        return
    manager = field_manager(request)
    schema = shape_of(resource)
    managedfields.update(live, wanted, resource, manager, now, subresource=subresource, schema=schema)


def _given(obj: Obj) -> bool:
    return bool(obj.get("metadata", {}).get("managedFields"))
