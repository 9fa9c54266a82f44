"""PURE. What every object goes through when it is created, updated or deleted, whatever its kind.

Source followed: upstream apiserver/pkg/registry/rest (BeforeCreate, BeforeUpdate, BeforeDelete). Changes are in place.
"""

from dataclasses import dataclass
from typing import Literal

from netlab.api import errors, meta, strategy, validation, warnings
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.api.validation.field import causes
from netlab.api.warnings import finalizers
from netlab.apiserver.extensions import strategy as custom
from netlab.apiserver.extensions.kinds import COLLECTION, CustomResource, begin_ending

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
CREATE_ON_UPDATE = frozenset(
    {
        "endpoints",
        "events",
        "limitranges",
        "services",
        "leases.coordination.k8s.io",
        "roles.rbac.authorization.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
        "priorityclasses.scheduling.k8s.io",
    }
)
"""Collections whose objects a PUT may create (AllowCreateOnUpdate of upstream's strategies)."""
CONDITIONAL_UPDATE = frozenset({"leases.coordination.k8s.io", "customresourcedefinitions.apiextensions.k8s.io"})
"""Collections whose updates must name the resourceVersion they were made from (not AllowUnconditionalUpdate)."""
RETURNED_WHEN_DELETED = frozenset(
    {"pods", "services", "persistentvolumes", "persistentvolumeclaims", "serviceaccounts", "resourcequotas"}
    | {"podtemplates", "storageclasses.storage.k8s.io", "csinodes.storage.k8s.io", "csidrivers.storage.k8s.io"}
    | {"volumeattachments.storage.k8s.io"}
)
"""Collections whose deletion answers with the object, not with a Status (ReturnDeletedObject)."""


def invalid_if(found: "list[validation.FieldError]", resource: Resource, name: str) -> None:
    """Raise 422 when there are findings."""
    if found:
        raise errors.invalid(resource.kind, name, causes(found), group=resource.group)


def check_namespace(obj: Obj, resource: Resource, namespace: str) -> None:
    """The object is put into the request's namespace; naming another one is refused."""
    metadata = meta.metadata(obj)
    if not resource.namespaced:
        metadata.pop("namespace", None)
        return
    named = metadata.get("namespace") or namespace
    if named != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    metadata["namespace"] = namespace


def prepare_new(obj: Obj, resource: Resource, now: str) -> None:
    """System fields, name, strategy: all that comes before validation."""
    metadata = meta.metadata(obj)
    for gone in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
        metadata.pop(gone, None)
    metadata["uid"] = meta.new_uid()
    metadata["creationTimestamp"] = now
    if metadata.get("generateName") and not metadata.get("name"):
        metadata["name"] = meta.generate_name(metadata["generateName"])
    if isinstance(resource, CustomResource):
        custom.prepare_new(obj, resource)
    else:
        strategy.prepare_for_create(obj)


def validate_new(obj: Obj, resource: Resource) -> None:
    if isinstance(resource, CustomResource):
        found = custom.validate_new(obj, resource)
    else:
        found = validation.validate_create(obj)
    invalid_if(found, resource, meta.name(obj))


def warnings_of_new(obj: Obj, resource: Resource) -> list[str]:
    """What is said of a valid new object beside the answer."""
    return finalizers.added(obj, None) if isinstance(resource, CustomResource) else warnings.on_create(obj)


def warnings_of_change(new: Obj, old: Obj, resource: Resource) -> list[str]:
    """What is said of a valid change of the object itself."""
    return finalizers.added(new, old) if isinstance(resource, CustomResource) else warnings.on_change(new, old)


def check_precondition(resource: Resource, name: str, new: Obj, old: Obj, *, conditional: bool = False) -> None:
    """resourceVersion and uid of `new`, where given, must be those of `old`; 409 otherwise."""
    metadata, current = meta.metadata(new), old["metadata"]
    uid, version = metadata.get("uid"), metadata.get("resourceVersion")
    if uid and uid != current.get("uid"):
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {current.get('uid')}"
        raise errors.conflict(resource, name, why)
    if version and version != "0" and version != current.get("resourceVersion"):
        raise errors.conflict(resource, name)
    if conditional and version in (None, "", "0"):
        cause = errors.cause(
            "FieldValueInvalid", "metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update"
        )
        raise errors.invalid(resource.kind, name, [cause], group=resource.group)


def prepare_changed(new: Obj, old: Obj, resource: Resource, subresource: str) -> None:
    """Metadata that an update cannot change, then the strategy of the (sub)resource."""
    metadata, current = meta.metadata(new), old["metadata"]
    for kept in ("uid", "creationTimestamp", "resourceVersion", "selfLink", "generateName"):
        _keep(metadata, current, kept, only_missing=kept == "generateName")
    for kept in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        _keep(metadata, current, kept)
    if "finalizers" in metadata and not metadata["finalizers"]:
        del metadata["finalizers"]
    if isinstance(resource, CustomResource):
        if subresource == "status":
            custom.prepare_status(new, old)
        else:
            custom.prepare_changed(new, old, resource)
    elif subresource == "status":
        strategy.prepare_for_status_update(new, old)
    elif not subresource:
        strategy.prepare_for_update(new, old)


def _keep(metadata: Obj, current: Obj, field: str, *, only_missing: bool = False) -> None:
    if only_missing and metadata.get(field):
        return
    if field in current:
        metadata[field] = current[field]
    else:
        metadata.pop(field, None)


def validate_changed(new: Obj, old: Obj, resource: Resource, subresource: str) -> None:
    if isinstance(resource, CustomResource):
        found = custom.validate_changed(new, old, resource)
    elif subresource == "status":
        found = validation.validate_status_update(new, old)
    elif subresource:
        found = validation.validate_subresource_update(subresource, new, old)
    else:
        found = validation.validate_update(new, old)
    invalid_if(found, resource, meta.name(old))


def same(new: Obj, old: Obj) -> bool:
    """Whether an update changes nothing; times of managed fields do not count, as upstream."""
    return new == old or _without_times(new) == _without_times(old)


def _without_times(obj: Obj) -> Obj:
    managed = obj["metadata"].get("managedFields")
    if not managed:
        return obj
    bare = [{key: value for key, value in entry.items() if key != "time"} for entry in managed]
    return {**obj, "metadata": {**obj["metadata"], "managedFields": bare}}


Outcome = Literal["remove", "mark", "nothing"]


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a DELETE asks for. `grace` is None where the client leaves it to the object."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def begin_deletion(obj: Obj, resource: Resource, wish: Deletion, now: float) -> Outcome:
    """Decide what a deletion does to `obj`, and mark it (in place) when it stays for now."""
    metadata = obj["metadata"]
    if resource.group_resource == COLLECTION:
        begin_ending(obj, meta.rfc3339(now))
    _set_propagation_finalizers(metadata, wish.propagation)
    grace = _grace(obj, resource, wish)
    deleting = "deletionTimestamp" in metadata
    if grace == 0 and not metadata.get("finalizers") and not _awaits_namespace_finalizers(obj, resource):
        return "remove"
    if deleting and grace >= metadata.get("deletionGracePeriodSeconds", 0):
        return "mark" if metadata.get("finalizers") else "nothing"
    metadata["deletionTimestamp"] = meta.rfc3339(now + grace)
    metadata["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation"):
        metadata["generation"] += 1
    if resource.group_resource == "namespaces":
        obj.setdefault("status", {})["phase"] = "Terminating"
    return "mark"


def _awaits_namespace_finalizers(obj: Obj, resource: Resource) -> bool:
    return resource.group_resource == "namespaces" and bool(meta.get(obj, "spec", "finalizers", default=[]))


def _set_propagation_finalizers(metadata: Obj, propagation: str) -> None:
    """The finalizer that makes the garbage collector delete or orphan dependents first."""
    if not propagation:
        return
    wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(propagation, "")
    kept = [name for name in metadata.get("finalizers") or [] if name not in (FOREGROUND, ORPHAN)]
    if wanted:
        kept.append(wanted)
    if kept:
        metadata["finalizers"] = kept
    else:
        metadata.pop("finalizers", None)


def _grace(obj: Obj, resource: Resource, wish: Deletion) -> int:
    """Seconds of grace; only pods have any (upstream pod strategy's CheckGracefulDelete)."""
    if resource.kind != "Pod" or resource.group:
        return 0
    asked = wish.grace
    if asked is None:
        asked = meta.get(obj, "spec", "terminationGracePeriodSeconds", default=30)
    if not meta.get(obj, "spec", "nodeName") or meta.get(obj, "status", "phase") in ("Failed", "Succeeded"):
        return 0
    # a negative value means "at once, but let the node know", as upstream
    return 1 if asked < 0 else int(asked)


def removable(obj: Obj, resource: Resource) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    return metadata.get("deletionGracePeriodSeconds", 0) == 0 and not _awaits_namespace_finalizers(obj, resource)
