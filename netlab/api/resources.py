"""The registry of kinds: what is served where, under which names, with which verbs.

Shapes follow upstream's discovery documents (api/discovery in kubernetes/kubernetes, 1.33). The registry is immutable;
`Registry.with_resources` gives a new one, which is how custom resources join the built-in kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from netlab.api.resource_table import ROWS, SUBRESOURCES, Row
from netlab.api.types import Obj


@dataclass(frozen=True)
class Subresource:
    """One subresource of a resource: `kind` is what its body is, `group`/`version` where that kind lives."""

    name: str
    kind: str
    group: str
    version: str
    verbs: tuple[str, ...]


@dataclass(frozen=True)
class Resource:
    """One resource as served at one group and version."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    list_kind: str = ""
    custom: bool = False
    """True for a resource that a CustomResourceDefinition defines (no strategic merge patch, structural schema)."""
    columns: tuple[Obj, ...] = ()
    """additionalPrinterColumns of a custom resource."""
    selectable: tuple[str, ...] = ()
    """JSON paths of a custom resource's selectableFields."""
    deprecated: str = ""
    """What is said of a custom resource's version that was given up."""

    @cached_property
    def _hash(self) -> int:
        return hash((self.group, self.version, self.plural))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def api_version(self) -> str:
        """`apps/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def group_resource(self) -> str:
        """`deployments.apps`, or `pods`: how upstream's error messages name the resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @cached_property
    def prefix(self) -> str:
        """`/api/v1` or `/apis/<group>/<version>`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @cached_property
    def storage_key(self) -> tuple[str, str]:
        """(group, plural) under which objects are stored: kinds served by several versions share one store."""
        if (self.group, self.plural) == ("events.k8s.io", "events"):
            return ("", "events")
        return (self.group, self.plural)

    @cached_property
    def stored(self) -> bool:
        """False for virtual resources (reviews, bindings, componentstatuses) that are computed, not kept."""
        return "delete" in self.verbs

    def subresource(self, name: str) -> Subresource | None:
        """The subresource called `name`, or None."""
        return next((s for s in self.subresources if s.name == name), None)

    def collection_path(self, namespace: str | None = None) -> str:
        """URL path of the collection: of one namespace, or of all where `namespace` is None or empty."""
        if self.namespaced and namespace:
            return f"{self.prefix}/namespaces/{namespace}/{self.plural}"
        return f"{self.prefix}/{self.plural}"

    def path(self, name: str, namespace: str | None = None, subresource: str | None = None) -> str:
        """URL path of one object or of its subresource."""
        path = f"{self.collection_path(namespace)}/{name}"
        return f"{path}/{subresource}" if subresource else path


def _from_row(row: Row) -> Resource:
    subresources = []
    for spec in row.subresources:
        sub = SUBRESOURCES[spec]
        subresources.append(
            Subresource(
                sub.name,
                sub.kind or row.kind,
                row.group if sub.group is None else sub.group,
                sub.version or row.version,
                sub.verbs,
            )
        )
    return Resource(
        group=row.group,
        version=row.version,
        kind=row.kind,
        plural=row.plural,
        singular=row.kind.lower(),
        namespaced=row.namespaced,
        verbs=row.verbs,
        short_names=row.short_names,
        categories=row.categories,
        subresources=tuple(subresources),
        list_kind=f"{row.kind}List",
    )


class Registry:
    """Look-ups over a fixed set of resources."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.resources = tuple(resources)
        self._by_path = {(r.group, r.version, r.plural): r for r in self.resources}
        self._by_kind = {(r.api_version, r.kind): r for r in self.resources}

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.resources)

    def __len__(self) -> int:
        return len(self.resources)

    def by_path(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource served at `/apis/<group>/<version>/<plural>`."""
        return self._by_path.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource whose objects carry this apiVersion and kind."""
        return self._by_kind.get((api_version, kind))

    def by_name(self, name: str) -> Resource | None:
        """By plural, singular, short name or kind, optionally `.group` or `.version.group`; first match wins."""
        name = name.lower()
        for resource in self.resources:
            names = (resource.plural, resource.singular, *resource.short_names)
            for candidate in names:
                if name in (candidate, f"{candidate}.{resource.group}"):
                    return resource
                if name == f"{candidate}.{resource.version}.{resource.group}":
                    return resource
        return None

    def groups(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """((group, versions, preferred first), …) in upstream's order of priority; the core group first."""
        found: dict[str, list[str]] = {}
        for resource in self.resources:
            versions = found.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        return tuple((group, tuple(versions)) for group, versions in found.items())

    def in_version(self, group: str, version: str) -> tuple[Resource, ...]:
        """The resources of one group and version, in the order of discovery."""
        return tuple(r for r in self.resources if r.group == group and r.version == version)

    def with_resources(self, extra: Iterable[Resource]) -> Registry:
        """A registry that also has `extra` (after the ones here)."""
        return Registry((*self.resources, *extra))


BUILTIN = Registry(_from_row(row) for row in ROWS)
RESOURCES: tuple[Resource, ...] = BUILTIN.resources
by_path = BUILTIN.by_path
by_kind = BUILTIN.by_kind
by_name = BUILTIN.by_name
by_plural = BUILTIN.by_name


def get(api_version: str, kind: str) -> Resource:
    """The built-in resource of this apiVersion and kind; KeyError where there is none (a programming error)."""
    resource = BUILTIN.by_kind(api_version, kind)
    if resource is None:
        raise KeyError(f"{api_version} {kind}")
    return resource
