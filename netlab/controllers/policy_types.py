"""PURE. Type checking of a ValidatingAdmissionPolicy against the kinds that it is about.

A finding is a warning in the policy's status; it changes nothing of what the policy does. Source followed: apiserver
pkg/admission/plugin/policy/validating/typechecking.go, pkg/cel/openapi/resolver/refs.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from netlab.api.cel.admission import compiled, with_variables
from netlab.api.cel.schemas import INT_OR_STRING, declare
from netlab.api.cel.types import DYN, Type
from netlab.api.types import Obj

MOST = 10
"""Kinds of one rule that are looked at."""
_REF = "#/components/schemas/"
_MEANING = ("allOf", "default", "description", "$ref")


class Kind(NamedTuple):
    group: str
    version: str
    kind: str

    def __str__(self) -> str:
        """As Go shows a GroupVersionKind."""
        return f"{self.group}/{self.version}, Kind={self.kind}"


@dataclass(frozen=True, slots=True)
class Typed:
    """A kind and the CEL type of its objects."""

    kind: Kind
    type: Type


def places(spec: Obj) -> list[list[tuple[str, str, str]]]:
    """(group, version, resource) that the rules name, rule by rule, sorted; wildcards name nothing."""
    found = []
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if any("*" in one for one in (*groups, *versions)):
            continue
        resources = sorted(one for one in rule.get("resources") or () if not set("*/") & set(one))
        found.append([(g, v, r) for g in sorted(groups) for v in sorted(versions) for r in resources])
    return found


def schema_of(document: Obj, kind: Kind) -> Obj | None:
    """The schema of a kind in an OpenAPI v3 document, with everything it refers to in place."""
    schemas = (document.get("components") or {}).get("schemas") or {}
    wanted = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    for name, schema in schemas.items():
        if wanted in (schema.get("x-kubernetes-group-version-kind") or ()):
            found: Obj = _resolved(schema, schemas, (name,))
            return found
    return None


def _resolved(schema: Any, schemas: Mapping[str, Obj], above: tuple[str, ...]) -> Any:
    """Without references; a schema inside itself is one of which nothing is known."""
    if not isinstance(schema, dict):
        return schema
    parts = [schema, *(schema.get("allOf") or ())]
    names = [str(part["$ref"]).removeprefix(_REF) for part in parts if "$ref" in part]
    if names:
        name = names[0]
        if name in above or name not in schemas:
            return {}
        extras = {key: value for key, value in schema.items() if key not in _MEANING}
        found: Obj = {**_resolved(schemas[name], schemas, (*above, name)), **extras}
        return found
    result = dict(schema)
    if schema.get("format") == "int-or-string":
        result[INT_OR_STRING] = True
    if isinstance(schema.get("properties"), dict):
        result["properties"] = {key: _resolved(one, schemas, above) for key, one in schema["properties"].items()}
    for field in ("items", "additionalProperties"):
        if isinstance(schema.get(field), dict):
            result[field] = _resolved(schema[field], schemas, above)
    return result


def type_of(schema: Obj, name: str) -> Type:
    """The CEL type of whole objects of a schema."""
    metadata = (schema.get("properties") or {}).get("metadata") or {}
    found = declare(schema, name, root=not metadata.get("properties"))
    return found.type if found is not None else DYN


def warnings(spec: Obj, types: Sequence[Typed], param: Type | None) -> list[Obj]:
    """ExpressionWarnings of the validations and their message expressions."""
    found = []
    for index, validation in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            text = validation.get(field)
            problem = _check(str(text), spec, types, param) if text else ""
            if problem:
                found.append({"fieldRef": f"spec.validations[{index}].{field}", "warning": problem})
    return found


def _check(text: str, spec: Obj, types: Sequence[Typed], param: Type | None) -> str:
    lines = []
    for one in types:
        where, _, _ = with_variables(spec, param is not None, one.type, param or DYN)
        program, error = compiled(text, where)
        if program is None:
            lines.append(f"{one.kind}: {error.removeprefix('compilation failed: ')}\n")
    return "\n".join(lines)
