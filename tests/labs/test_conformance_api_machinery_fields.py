"""api-machinery's conformance names about field validation by the server (field_validation.go)."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.labs.conformance_crds import Custom, definition, removed
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Api, Obj, Space

pytestmark = pytest.mark.timeout(300)
STRICT = "fieldManager=field_validation_mgr&fieldValidation=Strict"
PORT: Obj = {
    "type": "object", "required": ["containerPort", "protocol"],
    "properties": {"containerPort": {"format": "int32", "type": "integer"}, "hostIP": {"type": "string"},
                   "hostPort": {"format": "int32", "type": "integer"}, "name": {"type": "string"},
                   "protocol": {"type": "string"}},
}  # fmt: skip
SPEC: Obj = {
    "type": "object",
    "properties": {
        "foo": {"type": "string"},
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "ports": {"type": "array", "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
                  "x-kubernetes-list-type": "map", "items": PORT},
    },
}  # fmt: skip
SCHEMA: Obj = {"type": "object", "properties": {"spec": SPEC}}
PRESERVING: Obj = {"type": "object", "properties": {"spec": {**SPEC, "x-kubernetes-preserve-unknown-fields": True}}}
HEAD = """
apiVersion: {version}
kind: Thing
metadata:
  name: mytest
  finalizers:
  - test-finalizer
"""
TAIL = """
  cronSpec: "* * * * */5"
  ports:
  - name: x
    containerPort: 80
    protocol: TCP"""


def _raw(api: Api, method: str, path: str, body: str, kind: str) -> tuple[int, str]:
    request = urllib.request.Request(api.server + path, body.encode(), {"Content-Type": kind}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60, context=api.context) as answer:
            return int(answer.status), str(answer.read().decode())
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read().decode()


def _applied(ns: Space, schema: Obj | None, text: str) -> tuple[int, str]:
    """What the server says to strict server-side apply of that YAML as an object of a new kind."""
    crd = definition(ns.api, f"{ns.name}.example.com", "v1beta1", "v1", schema=schema, namespaced=False)
    path = f"{crd.path()}/mytest"
    body = text.replace("{version}", f"{crd.group}/v1beta1")
    found = _raw(ns.api, "PATCH", f"{path}?{STRICT}", body, "application/apply-patch+yaml")
    _clean(ns.api, crd, path)
    return found


def _clean(api: Api, crd: Custom, path: str) -> None:
    if not api.gone(path):
        api.merge(path, {"metadata": {"finalizers": None}})
    removed(api, crd)


def _deployment(ns: Space, meta: str = "", spec: str = "") -> str:
    """What is wrong with that Deployment; fields are added as text, for they may stand twice."""
    body = (
        '{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "my-dep", ' + meta + '"labels": '
        '{"app": "nginx"}}, "spec": {'
        + spec
        + '"selector": {"matchLabels": {"app": "nginx"}}, "template": {"metadata": '
        '{"labels": {"app": "nginx"}}, "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]}}}}'
    )
    path = ns.path("deployments", group="apis/apps/v1")
    code, said = _raw(ns.api, "POST", f"{path}?{STRICT}", body, "application/json")
    assert code == 400, said
    return said.replace('\\"', '"')


@conformance("FieldValidation should detect unknown and duplicate fields of a typed object")
def test_typed(space: Space) -> None:  # noqa: F811
    said = _deployment(space, spec='"unknownField": "foo", "replicas": 2, "replicas": 3, ')
    assert 'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"' in said


@conformance("FieldValidation should detect unknown metadata fields of a typed object")
def test_typed_metadata(space: Space) -> None:  # noqa: F811
    said = _deployment(space, meta='"unknownMeta": "foo", ')
    assert 'strict decoding error: unknown field "metadata.unknownMeta"' in said


@conformance("FieldValidation should create/apply a valid CR for CRD with validation schema")
def test_valid(space: Space) -> None:  # noqa: F811
    code, said = _applied(space, SCHEMA, HEAD + "spec:\n  foo: foo1" + TAIL)
    assert code == 201, said


@conformance("FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema")
def test_no_schema(space: Space) -> None:  # noqa: F811
    code, said = _applied(space, None, HEAD + "spec:\n  unknown: uk1" + TAIL)
    assert code == 201, said


@conformance("FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema")
def test_extra(space: Space) -> None:  # noqa: F811
    code, said = _applied(space, SCHEMA, HEAD + "unknownField: unknown\nspec:\n  foo: foo1" + TAIL)
    assert code >= 400
    assert ".unknownField: field not declared in schema" in said


@conformance("FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR")
def test_metadata(space: Space) -> None:  # noqa: F811
    meta = {"type": "object", "properties": {"name": {"type": "string"}}}
    template = {"type": "object", "x-kubernetes-embedded-resource": True,
                "properties": {"metadata": meta, "spec": {"type": "object"}}}  # fmt: skip
    spec = {**SPEC, "x-kubernetes-preserve-unknown-fields": True,
            "properties": {**SPEC["properties"], "template": template}}  # fmt: skip
    head = HEAD.replace("  name: mytest\n", "  name: mytest\n  unknownMeta: unknown\n")
    inner = (
        "spec:\n  template:\n    apiversion: foo/v1\n    kind: Sub\n    metadata:\n        unknownSubMeta: unknown\n"
        f"        name: subobject\n        namespace: {space.name}\n  foo: foo1"
    )
    code, said = _applied(space, {"type": "object", "properties": {"spec": spec}}, head + inner + TAIL)
    assert code >= 400
    texts = (".spec.template.metadata.unknownSubMeta", ".metadata.unknownMeta")
    assert any(f"{text}: field not declared in schema" in said for text in texts), said


@conformance("FieldValidation should detect duplicates in a CR when preserving unknown fields")
def test_duplicates(space: Space) -> None:  # noqa: F811
    code, said = _applied(space, PRESERVING, HEAD + "spec:\n  unknown: uk1\n  foo: foo1\n  foo: foo2" + TAIL)
    assert code >= 400
    assert r"line 11: key \"foo\" already set in map" in said, said
