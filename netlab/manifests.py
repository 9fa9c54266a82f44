"""Manifests: YAML text to API objects, in the order in which they can be applied.

Pure. The order is kubectl's and Helm's: what others refer to comes first (namespaces, definitions, accounts,
configuration), then services, then what runs pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from netlab.api.types import Obj

_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "StorageClass",
    "IngressClass",
    "ResourceQuota",
    "LimitRange",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "EndpointSlice",
    "Endpoints",
)
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ManifestError(ValueError):
    """A manifest that is not one; the text names the source, the line where known, and what was expected."""


def parse(text: str, source: str = "<manifest>") -> list[Obj]:
    """All objects of a YAML stream in file order; a `List` is opened up, empty documents are passed over."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ManifestError(f"{place}: not YAML: {error.problem}") from error
    objects: list[Obj] = []
    for number, document in enumerate(documents, 1):
        if document is not None:
            objects.extend(_open(document, f"{source}: document {number}"))
    return objects


def _open(document: object, place: str) -> Iterator[Obj]:
    if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
        raise ManifestError(f"{place}: expected an object with apiVersion and kind")
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _open(item, place)
    else:
        yield document


def in_apply_order(objects: Iterable[Obj]) -> list[Obj]:
    """Stable: objects of equal rank keep their order; kinds that are not in the table come last."""
    return sorted(objects, key=lambda obj: _RANK.get(obj["kind"], len(_ORDER)))


def load(path: Path) -> list[Obj]:
    """The objects of a file, or of all *.yaml, *.yml and *.json files of a directory, in apply order."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml", ".json"))
        if not files:
            raise ManifestError(f"{path}: no *.yaml, *.yml or *.json file in this directory")
    else:
        files = [path]
    return in_apply_order(obj for file in files for obj in parse(file.read_text(), str(file)))
