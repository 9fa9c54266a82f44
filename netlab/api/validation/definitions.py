"""Rules of CustomResourceDefinitions. Source followed: apiextensions `pkg/apis/apiextensions/validation/validation.go`,
`pkg/apiserver/schema/validation.go`.

What all versions share is reported at the top of the spec (`spec.validation`, `spec.additionalPrinterColumns`), as
upstream's internal type holds it there.
"""

from __future__ import annotations

from typing import Any

from netlab.api.types import Obj
from netlab.api.validation import definition_rules, names
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, forbidden, invalid, not_supported, required
from netlab.api.validation.gofmt import GoSyntax
from netlab.api.validation.meta import IMMUTABLE, each, metadata, metadata_update

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_LIST_TYPES = ("atomic", "set", "map")
_SCOPES = ("Cluster", "Namespaced")
_PROTECTED = (".k8s.io", ".kubernetes.io")
_APPROVAL = "api-approved.kubernetes.io"
_VERSIONS = GoSyntax("[]apiextensions.CustomResourceDefinitionVersion{…}")


def create(obj: Obj) -> list[FieldError]:
    """`ValidateCustomResourceDefinition`."""
    spec = obj["spec"]
    wanted = f"{spec['names'].get('plural', '')}.{spec.get('group', '')}"

    def name_rule(name: str, prefix: bool) -> list[str]:
        found = names.subdomain_name(name, prefix)
        return found if name == wanted else [*found, 'must be spec.names.plural+"."+spec.group']

    found = metadata(obj, False, name_rule, kube_finalizers=False)
    return found + _spec(spec) + _approval(obj)


def update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateCustomResourceDefinitionUpdate`: scope and kind stay once the names are accepted."""
    found = metadata_update(new, old, kube_finalizers=False) + _spec(new["spec"])
    conditions = old["status"].get("conditions") or ()
    if any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions):
        for path in (("scope",), ("names", "kind")):
            after, before = _at(new["spec"], path), _at(old["spec"], path)
            if after != before:
                found.append(invalid(".".join(("spec", *path)), after, IMMUTABLE))
    for path in (("group",), ("names", "plural")):
        after, before = _at(new["spec"], path), _at(old["spec"], path)
        if after != before:
            found.append(invalid(".".join(("spec", *path)), after, IMMUTABLE))
    return found + _stored_versions(new)


def _stored_versions(definition: Obj) -> list[FieldError]:
    """`ValidateCustomResourceDefinitionStoredVersions`: a version that objects may still be stored in stays."""
    known = [version.get("name") for version in definition["spec"].get("versions") or ()]
    stored = definition["status"].get("storedVersions") or ()
    return [
        invalid(f"status.storedVersions[{index}]", name, "must appear in spec.versions")
        for index, name in enumerate(stored)
        if name not in known
    ]


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key, "")
    return value


def _approval(obj: Obj) -> list[FieldError]:
    group = obj["spec"].get("group", "")
    if not group.endswith(_PROTECTED) and group not in ("k8s.io", "kubernetes.io"):
        return []
    given = (obj["metadata"].get("annotations") or {}).get(_APPROVAL)
    field = f"metadata.annotations[{_APPROVAL}]"
    if not given:
        detail = 'protected groups must have approval annotation "api-approved.kubernetes.io", see '
        return [required(field, detail + "https://github.com/kubernetes/enhancements/pull/1111")]
    if given.startswith(("unapproved", "https://", "http://")):
        return []
    detail = (
        'protected groups must have approval annotation "api-approved.kubernetes.io" with either a URL or a reason '
    )
    return [
        invalid(
            field,
            given,
            detail + 'starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111',
        )
    ]


def _spec(spec: Obj) -> list[FieldError]:
    found = _group(spec.get("group", ""))
    scope = spec.get("scope", "")
    if not scope:
        found.append(required("spec.scope"))
    elif scope not in _SCOPES:
        found.append(not_supported("spec.scope", scope, _SCOPES))
    versions = spec.get("versions") or []
    shared_schema = _shared(versions, "schema")
    for index, version in enumerate(versions):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            field = f"spec.versions[{index}].schema.openAPIV3Schema"
            found.append(required(field, "schemas are required"))
    found += _versions(versions)
    found += _names(spec["names"])
    if shared_schema is not None:
        found += _schema_root(shared_schema.get("openAPIV3Schema"), "spec.validation.openAPIV3Schema")
    subresources = _shared(versions, "subresources")
    found += _subresources(subresources or {}, "spec.subresources")
    columns = _shared(versions, "additionalPrinterColumns")
    found += _columns(columns or [], "spec.additionalPrinterColumns")
    return found + _conversion(spec.get("conversion") or {})


def _shared(versions: list[Obj], key: str) -> Any:
    """What every version has alike under `key`, None where they differ or have none."""
    first = versions[0].get(key) if versions else None
    return first if all(version.get(key) == first for version in versions) else None


def _group(group: str) -> list[FieldError]:
    if not group:
        return [required("spec.group")]
    wrong = names.dns_subdomain(group)
    if wrong:
        return [invalid("spec.group", group, ",".join(wrong))]
    return [] if "." in group else [invalid("spec.group", group, "should be a domain with at least one dot")]


def _versions(versions: list[Obj]) -> list[FieldError]:
    found: list[FieldError] = []
    keys = ("schema", "additionalPrinterColumns", "subresources")
    own_schemas, own_columns, own_subresources = (_shared(versions, key) is None for key in keys)
    for index, version in enumerate(versions):
        field, name = f"spec.versions[{index}]", version.get("name", "")
        wrong = names.dns_1035_label(name)
        if wrong:
            found.append(invalid(f"{field}.name", name, ",".join(wrong)))
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if own_schemas and schema is not None:
            found += _schema_root(schema, f"{field}.schema.openAPIV3Schema")
        if own_subresources:
            found += _subresources(version.get("subresources") or {}, f"{field}.subresources")
        if own_columns:
            found += _columns(version.get("additionalPrinterColumns") or [], f"{field}.additionalPrinterColumns")
    listed = [version.get("name", "") for version in versions]
    if len(set(listed)) != len(listed):
        found.append(invalid("spec.versions", _VERSIONS, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        found.append(invalid("spec.versions", _VERSIONS, detail))
    return found


def _subresources(given: Obj, field: str) -> list[FieldError]:
    """`ValidateCustomResourceDefinitionSubresources`: where the numbers of a scale are."""
    scale = given.get("scale")
    if scale is None:
        return []
    found: list[FieldError] = []
    for key, under, words in (
        ("specReplicasPath", (".spec.",), ".spec"),
        ("statusReplicasPath", (".status.",), ".status"),
        ("labelSelectorPath", (".spec.", ".status."), "either .spec or .status"),
    ):
        path = scale.get(key, "")
        if not path and key != "labelSelectorPath":
            found.append(required(f"{field}.scale.{key}"))
        elif path and not path.startswith(under):
            found.append(invalid(f"{field}.scale.{key}", path, f"should be a json path under {words}"))
    return found


def _names(given: Obj) -> list[FieldError]:
    keys = ("plural", "singular", "kind", "listKind")
    found = [required(f"spec.names.{key}") for key in keys if not given.get(key)]
    for key in ("plural", "singular", "kind", "listKind"):
        value = given.get(key, "")
        wrong = names.dns_1035_label(value.lower()) if value else []
        if wrong:
            found.append(invalid(f"spec.names.{key}", value, ",".join(wrong)))
    for key in ("shortNames", "categories"):
        for index, value in enumerate(given.get(key) or ()):
            wrong = names.dns_1035_label(value)
            if wrong:
                found.append(invalid(f"spec.names.{key}[{index}]", value, ",".join(wrong)))
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        found.append(invalid("spec.names.listKind", given["listKind"], "kind and listKind may not be the same"))
    return found


def _columns(columns: list[Obj], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, one in enumerate(columns):
        here, kind, form = f"{field}[{index}]", one.get("type", ""), one.get("format", "")
        if not one.get("name"):
            found.append(required(f"{here}.name"))
        if not kind:
            detail = f"must be one of {','.join(_COLUMN_TYPES)}"
            found.append(required(f"{here}.type", detail))
        elif kind not in _COLUMN_TYPES:
            detail = f"must be one of {','.join(_COLUMN_TYPES)}"
            found.append(invalid(f"{here}.type", kind, detail))
        if form and form not in _COLUMN_FORMATS:
            detail = f"must be one of {','.join(_COLUMN_FORMATS)}"
            found.append(invalid(f"{here}.format", form, detail))
        if not one.get("jsonPath"):
            found.append(required(f"{here}.JSONPath"))
    return found


def _conversion(conversion: Obj) -> list[FieldError]:
    kind = conversion.get("strategy", "")
    if not kind:
        return [required("spec.conversion.strategy")]
    if kind not in ("None", "Webhook"):
        return [not_supported("spec.conversion.strategy", kind, ("None", "Webhook"))]
    client = (conversion.get("webhook") or {}).get("clientConfig")
    if kind == "Webhook" and client is None:
        detail = 'required when strategy is set to "Webhook"'
        return [required("spec.conversion.webhookClientConfig", detail)]
    if kind == "None" and client is not None:
        detail = 'should not be set when strategy is not set to "Webhook"'
        return [forbidden("spec.conversion.webhookClientConfig", detail)]
    return []


# -- schemas -----------------------------------------------------------------------------------------------------------


def _schema_root(schema: Obj | None, field: str) -> list[FieldError]:
    if schema is None:
        return []
    found = _schema(schema, field)
    kind = schema.get("type", "")
    if kind in _TYPES and kind != "object":
        found.append(invalid(f"{field}.type", kind, "must be object at the root"))
    elif not kind:
        found.append(required(f"{field}.type", "must not be empty at the root"))
    return (
        found
        or [*_structural(schema, field, root=True), *_patterns(schema, field)]
        or definition_rules.meanings(schema, field)
    )


def _schema(schema: Obj, field: str) -> list[FieldError]:
    """`ValidateCustomResourceDefinitionOpenAPISchema`: what may stand in a schema at all."""
    found: list[FieldError] = []
    kind = schema.get("type", "")
    if kind and kind not in _TYPES:
        found.append(not_supported(f"{field}.type", kind, _TYPES))
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        found.append(forbidden(f"{field}.uniqueItems", detail))
    for key, detail in (
        ("$ref", "$ref is not supported"),
        ("definitions", "definitions is not supported"),
        ("dependencies", "dependencies is not supported"),
        ("patternProperties", "patternProperties is not supported"),
        ("additionalItems", "additionalItems is not supported"),
    ):
        if schema.get(key):
            found.append(forbidden(f"{field}.{key}", detail))
    found += _lists(schema, field) + _maps(schema, field) + definition_rules.forms(schema, field)
    if schema.get("properties") and "additionalProperties" in schema:
        detail = "additionalProperties and properties are mutual exclusive"
        found.append(forbidden(f"{field}.additionalProperties", detail))
    for name, one in sorted((schema.get("properties") or {}).items()):
        found += _schema(one, f"{field}.properties[{name}]")
    for key in ("items", "additionalProperties", "not"):
        inner = schema.get(key)
        if isinstance(inner, dict):
            found += _schema(inner, f"{field}.{key}")
        elif isinstance(inner, list):
            found.append(forbidden(f"{field}.{key}", "items must be a schema object and not an array"))
    for key in ("allOf", "anyOf", "oneOf"):
        for index, one in enumerate(schema.get(key) or ()):
            found += _schema(one, f"{field}.{key}[{index}]")
    return found


def _lists(schema: Obj, field: str) -> list[FieldError]:
    """What a list's type asks of its schema."""
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys")
    found: list[FieldError] = []
    if kind is not None and kind not in _LIST_TYPES:
        found.append(not_supported(f"{field}.x-kubernetes-list-type", kind, _LIST_TYPES))
    if kind is not None and schema.get("type") != "array":
        detail = "must be array if x-kubernetes-list-type is specified"
        given = schema.get("type")
        found.append(invalid(f"{field}.type", given, detail) if given else required(f"{field}.type", detail))
    if kind == "map" and not keys:
        detail = "must not be empty if x-kubernetes-list-type is map"
        found.append(required(f"{field}.x-kubernetes-list-map-keys", detail))
    if kind == "map" and isinstance(keys, list):
        found += _map_keys(schema, keys, field)
    if kind == "set" and schema.get("type") == "array":
        found += _set_items(schema, field)
    if keys and kind != "map":
        detail = "must be map if x-kubernetes-list-map-keys is non-empty"
        where = f"{field}.x-kubernetes-list-type"
        found.append(invalid(where, kind, detail) if kind else required(where, detail))
    return found


def _map_keys(schema: Obj, keys: list[str], field: str) -> list[FieldError]:
    """What tells the items of a list of type map apart are scalars that every item has."""
    items = schema.get("items")
    if not isinstance(items, dict):
        return [required(f"{field}.items", "must have a schema if x-kubernetes-list-type is map")]
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        return [invalid(f"{field}.items.type", items.get("type", ""), detail)]
    found: list[FieldError] = []
    properties, where = items.get("properties") or {}, f"{field}.x-kubernetes-list-map-keys"
    for index, key in enumerate(keys):
        if key not in properties:
            found.append(invalid(where, keys, "entries must all be names of item properties"))
        elif properties[key].get("type") in ("array", "object"):
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            found.append(invalid(f"{field}.items.properties[{key}].type", items.get("type"), detail))
        if key in keys[:index]:
            found.append(invalid(where, keys, "must not contain duplicate entries"))
    needed = items.get("required") or ()
    for key in keys:
        if key in properties and "default" not in properties[key] and key not in needed:
            detail = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )
            found.append(required(f"{field}.items.properties[{key}].default", detail))
    return found


def _set_items(schema: Obj, field: str) -> list[FieldError]:
    """The items of a set are compared as wholes."""
    items = schema.get("items") or {}
    detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic"):
        return [invalid(f"{field}.items.x-kubernetes-list-type", items["x-kubernetes-list-type"], detail)]
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        return [invalid(f"{field}.items.x-kubernetes-map-type", None, detail)]
    return []


def _maps(schema: Obj, field: str) -> list[FieldError]:
    """What stands at objects only, and what must be true where it stands."""
    found: list[FieldError] = []
    kind, given = schema.get("x-kubernetes-map-type"), schema.get("type", "")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        where = f"{field}.x-kubernetes-preserve-unknown-fields"
        found.append(invalid(where, False, "must be true or undefined"))
    if kind is None:
        return found
    if given != "object":
        detail = "must be object if x-kubernetes-map-type is specified"
        found.append(invalid(f"{field}.type", given, detail) if given else required(f"{field}.type", detail))
    if kind not in ("atomic", "granular"):
        found.append(not_supported(f"{field}.x-kubernetes-map-type", kind, ("atomic", "granular")))
    return found


def _structural(schema: Obj, field: str, *, root: bool = False) -> list[FieldError]:
    """Every value must have a type (or be said to be anything)."""
    found: list[FieldError] = []
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string")
    if not root and not schema.get("type") and not free:
        found.append(required(f"{field}.type", "must not be empty for specified object fields"))
    if schema.get("type") == "array" and "items" not in schema:
        found.append(required(f"{field}.items", "must be specified"))
    for name, one in sorted((schema.get("properties") or {}).items()):
        found += _structural(one, f"{field}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        inner = schema.get(key)
        if isinstance(inner, dict):
            found += _structural(inner, f"{field}.{key}")
    return found


def _patterns(schema: Obj, field: str) -> list[FieldError]:
    """Patterns must be regular expressions of Go, wherever they stand."""
    found: list[FieldError] = []
    if schema.get("pattern"):
        from netlab.api.goregexp import RegexpError, regexp

        try:
            regexp(schema["pattern"])
        except RegexpError as error:
            detail = f"must be a valid regular expression, but isn't: {error}"
            found.append(invalid(f"{field}.pattern", schema["pattern"], detail))
    for name, one in sorted((schema.get("properties") or {}).items()):
        found += _patterns(one, f"{field}.properties[{name}]")
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), dict):
            found += _patterns(schema[key], f"{field}.{key}")
    for key in ("allOf", "anyOf", "oneOf"):
        for index, one in enumerate(schema.get(key) or ()):
            found += _patterns(one, f"{field}.{key}[{index}]")
    return found


def _status_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old, kube_finalizers=False)
    for index, name in enumerate(new["status"].get("storedVersions") or ()):
        found += each(f"status.storedVersions[{index}]", name, names.dns_1035_label(name))
    return found


RULES = {"CustomResourceDefinition": Rules(create, update, _status_update)}
