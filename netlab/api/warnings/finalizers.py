"""Finalizers that a custom object is given: their names should tell whose they are. PURE.

Source followed: apiextensions-apiserver `pkg/registry/customresource/strategy.go`, `generateWarningsFromObj`.
"""

from __future__ import annotations

from netlab.api import meta
from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.gofmt import quote

_STANDARD = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_QUALIFY = (
    "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts "
    "with other finalizer writers"
)


def added(new: Obj, old: Obj | None) -> list[str]:
    """Of those that were not there before."""
    before = set(meta.get(old, "metadata", "finalizers", default=None) or ()) if old else set()
    found = []
    for name in sorted(set(meta.get(new, "metadata", "finalizers", default=None) or ()) - before):
        head = f"metadata.finalizers: {quote(name)}"
        found += [f"{head}: {message}" for message in names.qualified_name(name)]
        if "/" not in name and name not in _STANDARD:
            found.append(f"{head}: {_QUALIFY}")
    return found
