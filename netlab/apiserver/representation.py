"""Stored items to answers: the object itself, a Table, or its metadata alone; JSON or YAML."""

import time
from collections.abc import Sequence
from typing import Any

import orjson

from netlab.api import errors, meta, tables
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.storage import Stored, head, load_for, value_for
from netlab.apiserver.wire.message import Request, Response
from netlab.apiserver.wire.negotiate import JSON, YAML, Accepted, accepted
from netlab.store import Item, Listing


def accept(request: Request, tables: bool = True) -> Accepted:
    """What the client takes; 406 when that cannot be made."""
    found = accepted(request.headers.get("accept", ""), tables)
    if found is None:
        raise errors.not_acceptable((JSON, YAML, "application/vnd.kubernetes.protobuf"))
    return found


def one(request: Request, resource: Resource, stored: Stored, item: Item, code: int = 200) -> Response:
    """The answer that shows one stored object."""
    how = accept(request)
    if not how.convert and not how.yaml:
        return Response(code, b"%b%b\n" % (head(resource), value_for(item, stored, resource)))
    return show(request, resource, load_for(item, stored, resource), code)


def show(request: Request, resource: Resource, obj: Obj, code: int = 200, *, tables: bool = True) -> Response:
    """As `one`, for an object that is not stored (a dry run), in the version of `resource`."""
    how = accept(request, tables)
    obj = {"kind": resource.kind, "apiVersion": resource.api_version, **obj}
    if how.convert == "Table":
        revision = meta.resource_version(obj)
        obj = table(resource, [obj], how, request.query.get("includeObject", ""), {"resourceVersion": revision})
    elif how.convert == "PartialObjectMetadata":
        obj = partial(obj, how)
    return render(obj, how, code)


def render(value: Any, how: Accepted, code: int = 200) -> Response:
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    if not how.yaml:
        return Response(code, body)
    import yaml

    text = yaml.dump(orjson.loads(body), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), allow_unicode=True)
    return Response(code, text.encode(), YAML)


def many(
    request: Request, resource: Resource, stored: Stored, listing: Listing, token: str, remaining: int
) -> Response:
    """The answer that shows a page of a list."""
    how = accept(request)
    metadata: Obj = {"resourceVersion": str(listing.revision)}
    if token:
        metadata["continue"] = token
    if remaining:
        metadata["remainingItemCount"] = remaining
    if not how.convert and not how.yaml:
        return list_response(resource, stored, listing, metadata)
    objects = [load_for(item, stored, resource) for item in listing.items]
    if how.convert == "Table":
        shown = table(resource, objects, how, request.query.get("includeObject", ""), metadata)
    elif how.convert:
        kind, version = "PartialObjectMetadataList", f"meta.k8s.io/{how.meta_version}"
        items = [partial(obj, how) for obj in objects]
        shown = {"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}
    else:
        shown = orjson.loads(list_response(resource, stored, listing, metadata).text)
    return render(shown, how)


def list_response(resource: Resource, stored: Stored, listing: Listing, metadata: Obj) -> Response:
    """A list from stored values: nothing is decoded; built-in items carry no kind and apiVersion, as upstream's."""
    start = orjson.dumps({"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata})
    return Response(200, start[:-1] + b',"items":[', more=(joined(resource, stored, listing.items), b"]}\n"))


def joined(resource: Resource, stored: Stored, items: Sequence[Item]) -> bytes:
    """The items of a list, encoded."""
    if not items:
        return b""
    before = head(resource) if resource.custom else b"{"
    if resource.api_version == stored.resource.api_version and not resource.custom:
        values = [item.value for item in items]
    else:
        values = [value_for(item, stored, resource) for item in items]
    values[0] = before + values[0]
    return (b"," + before).join(values)


def partial(obj: Obj, how: Accepted) -> Obj:
    """PartialObjectMetadata of an object."""
    version = f"meta.k8s.io/{how.meta_version}"
    return {"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": obj.get("metadata", {})}


def table(
    resource: Resource, objects: list[Obj], how: Accepted, include: str, metadata: Obj, *, headers: bool = True
) -> Obj:
    """A Table of objects; `include` is Object, Metadata (also "") or None, as the includeObject parameter."""
    return tables.table(
        resource,
        objects,
        time.time(),
        list_metadata=metadata,
        include=include or "Metadata",
        version=how.meta_version,
        headers=headers,
    )
