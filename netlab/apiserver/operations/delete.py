"""DELETE of one object: at once, or marked until its grace period and finalizers are through."""

from netlab.api import errors, meta
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver import lifecycle
from netlab.apiserver.admission import Attributes
from netlab.apiserver.api import Api
from netlab.apiserver.body import decode_of
from netlab.apiserver.conversion import convert
from netlab.apiserver.lifecycle import Deletion
from netlab.apiserver.operations.options import dry_run
from netlab.apiserver.representation import one, show
from netlab.apiserver.storage import Stored, load
from netlab.apiserver.wire.message import Answer, Request, json_response
from netlab.apiserver.writing import Conflict, NotFound, write_changed, write_gone
from netlab.store import Item

_TRIES = 5


async def delete(api: Api, request: Request, resource: Resource) -> Answer:
    wish = deletion(request)
    stored, info = api.stored(resource), request.info
    item, removed = await delete_key(api, request, resource, stored.key(info.namespace, info.name), wish)
    if removed and stored.collection not in lifecycle.RETURNED_WHEN_DELETED:
        obj = item if not isinstance(item, Item) else load(item, stored)
        details: Obj = {"name": info.name, "kind": resource.plural, "uid": meta.uid(obj)}
        if resource.group:
            details["group"] = resource.group
        return json_response(errors.success(details))
    if isinstance(item, Item):
        return one(request, resource, stored, item)
    return show(request, resource, convert(item, stored.resource, resource))


def deletion(request: Request) -> Deletion:
    """DeleteOptions of the body, or where there is none of the query."""
    options = decode_of(request, "v1", "DeleteOptions", empty={})
    query = request.query
    if options and options.get("kind", "DeleteOptions") != "DeleteOptions":
        kind = options.get("kind")
        raise errors.bad_request(f'the body of a DELETE is DeleteOptions, not "{kind}"')
    grace = options.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        try:
            grace = int(query["gracePeriodSeconds"])
        except ValueError:
            raise errors.bad_request(
                f'strconv.ParseInt: parsing "{query["gracePeriodSeconds"]}": invalid syntax'
            ) from None
    propagation = options.get("propagationPolicy") or query.get("propagationPolicy") or ""
    orphans = options.get("orphanDependents")
    _check_options(propagation, orphans)
    if orphans is not None:
        propagation = "Orphan" if orphans else "Background"
    preconditions = options.get("preconditions") or {}
    return Deletion(
        grace=None if grace is None else int(grace),
        propagation=propagation,
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=dry_run(request, options.get("dryRun")) or dry_run(request),
    )


def _check_options(propagation: str, orphans: bool | None) -> None:
    cause = None
    if propagation and orphans is not None:
        message = 'Invalid value: "null": orphanDependents and deletionPropagation cannot be both set'
        cause = errors.cause("FieldValueInvalid", "propagationPolicy", message)
    elif propagation not in ("", "Foreground", "Background", "Orphan"):
        message = f'Unsupported value: "{propagation}": supported values: "Background", "Foreground", "Orphan"'
        cause = errors.cause("FieldValueNotSupported", "propagationPolicy", message)
    if cause is not None:
        raise errors.invalid("DeleteOptions", "", [cause], group="meta.k8s.io")


async def delete_key(
    api: Api, request: Request, resource: Resource, key: str, wish: Deletion
) -> tuple[Item | Obj, bool]:
    """Delete what is stored under `key`; the item (a dry run: the object) as it is now, and whether it is gone."""
    name = key.rpartition("/")[2]
    for _ in range(_TRIES):
        current = api.store.latest(key)
        if current is None:
            raise errors.not_found(resource, name)
        try:
            return await _delete_once(api, request, resource, current, wish)
        except NotFound:
            raise errors.not_found(resource, name) from None
        except Conflict:
            continue
    raise errors.conflict(resource, name)


async def _delete_once(
    api: Api, request: Request, resource: Resource, current: Item, wish: Deletion
) -> tuple[Item | Obj, bool]:
    stored = api.stored(resource)
    obj = load(current, stored)
    name, namespace = meta.name(obj), meta.namespace(obj)
    _check_preconditions(resource, name, obj, wish)
    old = load(current, stored)
    attributes = Attributes("DELETE", stored.resource, "", namespace, name, None, old, request.user, wish.dry_run)
    api.admission.mutate(api, attributes)
    if api.dynamic.mutating or api.dynamic.validating:
        attributes.warnings = request.warnings
        await api.dynamic.both(api, attributes, resource, request)
    api.admission.validate(api, attributes)
    outcome = lifecycle.begin_deletion(obj, stored.resource, wish, api.clock())
    if wish.dry_run:
        return obj, outcome == "remove"
    if outcome == "nothing" or (outcome == "mark" and obj == old):
        await api.store.durable(current.revision)
        return current, False
    if outcome == "mark":
        return await write_changed(api, stored, resource, obj, current.revision), False
    item = await write_gone(api, stored, resource, obj, current.revision)
    released(api, stored, obj)
    return item, True


def released(api: Api, stored: Stored, obj: Obj) -> None:
    """Give back what a removed object held."""
    if stored.collection == "services":
        api.allocation.settle(None, obj)


def _check_preconditions(resource: Resource, name: str, obj: Obj, wish: Deletion) -> None:
    uid, version = meta.uid(obj), meta.resource_version(obj)
    if wish.uid and wish.uid != uid:
        why = f"Precondition failed: UID in precondition: {wish.uid}, UID in object meta: {uid}"
        raise errors.conflict(resource, name, why)
    if wish.resource_version and wish.resource_version != version:
        why = (
            f"Precondition failed: ResourceVersion in precondition: {wish.resource_version}, "
            f"ResourceVersion in object meta: {version}"
        )
        raise errors.conflict(resource, name, why)
