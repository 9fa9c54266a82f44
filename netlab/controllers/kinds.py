"""The resources that hold objects, once each: the built-in ones and those of CustomResourceDefinitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from netlab.api import meta, resources
from netlab.api.types import Obj

CRDS = ("apiextensions.k8s.io/v1", "customresourcedefinitions")


@dataclass(frozen=True)
class Stored:
    """A resource at the version it is read at."""

    api_version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def group_resource(self) -> str:
        """`deployments.apps`; `pods.` in the sentences of the namespace controller has no group after the dot."""
        return f"{self.plural}.{self.group}"


def built_in() -> Iterator[Stored]:
    """Every built-in resource that can be listed, watched and deleted, at its preferred version."""
    seen: set[tuple[str, str]] = set()
    for resource in resources.RESOURCES:
        if not {"list", "watch", "delete"} <= set(resource.verbs) or resource.storage_key in seen:
            continue
        seen.add(resource.storage_key)
        yield Stored(resource.api_version, resource.plural, resource.kind, resource.namespaced)


def custom(definitions: Iterable[Obj]) -> Iterator[Stored]:
    """The resources that CustomResourceDefinitions define, at their storage version."""
    for definition in definitions:
        spec = definition["spec"]
        version = next((v["name"] for v in spec["versions"] if v.get("storage") and v.get("served", True)), None)
        version = version or next((v["name"] for v in spec["versions"] if v.get("served")), None)
        if version and meta.condition_true(definition, "Established"):
            names = spec["names"]
            yield Stored(f"{spec['group']}/{version}", names["plural"], names["kind"], spec["scope"] == "Namespaced")
