"""PURE. Request bodies to objects, as upstream's typed decoding does it.

The result is the object as upstream would encode it again after decoding it into its Go type: nulls and empty optional
fields are gone, quantities are canonical, unknown fields are dropped or refused (field validation).
"""

from __future__ import annotations

from typing import Literal

from netlab.api.resources import Resource
from netlab.api.types import Obj

FieldValidation = Literal["Strict", "Warn", "Ignore"]


def decode(raw: bytes | Obj, resource: Resource, field_validation: FieldValidation = "Warn") -> tuple[Obj, list[str]]:
    """Decode one request body of `resource`.

    `raw` is JSON text, or an object already decoded (YAML, protobuf, the result of a patch), which is then changed in
    place. Returns the object and the warnings (`Warn` only). Raises `StatusError` 400 with upstream's message: syntax
    errors, type mismatches, and with `Strict` unknown and duplicate fields.
    """
    raise NotImplementedError
