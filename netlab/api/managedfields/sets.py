"""Sets of field paths, and FieldsV1, the trie in which they are stored.

A path is a tuple of elements as FieldsV1 writes them: `f:<field>`, `k:<keys as JSON>` and `v:<value as JSON>` for items
of lists, `i:<index>`.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from netlab.api.types import Obj

Path = tuple[str, ...]
FieldSet = frozenset[Path]

EMPTY: FieldSet = frozenset()


def from_fields_v1(trie: Obj) -> FieldSet:
    """The paths that a FieldsV1 object holds."""
    found: set[Path] = set()
    stack: list[tuple[Path, Obj]] = [((), trie)]
    while stack:
        prefix, node = stack.pop()
        for element, children in node.items():
            if element == ".":
                found.add(prefix)
            elif children:
                stack.append(((*prefix, element), children))
            else:
                found.add((*prefix, element))
    return frozenset(found)


def to_fields_v1(paths: Iterable[Path]) -> Obj:
    """The FieldsV1 object of a set of paths, keys sorted as upstream sorts them."""
    trie: Obj = {}
    for path in sorted(paths):
        node = trie
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _without_lone_dots(trie)


def _without_lone_dots(node: Obj) -> Obj:
    if node.keys() == {"."}:
        return {}
    children = {key: _without_lone_dots(child) for key, child in node.items() if key != "."}
    return {".": {}, **children} if "." in node else children


def field(*names: str) -> Path:
    """The path of nested fields."""
    return tuple(f"f:{name}" for name in names)


def show(path: Path) -> str:
    """`.spec.containers[name="a"].image`: how conflicts name a path."""
    out = []
    for element in path:
        kind, _, text = element.partition(":")
        match kind:
            case "f":
                out.append(f".{text}")
            case "k":
                keys = orjson.loads(text)
                out.append("[" + ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in keys.items()) + "]")
            case "v":
                out.append(f"[={text}]")
            case _:
                out.append(f"[{text}]")
    return "".join(out)


def within(paths: FieldSet, roots: Iterable[Path]) -> FieldSet:
    """Those paths that are one of `roots` or lie below one."""
    prefixes = tuple(roots)
    return frozenset(path for path in paths if any(path[: len(root)] == root for root in prefixes))
