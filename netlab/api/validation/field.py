"""Field errors: what was wrong, where, with which value.

Source followed: upstream `k8s.io/apimachinery/pkg/util/validation/field` (`field.Error`, `ErrorList`, `Path`).
A path is a plain string in upstream's notation (`spec.containers[0].name`, `metadata.annotations[key]`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netlab.api.types import Obj
from netlab.api.validation.gofmt import go_body

NOT_FOUND = "FieldValueNotFound"
REQUIRED = "FieldValueRequired"
DUPLICATE = "FieldValueDuplicate"
INVALID = "FieldValueInvalid"
NOT_SUPPORTED = "FieldValueNotSupported"
FORBIDDEN = "FieldValueForbidden"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"
INTERNAL = "InternalError"
TYPE_INVALID = "FieldValueTypeInvalid"

_TEXT = {
    NOT_FOUND: "Not found",
    REQUIRED: "Required value",
    DUPLICATE: "Duplicate value",
    INVALID: "Invalid value",
    NOT_SUPPORTED: "Unsupported value",
    FORBIDDEN: "Forbidden",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
    INTERNAL: "Internal error",
    TYPE_INVALID: "Invalid value",
}
_WITHOUT_VALUE = frozenset({REQUIRED, FORBIDDEN, TOO_LONG, INTERNAL})
OMITTED = object()
"""A bad value that is not shown: upstream's `OmitValueType`."""


class FieldError:
    """One finding. `type` is the cause's reason (`FieldValueInvalid`, …), `field` the path, `detail` the sentence."""

    __slots__ = ("bad_value", "detail", "field", "type")

    def __init__(self, type_: str, field: str, bad_value: object = None, detail: str = "") -> None:
        self.type = type_
        self.field = field
        self.bad_value = bad_value
        self.detail = detail

    @property
    def body(self) -> str:
        """The message without the field's path, as in a Status cause."""
        text = _TEXT[self.type]
        if self.type not in _WITHOUT_VALUE and self.bad_value is not OMITTED:
            text = f"{text}: {go_body(self.bad_value)}"
        return f"{text}: {self.detail}" if self.detail else text

    @property
    def message(self) -> str:
        """`<field>: <body>`, as in the Status message."""
        return f"{self.field}: {self.body}"

    def cause(self) -> Obj:
        """The `StatusCause` of this finding."""
        return {"reason": self.type, "message": self.body, "field": self.field}

    def __repr__(self) -> str:
        return f"FieldError({self.message!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldError) and (self.type, self.field, self.body) == (
            other.type,
            other.field,
            other.body,
        )

    def __hash__(self) -> int:
        return hash((self.type, self.field, self.detail))


Errors = list[FieldError]


def required(field: str, detail: str = "") -> FieldError:
    """`Required value`."""
    return FieldError(REQUIRED, field, "", detail)


def invalid(field: str, value: object, detail: str) -> FieldError:
    """`Invalid value: <value>: <detail>`."""
    return FieldError(INVALID, field, value, detail)


def not_found(field: str, value: object) -> FieldError:
    """`Not found: <value>`."""
    return FieldError(NOT_FOUND, field, value)


def duplicate(field: str, value: object) -> FieldError:
    """`Duplicate value: <value>`."""
    return FieldError(DUPLICATE, field, value)


def not_supported(field: str, value: object, supported: Sequence[str]) -> FieldError:
    """`Unsupported value: <value>: supported values: "A", "B"`; the caller orders the values as upstream does."""
    listed = ", ".join(f'"{one}"' for one in supported)
    return FieldError(NOT_SUPPORTED, field, value, f"supported values: {listed}" if supported else "")


def forbidden(field: str, detail: str) -> FieldError:
    """`Forbidden: <detail>`."""
    return FieldError(FORBIDDEN, field, "", detail)


def too_long(field: str, maximum: int) -> FieldError:
    """`Too long: may not be more than N bytes`; upstream does not echo the value."""
    noun = "byte" if maximum == 1 else "bytes"
    detail = f"may not be more than {maximum} {noun}" if maximum >= 0 else "value is too long"
    return FieldError(TOO_LONG, field, "<value omitted>", detail)


def too_many(field: str, actual: int, maximum: int) -> FieldError:
    """`Too many: <actual>: must have at most N items`."""
    noun = "item" if maximum == 1 else "items"
    detail = f"must have at most {maximum} {noun}" if maximum >= 0 else "has too many items"
    return FieldError(TOO_MANY, field, actual, detail)


def internal(field: str, detail: str) -> FieldError:
    """`Internal error: <detail>`."""
    return FieldError(INTERNAL, field, None, detail)


def causes(errors: Iterable[FieldError]) -> list[Obj]:
    """The Status causes of `errors`, in order."""
    return [error.cause() for error in errors]


def aggregate(errors: Iterable[FieldError]) -> str:
    """One message of many errors: each distinct one once, in brackets when there are several."""
    distinct = list(dict.fromkeys(error.message for error in errors))
    return distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]"
