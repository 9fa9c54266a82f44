"""The order of a merged list: the patch's own order for what it names, the server's for the rest, interleaved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _key(item: Any, merge_key: str) -> Any:
    return item.get(merge_key) if merge_key and isinstance(item, dict) else item


def _places(items: list[Any], merge_key: str) -> Callable[[Any], int]:
    """Where an item's like is first found in a list; -1 where it is not."""
    keys = [_key(one, merge_key) for one in items]
    try:
        places = {key: place for place, key in reversed(list(enumerate(keys)))}
    except TypeError:  # objects and lists are compared one by one
        return lambda item: next((place for place, key in enumerate(keys) if key == _key(item, merge_key)), -1)

    def place(item: Any) -> int:
        key = _key(item, merge_key)
        # what is there can all be hashed: an object or a list is not among it
        return -1 if isinstance(key, dict | list) else places.get(key, -1)

    return place


def partition(items: list[Any], listed: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """(items that `listed` names, the others)."""
    place = _places(listed, merge_key)
    named: list[Any] = []
    others: list[Any] = []
    for item in items:
        (named if place(item) >= 0 else others).append(item)
    return named, others


def merge_orders(
    named: list[Any], others: list[Any], patch_order: list[Any], server_order: list[Any], merge_key: str
) -> list[Any]:
    """One list: `named` in the patch's order, `others` in the server's; among each other as the server had them."""
    of_server = _places(server_order, merge_key)
    named = sorted(named, key=_places(patch_order, merge_key))
    if not others:
        return named
    others = sorted(others, key=of_server)
    merged: list[Any] = []
    left = right = 0
    while left < len(others) and right < len(named):
        if 0 <= of_server(others[left]) < of_server(named[right]):
            merged.append(others[left])
            left += 1
        else:
            merged.append(named[right])
            right += 1
    return merged + others[left:] + named[right:]
