"""OpenAPI v2 as protobuf: the messages of gnostic's openapiv2/OpenAPIv2.proto that a Kubernetes document needs.

Protobuf by hand: a message is the concatenation of its fields, each a tag (number << 3 | wire type) and a value; text
and messages carry their length. That is all that this file relies on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from netlab.api.types import Obj


def varint(number: int) -> bytes:
    """Seven bits a byte, least significant first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def _text(number: int, value: str | None) -> bytes:
    return field(number, value.encode()) if value else b""


def _flag(number: int, value: Any) -> bytes:
    return varint(number << 3) + b"\x01" if value else b""


def _any(value: Any) -> bytes:
    return field(2, orjson.dumps(value))  # Any.yaml; JSON is YAML


def _named(number: int, pairs: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join(field(number, _text(1, name) + field(2, value)) for name, value in pairs)


def _extensions(number: int, node: Obj) -> bytes:
    return _named(number, ((key, _any(value)) for key, value in node.items() if key.startswith("x-")))


def _schema(node: Obj) -> bytes:
    out = [
        _text(1, node.get("$ref")),
        _text(2, node.get("format")),
        _text(4, node.get("description")),
    ]
    if "default" in node:
        out.append(field(5, _any(node["default"])))
    out += [field(19, name.encode()) for name in node.get("required") or ()]
    out += [field(20, _any(value)) for value in node.get("enum") or ()]
    additional = node.get("additionalProperties")
    if isinstance(additional, dict):
        out.append(field(21, field(1, _schema(additional))))
    elif additional is not None:
        out.append(field(21, varint(2 << 3) + (b"\x01" if additional else b"\x00")))
    if node.get("type"):
        out.append(field(22, _text(1, node["type"])))
    if isinstance(node.get("items"), dict):
        out.append(field(23, field(1, _schema(node["items"]))))
    out += [field(24, _schema(one)) for one in node.get("allOf") or ()]
    if node.get("properties"):
        out.append(field(25, _named(1, ((name, _schema(one)) for name, one in node["properties"].items()))))
    out.append(_extensions(31, node))
    return b"".join(out)


def _parameter(node: Obj) -> bytes:
    """A Parameter."""
    query = b"".join(
        (
            _flag(1, node.get("required")),
            _text(2, node["in"]),
            _text(3, node.get("description")),
            _text(4, node["name"]),
            _text(6, node.get("type")),
        )
    )
    return field(2, field(3, query))  # non_body_parameter.query_parameter_sub_schema


def _parameters_item(node: Obj) -> bytes:
    """A Parameter, or a JsonReference to one."""
    return field(2, _text(1, node["$ref"])) if "$ref" in node else field(1, _parameter(node))


def _operation(node: Obj) -> bytes:
    out = [_text(3, node.get("description")), _text(5, node.get("operationId"))]
    out += [field(8, _parameters_item(one)) for one in node.get("parameters") or ()]
    out.append(_extensions(13, node))
    return b"".join(out)


_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def _path_item(node: Obj) -> bytes:
    return b"".join(field(number, _operation(node[method])) for method, number in _METHODS.items() if method in node)


def encode_document(document: Obj) -> bytes:
    """The bytes of a whole v2 document."""
    info = document["info"]
    return b"".join(
        (
            _text(1, document["swagger"]),
            field(2, _text(1, info["title"]) + _text(2, info["version"])),
            field(8, _named(2, ((path, _path_item(item)) for path, item in document["paths"].items()))),
            field(9, _named(1, ((name, _schema(one)) for name, one in document["definitions"].items()))),
            field(10, _named(1, ((name, _parameter(one)) for name, one in document["parameters"].items()))),
        )
    )
