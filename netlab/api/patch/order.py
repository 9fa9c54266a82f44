"""The order of a merged list: the patch's own order for what it names, the server's for the rest, interleaved."""

from __future__ import annotations

from typing import Any


def _key(item: Any, merge_key: str) -> Any:
    return item.get(merge_key) if merge_key and isinstance(item, dict) else item


def _index(items: list[Any], item: Any, merge_key: str) -> int:
    wanted = _key(item, merge_key)
    return next((i for i, one in enumerate(items) if _key(one, merge_key) == wanted), -1)


def partition(items: list[Any], listed: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """(items that `listed` names, the others)."""
    named: list[Any] = []
    others: list[Any] = []
    for item in items:
        (named if _index(listed, item, merge_key) >= 0 else others).append(item)
    return named, others


def merge_orders(
    named: list[Any], others: list[Any], patch_order: list[Any], server_order: list[Any], merge_key: str
) -> list[Any]:
    """One list: `named` in the patch's order, `others` in the server's; among each other as the server had them."""
    named = sorted(named, key=lambda item: _index(patch_order, item, merge_key))
    others = sorted(others, key=lambda item: _index(server_order, item, merge_key))
    merged: list[Any] = []
    left = right = 0
    while left < len(others) and right < len(named):
        here = _index(server_order, others[left], merge_key)
        there = _index(server_order, named[right], merge_key)
        if 0 <= here < there:
            merged.append(others[left])
            left += 1
        else:
            merged.append(named[right])
            right += 1
    return merged + others[left:] + named[right:]
