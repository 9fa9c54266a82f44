"""Custom kinds for the tests of conformance names, as upstream's crd utilities make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.labs.sig_network_tools import Api, Obj
from tests.labs.tools import until

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ANYTHING: Obj = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@dataclass(frozen=True)
class Custom:
    """A custom kind; plural "things", kind "Thing"."""

    group: str
    versions: tuple[str, ...]
    schema: Obj
    plural: str = "things"
    kind: str = "Thing"
    namespaced: bool = True

    @property
    def name(self) -> str:
        return f"{self.plural}.{self.group}"

    @property
    def own(self) -> str:
        return f"{CRDS}/{self.name}"

    def path(self, namespace: str = "", version: str = "") -> str:
        where = f"/namespaces/{namespace}" if namespace else ""
        return f"/apis/{self.group}/{version or self.versions[0]}{where}/{self.plural}"

    def listed(self, storage: str = "", **more: Any) -> list[Obj]:
        """spec.versions, all served; the first is stored where none is named."""
        stored = storage or self.versions[0]
        return [
            {"name": one, "served": True, "storage": one == stored, "schema": {"openAPIV3Schema": self.schema}, **more}
            for one in self.versions
        ]

    def body(self, labels: Obj | None = None, **spec: Any) -> Obj:
        names = {"plural": self.plural, "singular": self.plural[:-1], "kind": self.kind, "listKind": f"{self.kind}List"}
        scope = "Namespaced" if self.namespaced else "Cluster"
        full = {"group": self.group, "scope": scope, "names": names, "versions": self.listed(), **spec}
        return {"metadata": {"name": self.name, "labels": labels or {}}, "spec": full}


def definition(
    api: Api,
    group: str,
    *versions: str,
    schema: Obj | None = None,
    labels: Obj | None = None,
    plural: str = "things",
    kind: str = "Thing",
    namespaced: bool = True,
    **spec: Any,
) -> Custom:
    """The kind is defined, and served."""
    crd = Custom(group, versions, schema or ANYTHING, plural, kind, namespaced)
    api.call("POST", CRDS, crd.body(labels, **spec))
    until(f"{crd.name} is served", lambda: established(api, crd))
    return crd


def established(api: Api, crd: Custom) -> bool:
    conditions = api.get(crd.own).get("status", {}).get("conditions") or ()
    holds = any(one["type"] == "Established" and one["status"] == "True" for one in conditions)
    return holds and all(not api.gone(crd.path(version=version)) for version in crd.versions)


def custom(crd: Custom, name: str, version: str = "", **content: Any) -> Obj:
    meta = {"name": name}
    return {"apiVersion": f"{crd.group}/{version or crd.versions[0]}", "kind": crd.kind, "metadata": meta, **content}


def removed(api: Api, crd: Custom) -> None:
    api.call("DELETE", crd.own)
    until(f"{crd.name} is gone", lambda: api.gone(crd.own))
