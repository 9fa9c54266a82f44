"""Tables: what `kubectl get` prints is computed here, by the server, as upstream computes it.

`printer(resource)` gives the columns and the cells of one kind; `table(...)` the whole Table document. Columns of
priority 1 are shown by `-o wide` only; the server always sends them. Follows pkg/printers/internalversion/printers.go.

May not read clocks: `now` (seconds since the epoch) is always an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netlab.api.resources import Resource
from netlab.api.tables.model import Column, Printer
from netlab.api.types import Obj

ACCEPT_V1 = "application/json;as=Table;v=v1;g=meta.k8s.io"
ACCEPT_V1BETA1 = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"


def printer(resource: Resource, extra: Sequence[Obj] | None = None) -> Printer:
    """How a resource prints; `extra` are a custom resource's additionalPrinterColumns."""
    if resource.custom:
        from netlab.api.tables.custom import custom_printer

        return custom_printer(resource.columns if extra is None else extra)
    from netlab.api.tables.registry import PRINTERS

    return PRINTERS.get((resource.group, resource.plural)) or PRINTERS["", ""]


def columns(resource: Resource, extra: Sequence[Obj] | None = None) -> list[Obj]:
    """The columnDefinitions of a Table."""
    return [column.definition for column in printer(resource, extra).columns]


def rows(
    resource: Resource,
    objects: Iterable[Obj],
    now: float,
    include: str = "Metadata",
    version: str = "v1",
    extra: Sequence[Obj] | None = None,
) -> list[Obj]:
    """The rows of a Table. `include` is ?includeObject=: None, Metadata (default) or Object."""
    how = printer(resource, extra)
    found = []
    for obj in objects:
        row: Obj = {"cells": how.cells(obj, now)}
        conditions = how.conditions(obj) if how.conditions is not None else None
        if conditions:
            row["conditions"] = conditions
        row["object"] = _included(obj, include, version)
        found.append(row)
    return found


def _included(obj: Obj, include: str, version: str) -> Obj | None:
    if include == "None":
        return None
    if include == "Object":
        return obj
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj.get("metadata") or {},
    }


def table(
    resource: Resource,
    objects: Iterable[Obj],
    now: float,
    *,
    list_metadata: Obj | None = None,
    include: str = "Metadata",
    version: str = "v1",
    headers: bool = True,
    extra: Sequence[Obj] | None = None,
) -> Obj:
    """A whole Table. `list_metadata` is the list's resourceVersion, continue, remainingItemCount.

    In a watch only the first event carries `headers`; for one object pass its own metadata's resourceVersion.
    """
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": list_metadata or {},
        "columnDefinitions": columns(resource, extra) if headers else [],
        "rows": rows(resource, objects, now, include, version, extra),
    }


__all__ = ["ACCEPT_V1", "ACCEPT_V1BETA1", "Column", "Printer", "columns", "printer", "rows", "table"]
