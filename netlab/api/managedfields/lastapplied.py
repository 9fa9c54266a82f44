"""From client-side apply to server-side apply: the annotation in which kubectl keeps what it applied last.

What kubectl applied by itself before, and nobody changed since, does not conflict when the manager `kubectl` applies it
through the server; and the annotation, where there is one, follows, so that going back works too.
"""

from __future__ import annotations

import orjson

from netlab.api import meta
from netlab.api.managedfields import typed
from netlab.api.managedfields.sets import EMPTY, FieldSet
from netlab.api.schema import Schema
from netlab.api.types import Obj

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MANAGER = "kubectl"
MAX_ANNOTATIONS = 256 * 1024
"""Bytes that an object's annotations may take together; a longer configuration is not written back."""


def allowed_conflicts(shape: Schema, live: Obj) -> FieldSet:
    """The paths that the annotation sets and whose values are still what it says."""
    text = meta.annotations(live).get(ANNOTATION)
    if not text:
        return EMPTY
    try:
        last = orjson.loads(text)
        changed = typed.compare(shape, last, live)
        return typed.field_set(shape, last) - changed.modified - changed.added - changed.removed
    except (ValueError, TypeError, AttributeError):
        return EMPTY


def follow(result: Obj, config: Obj) -> None:
    """Write `config` into the annotation of `result`, in place, where the annotation exists."""
    annotations = meta.annotations(result)
    if ANNOTATION not in annotations:
        return
    metadata = {**(config.get("metadata") or {})}
    metadata["annotations"] = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != ANNOTATION}
    plain = {**config, "metadata": {**metadata, "creationTimestamp": None}}
    text = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    if len(text.encode()) <= MAX_ANNOTATIONS:
        meta.set_annotation(result, ANNOTATION, text)
