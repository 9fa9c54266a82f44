"""What PUT and PATCH share: compute the new object from the current one, check it, write it, or try again.

The computation runs in one turn of the event loop, against the state that the write will be checked against, so a
second try is needed only where admission had to wait.
"""

from collections.abc import Callable
from dataclasses import dataclass

from netlab.api import defaults, errors, meta
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver import lifecycle
from netlab.apiserver.admission import Attributes
from netlab.apiserver.api import Api
from netlab.apiserver.apply.tracking import record
from netlab.apiserver.conversion import convert
from netlab.apiserver.operations.options import dry_run
from netlab.apiserver.representation import one, show
from netlab.apiserver.storage import Stored, load
from netlab.apiserver.wire.message import Answer, Request
from netlab.apiserver.writing import Conflict, NotFound, write_changed, write_gone
from netlab.store import Item

Transform = Callable[[Obj], Obj]
"""From the current object to the wanted one, both in the version of the request. May raise StatusError."""
Wanted = Transform | Obj
"""A transform, or the whole object (of a PUT), for which the current one need not be read once more."""
_TRIES = 5


@dataclass(frozen=True, slots=True)
class View:
    """What admission sees of an object, where a subresource has a form of its own; `put` writes that form back."""

    subresource: str
    show: Callable[[Obj], Obj]
    put: Callable[[Obj, Obj], None]


async def change(api: Api, request: Request, resource: Resource, transform: Wanted, *, tracked: bool = True) -> Answer:
    """Answer with the changed object; 404 when there is none. Unless `tracked`, the transform sets managedFields."""
    item, stored = await changed_item(api, request, resource, transform, tracked=tracked)
    if isinstance(item, Item):
        return one(request, resource, stored, item)
    return show(request, resource, convert(item, stored.resource, resource))


async def changed_item(
    api: Api,
    request: Request,
    resource: Resource,
    transform: Wanted,
    *,
    tracked: bool = True,
    through: str | None = None,
    view: View | None = None,
) -> tuple[Item | Obj, Stored]:
    """The stored item, or in a dry run the object that would have been stored (in the stored version).

    `through` is the subresource that managedFields name, where that is not the request's.
    """
    through = request.info.subresource if through is None else through
    stored, info = api.stored(resource), request.info
    for _ in range(_TRIES):
        current = api.store.latest(stored.key(info.namespace, info.name))
        if current is None:
            raise errors.not_found(resource, info.name)
        try:
            made = _change_once(api, request, resource, stored, current, transform, through, tracked, view)
            return await made, stored
        except NotFound:
            raise errors.not_found(resource, info.name) from None
        except Conflict:
            continue
    raise errors.conflict(resource, info.name)


async def _change_once(
    api: Api,
    request: Request,
    resource: Resource,
    stored: Stored,
    current: Item,
    transform: Wanted,
    through: str,
    tracked: bool,
    view: View | None,
) -> Item | Obj:
    info, dry = request.info, dry_run(request)
    old = load(current, stored)
    if isinstance(transform, dict):
        wanted = transform
    else:
        wanted = transform(convert(load(current, stored), stored.resource, resource))
    if meta.name(wanted) != info.name:
        why = f"the name of the object ({meta.name(wanted)}) does not match the name on the URL ({info.name})"
        raise errors.bad_request(why)
    lifecycle.check_namespace(wanted, resource, info.namespace if resource.namespaced else "")
    conditional = request.method == "PUT" and (stored.collection in lifecycle.CONDITIONAL_UPDATE or resource.custom)
    lifecycle.check_precondition(resource, info.name, wanted, old, conditional=conditional)
    defaults.apply_defaults(wanted)
    if tracked:
        live = convert(old, stored.resource, resource)
        record(request, resource, live, wanted, meta.now_rfc3339(api.clock), through)
    new = convert(wanted, resource, stored.resource)
    attributes = Attributes(
        "UPDATE",
        stored.resource,
        info.subresource if view is None else view.subresource,
        meta.namespace(old),
        info.name,
        new if view is None else view.show(new),
        old if view is None else view.show(old),
        request.user,
        dry,
        request.warnings,
    )
    api.admission.mutate(api, attributes)
    if api.dynamic.mutating:
        await api.dynamic.mutate(api, attributes, resource, request)
    if view is not None and attributes.obj is not None:
        view.put(new, attributes.obj)
        attributes.obj = view.show(new)
    lifecycle.prepare_changed(new, old, stored.resource, info.subresource)
    undo = None
    if stored.collection == "services" and not info.subresource:
        undo = api.allocation.update(new, old, dry_run=dry)
    try:
        judged = resource if resource.custom else stored.resource
        seen = [convert(obj, stored.resource, judged) for obj in (new, old)]
        lifecycle.validate_changed(seen[0], seen[1], judged, info.subresource)
        if not info.subresource:
            request.warnings += lifecycle.warnings_of_change(new, old, stored.resource)
        if api.dynamic.validating:
            await api.dynamic.validate(api, attributes, resource, request)
        api.admission.validate(api, attributes)
        if lifecycle.same(new, old):
            return old if dry else await _durable(api, current)
        if dry:
            return new
        write = write_gone if lifecycle.removable(new, stored.resource) else write_changed
        item = await write(api, stored, resource, new, current.revision)
    except (errors.StatusError, Conflict, NotFound):
        if undo is not None:
            undo()
        raise
    if stored.collection == "services":
        api.allocation.settle(new, old)
    return item


async def _durable(api: Api, item: Item) -> Item:
    """A no-op is answered with the state it was computed from, once that is durable."""
    await api.store.durable(item.revision)
    return item
