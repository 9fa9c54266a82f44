"""The one way from an operation to the store: write, wait until it is durable, tell store errors as a Status."""

import time
from asyncio import Future

from netlab.api import errors, meta
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.extensions.kinds import CustomResource
from netlab.apiserver.extensions.webhook_conversion import prepare
from netlab.apiserver.selection import note_attributes
from netlab.apiserver.storage import Stored, encoder
from netlab.store import Conflict, Exists, Item, NotFound, StoreError, StoreFull


async def write_new(api: Api, stored: Stored, resource: Resource, obj: Obj) -> Item:
    """Raises StatusError: 409 when the name is taken, 507 when the disk is full."""
    key = stored.key(meta.namespace(obj), meta.name(obj))
    if stored.resource.custom:
        await _versions(api, stored, obj)
    began, failed = time.perf_counter(), True
    try:
        item = await api.store.create(key, encoder(obj, custom=stored.resource.custom))
        failed = False
    except Exists:
        raise errors.already_exists(resource, meta.name(obj)) from None
    except StoreError as error:
        raise unwritten(error) from None
    finally:
        api.measured.stored("create", stored.collection, began, failed=failed)
    note_attributes(item, stored, stored.resource, obj)
    return item


async def write_changed(api: Api, stored: Stored, resource: Resource, obj: Obj, expected: int) -> Item:
    """Raises Conflict (of the store) when the object changed since `expected`: the caller may compute it anew."""
    if stored.resource.custom:
        await _versions(api, stored, obj)
    key, encode = stored.key(meta.namespace(obj), meta.name(obj)), encoder(obj, custom=stored.resource.custom)
    return await _settled(api, "update", api.store.update(key, encode, expected), stored, obj)


async def write_gone(api: Api, stored: Stored, resource: Resource, obj: Obj, expected: int) -> Item:
    """Remove the object; its last state is `obj`. Raises as `write_changed`."""
    if stored.resource.custom:
        await _versions(api, stored, obj)
    key, encode = stored.key(meta.namespace(obj), meta.name(obj)), encoder(obj, custom=stored.resource.custom)
    return await _settled(api, "delete", api.store.delete(key, encode, expected), stored, obj)


async def _versions(api: Api, stored: Stored, obj: Obj) -> None:
    """Have an object converted before it is written, so that whoever hears of it can be shown it."""
    if isinstance(stored.resource, CustomResource) and stored.resource.conversion is not None:
        await prepare(api, stored.resource, obj)


async def _settled(api: Api, operation: str, future: "Future[Item]", stored: Stored, obj: Obj) -> Item:
    began, failed = time.perf_counter(), True
    try:
        item = await future
        failed = False
    except StoreError as error:
        raise unwritten(error) from None
    finally:
        api.measured.stored(operation, stored.collection, began, failed=failed)
    note_attributes(item, stored, stored.resource, obj)
    return item


def unwritten(error: StoreError) -> errors.StatusError:
    """What a client is told when the store could not write."""
    if isinstance(error, StoreFull):
        return errors.status(507, "InsufficientStorage", f"the change was not stored: {error}")
    return errors.internal(str(error))


__all__ = ["Conflict", "NotFound", "unwritten", "write_changed", "write_gone", "write_new"]
