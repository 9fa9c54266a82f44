"""PURE. wardle.example.com as it is served: kinds, versions, defaults, validation, discovery, schemas.

Source followed: sample-apiserver pkg/apis/wardle (v1alpha1, v1beta1, validation), pkg/admission/plugin/banflunder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netlab.api import errors, meta
from netlab.api.resources import Resource
from netlab.api.types import Obj

GROUP, STORED = "wardle.example.com", "v1alpha1"
VERSIONS = ("v1beta1", "v1alpha1")
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_PACKAGE = "com.example.wardle"


def _resource(version: str, kind: str, plural: str, namespaced: bool) -> Resource:
    return Resource(GROUP, version, kind, plural, kind.lower(), namespaced, verbs=VERBS, custom=True)


RESOURCES = {
    ("v1alpha1", "flunders"): _resource("v1alpha1", "Flunder", "flunders", True),
    ("v1alpha1", "fischers"): _resource("v1alpha1", "Fischer", "fischers", False),
    ("v1beta1", "flunders"): _resource("v1beta1", "Flunder", "flunders", True),
}


def defaulted(obj: Obj, version: str) -> Obj:
    """A Flunder that refers to something says to which kind."""
    spec = dict(obj.get("spec") or {})
    if not spec.get("referenceType"):
        if spec.get("reference") or spec.get("flunderReference"):
            spec["referenceType"] = "Flunder"
        elif version == "v1beta1" and spec.get("fischerReference"):
            spec["referenceType"] = "Fischer"
    return {**obj, "spec": spec} if obj.get("kind") == "Flunder" else obj


def converted(obj: Obj, version: str) -> Obj:
    """The same object in another version: v1alpha1 has one reference, v1beta1 one of each kind."""
    have = str(obj.get("apiVersion", "")).rpartition("/")[2]
    if have == version or obj.get("kind") != "Flunder":
        return {**obj, "apiVersion": f"{GROUP}/{version}"}
    spec = dict(obj.get("spec") or {})
    kind = spec.get("referenceType") or ""
    if version == "v1beta1":
        reference = spec.pop("reference", "")
        if reference and kind:
            spec[f"{kind.lower()}Reference"] = reference
    else:
        flunder, fischer = spec.pop("flunderReference", ""), spec.pop("fischerReference", "")
        if flunder or fischer:
            spec["reference"] = flunder or fischer
    return {**obj, "apiVersion": f"{GROUP}/{version}", "spec": spec}


def validate(obj: Obj) -> None:
    """A Flunder, as v1beta1 says it. Raises StatusError 422."""
    spec = converted(obj, "v1beta1").get("spec") or {}
    flunder, fischer, kind = (spec.get(key) or "" for key in ("flunderReference", "fischerReference", "referenceType"))
    wrong: list[tuple[str, str, str]] = []
    if flunder and fischer:
        wrong.append(("fischerReference", fischer, "cannot be set with flunderReference at the same time"))
    elif flunder and kind != "Flunder":
        wrong.append(("flunderReference", flunder, "cannot be set if referenceType is not Flunder"))
    elif fischer and kind != "Fischer":
        wrong.append(("fischerReference", fischer, "cannot be set if referenceType is not Fischer"))
    elif not flunder and kind == "Flunder":
        wrong.append(("flunderReference", flunder, "cannot be empty if referenceType is Flunder"))
    elif not fischer and kind == "Fischer":
        wrong.append(("fischerReference", fischer, "cannot be empty if referenceType is Fischer"))
    if wrong:
        causes = [
            errors.cause("FieldValueInvalid", f"spec.{field}", f'Invalid value: "{value}": {text}')
            for field, value, text in wrong
        ]
        raise errors.invalid("Flunder", meta.name(obj), causes, group=GROUP)


def banned(name: str, fischers: Iterable[Obj]) -> bool:
    """Whether a Fischer forbids Flunders of that name."""
    return any(name in (fischer.get("disallowedFlunders") or ()) for fischer in fischers)


def group() -> Obj:
    """The group, as `/apis` lists it."""
    versions = [{"groupVersion": f"{GROUP}/{version}", "version": version} for version in VERSIONS]
    return {"name": GROUP, "versions": versions, "preferredVersion": versions[0]}


def resource_list(version: str) -> Obj:
    """`/apis/wardle.example.com/<version>`."""
    rows = [
        {
            "name": plural,
            "singularName": found.singular,
            "namespaced": found.namespaced,
            "kind": found.kind,
            "verbs": list(VERBS),
        }
        for (served, plural), found in sorted(RESOURCES.items())
        if served == version
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{version}", "resources": rows}


def aggregated(form: str) -> Obj:
    """`/apis` as aggregated discovery; `form` is v2 or v2beta1."""
    versions = []
    for version in VERSIONS:
        rows = [
            {
                "resource": plural,
                "responseKind": {"group": GROUP, "version": version, "kind": found.kind},
                "scope": "Namespaced" if found.namespaced else "Cluster",
                "singularResource": found.singular,
                "verbs": list(VERBS),
            }
            for (served, plural), found in sorted(RESOURCES.items())
            if served == version
        ]
        versions.append({"version": version, "resources": rows, "freshness": "Current"})
    item = {"metadata": {"name": GROUP, "creationTimestamp": None}, "versions": versions}
    head = {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{form}", "metadata": {}}
    return {**head, "items": [item]}


def table(items: Sequence[Obj], version: str, include: str) -> Obj:
    """meta.k8s.io/v1 Table with the columns of kinds that have no printer of their own."""
    columns = [
        {"name": "Name", "type": "string", "format": "name", "description": "Name must be unique", "priority": 0},
        {"name": "Created At", "type": "date", "format": "", "description": "When it was made", "priority": 0},
    ]
    rows = []
    for item in items:
        shown: Obj | None = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
        shown = {"None": None, "Object": item}.get(include, {**(shown or {}), "metadata": item["metadata"]})
        rows.append({"cells": [meta.name(item), item["metadata"].get("creationTimestamp", "")], "object": shown})
    return {
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns, "rows": rows
    }  # fmt: skip


def schemas(version: str) -> dict[str, Obj]:
    """By name: what `kubectl explain` reads."""
    text = {"type": "string"}
    references = {"reference": text} if version == "v1alpha1" else {"flunderReference": text, "fischerReference": text}
    head: Obj = {"apiVersion": text, "kind": text, "metadata": {"type": "object"}}
    spec = {"type": "object", "properties": {**references, "referenceType": text}}
    found = {f"{_PACKAGE}.{version}.Flunder": {**head, "spec": spec, "status": {"type": "object"}}}
    if version == "v1alpha1":
        found[f"{_PACKAGE}.{version}.Fischer"] = {**head, "disallowedFlunders": {"type": "array", "items": text}}

    def marked(name: str, fields: Obj) -> Obj:
        kind = {"group": GROUP, "version": version, "kind": name.rpartition(".")[2]}
        return {"type": "object", "properties": fields, "x-kubernetes-group-version-kind": [kind]}

    return {name: marked(name, fields) for name, fields in found.items()}


def openapi_v2() -> Obj:
    definitions = {name: schema for version in VERSIONS for name, schema in schemas(version).items()}
    info = {"title": "Wardle", "version": "0.1"}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": definitions}


def openapi_v3(version: str) -> Obj:
    info = {"title": "Wardle", "version": "0.1"}
    return {"openapi": "3.0.0", "info": info, "paths": {}, "components": {"schemas": schemas(version)}}
