"""What differs between two objects, as a reader wants to see it after a "may not change" (upstream prints cmp.Diff)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def diff(old: Any, new: Any) -> str:
    """One line for each value that was (`-`) or became (`+`), with its path."""
    return "".join(f"\t{sign} {path}: {_shown(value)}\n" for sign, path, value in _walk(old, new, ""))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"


def _walk(old: Any, new: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            here = f"{path}.{key}" if path else str(key)
            yield from _walk(old.get(key), new.get(key), here)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _walk(before, after, f"{path}[{index}]")
    elif old != new:
        if old is not None:
            yield "-", path, old
        if new is not None:
            yield "+", path, new
