"""Bodies that are no objects, or try to be too much: a Status in upstream's words each."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.abuse.server import CMS, Server

JSON_TYPE, YAML_TYPE = "application/json", "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
PODS = "/api/v1/namespaces/default/pods"
UNRECOGNISED = (
    "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error"
)
BOMB = b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 8)
)
LONG = b"a: &a " + b"x" * 1_000_000 + b"\nb: [" + b",".join([b"*a"] * 1000) + b"]\n"
ENVELOPE = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12"
"""A protobuf envelope that names a ConfigMap; the length of its raw bytes and they follow."""


def _named(rest: bytes) -> bytes:
    return b'{"metadata":{"name":"bad"},"data":{"a":' + rest + b"}}"


@pytest.mark.parametrize(
    "kind, body, code, message",
    [
        (JSON_TYPE, b"", 400, f"{UNRECOGNISED}: unexpected end of JSON input"),
        (JSON_TYPE, b"nonsense", 400, f"{UNRECOGNISED}: invalid character 'o' in literal null"),
        (JSON_TYPE, b'{"metadata":{"name":"a"', 400, f"{UNRECOGNISED}: unexpected end of JSON input"),
        (JSON_TYPE, b"[1]", 400, f"{UNRECOGNISED}: json: cannot unmarshal array into Go value"),
        (JSON_TYPE, b"1e999", 400, f"{UNRECOGNISED}: json: cannot unmarshal number into Go value"),
        (JSON_TYPE, _named(b"NaN"), 400, f"{UNRECOGNISED}: invalid character 'N' looking for beginning of value"),
        (JSON_TYPE, _named(b"Infinity"), 400, f"{UNRECOGNISED}: invalid character 'I' looking for beginning of value"),
        (JSON_TYPE, _named(b"-Infinity"), 400, f"{UNRECOGNISED}: invalid character 'I' in numeric literal"),
        (JSON_TYPE, _named(b"9" * 5000), 400, "json: cannot unmarshal number into Go struct field ConfigMap.data"),
        (JSON_TYPE, b"\xef\xbb\xbf" + _named(b'"b"'), 400, UNRECOGNISED),
        (JSON_TYPE, b'{"metadata":' + b'{"a":' * 500 + b"1" + b"}" * 501, 400, "exceeded max depth"),
        (JSON_TYPE, b'{"metadata":' + b"[" * 500_000 + b"]" * 500_000 + b"}", 400, "exceeded max depth"),
        (YAML_TYPE, b"a: " + b"[" * 100_000, 400, "yaml: exceeded max depth"),
        (YAML_TYPE, b"\n".join(b" " * i + b"a:" for i in range(1500)), 400, "yaml: exceeded max depth"),
        (YAML_TYPE, BOMB, 400, "yaml: document contains excessive aliasing"),
        (YAML_TYPE, LONG, 400, "yaml: document contains excessive aliasing"),
        (YAML_TYPE, b"a: &a\n  b: *a\n", 400, "exceeded max depth"),
        (YAML_TYPE, b"!!python/object:os.system x", 400, "could not determine a constructor for the tag"),
        (YAML_TYPE, b"metadata: {[a]: z}", 400, "unhashable"),
        (YAML_TYPE, b"metadata: {name: y}\n---\nmetadata: {name: z}\n", 400, "expected a single document"),
        (YAML_TYPE, b"\tmetadata: x", 400, "cannot start any token"),
        (YAML_TYPE, b"a: \xff", 400, "invalid leading UTF-8 octet"),
        (YAML_TYPE, b'metadata: {name: "\\ud800"}', 400, "invalid Unicode character escape code"),
        (YAML_TYPE, b"data: {a: " + b"9" * 5000 + b"}", 400, "YAML"),
        (YAML_TYPE, b"metadata: {name: y}\ndata: {a: .inf}", 400, "cannot unmarshal number"),
        (
            PROTOBUF,
            b"",
            400,
            "provided data does not appear to be a protobuf message, expected prefix [107, 56, 115, 0]",
        ),
        (PROTOBUF, b"nope", 400, "provided data does not appear to be a protobuf message"),
        (PROTOBUF, b"k8s\0\xff\xff\xff\xff\xff", 400, "unexpected EOF"),
        (PROTOBUF, b"k8s\0" + b"\x0a" * 100_000, 400, "unexpected EOF"),
        (PROTOBUF, b"k8s\0\x0b", 400, "illegal wire type 3"),
        (PROTOBUF, ENVELOPE + b"\xff\xff\xff\xff\x7f", 400, "unexpected EOF"),
        (PROTOBUF, ENVELOPE + b"\x03\x0a\x01\x01", 400, "illegal tag 0"),
        (PROTOBUF, ENVELOPE + b"\x00", 422, "name or generateName is required"),
        ("text/plain", b"{}", 415, "the body of the request was in an unknown format"),
        ("garbage;;;=", b"{}", 415, "the body of the request was in an unknown format"),
    ],
)
def test_bodies_that_are_no_objects(server: Server, kind: str, body: bytes, code: int, message: str) -> None:
    found = server.ask("POST", CMS, body, content_type=kind)
    assert found.code == code, found.body
    assert message in found.status["message"], found.status
    reasons = {400: "BadRequest", 415: "UnsupportedMediaType", 422: "Invalid"}
    assert found.status["reason"] == reasons[code]


@pytest.mark.parametrize("limit", [10 << 20, (3 << 20) + 1])
def test_bodies_over_three_mebibytes(server: Server, limit: int) -> None:
    """Upstream's words; with and without a Content-Length, and packed by gzip."""
    body = _named(b'"' + b"x" * limit + b'"')
    before = server.memory()
    found = server.ask("POST", CMS, body)
    assert (found.code, found.status["reason"]) == (413, "RequestEntityTooLarge")
    assert found.status["message"] == "Request entity too large: limit is 3145728"
    head = f"POST {CMS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunks = b"".join(b"10000\r\n%b\r\n" % (b"x" * 65536) for _ in range(len(body) // 65536 + 2)) + b"0\r\n\r\n"
    assert b"Request entity too large: limit is 3145728" in server.raw(head + chunks)
    packed = server.ask("POST", CMS, gzip.compress(body), content_encoding="gzip")
    assert 400 <= packed.code < 500, packed.body
    server.until("the memory is given back", lambda: server.memory() < before + (40 << 20))


def test_text_that_is_no_unicode_is_mended_as_go_does(server: Server) -> None:
    for name, text, kept in (
        ("u1", b"\xff\xfe", "\ufffd\ufffd"),
        ("u2", b"\\ud800", "\ufffd"),
        ("u3", b"\\ud83d\\ude00", "\U0001f600"),
        ("u4", b"\\\\ud800", "\\ud800"),
        ("u5", b"\\u0000", "\0"),
    ):
        body = b'{"metadata":{"name":"%b"},"data":{"a":"%b"}}' % (name.encode(), text)
        assert server.ask("POST", CMS, body).code == 201
        assert json.loads(server.ask("GET", f"{CMS}/{name}").body)["data"] == {"a": kept}


def test_keys_that_are_there_twice(server: Server) -> None:
    body = b'{"metadata":{"name":"twice"},"data":{"a":"1","a":"2"}}'
    strict = server.ask("POST", f"{CMS}?fieldValidation=Strict", body)
    assert strict.code == 400
    assert 'strict decoding error: duplicate field "data.a"' in strict.status["message"]
    warned = server.ask("POST", CMS, body)
    assert (warned.code, warned.headers["warning"]) == (201, '299 - "duplicate field \\"data.a\\""')
    assert json.loads(warned.body)["data"] == {"a": "2"}


PATCHES: dict[str, list[tuple[Any, int]]] = {
    "application/json-patch+json": [
        (b"", 400), (b"nonsense", 400), ({}, 400), (1, 400), ("x", 400), ([[1]], 400), ([], 200),
        ([{"op": "x"}], 422), ([{"op": "add", "path": "x", "value": 1}], 422),
        ([{"op": "replace", "path": "/a/b"}], 422), ([{"op": "test", "path": "/data/a", "value": "no"}], 422),
        ([{"op": "add", "path": "/data/~3", "value": "1"}], None),
        ([{"op": "copy", "from": "/data", "path": "/data/x"}] * 2000, 400),
        ([{"op": "add", "path": "/data/x", "value": {"y": 1}}], 422),
        ([{"op": "move", "from": "", "path": "/a"}], None),
    ],
    "application/merge-patch+json": [
        (b"", 400), (b"nonsense", 400), ([], 400), (1, 400), ({}, 200),
        ({"metadata": None}, 400), ({"metadata": []}, 422),
        ({"data": {"a": {"b": 1}}}, 422), ({"metadata": {"name": "other"}}, 400), ({"kind": "Pod"}, 422),
        (b"{" * 5000, 400), (b'{"a":' * 400 + b"1" + b"}" * 400, 400),
    ],
    "application/strategic-merge-patch+json": [
        (b"", 400), ([], 400), ({}, 200), ({"$patch": "delete"}, 400), ({"$patch": "no-such"}, None),
        ({"metadata": {"$deleteFromPrimitiveList/finalizers": 1}}, 400), ({"metadata": {"ownerReferences": [1]}}, 422),
        ({"metadata": {"$setElementOrder/ownerReferences": [1]}}, None), ({"$retainKeys": 1}, 400),
    ],
    "application/apply-patch+yaml": [
        (b"", 400), (b"[]", 400), (b"1", 400), (b"{}", 400), (b"a: [", 400), (b"{" * 5000, 400), (BOMB, 400),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "target"}}, 400),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "target", "managedFields": [{}]}}, 400),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "target"}, "data": {"a": {}}}, None),
    ],
    "application/no-such-patch": [({}, 415)],
}  # fmt: skip
"""Content type → bodies and codes; None: any refusal of the client, or success."""


@pytest.mark.parametrize("kind", PATCHES)
def test_patches(server: Server, kind: str) -> None:
    server.ask("POST", CMS, {"metadata": {"name": "target"}, "data": {"a": "1"}})
    path = f"{CMS}/target" + ("?fieldManager=abuse" if "apply" in kind else "")
    for body, code in PATCHES[kind]:
        found = server.ask("PATCH", path, body, content_type=kind)
        assert found.code == code or (code is None and found.code < 500), (body, found.code, found.body)
        if found.code >= 400:
            assert found.status["message"]
