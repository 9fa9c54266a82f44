"""Rules of CustomResourceDefinitions. Source followed: apiextensions `pkg/apis/apiextensions/validation/validation.go`,
`pkg/apiserver/schema/validation.go`."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError
from netlab.api.validation.meta import metadata, metadata_update


def create(obj: Obj) -> list[FieldError]:
    """`ValidateCustomResourceDefinition`."""
    return metadata(obj, False, kube_finalizers=False)


def update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateCustomResourceDefinitionUpdate`."""
    return metadata_update(new, old, kube_finalizers=False)


RULES = {"CustomResourceDefinition": Rules(create, update, update)}
