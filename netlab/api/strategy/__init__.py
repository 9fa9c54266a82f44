"""PURE. What the registry does to an object before it is stored, per kind, besides defaults and validation.

Source followed: upstream `pkg/registry/*/strategy.go` and `rest.BeforeCreate`/`BeforeUpdate`: status is reset on create
and kept on update, spec is kept on a status update, `generation` counts spec changes. What needs other objects or
allocators (addresses, node ports, tokens, quotas) is not here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from netlab.api import meta
from netlab.api.gotypes import fast, fields_of, is_struct, type_name
from netlab.api.strategy import kinds
from netlab.api.strategy.features import drop_disabled
from netlab.api.types import Obj

_COUNTED = frozenset(
    {
        "Pod",
        "ReplicationController",
        "ReplicaSet",
        "Deployment",
        "DaemonSet",
        "StatefulSet",
        "Job",
        "CronJob",
        "PodDisruptionBudget",
        "Ingress",
        "IngressClass",
        "NetworkPolicy",
        "PriorityClass",
        "CustomResourceDefinition",
        "FlowSchema",
        "PriorityLevelConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
    }
)
"""Kinds whose `metadata.generation` upstream keeps."""
_STATUS_IS_THE_CLIENTS = frozenset({"Node", "ComponentStatus", "TokenReview", "SubjectAccessReview"})
"""Kinds whose status may be given on create."""


def prepare_for_create(obj: Obj) -> None:
    """Reset what a client may not set on create (status, generation), complete what the kind's strategy completes.

    In place. Metadata that the server owns (uid, creationTimestamp, resourceVersion) is the caller's and is expected to
    be there: Jobs select their pods by uid.
    """
    kind = str(obj.get("kind"))
    metadata = obj["metadata"]
    drop_disabled(obj)
    if kind in _COUNTED:
        metadata["generation"] = 1
    else:
        metadata.pop("generation", None)
    if "status" in obj and kind not in _STATUS_IS_THE_CLIENTS:
        _reset_status(obj)
    complete = kinds.CREATE.get(kind)
    if complete is not None:
        complete(obj)


def _reset_status(obj: Obj) -> None:
    zero = _zero_status(str(obj["apiVersion"]), str(obj["kind"]))
    if zero is None:
        del obj["status"]
    else:
        obj["status"] = zero()


@cache
def _zero_status(api_version: str, kind: str) -> Callable[[], Any] | None:
    """A maker of what Go writes for a kind's empty status; None where it has none."""
    name = type_name(api_version, kind)
    field = next((one for one in fields_of(name) if one.name == "status"), None) if is_struct(name) else None
    return fast.zero(field.type) if field is not None else None


def prepare_for_update(new: Obj, old: Obj) -> None:
    """Keep the status of `old`, raise `metadata.generation` when the spec changed; in place on `new`."""
    kind = str(new.get("kind"))
    drop_disabled(new, old)
    if "status" in old:
        new["status"] = old["status"]
    elif "status" in new and kind not in _STATUS_IS_THE_CLIENTS:
        del new["status"]
    complete = kinds.UPDATE.get(kind)
    if complete is not None:
        complete(new, old)
    if kind in _COUNTED:
        before = meta.generation(old)
        new["metadata"]["generation"] = before + 1 if _spec_changed(kind, new, old) else before
        if not new["metadata"]["generation"]:
            del new["metadata"]["generation"]


def _spec_changed(kind: str, new: Obj, old: Obj) -> bool:
    if kind == "Deployment" and meta.annotations(new) != meta.annotations(old):
        return True  # upstream counts annotations of Deployments as part of what is desired
    if "spec" in new or "spec" in old:
        return bool(new.get("spec") != old.get("spec"))
    outside = ("metadata", "status", "apiVersion", "kind")
    return {k: v for k, v in new.items() if k not in outside} != {k: v for k, v in old.items() if k not in outside}


def prepare_for_status_update(new: Obj, old: Obj) -> None:
    """Keep everything of `old` but the status and the metadata that a status update may change; in place on `new`."""
    for key in [key for key in new if key not in ("metadata", "status", "apiVersion", "kind")]:
        del new[key]
    for key, value in old.items():
        if key not in ("metadata", "status", "apiVersion", "kind"):
            new[key] = value
    metadata, before = new["metadata"], old["metadata"]
    for key in kinds.METADATA_KEPT_ON_STATUS.get(str(new.get("kind")), ()):
        if key in before:
            metadata[key] = before[key]
        else:
            metadata.pop(key, None)
    complete = kinds.STATUS_UPDATE.get(str(new.get("kind")))
    if complete is not None:
        complete(new, old)
