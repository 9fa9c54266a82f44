"""The shape every API object has while netlab works on it: the JSON object itself."""

from typing import Any, TypeVar

Obj = dict[str, Any]
"""A Kubernetes API object (or a part of one) as decoded JSON."""

Json = TypeVar("Json")


def clone(value: Json) -> Json:
    """A deep copy of a JSON value, several times as quick as copy.deepcopy."""
    if isinstance(value, dict):
        return {k: clone(v) if isinstance(v, dict | list) else v for k, v in value.items()}  # type: ignore[return-value]
    if isinstance(value, list):
        return [clone(v) if isinstance(v, dict | list) else v for v in value]  # type: ignore[return-value]
    return value
