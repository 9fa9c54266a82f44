"""API errors as Status objects, worded as upstream words them (apimachinery pkg/api/errors/errors.go).

`StatusError` travels through the server and comes back out of the client unchanged. A cause is
`{"reason": …, "message": …, "field": …}`, as in `status.details.causes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from netlab.api.types import Obj

if TYPE_CHECKING:
    from netlab.api.resources import Resource


class StatusError(Exception):
    """An API call that failed: `status` is the whole Status object; `headers` go out with the response."""

    def __init__(self, status: Obj, headers: dict[str, str] | None = None) -> None:
        super().__init__(status.get("message", ""))
        self.status = status
        self.headers = headers or {}

    @property
    def code(self) -> int:
        """The HTTP status code."""
        return int(self.status.get("code", 500))

    @property
    def reason(self) -> str:
        """The machine-readable reason (`NotFound`, `Conflict`, …), "" where unknown."""
        return str(self.status.get("reason", ""))

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.status.get("message", ""))

    @property
    def causes(self) -> list[Obj]:
        """`details.causes`, [] where there are none."""
        details = self.status.get("details") or {}
        return list(details.get("causes") or [])


def status(
    code: int,
    reason: str,
    message: str,
    details: Obj | None = None,
    headers: dict[str, str] | None = None,
) -> StatusError:
    """Any failure Status."""
    body: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if reason:
        body["reason"] = reason
    if details:
        body["details"] = details
    body["code"] = code
    return StatusError(body, headers)


def success(details: Obj | None = None, code: int = 200) -> Obj:
    """The Success Status that deletes and bindings answer with (not an error)."""
    body: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        body["details"] = details
    if code != 200:
        body["code"] = code
    return body


def _details(resource: Resource, name: str = "", uid: str = "") -> Obj:
    details: Obj = {}
    if name:
        details["name"] = name
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    if uid:
        details["uid"] = uid
    return details


def quote(text: str) -> str:
    """`text` as Go's %q prints it."""
    out = ['"']
    for char in text:
        escaped = _ESCAPES.get(char)
        if escaped:
            out.append(escaped)
        elif char.isprintable():
            out.append(char)
        else:
            code = ord(char)
            out.append(f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    out.append('"')
    return "".join(out)


_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def not_found(resource: Resource, name: str) -> StatusError:
    """404: the object does not exist."""
    message = f"{resource.group_resource} {quote(name)} not found"
    return status(404, "NotFound", message, _details(resource, name))


def path_not_found() -> StatusError:
    """404: nothing is served at this path."""
    return status(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> StatusError:
    """409: create of a name that exists."""
    message = f"{resource.group_resource} {quote(name)} already exists"
    return status(409, "AlreadyExists", message, _details(resource, name))


def generate_name_conflict(resource: Resource, name: str) -> StatusError:
    """409: no free name was found for a generateName; the client may retry."""
    details = {**_details(resource, name), "retryAfterSeconds": 1}
    why = "already exists, the server was not able to generate a unique name for the object"
    message = f"{resource.group_resource} {quote(name)} {why}"
    return status(409, "AlreadyExists", message, details)


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: Resource, name: str, why: str = MODIFIED, causes: Sequence[Obj] = ()) -> StatusError:
    """409: the object changed since it was read, or cannot be changed so now."""
    details = _details(resource, name)
    if causes:
        details["causes"] = list(causes)
    message = f"Operation cannot be fulfilled on {resource.group_resource} {quote(name)}: {why}"
    return status(409, "Conflict", message, details)


def apply_conflict(causes: Sequence[Obj]) -> StatusError:
    """409 of server-side apply: `causes` are FieldManagerConflict causes."""
    plural = "s" if len(causes) > 1 else ""
    message = f"Apply failed with {len(causes)} conflict{plural}: {_conflict_list(causes)}"
    return status(409, "Conflict", message, {"causes": list(causes)})


def _conflict_list(causes: Sequence[Obj]) -> str:
    if len(causes) == 1:
        return f"{causes[0]['message']}: {causes[0]['field']}"
    by_manager: dict[str, list[str]] = {}
    for cause in causes:
        by_manager.setdefault(cause["message"], []).append(cause["field"])
    return "\n".join(
        manager.replace("conflict", "conflicts", 1) + ":\n- " + "\n- ".join(fields)
        for manager, fields in sorted(by_manager.items())
    )


def cause(reason: str, field: str, message: str) -> Obj:
    """One entry of details.causes; `reason` is upstream's FieldValue… or FieldManagerConflict."""
    return {"reason": reason, "message": message, "field": field}


def aggregate(messages: Iterable[str]) -> str:
    """Several errors as upstream's Aggregate prints them: distinct ones, in brackets when more than one."""
    distinct = list(dict.fromkeys(messages))
    return distinct[0] if len(distinct) == 1 else "[" + ", ".join(distinct) + "]"


def invalid(kind: str, name: str, causes: Sequence[Obj], *, group: str = "") -> StatusError:
    """422: the object breaks rules. `kind` is the bare kind, `group` its group; causes carry field and message."""
    qualified = f"{kind}.{group}" if group else kind
    message = f"{qualified} {quote(name)} is invalid"
    if causes:
        message += ": " + aggregate(f"{c['field']}: {c['message']}" for c in causes)
    details: Obj = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    if causes:
        details["causes"] = [dict(c) for c in causes]
    return status(422, "Invalid", message, details)


def bad_request(message: str) -> StatusError:
    """400: the request cannot be understood."""
    return status(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> StatusError:
    """401: who is asking is not known."""
    return status(401, "Unauthorized", message)


def forbidden(resource: Resource, name: str, why: str, causes: Sequence[Obj] = ()) -> StatusError:
    """403: admission or authorisation says no; `why` is the rest of the sentence."""
    details = _details(resource, name)
    if causes:
        details["causes"] = list(causes)
    subject = f"{resource.group_resource} {quote(name)}" if name else resource.group_resource
    return status(403, "Forbidden", f"{subject} is forbidden: {why}", details)


def path_forbidden(user: str, verb: str, path: str) -> StatusError:
    """403 of a non-resource URL."""
    message = f"forbidden: User {quote(user)} cannot {verb} path {quote(path)}"
    return status(403, "Forbidden", message, {})


def method_not_supported_while_ending(resource: Resource, verb: str) -> StatusError:
    """405 of a kind whose definition is being deleted."""
    message = f"{verb} not allowed while custom resource definition is terminating"
    return status(405, "MethodNotAllowed", message, _details(resource))


def method_not_allowed() -> StatusError:
    """405 of an HTTP method that nothing answers on this path."""
    return status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def expired(message: str = "The resourceVersion for the provided watch is too old.") -> StatusError:
    """410: the resourceVersion or continue token is older than what is kept."""
    return status(410, "Expired", message)


def gone(message: str) -> StatusError:
    """410 without a resource version."""
    return status(410, "Gone", message)


def expired_continue(message: str = "") -> StatusError:
    """410 of a continue token whose snapshot is compacted."""
    text = message or (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter."
    )
    return status(410, "Expired", text)


def too_large_resource_version(minimum: int, current: int) -> StatusError:
    """504: a read asked for a resourceVersion that does not exist yet."""
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}
    details_all: Obj = {**details, "retryAfterSeconds": 1}
    message = f"Too large resource version: {minimum}, current: {current}"
    return status(504, "Timeout", message, details_all, {"Retry-After": "1"})


def too_many_requests(
    message: str = "Too many requests, please try again later.",
    retry_after_seconds: int = 1,
    causes: Sequence[Obj] = (),
) -> StatusError:
    """429: try again later (also how an eviction is refused by a disruption budget)."""
    details: Obj = {"causes": list(causes)} if causes else {}
    if retry_after_seconds:
        details["retryAfterSeconds"] = retry_after_seconds
    headers = {"Retry-After": str(retry_after_seconds)} if retry_after_seconds else {}
    return status(429, "TooManyRequests", message, details, headers)


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    """415: a body or patch in a content type that is not taken here."""
    listed = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {listed}"
    return status(415, "UnsupportedMediaType", message)


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    """406: none of the formats asked for can be made."""
    listed = ", ".join(accepted)
    message = f"only the following media types are accepted: {listed}"
    return status(406, "NotAcceptable", message)


def request_too_large(limit: int) -> StatusError:
    """413: the body is longer than `limit` bytes."""
    message = f"Request entity too large: limit is {limit}"
    return status(413, "RequestEntityTooLarge", message)


def timeout(message: str, retry_after_seconds: int = 0) -> StatusError:
    """504: the server gave up waiting."""
    details: Obj = {"retryAfterSeconds": retry_after_seconds} if retry_after_seconds else {}
    return status(504, "Timeout", f"Timeout: {message}", details)


def internal(message: str) -> StatusError:
    """500: our fault; `message` is what went wrong."""
    details: Obj = {"causes": [{"message": message}]}
    return status(500, "InternalError", f"Internal error occurred: {message}", details)


def service_unavailable(message: str) -> StatusError:
    """503: a backend (kubelet, aggregated API) cannot be reached."""
    return status(503, "ServiceUnavailable", message)
