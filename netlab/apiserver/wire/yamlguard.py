"""PURE. What a YAML document would become, counted before it is built: nesting, and what its aliases multiply.

A few hundred bytes of aliases can stand for gigabytes of JSON, and the parsers recurse. go-yaml counts the nodes it
decodes and how many of them come from aliases (decode.go, `allowedAliasRatio`); the same here, and their bytes.
"""

from dataclasses import dataclass, field
from typing import Any

from netlab.api import errors

MAX_DEPTH = 200
"""Levels of lists and maps; what is stored is written by an encoder that knows 254."""
_MAX_BYTES = 32 << 20
_FEW_NODES, _MANY_NODES = 400_000, 4_000_000
_EXCESSIVE = "error converting YAML to JSON: yaml: document contains excessive aliasing"


@dataclass(slots=True)
class _Size:
    """Of one node and everything below it, aliases followed. `aliased`: the nodes that aliases stand for."""

    nodes: int = 1
    aliased: int = 0
    size: int = 0
    anchor: str | None = None
    depth: int = field(default=1)


def check(body: bytes) -> None:
    """Raises StatusError 400 for a document that is too deep or multiplies too much; not for one that is no YAML."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    whole, open_nodes, known = _Size(), [], dict[str, _Size]()
    try:
        for event in yaml.parse(body, Loader=loader):
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append(_Size(anchor=event.anchor))
                if len(open_nodes) > MAX_DEPTH:
                    raise _too_deep()
                continue
            if isinstance(event, yaml.ScalarEvent):
                found = _Size(size=len(event.value), anchor=event.anchor)
            elif isinstance(event, yaml.AliasEvent):
                found = _alias(known.get(event.anchor or ""))
            elif isinstance(event, yaml.CollectionEndEvent):
                found = open_nodes.pop()
            else:
                continue
            if found.anchor:
                known[found.anchor] = found
            _add(open_nodes[-1] if open_nodes else whole, found)
    except yaml.YAMLError:
        # who builds it finds the words
        return


def _alias(target: _Size | None) -> _Size:
    """What an alias stands for; one that names a node which is still open goes round in a circle."""
    if target is None:
        return _Size()
    return _Size(target.nodes, target.nodes, target.size, None, target.depth)


def _add(parent: _Size, child: _Size) -> None:
    parent.nodes += child.nodes
    parent.aliased += child.aliased
    parent.size += child.size
    parent.depth = max(parent.depth, child.depth + 1)
    if parent.depth > MAX_DEPTH:
        raise _too_deep()
    many = parent.aliased > 100 and parent.nodes > 1000
    if parent.size > _MAX_BYTES or (many and parent.aliased / parent.nodes > _allowed(parent.nodes)):
        raise errors.bad_request(_EXCESSIVE)


def _allowed(nodes: int) -> float:
    """The part that may come from aliases: the more there is, the less."""
    part = min(max((nodes - _FEW_NODES) / (_MANY_NODES - _FEW_NODES), 0.0), 1.0)
    return 0.99 - 0.89 * part


def _too_deep() -> errors.StatusError:
    return errors.bad_request(f"error converting YAML to JSON: yaml: exceeded max depth of {MAX_DEPTH}")
