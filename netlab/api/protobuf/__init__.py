"""Kubernetes protobuf request bodies, read into the JSON objects that everything else works on.

kubectl 1.32 and later (and client-go's clientsets) send bodies as `k8s\\0` + runtime.Unknown, whose raw bytes are the
kind's own message. Which field has which number is in `netlab.api.gotypes`; responses are always JSON, which every
client accepts. Pure: bytes in, object out.
"""

from __future__ import annotations

from netlab.api.errors import bad_request
from netlab.api.protobuf.message import decode_message
from netlab.api.protobuf.wire import MalformedError, fields
from netlab.api.types import Obj

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"

# Kinds that every group serves under its own apiVersion, and whose type is meta/v1's.
_META_KINDS = frozenset(
    {
        "CreateOptions",
        "DeleteOptions",
        "GetOptions",
        "ListOptions",
        "PatchOptions",
        "UpdateOptions",
        "Status",
    }
)


def decode(body: bytes) -> Obj:
    """The object in a body, with apiVersion and kind. Raises StatusError 400 for anything that is not well-formed."""
    try:
        api_version, kind, raw, content_type = _unknown(body)
        if content_type.startswith("application/json"):
            import orjson

            found: Obj = orjson.loads(raw)
            return found
        return {"apiVersion": api_version, "kind": kind, **decode_message(_type(api_version, kind), raw)}
    except (MalformedError, ValueError, RecursionError) as error:
        raise bad_request(f"unable to decode protobuf body: {error}") from None


def _unknown(body: bytes) -> tuple[str, str, bytes, str]:
    """(apiVersion, kind, raw, contentType) of the runtime.Unknown envelope."""
    if not body.startswith(MAGIC):
        raise MalformedError(f"provided data does not appear to be a protobuf message, expected prefix {list(MAGIC)}")
    api_version = kind = content_type = ""
    raw = b""
    for number, value in fields(body[len(MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            for inner, text in fields(value):
                if isinstance(text, bytes) and inner == 1:
                    api_version = text.decode()
                elif isinstance(text, bytes) and inner == 2:
                    kind = text.decode()
        elif number == 2 and isinstance(value, bytes):
            raw = value
        elif number == 4 and isinstance(value, bytes):
            content_type = value.decode()
    if not kind:
        raise MalformedError("the envelope names no kind")
    return api_version, kind, raw, content_type


def _type(api_version: str, kind: str) -> str:
    from netlab.api import gotypes

    name = f"meta/v1.{kind}" if kind in _META_KINDS else gotypes.type_name(api_version, kind)
    if not gotypes.is_struct(name):
        raise MalformedError(f'no kind "{kind}" is registered for version "{api_version}"')
    return name


__all__ = ["CONTENT_TYPE", "MAGIC", "decode"]
