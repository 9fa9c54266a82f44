"""api-machinery's conformance names about the published OpenAPI of custom kinds (crd_publish_openapi.go)."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml

from tests.labs.conformance_crds import Custom, custom, definition
from tests.labs.conformance_tools import JSON_PATCH
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import LAB, Obj, Space, kubectl
from tests.labs.tools import User

pytestmark = pytest.mark.timeout(300)
P = "CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
ADDED = ("apiVersion", "kind", "metadata")

FOO: Obj = yaml.safe_load("""
description: Foo CRD for Testing
type: object
properties:
  spec:
    type: object
    description: Specification of Foo
    properties:
      bars:
        description: List of Bars and their specs.
        type: array
        items:
          type: object
          required: [name]
          properties:
            name: {description: Name of Bar., type: string}
            age: {description: Age of Bar., type: string}
            feeling: {description: Whether Bar is feeling great., type: string, enum: [Great, Down]}
            bazs: {description: List of Bazs., type: array, items: {type: string}}
  status:
    description: Status of Foo
    type: object
    properties:
      bars:
        description: List of Bars and their statuses.
        type: array
        items:
          type: object
          properties:
            name: {description: Name of Bar., type: string}
            available: {description: Whether the Bar is installed., type: boolean}
            quxType: {description: Indicates to external qux type., pattern: in-tree|out-of-tree, type: string}
""")
WALDO: Obj = yaml.safe_load("""
description: Waldo CRD for Testing
type: object
properties:
  spec:
    description: Specification of Waldo
    type: object
    properties: {dummy: {description: Dummy property., type: object}}
  status:
    description: Status of Waldo
    type: object
    properties: {bars: {description: List of Bars and their statuses., type: array, items: {type: object}}}
""")
PRESERVE = {"x-kubernetes-preserve-unknown-fields": True}
ROOT: Obj = {**WALDO, **PRESERVE, "description": "preserve-unknown-properties at root for Testing"}
NESTED: Obj = {**WALDO, "description": "preserve-unknown-properties in nested field for Testing",
               "properties": {**WALDO["properties"], "spec": {**WALDO["properties"]["spec"], **PRESERVE}}}  # fmt: skip
NOTHING: Obj = {"type": "object"}


class Published:
    """What /openapi/v2 says."""

    def __init__(self, ns: Space) -> None:
        self.ns, self.api = ns, ns.api

    def definition(self, crd: Custom, version: str) -> Obj | None:
        """Without what the server adds; by upstream's name for it."""
        name = ".".join([*reversed(crd.group.split(".")), version, crd.kind])
        found = self.api.get("/openapi/v2")["definitions"].get(name)
        if found is None:
            return None
        found = {key: value for key, value in found.items() if key != "x-kubernetes-group-version-kind"}
        own = {key: value for key, value in found.pop("properties", {}).items() if key not in ADDED}
        return {**found, "properties": own} if own else found

    def says(self, crd: Custom, version: str, schema: Obj | None) -> None:
        what = f"{crd.name} {version} is published {'so' if schema else 'no more'}"
        self.ns.wait(what, lambda: self.definition(crd, version) == schema)


def _define(
    ns: Space, schema: Obj, suffix: str, *versions: str, published: Obj | None, plural: str = "things"
) -> Custom:
    kind = plural[:-1].capitalize()
    crd = definition(ns.api, f"{ns.name}-{suffix}.example.com", *versions, schema=schema, plural=plural, kind=kind)
    for version in versions if published is not None else ():
        Published(ns).says(crd, version, published)
    return crd


def _drop(ns: Space, *crds: Custom) -> None:
    for crd in crds:
        versions = [one["name"] for one in ns.api.get(crd.own)["spec"]["versions"]]
        ns.api.call("DELETE", crd.own)
        for version in versions:
            Published(ns).says(crd, version, None)


def _feed(user: User, body: Obj, *arguments: str) -> None:
    """kubectl with the object at its standard input."""
    config = user.home / "state" / "netlab" / LAB / "kubeconfig"
    command = ["kubectl", f"--kubeconfig={config}", *arguments, "-f", "-"]
    done = subprocess.run(
        command, input=json.dumps(body), text=True, capture_output=True, timeout=60, env=user.environment, check=False
    )
    assert done.returncode == 0, done.stderr


def _taken(ns: Space, crd: Custom, body: Obj) -> None:
    """kubectl create and kubectl apply take the object."""
    where = f"--namespace={ns.name}"
    for verb in ("create", "apply"):
        _feed(ns.user, body, where, verb)
        done = kubectl(ns.user, where, "delete", crd.name, body["metadata"]["name"])
        assert done.returncode == 0, done.stderr


def _explained(ns: Space, what: str, pattern: str) -> None:
    done = kubectl(ns.user, "explain", what)
    assert re.search(pattern, done.stdout, re.DOTALL), (pattern, done.stdout, done.stderr)


@conformance(P + "works for CRD with validation schema")
def test_schema(space: Space) -> None:  # noqa: F811
    crd = _define(space, FOO, "foo", "v1", published=FOO, plural=f"foo{space.name[4:]}s")
    _taken(space, crd, custom(crd, "test-foo", spec={"bars": [{"name": "test-bar"}]}))
    text = "DESCRIPTION:.*Foo CRD for Testing.*FIELDS:.*apiVersion.*<string>.*APIVersion defines"
    _explained(space, crd.plural, text + ".*spec.*<Object>.*Specification of Foo")
    text = "DESCRIPTION:.*Standard object's metadata.*FIELDS:.*creationTimestamp.*<string>"
    _explained(space, f"{crd.plural}.metadata", text + ".*CreationTimestamp is a timestamp")
    text = r"DESCRIPTION:.*Specification of Foo.*FIELDS:.*bars.*<\[\]Object>.*List of Bars and their specs"
    _explained(space, f"{crd.plural}.spec", text)
    text = r"(FIELD|RESOURCE):.*bars.*<\[\]Object>.*DESCRIPTION:.*List of Bars and their specs.*FIELDS:.*bazs"
    _explained(space, f"{crd.plural}.spec.bars", text + r".*<\[\]string>.*List of Bazs.*name.*<string>.*Name of Bar")
    done = kubectl(space.user, "explain", f"{crd.plural}.spec.bars2")
    assert done.returncode != 0
    assert 'field "bars2" does not exist' in done.stderr
    _drop(space, crd)


@conformance(P + "works for CRD without validation schema")
def test_no_schema(space: Space) -> None:  # noqa: F811
    crd = _define(space, {**NOTHING, **PRESERVE}, "empty", "v1", published=NOTHING, plural=f"empty{space.name[4:]}s")
    _taken(space, crd, custom(crd, "test-cr", a={"b": [{"c": "d"}]}))
    _explained(space, crd.plural, "DESCRIPTION:.*<empty>")
    _drop(space, crd)


@conformance(P + "works for CRD preserving unknown fields at the schema root")
def test_unknown_at_the_root(space: Space) -> None:  # noqa: F811
    crd = _define(space, ROOT, "root", "v1", published=None, plural=f"root{space.name[4:]}s")
    space.wait("published", lambda: Published(space).definition(crd, "v1") is not None)
    _taken(space, crd, custom(crd, "test-cr", a={"b": [{"c": "d"}]}))
    _explained(space, crd.plural, f"KIND:.*{crd.kind}")
    _drop(space, crd)


@conformance(P + "works for CRD preserving unknown fields in an embedded object")
def test_unknown_in_an_object(space: Space) -> None:  # noqa: F811
    crd = _define(space, NESTED, "nested", "v1", published=None, plural=f"nested{space.name[4:]}s")
    space.wait("published", lambda: Published(space).definition(crd, "v1") is not None)
    _taken(space, crd, custom(crd, "test-cr", spec={"a": None, "b": [{"c": "d"}]}))
    _explained(space, crd.plural, "DESCRIPTION:.*preserve-unknown-properties in nested field for Testing")
    _drop(space, crd)


@conformance(P + "works for multiple CRDs of different groups")
def test_two_groups(space: Space) -> None:  # noqa: F811
    foo = _define(space, FOO, "foo", "v1", published=FOO)
    waldo = _define(space, WALDO, "waldo", "v1beta1", published=WALDO)
    assert foo.group != waldo.group
    Published(space).says(foo, "v1", FOO)
    _drop(space, foo, waldo)


@conformance(P + "works for multiple CRDs of same group but different versions")
def test_versions_of_a_group(space: Space) -> None:  # noqa: F811
    _drop(space, _define(space, FOO, "multi", "v2", "v3", published=FOO))
    foo = _define(space, FOO, "common", "v4", published=FOO, plural="foos")
    waldo = _define(space, WALDO, "common", "v5", published=WALDO, plural="waldos")
    assert foo.group == waldo.group
    Published(space).says(foo, "v4", FOO)
    _drop(space, foo, waldo)


@conformance(P + "works for multiple CRDs of same group and version but different kinds")
def test_kinds_of_a_version(space: Space) -> None:  # noqa: F811
    foo = _define(space, FOO, "common", "v6", published=FOO, plural="foos")
    waldo = _define(space, WALDO, "common", "v6", published=WALDO, plural="waldos")
    Published(space).says(foo, "v6", FOO)
    _drop(space, foo, waldo)


@conformance(P + "updates the published spec when one version gets renamed")
def test_renamed(space: Space) -> None:  # noqa: F811
    crd = _define(space, FOO, "multi", "v2", "v3", published=FOO)
    at = "/spec/versions/1/name"
    patch = [{"op": "test", "path": at, "value": "v3"}, {"op": "replace", "path": at, "value": "v4"}]
    space.api.call("PATCH", crd.own, patch, JSON_PATCH)
    for version, schema in (("v4", FOO), ("v3", None), ("v2", FOO)):
        Published(space).says(crd, version, schema)
    _drop(space, crd)


@conformance(P + "removes definition from spec when one version gets changed to not be served")
def test_not_served(space: Space) -> None:  # noqa: F811
    crd = _define(space, FOO, "single", "v5", "v6alpha1", published=FOO)
    space.api.update(crd.own, lambda obj: obj["spec"]["versions"][1].update(served=False))
    for version, schema in (("v6alpha1", None), ("v5", FOO)):
        Published(space).says(crd, version, schema)
    _drop(space, crd)
