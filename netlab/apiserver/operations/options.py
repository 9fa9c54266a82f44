"""Options of a request's query, checked as upstream checks them."""

import random
import re

from netlab.api import errors
from netlab.api.types import Obj
from netlab.apiserver.wire.message import Request

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_NUMBER = re.compile(r"[+-]?[0-9]+")
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False", ""})


def flag(request: Request, name: str) -> bool:
    """A boolean parameter, as Go's strconv.ParseBool reads it; anything else counts as true, as upstream converts."""
    value = request.query.get(name)
    return value is not None and value not in _FALSE


def dry_run(request: Request, body: object = None) -> bool:
    """dryRun=All of the query (or of DeleteOptions in the body); any other value is refused."""
    asked = body if isinstance(body, list) else [request.query["dryRun"]] if request.query.get("dryRun") else []
    for value in asked:
        if value != "All":
            kind = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}.get(
                request.method, "DeleteOptions"
            )
            message = f'Unsupported value: "{value}": supported values: "All"'
            cause = errors.cause("FieldValueNotSupported", "dryRun", message)
            raise errors.invalid(kind, "", [cause], group="meta.k8s.io")
    return bool(asked)


def field_manager(request: Request) -> str:
    """Who writes: the parameter, or the first word of the user agent, as upstream."""
    manager = request.query.get("fieldManager", "")
    if manager:
        return manager
    agent = request.headers.get("user-agent", "")
    return agent.partition("/")[0][:128] or "unknown"


def check_patch_options(request: Request, *, applying: bool) -> None:
    """Raises 422 for an apply without a manager, or force without an apply (ValidatePatchOptions)."""
    causes: list[Obj] = []
    if applying and not request.query.get("fieldManager"):
        causes.append(errors.cause("FieldValueRequired", "fieldManager", "Required value: is required for apply patch"))
    if not applying and "force" in request.query:
        message = "Forbidden: may not be specified for non-apply patch"
        causes.append(errors.cause("FieldValueForbidden", "force", message))
    if causes:
        raise errors.invalid("PatchOptions", "", causes, group="meta.k8s.io")


def revision(text: str) -> int:
    """A resourceVersion as a number; "" and "0" are 0."""
    if not text:
        return 0
    if not text.isdecimal() or not text.isascii():
        cause = errors.cause(
            "FieldValueInvalid",
            "resourceVersion",
            f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax',
        )
        raise errors.invalid("ListOptions", "", [cause], group="meta.k8s.io")
    return int(text)


def timeout_seconds(request: Request, least: float) -> float:
    """How long a watch lasts: as asked, or between the least and twice that, so that not all end at once."""
    asked = whole_number(request, "timeoutSeconds")
    return float(asked) if asked else least * (1 + random.random())


def whole_number(request: Request, name: str) -> int:
    """A parameter that is a number; 0 without one. Raises StatusError 400 in the words of Go's strconv.ParseInt."""
    asked = request.query.get(name, "")
    if not asked:
        return 0
    if not _NUMBER.fullmatch(asked):
        raise errors.bad_request(f"strconv.ParseInt: parsing {errors.quote(asked)}: invalid syntax")
    if len(asked) > 20 or not -(1 << 63) <= int(asked) < 1 << 63:
        raise errors.bad_request(f"strconv.ParseInt: parsing {errors.quote(asked)}: value out of range")
    return int(asked)
