"""Versions of custom kinds that a webhook converts (conversion strategy Webhook, ConversionReview v1).

Reading and showing objects are plain functions all over the server, and a webhook has to be waited for. So conversions
are known or they are not: `known` gives what was converted before (by content, without what the server itself writes
into metadata) and raises `NotConvertedError` otherwise. Whoever serves a request of such a kind catches it, asks the
webhook and begins again (`with_conversion`); nothing has been written by then, for a write converts an object to all
served versions first (`prepare`). Watches find every event converted.

Source followed: apiextensions-apiserver `pkg/apiserver/conversion/webhook_converter.go`.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from netlab.api import errors
from netlab.api.types import Obj, clone
from netlab.apiserver.extensions.kinds import CustomResource

if TYPE_CHECKING:
    from netlab.apiserver.api import Api

_MOST_KNOWN, _MOST_AT_ONCE, _TIMEOUT = 20_000, 500, 30.0
_OWN = ("name", "namespace", "labels", "annotations")
"""What of metadata a webhook is shown and may look at; it may change labels and annotations only."""
_KNOWN: OrderedDict[tuple[bytes, str], Obj] = OrderedDict()
Found = TypeVar("Found")


class NotConvertedError(Exception):
    """An object is not known in a version yet."""

    def __init__(self, obj: Obj, target: CustomResource) -> None:
        super().__init__(f"{obj.get('kind')} is not known in {target.api_version}")
        self.obj, self.target = obj, target


def _mark(obj: Obj, target: CustomResource) -> tuple[bytes, str]:
    metadata = {key: obj["metadata"][key] for key in _OWN if key in obj.get("metadata", {})}
    # another webhook, or the same at another place, may convert otherwise
    content = orjson.dumps([{**obj, "metadata": metadata}, target.conversion], option=orjson.OPT_SORT_KEYS)
    return blake2b(content, digest_size=20).digest(), f"{target.api_version}/{target.kind}"


def known(obj: Obj, target: CustomResource) -> Obj:
    """`obj` in another version. Raises NotConvertedError."""
    mark = _mark(obj, target)
    found = _KNOWN.get(mark)
    if found is None:
        raise NotConvertedError(obj, target)
    _KNOWN.move_to_end(mark)
    made = clone(found)
    given = made.get("metadata") or {}
    metadata = {**obj["metadata"]}
    for key in ("labels", "annotations"):
        metadata.pop(key, None)
        if given.get(key):
            metadata[key] = given[key]
    return {**made, "metadata": metadata}


async def with_conversion(api: Api, resource: CustomResource, serve: Callable[[], Awaitable[Found]]) -> Found:
    """Serve a request; whenever a version is missing, ask the webhook and begin again. Raises StatusError."""
    before: tuple[bytes, str] | None = None
    while True:
        try:
            return await serve()
        except NotConvertedError as missing:
            mark = _mark(missing.obj, missing.target)
            if mark == before:
                raise errors.internal(_failed(missing.obj, "the object changes in each conversion")) from None
            before = mark
            await convert(api, [missing.obj, *_others(api, resource, missing.target)], missing.target)


def _others(api: Api, resource: CustomResource, target: CustomResource) -> list[Obj]:
    """What is stored and not known in that version either: lists need all of it."""
    stored = api.stored(resource)
    found: list[Obj] = []
    for item in api.store.list(stored.collection).items:
        if target.api_version not in item.cache:
            obj = raw(item.value, stored.resource)
            if obj["apiVersion"] != target.api_version and _mark(obj, target) not in _KNOWN:
                found.append(obj)
    return found


def raw(value: bytes, home: Any) -> Obj:
    """A stored value in the version in which it was written."""
    loaded: Obj = orjson.loads(orjson.dumps({"kind": home.kind, "apiVersion": home.api_version})[:-1] + b"," + value)
    return loaded


async def prepare(api: Api, home: CustomResource, obj: Obj) -> None:
    """Know an object that is about to be written in all served versions; failures are met again by who reads it."""
    for resource in api.registry:
        if not isinstance(resource, CustomResource) or resource.group_resource != home.group_resource:
            continue
        if resource.api_version != home.api_version and _mark(obj, resource) not in _KNOWN:
            try:
                await convert(api, [obj], resource)
            except errors.StatusError:
                continue


async def convert(api: Api, objects: Sequence[Obj], target: CustomResource) -> None:
    """Have objects converted and remember what came back. Raises StatusError 500."""
    distinct = {_mark(obj, target): obj for obj in objects}
    marks = list(distinct)
    for start in range(0, len(marks), _MOST_AT_ONCE):
        some = marks[start : start + _MOST_AT_ONCE]
        found = await _ask(api, [distinct[mark] for mark in some], target)
        for mark, one in zip(some, found, strict=True):
            _KNOWN[mark] = one
    while len(_KNOWN) > max(_MOST_KNOWN, len(marks)):
        _KNOWN.popitem(last=False)


async def _ask(api: Api, objects: list[Obj], target: CustomResource) -> list[Obj]:
    from netlab.apiserver.admission.dynamic.calls import CallError

    uid = str(uuid.uuid4())
    request = {"uid": uid, "desiredAPIVersion": target.api_version, "objects": objects}
    body = {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "request": request}
    client = (target.conversion or {}).get("clientConfig") or {}
    try:
        answer = await api.dynamic.caller().post(api, client, body, _TIMEOUT)
    except CallError as error:
        raise errors.internal(_failed(objects[0], str(error))) from None
    problem, found = _judged(answer, uid, objects, target)
    if problem:
        raise errors.internal(_failed(objects[0], problem))
    return found


def _failed(obj: Obj, why: str) -> str:
    return f"conversion webhook for {obj.get('apiVersion')}, Kind={obj.get('kind')} failed: {why}"


def _judged(answer: Any, uid: str, objects: list[Obj], target: CustomResource) -> tuple[str, list[Obj]]:
    """(what is wrong, the converted objects)."""
    response = answer.get("response") if isinstance(answer, dict) else None
    if not isinstance(response, dict):
        return "no response provided", []
    if response.get("uid") != uid:
        return f"expected response.uid={errors.quote(uid)}, got {errors.quote(str(response.get('uid', '')))}", []
    result = response.get("result") or {}
    if result.get("status") != "Success":
        if result.get("message"):
            return str(result["message"]), []
        return f"response.result.status was '{result.get('status', '')}', not 'Success'", []
    found = response.get("convertedObjects") or []
    if len(found) != len(objects):
        return f"webhook returned {len(found)} objects, expected {len(objects)}", []
    for index, (given, made) in enumerate(zip(objects, found, strict=True)):
        problem = _difference(given, made, target)
        if problem:
            return f"invalid converted object at index {index}: {problem}", []
    return "", found


def _difference(given: Obj, made: Any, target: CustomResource) -> str:
    """What a converted object may not be."""
    if not isinstance(made, dict) or made.get("apiVersion") != target.api_version:
        shown = made.get("apiVersion") if isinstance(made, dict) else ""
        return f"invalid groupVersion (expected {target.api_version}, received {shown})"
    if made.get("kind") != given.get("kind"):
        return f"invalid kind (expected {given.get('kind')}, received {made.get('kind')})"
    before, after = given.get("metadata") or {}, made.get("metadata")
    if not isinstance(after, dict):
        return "missing metadata in converted object"
    for key in ("name", "namespace", "uid"):
        if key in before and after.get(key) != before[key]:
            return f"must have the same {key}: {after.get(key, '')} != {before[key]}"
    return ""
