"""For tests: objects to protobuf bodies, the inverse of netlab.api.protobuf, by the same table of Go types."""

import base64
import re
import struct
from typing import Any

import orjson

from netlab.api import gotypes, meta
from netlab.api.openapi.gnostic import field, varint
from netlab.api.types import Obj

SCHEMA = "apiextensions/v1.JSONSchemaProps"
MAP = re.compile(r"map\[([^\]]+)\](.+)")


def number(index: int, value: int) -> bytes:
    return varint(index << 3) + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def encode(obj: Obj) -> bytes:
    """A whole body: magic, envelope, message."""
    api_version, kind = obj["apiVersion"], obj["kind"]
    envelope = field(1, field(1, api_version.encode()) + field(2, kind.encode()))
    message = encode_message(gotypes.type_name(api_version, kind), obj)
    return b"k8s\x00" + envelope + field(2, message)


def encode_message(name: str, obj: Obj) -> bytes:
    out, embedded = [], {}
    for one in gotypes.fields_of(name):
        if one.owner == "meta/v1.TypeMeta" or not one.number:
            continue
        if one.inline:
            embedded[one.inline] = one.owner
        elif one.name in obj and obj[one.name] is not None:
            out.append(encode_field(one.number, one.type.lstrip("*"), obj[one.name]))
    for index, owner in embedded.items():
        out.append(field(index, encode_message(owner, obj)))
    return b"".join(out)


def encode_field(index: int, kind: str, value: Any) -> bytes:
    resolved = gotypes.underlying(kind)
    if resolved == "[]uint8" or not (kind.startswith("[]") or MAP.fullmatch(resolved)):
        return encode_value(index, kind, value)
    if kind.startswith("[]"):
        return b"".join(encode_value(index, kind[2:], one) for one in value)
    match = MAP.fullmatch(resolved)
    assert match is not None
    return b"".join(field(index, field(1, key.encode()) + encode_value(2, match[2], one)) for key, one in value.items())


def encode_value(index: int, kind: str, value: Any) -> bytes:
    kind = kind.lstrip("*")
    resolved = gotypes.underlying(kind)
    match kind:
        case "meta/v1.Time" | "meta/v1.MicroTime":
            seconds = meta.parse_time(value)
            nanos = round((seconds % 1) * 1_000_000) * 1000
            return field(index, number(1, int(seconds // 1)) + number(2, nanos))
        case "resource.Quantity":
            return field(index, field(1, str(value).encode()))
        case "intstr.IntOrString":
            if isinstance(value, int):
                return field(index, number(1, 0) + number(2, value) + field(3, b""))
            return field(index, number(1, 1) + number(2, 0) + field(3, value.encode()))
        case "runtime.RawExtension" | "meta/v1.FieldsV1":
            return field(index, field(1, orjson.dumps(value)))
        case "apiextensions/v1.JSON":
            return field(index, field(1, orjson.dumps(value)))
        case "apiextensions/v1.JSONSchemaPropsOrArray" if isinstance(value, list):
            return field(index, b"".join(field(2, encode_message(SCHEMA, one)) for one in value))
        case "apiextensions/v1.JSONSchemaPropsOrArray":
            return field(index, field(1, encode_message(SCHEMA, value)))
        case "apiextensions/v1.JSONSchemaPropsOrBool" if isinstance(value, bool):
            return field(index, number(1, int(value)))
        case "apiextensions/v1.JSONSchemaPropsOrBool":
            return field(index, number(1, 0) + field(2, encode_message(SCHEMA, value)))
    if resolved == "string":
        return field(index, value.encode())
    if resolved == "[]uint8":
        return field(index, base64.b64decode(value))
    if resolved == "bool":
        return number(index, int(value))
    if resolved.startswith("float"):
        return varint(index << 3 | 1) + struct.pack("<d", value)
    if resolved.startswith(("int", "uint")):
        return number(index, value)
    if resolved.startswith("[]"):
        return field(index, b"".join(encode_value(1, resolved[2:], one) for one in value))
    return field(index, encode_message(resolved, value))
