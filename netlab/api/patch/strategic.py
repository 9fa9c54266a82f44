"""Strategic merge patch, following apimachinery pkg/util/strategicpatch/patch.go.

Objects merge field by field. A list merges when the schema says `merge`: objects by their merge key, scalars as a set;
any other list is replaced. Directives in the patch steer that:

- `$patch: replace | delete | merge` in an object, or as an item of a merged list (for the list);
- `$setElementOrder/<list>`: the order that the items named in it shall have;
- `$deleteFromPrimitiveList/<list>`: scalars to take out of a merged list;
- `$retainKeys`: the only keys that shall remain of this object.
"""

from __future__ import annotations

from typing import Any

from netlab.api.errors import StatusError, bad_request, status
from netlab.api.patch.order import merge_orders, partition
from netlab.api.schema import Schema
from netlab.api.types import Obj

PATCH = "$patch"
RETAIN_KEYS = "$retainKeys"
SET_ORDER = "$setElementOrder/"
DELETE_FROM = "$deleteFromPrimitiveList/"

_BAD_ORDER = "invalid patch format of setElementOrder list"
_BAD_RETAIN = "invalid patch format of retainKeys"
_BAD_DELETE = "invalid patch format of primitive list"


def apply(schema: Schema, current: Obj, patch: Obj) -> Obj:
    """`current` with `patch` merged in, a new object. Raises StatusError 400 or 422 for a patch that is not valid.

    What the patch does not reach is not copied: both objects hold it.
    """
    return _merge_map(current, patch, schema)


def _unprocessable(message: str) -> StatusError:
    return status(422, "Invalid", message, {})


def _merge_map(original: Obj, patch: Obj, schema: Schema | None) -> Obj:
    """A new object; what is in `patch` is not in it, but copies of that."""
    original, patch = dict(original), dict(patch)
    if PATCH in patch:
        return _directive(patch)
    _retain_keys(original, patch)
    _ordered_lists(original, patch, schema)
    for key, value in patch.items():
        if key.startswith(DELETE_FROM):
            _delete_from(original, key[len(DELETE_FROM) :], value)
        elif value is None:
            original.pop(key, None)
        elif type(original.get(key)) is not type(value):
            original[key] = _clean(value)
        elif isinstance(value, dict):
            child = _child(schema, key)
            if child is not None and "replace" in child.patch_strategies:
                original[key] = _clean(value)
            else:
                original[key] = _merge_map(original[key], value, child)
        elif isinstance(value, list):
            original[key] = _merge_field(original[key], value, _child(schema, key))
        else:
            original[key] = value
    return original


def _directive(patch: Obj) -> Obj:
    directive = patch.pop(PATCH)
    if directive == "replace":
        cleaned: Obj = _clean(patch)
        return cleaned
    if directive == "delete":
        return {}
    raise _unprocessable(f"unknown patch type {directive} in map: {patch}")


def _child(schema: Schema | None, key: str) -> Schema | None:
    return schema.field(key) if schema is not None else None


def _retain_keys(original: Obj, patch: Obj) -> None:
    if RETAIN_KEYS not in patch:
        return
    keep = patch.pop(RETAIN_KEYS)
    if not isinstance(keep, list):
        raise bad_request(_BAD_RETAIN)
    for key, value in patch.items():
        if value is not None and not key.startswith((DELETE_FROM, SET_ORDER)) and key not in keep:
            raise bad_request(_BAD_RETAIN)
    for key in [k for k in original if k not in keep]:
        del original[key]


def _delete_from(original: Obj, key: str, values: Any) -> None:
    if not isinstance(values, list):
        raise bad_request(_BAD_DELETE)
    if isinstance(original.get(key), list):
        original[key] = [item for item in original[key] if item not in values]


def _ordered_lists(original: Obj, patch: Obj, schema: Schema | None) -> None:
    """Merge every list that has a $setElementOrder, and take it and its directive out of the patch."""
    for directive in [key for key in patch if key.startswith(SET_ORDER)]:
        key = directive[len(SET_ORDER) :]
        order = patch.pop(directive)
        if not isinstance(order, list):
            raise bad_request(_BAD_ORDER)
        child = _child(schema, key)
        merge_key = child.merge_key if child is not None else ""
        patched, present = patch.get(key), original.get(key)
        if key in patch and not isinstance(patched, list):
            continue  # null or another type: the plain rules decide
        _check_order(patched or [], order, merge_key)
        _delete_from_pending(original, patch, key)
        present = original.get(key)
        if not isinstance(present, list):
            if patched is None:
                continue
            merged = _clean(patched)
        elif patched is None:
            merged = present
        else:
            merged = _merge_field(present, patched, child)
        patch.pop(key, None)
        named, others = partition(merged, order, merge_key)
        original[key] = merge_orders(named, others, order, present or [], merge_key)


def _delete_from_pending(original: Obj, patch: Obj, key: str) -> None:
    """Deletions come before the order is enforced."""
    if DELETE_FROM + key in patch:
        _delete_from(original, key, patch.pop(DELETE_FROM + key))


def _check_order(items: list[Any], order: list[Any], merge_key: str) -> None:
    """The patch's items must all be named in the order list, in that order."""
    wanted = [_identity(item, merge_key) for item in items if not (isinstance(item, dict) and PATCH in item)]
    listed = [_identity(item, merge_key) for item in order]
    position = 0
    for value in wanted:
        try:
            position = listed.index(value, position) + 1
        except ValueError:
            message = f"The order in patch list:\n{items}\n doesn't match {SET_ORDER[:-1]} list:\n{order}\n"
            raise bad_request(message) from None


def _identity(item: Any, merge_key: str) -> Any:
    if not merge_key or not isinstance(item, dict):
        return item
    if merge_key not in item:
        raise _unprocessable(f"map: {item} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _merge_field(original: list[Any], patch: list[Any], schema: Schema | None) -> list[Any]:
    if schema is None or "merge" not in schema.patch_strategies:
        cleaned: list[Any] = _clean(patch)
        return cleaned
    return _merge_list(original, patch, schema)


def _merge_list(original: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    if not original and not patch:
        return original
    if not any(isinstance(item, dict) for item in (*original, *patch)):
        merged = _unique([*original, *patch])
        named, others = partition(merged, patch, "")
        return merge_orders(named, others, patch, original, "")
    merge_key = schema.merge_key
    if not merge_key:
        raise _unprocessable(f"cannot merge lists without merge key for {schema.name or 'list'}")
    merged, patch = _special_items(original, patch, merge_key)
    for item in patch:
        index = _find(merged, merge_key, _identity(item, merge_key))
        if index is None:
            merged.append(_clean(item))
        else:
            merged[index] = _merge_map(merged[index], item, schema.items)
    named, others = partition(merged, patch, merge_key)
    return merge_orders(named, others, patch, original, merge_key)


def _special_items(original: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """Obey the items that are directives for the list; what is left to merge, as new lists."""
    plain: list[Any] = []
    replace = False
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"invalid JSON document: item {item!r} of a list of objects is no object")
        directive = item.get(PATCH)
        if directive is None:
            plain.append(item)
        elif directive == "delete":
            value = _identity(item, merge_key)
            original = [one for one in original if one.get(merge_key) != value]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise _unprocessable("merging lists cannot yet be specified in the patch")
        else:
            raise _unprocessable(f"unknown patch type {directive} in map: {item}")
    return ([] if replace else list(original)), plain


def _find(items: list[Any], merge_key: str, value: Any) -> int | None:
    return next((i for i, item in enumerate(items) if item.get(merge_key) == value and merge_key in item), None)


def _unique(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _clean(value: Any) -> Any:
    """A patch value that becomes the object's: without nulls in objects and without directives."""
    if isinstance(value, dict):
        if value.get(PATCH) == "delete":
            return {}
        return {k: _clean(v) for k, v in value.items() if v is not None and not _is_directive(k)}
    if isinstance(value, list):
        return [_clean(v) for v in value if not (isinstance(v, dict) and v.get(PATCH) in ("delete", "replace"))]
    return value


def _is_directive(key: str) -> bool:
    return key in (PATCH, RETAIN_KEYS) or key.startswith((SET_ORDER, DELETE_FROM))
