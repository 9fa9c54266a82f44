"""PURE. What every custom object goes through before it is stored.

Source followed: apiextensions-apiserver `pkg/registry/customresource` (`strategy.go`, `status_strategy.go`,
`validator.go`).
"""

from __future__ import annotations

from netlab.api import meta
from netlab.api.types import Obj
from netlab.api.validation import meta as metadata_rules
from netlab.api.validation.field import FieldError, invalid
from netlab.apiserver.extensions import checks, rules
from netlab.apiserver.extensions.kinds import CustomResource

_OWN = ("metadata", "apiVersion", "kind")


def prepare_new(obj: Obj, resource: CustomResource) -> None:
    """Generation 1; a status that has a subresource of its own cannot be given. In place."""
    obj["metadata"]["generation"] = 1
    if resource.has_status:
        obj.pop("status", None)


def prepare_changed(new: Obj, old: Obj, resource: CustomResource) -> None:
    """The status stays, where it has a subresource; any other change outside metadata counts a generation. In place."""
    if resource.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    before = meta.generation(old)
    changed = not checks.same(_content(new), _content(old))
    new["metadata"]["generation"] = before + 1 if changed else before


def _content(obj: Obj) -> Obj:
    return {key: value for key, value in obj.items() if key not in _OWN}


def prepare_status(new: Obj, old: Obj) -> None:
    """All but the status (and who manages which field) stays. In place."""
    status, managed = new.get("status"), new["metadata"].get("managedFields")
    had = "status" in new
    new.clear()
    new.update(old)
    new["metadata"] = {**old["metadata"]}
    new["metadata"].pop("managedFields", None)
    if managed:
        new["metadata"]["managedFields"] = managed
    new.pop("status", None)
    if had:
        new["status"] = status


def validate_new(obj: Obj, resource: CustomResource) -> list[FieldError]:
    found = metadata_rules.metadata(obj, resource.namespaced, kube_finalizers=False)
    found += checks.check(_judged(obj), resource.schema)
    found += _shape(obj, resource) + _scale(obj, resource)
    return found + rules.check(_judged(obj), None, resource, found)


def validate_changed(new: Obj, old: Obj, resource: CustomResource) -> list[FieldError]:
    found = metadata_rules.metadata_update(new, old, kube_finalizers=False)
    found += checks.check(_judged(new), resource.schema, _judged(old))
    known = set(map(repr, _shape(old, resource)))
    found += [one for one in _shape(new, resource) if repr(one) not in known] + _scale(new, resource)
    return found + rules.check(_judged(new), _judged(old), resource, found)


def _judged(obj: Obj) -> Obj:
    """The object as its schema sees it: of metadata it can only restrict the name."""
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k in ("name", "generateName")}}


def _shape(obj: Obj, resource: CustomResource) -> list[FieldError]:
    return checks.list_types(obj, resource.schema) + checks.embedded(obj, resource.schema)


def _scale(obj: Obj, resource: CustomResource) -> list[FieldError]:
    """The number of replicas that the scale subresource shows."""
    if not resource.scale:
        return []
    path = resource.scale["specReplicasPath"].lstrip(".")
    value = meta.get(obj, *path.split("."))
    if isinstance(value, int) and value < 0:
        return [invalid(path, value, "should be a non-negative integer")]
    return []
