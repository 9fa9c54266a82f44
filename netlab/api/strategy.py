"""PURE. What the registry does to an object before it is stored, per kind, besides defaults and validation.

Source followed: upstream `pkg/registry/*/strategy.go` and `rest.BeforeCreate`/`BeforeUpdate`: status is reset on create
and kept on update, spec is kept on a status update, `generation` counts spec changes, dropped fields are dropped.
"""

from __future__ import annotations

from netlab.api.types import Obj


def prepare_for_create(obj: Obj) -> None:
    """Reset what a client may not set on create (status, generation); in place. Metadata the server owns (uid,
    creationTimestamp, resourceVersion) is the caller's."""


def prepare_for_update(new: Obj, old: Obj) -> None:
    """Keep the status of `old`, raise `metadata.generation` when the spec changed; in place on `new`."""


def prepare_for_status_update(new: Obj, old: Obj) -> None:
    """Keep everything of `old` but the status (and the metadata a status update may change); in place on `new`."""
