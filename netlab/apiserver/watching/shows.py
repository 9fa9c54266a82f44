"""The representations of watched objects; one function each, so that equal ones share their bytes."""

from functools import lru_cache

import orjson

from netlab.apiserver.representation import partial, table
from netlab.apiserver.selection import Selection
from netlab.apiserver.storage import Stored, load_for
from netlab.apiserver.watching.channel import Frames, plain
from netlab.apiserver.wire.negotiate import Accepted
from netlab.store import Item


@lru_cache(maxsize=64)
def chosen(how: Accepted, include: str) -> Frames:
    """The representation that the client accepts; the same function for the same wish."""
    if how.convert == "Table":
        return _tables(how, include, headers=False)
    if how.convert:
        return _partials(how)
    return plain


@lru_cache(maxsize=64)
def opening(how: Accepted, include: str) -> Frames:
    """The representation of a watch's first event: Tables name their columns once."""
    return _tables(how, include, headers=True) if how.convert == "Table" else chosen(how, include)


def _tables(how: Accepted, include: str, *, headers: bool) -> Frames:
    def show(item: Item, stored: Stored, selection: Selection) -> bytes:
        obj = load_for(item, stored, selection.resource)
        metadata = {"resourceVersion": str(item.revision)}
        return orjson.dumps(table(selection.resource, [obj], how, include, metadata, headers=headers))

    return show


def _partials(how: Accepted) -> Frames:
    def show(item: Item, stored: Stored, selection: Selection) -> bytes:
        return orjson.dumps(partial(load_for(item, stored, selection.resource), how))

    return show
