"""PURE. Request bodies to objects, as upstream's typed decoding does it.

The result is the object as upstream would write it again after decoding it into its Go type: nulls and empty optional
fields are gone, fields that Go always writes are there, quantities and times are canonical, unknown fields are dropped
or refused (field validation). Two ways lead there: `gotypes.fast` for bodies without anything unusual, `gotypes.exact`
for the rest; the second one also finds the words for what is wrong.

Source followed: apiserver `endpoints/handlers/create.go` and `rest.go` (`transformDecodeError`), `sigs.k8s.io/json`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import orjson

from netlab.api import errors
from netlab.api.gotypes import exact, fast, is_struct, jsontext, type_name
from netlab.api.types import Obj

if TYPE_CHECKING:
    from netlab.api.resources import Resource

FieldValidation = Literal["Strict", "Warn", "Ignore"]

_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')
_SHOWN_BYTES = 30
_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'


class UnfitError(errors.StatusError):
    """400: a body that does not fit its kind. `why` is the decoder's own word, which a PATCH tells in another way."""

    def __init__(self, sent_kind: str, version: str, kind: str, why: str) -> None:
        super().__init__(
            errors.bad_request(f'{sent_kind} in version "{version}" cannot be handled as a {kind}: {why}').status
        )
        self.why = why


def go_type_of(resource: Resource) -> str:
    """The Go type of a built-in kind; of what has none of its own, meta's."""
    return _go_type(resource.api_version, resource.kind)


def decode(raw: bytes | Obj, resource: Resource, field_validation: FieldValidation = "Warn") -> tuple[Obj, list[str]]:
    """Decode one request body of `resource`.

    `raw` is JSON text, or an object already decoded (YAML, protobuf, the result of a patch), which is then changed in
    place. Returns the object (apiVersion and kind set) and the warnings (`Warn` only). Raises `StatusError` 400 with
    upstream's message: syntax errors, type mismatches, and with `Strict` unknown and duplicate fields.
    """
    if resource.custom:
        return _decode_custom(raw, resource, field_validation)
    return decode_as(raw, resource.api_version, resource.kind, field_validation)


def decode_as(
    raw: bytes | Obj,
    api_version: str,
    kind: str,
    field_validation: FieldValidation = "Warn",
    *,
    any_version: bool = False,
) -> tuple[Obj, list[str]]:
    """Decode a body of any built-in kind (`DeleteOptions`, `Scale`, `Eviction`, …); as `decode`.

    With `any_version` the apiVersion in the body is taken as it is: DeleteOptions exist in every group.
    """
    obj = _parse(raw, kind)
    # looked at before anything is added to the object
    plain = isinstance(raw, dict) or field_validation == "Ignore" or not _may_repeat_keys(raw, obj)
    _check_type(obj, api_version, kind, any_version)
    go_type = _go_type(api_version, kind)
    if plain:
        try:
            return fast.decoder(go_type)(obj), []
        except fast.Unusual:
            pass
    document = jsontext.lift(obj) if isinstance(raw, dict) else jsontext.parse(raw)
    return _exactly(document, go_type, obj, kind, field_validation)


def _exactly(
    document: Any, go_type: str, obj: Obj, kind: str, field_validation: FieldValidation
) -> tuple[Obj, list[str]]:
    walk = exact.Walk()
    sent_kind, version = str(obj["kind"]), str(obj["apiVersion"]).rpartition("/")[2]
    try:
        result = walk.run(go_type, document)
    except exact.DecodeError as error:
        raise UnfitError(sent_kind, version, kind, str(error)) from None
    if walk.strict and field_validation == "Strict":
        raise UnfitError(sent_kind, version, kind, "strict decoding error: " + ", ".join(walk.strict))
    result["apiVersion"], result["kind"] = obj["apiVersion"], obj["kind"]
    decoded: Obj = fast.decoder(go_type)(result)
    return decoded, walk.strict if field_validation == "Warn" else []


@cache
def _go_type(api_version: str, kind: str) -> str:
    name = type_name(api_version, kind)
    return name if is_struct(name) else f"meta/v1.{kind}"


# -- text to JSON ---------------------------------------------------------------------------------------


def _parse(raw: bytes | Obj, kind: str) -> Obj:
    if isinstance(raw, dict):
        return raw
    try:
        obj = orjson.loads(raw)
    except ValueError:
        try:
            obj = exact.plain(jsontext.parse(raw))
        except jsontext.JSONSyntaxError as error:
            raise _unrecognised(raw, kind, str(error)) from None
    if isinstance(obj, dict):
        return obj
    what = jsontext.go_kind(jsontext.lift(obj))
    raise _unrecognised(raw, kind, f"json: cannot unmarshal {what} into Go value of type {_TYPE_META}")


def _unrecognised(raw: bytes, kind: str, why: str) -> errors.StatusError:
    text = f"couldn't get version/kind; json parse error: {why}"
    return errors.bad_request(f"the object provided is unrecognized (must be of type {kind}): {text} ({_summary(raw)})")


def _summary(raw: bytes) -> str:
    """The beginning of a body, for people: text where it looks like JSON, else hexadecimal."""
    if not raw:
        return "<empty>"
    head = raw[:_SHOWN_BYTES]
    shown = head.decode("utf-8", "replace") if raw[:1] == b"{" else head.hex()
    return f"{shown} ..." if len(raw) > _SHOWN_BYTES else shown


def _may_repeat_keys(raw: bytes, obj: Obj) -> bool:
    """Whether the text may hold a key twice: it has more of them than the parsed object (or cannot be counted)."""
    text = orjson.dumps(obj)
    if raw == text or (raw.startswith(text) and raw[len(text) :].isspace()):
        return False  # as most clients write, without spaces
    if raw.count(b'":') != text.count(b'":'):
        return True
    spaced = b" :" in raw or b"\n:" in raw or b"\t:" in raw or b"\r:" in raw
    return spaced and _SPACED_COLON.search(raw) is not None


# -- what the body says it is ---------------------------------------------------------------------------


def _check_type(obj: Obj, api_version: str, kind: str, any_version: bool) -> None:
    """Complete apiVersion and kind, refuse those of something else."""
    sent_version, sent_kind = obj.get("apiVersion") or api_version, obj.get("kind") or kind
    if sent_version == api_version and sent_kind == kind:
        obj["apiVersion"], obj["kind"] = api_version, kind
        return
    for name, value in (("apiVersion", sent_version), ("kind", sent_kind)):
        if not isinstance(value, str):
            what = jsontext.go_kind(jsontext.lift(value))
            why = f"json: cannot unmarshal {what} into Go struct field .{name} of type string"
            raise _unrecognised(orjson.dumps(obj), kind, why)
    if sent_kind != kind:
        raise _wrong_kind(sent_version, sent_kind, api_version, kind)
    if not any_version and sent_version != api_version:
        if not is_struct(type_name(sent_version, sent_kind)):
            raise _wrong_kind(sent_version, sent_kind, api_version, kind)
        wrong = f"the API version in the data ({sent_version}) does not match the expected API version ({api_version})"
        raise errors.bad_request(wrong)
    obj["apiVersion"], obj["kind"] = sent_version, sent_kind


def _wrong_kind(sent_version: str, sent_kind: str, api_version: str, kind: str) -> errors.StatusError:
    version = sent_version.rpartition("/")[2]
    if is_struct(type_name(sent_version, sent_kind)):
        group = api_version.rpartition("/")[0].partition(".")[0] or "core"
        why = f"converting (v1.{sent_kind}) to ({group}.{kind}): unknown conversion"
    else:
        why = f'no kind "{sent_kind}" is registered for version "{sent_version}" in scheme "{_SCHEME}"'
    return UnfitError(sent_kind, version, kind, why)


# -- custom resources -----------------------------------------------------------------------------------


def _decode_custom(raw: bytes | Obj, resource: Resource, field_validation: FieldValidation) -> tuple[Obj, list[str]]:
    """A custom resource: its metadata is typed, the rest belongs to its schema (judged by the caller)."""
    obj = _parse(raw, resource.kind)
    _check_type_custom(obj, resource)
    metadata = obj.get("metadata")
    strict: list[str] = []
    if isinstance(raw, bytes) and field_validation != "Ignore" and _may_repeat_keys(raw, obj):
        strict += _repeated_keys(jsontext.parse(raw), "")
    walk = exact.Walk()
    walk._path.append("metadata")
    try:
        cleaned = walk.run("meta/v1.ObjectMeta", jsontext.lift(metadata if metadata is not None else {}))
    except exact.DecodeError as error:
        raise UnfitError(resource.kind, resource.version, resource.kind, str(error)) from None
    strict += walk.strict
    if strict and field_validation == "Strict":
        why = "strict decoding error: " + ", ".join(strict)
        raise UnfitError(resource.kind, resource.version, resource.kind, why)
    obj["metadata"] = fast.decoder("meta/v1.ObjectMeta")(cleaned)
    return obj, strict if field_validation == "Warn" else []


def _check_type_custom(obj: Obj, resource: Resource) -> None:
    sent_version, sent_kind = obj.get("apiVersion") or resource.api_version, obj.get("kind") or resource.kind
    if sent_version != resource.api_version:
        raise errors.bad_request(
            f"the API version in the data ({sent_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    if sent_kind != resource.kind:
        raise errors.bad_request(
            f"{sent_version}, Kind={sent_kind} does not match the expected kind {resource.api_version}, "
            f"Kind={resource.kind}"
        )
    obj["apiVersion"], obj["kind"] = sent_version, sent_kind


def _repeated_keys(node: Any, path: str) -> list[str]:
    found: list[str] = []
    if isinstance(node, jsontext.Pairs):
        seen: set[str] = set()
        for key, one in node:
            here = f"{path}.{key}" if path else key
            if key in seen:
                found.append(f'duplicate field "{here}"')
            seen.add(key)
            found += _repeated_keys(one, here)
    elif isinstance(node, list):
        for index, one in enumerate(node):
            found += _repeated_keys(one, f"{path}[{index}]")
    return found
