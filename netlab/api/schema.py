"""The one source of schema: upstream 1.33's definitions, read lazily and once.

The data (descriptions, required, merge keys, list types) comes from the kubernetes-validate distribution. Its Python
package is never imported (it drags in jsonschema); only the file is read, in about 10 ms.
"""

from __future__ import annotations

import importlib.util
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import orjson

from netlab.api.types import Obj

_VERSION = "v1.33.0-local"
_REF = "#/$defs/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
OBJECT_META = _META + "ObjectMeta"

# Kinds that the registry serves and the data lacks: definition → the same thing in another version.
_ALIASES = {"io.k8s.api.authentication.v1beta1.": "io.k8s.api.authentication.v1."}
_ALIASED = ("SelfSubjectReview", "SelfSubjectReviewStatus", "UserInfo")

# Definitions that are not what their type says: any JSON may stand here.
OPAQUE = frozenset(
    {
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    }
)


def _data_file() -> Path:
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise RuntimeError("the kubernetes-validate distribution (the schema data) is not installed")
    return Path(spec.origin).parent / "kubernetes-json-schema" / _VERSION / "_definitions.json"


@cache
def definitions() -> dict[str, Obj]:
    """All definitions by name (`io.k8s.api.core.v1.Pod`), references as `#/$defs/<name>`. Treat as read-only."""
    found: dict[str, Obj] = orjson.loads(_data_file().read_bytes())["$defs"]
    for alias, original in _ALIASES.items():
        for name in _ALIASED:
            if alias + name not in found and original + name in found:
                found[alias + name] = _renamed(found[original + name], original, alias)
    return found


def _renamed(definition: Obj, original: str, alias: str) -> Obj:
    text = orjson.dumps(definition).decode().replace(original, alias)
    copied: Obj = orjson.loads(text.replace('"version":"v1"', '"version":"v1beta1"'))
    return copied


@cache
def _by_kind() -> dict[tuple[str, str], str]:
    found = {}
    for name, definition in definitions().items():
        for gvk in definition.get("x-kubernetes-group-version-kind") or ():
            group, version = gvk["group"], gvk["version"]
            found[f"{group}/{version}" if group else version, gvk["kind"]] = name
    return found


def definition_name(api_version: str, kind: str) -> str | None:
    """`apps/v1`, `Deployment` → `io.k8s.api.apps.v1.Deployment`; None where there is no such kind."""
    return _by_kind().get((api_version, kind))


class Schema:
    """One place in an object: what may stand there, and how lists and maps there merge.

    What a field says about itself (merge key, list type) and the definition that it refers to are read as one.
    """

    __slots__ = ("__dict__", "name", "site", "target")

    def __init__(self, site: Obj) -> None:
        self.site = site
        ref = site.get("$ref")
        if ref is None and "allOf" in site:
            ref = site["allOf"][0].get("$ref")
        self.name: str = ref[len(_REF) :] if isinstance(ref, str) else ""
        self.target: Obj = definitions()[self.name] if self.name else site

    @cached_property
    def type(self) -> str:
        """object, array, string, integer, number, boolean; int-or-string, quantity or any where JSON may vary."""
        if self.name in OPAQUE:
            return "any"
        if self.name.endswith(".Quantity"):
            return "quantity"
        if self.name.endswith(".IntOrString"):
            return "int-or-string"
        declared = self.target.get("type")
        if isinstance(declared, list):
            declared = next((t for t in declared if t != "null"), None)
        return declared or "any"

    @cached_property
    def properties(self) -> dict[str, Schema]:
        """The known fields; {} for maps and scalars."""
        return {name: Schema(site) for name, site in (self.target.get("properties") or {}).items()}

    @cached_property
    def additional(self) -> Schema | None:
        """The schema of a map's values; None where this is not a map."""
        site = self.target.get("additionalProperties")
        return Schema(site) if isinstance(site, dict) else None

    @cached_property
    def items(self) -> Schema | None:
        """The schema of a list's items; None where this is not a list."""
        site = self.target.get("items")
        return Schema(site) if isinstance(site, dict) else None

    @cached_property
    def open(self) -> bool:
        """True where any field may stand: opaque JSON, or an object whose fields are not described."""
        if self.type == "any" or self.target.get("x-kubernetes-preserve-unknown-fields"):
            return True
        return self.type == "object" and not self.target.get("properties") and self.additional is None

    def field(self, name: str) -> Schema | None:
        """The schema of a field or of a map's value; None where unknown."""
        return self.properties.get(name) or self.additional

    @cached_property
    def patch_strategies(self) -> frozenset[str]:
        """merge, replace, retainKeys: as declared for strategic merge patch; empty means replace for lists."""
        declared = self.site.get("x-kubernetes-patch-strategy", "")
        return frozenset(declared.split(",")) if declared else frozenset()

    @cached_property
    def merge_key(self) -> str:
        """The key by which items of a merged list of objects are matched; "" where there is none."""
        return str(self.site.get("x-kubernetes-patch-merge-key", ""))

    @cached_property
    def list_type(self) -> str:
        """atomic, set or map, for server-side apply (atomic where not declared)."""
        return str(self._either("x-kubernetes-list-type", "atomic"))

    @cached_property
    def list_map_keys(self) -> tuple[str, ...]:
        """The key fields of a list of type map."""
        return tuple(self._either("x-kubernetes-list-map-keys", ()))

    @cached_property
    def map_type(self) -> str:
        """granular or atomic, for server-side apply."""
        return str(self._either("x-kubernetes-map-type", "granular"))

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Names of the fields that must be there."""
        return tuple(self.target.get("required") or ())

    @property
    def description(self) -> str:
        """What the field is for, in upstream's words."""
        return str(self.site.get("description") or self.target.get("description") or "")

    def _either(self, key: str, default: Any) -> Any:
        return self.site.get(key, self.target.get(key, default))


@cache
def named(definition: str) -> Schema:
    """The schema of a definition by its full name; KeyError where there is none."""
    return Schema({"$ref": _REF + definition})


@cache
def for_kind(api_version: str, kind: str) -> Schema | None:
    """The schema of a built-in kind, None where there is none."""
    name = definition_name(api_version, kind)
    return named(name) if name else None


def unknown_fields(schema: Schema, obj: Obj) -> list[str]:
    """Paths of fields that the schema does not know (`spec.containers[0].imagee`), in the order of the object."""
    found: list[str] = []
    _collect_unknown(schema, obj, "", found)
    return found


def _collect_unknown(schema: Schema, value: Any, path: str, found: list[str]) -> None:
    if schema.open:
        return
    if isinstance(value, dict) and schema.type == "object":
        for key, inner in value.items():
            here = f"{path}.{key}" if path else key
            child = schema.field(key)
            if child is None:
                found.append(here)
            elif isinstance(inner, dict | list):
                _collect_unknown(child, inner, here, found)
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _collect_unknown(schema.items, item, f"{path}[{index}]", found)
