"""CREATE: POST to a collection."""

from netlab.api import defaults, errors, meta
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver import lifecycle
from netlab.apiserver.admission import Attributes
from netlab.apiserver.api import Api
from netlab.apiserver.apply.tracking import record
from netlab.apiserver.authz import Action, forbidden
from netlab.apiserver.body import decode_object
from netlab.apiserver.conversion import convert
from netlab.apiserver.operations.options import dry_run
from netlab.apiserver.representation import one, show
from netlab.apiserver.wire.message import Answer, Request
from netlab.apiserver.writing import write_new

_GENERATE_TRIES = 8


async def create(api: Api, request: Request, resource: Resource) -> Answer:
    obj = decode_object(request, resource)
    return await create_object(api, request, resource, obj)


def authorize_creation(api: Api, request: Request) -> None:
    """Raise 403 unless the user of a PUT or PATCH may also create what is not there."""
    info = request.info
    action = Action("create", info.group, info.resource, info.subresource, info.namespace, info.name, info.path)
    decision = api.authorizer.decide(request.user, action)
    if not decision.allowed:
        raise forbidden(request.user.name, action, decision.reason)


async def create_object(api: Api, request: Request, resource: Resource, obj: Obj, *, tracked: bool = True) -> Answer:
    """Create a decoded object (also a PUT or an apply that finds nothing); an apply brings its managedFields."""
    info, stored, dry = request.info, api.stored(resource), dry_run(request)
    if not dry and meta.get(obj, "metadata", "resourceVersion", default="") not in ("", "0"):
        raise errors.internal("resourceVersion should not be set on objects to be created")
    namespace = info.namespace if resource.namespaced else ""
    lifecycle.check_namespace(obj, resource, namespace)
    defaults.apply_defaults(obj)
    now = meta.now_rfc3339(api.clock)
    if tracked:
        record(request, resource, None, obj, now, info.subresource)
    obj = convert(obj, resource, stored.resource)
    name = meta.name(obj) or info.name
    attributes = Attributes(
        "CREATE", stored.resource, info.subresource, namespace, name, obj, None, request.user, dry, request.warnings
    )
    api.admission.mutate(api, attributes)
    if api.dynamic.mutating:
        await api.dynamic.mutate(api, attributes, resource, request)
    generated = not meta.name(obj) and bool(obj["metadata"].get("generateName"))
    for attempt in range(_GENERATE_TRIES if generated else 1):
        if attempt:
            obj["metadata"]["name"] = ""
        lifecycle.prepare_new(obj, stored.resource, now)
        undo = api.allocation.create(obj, dry_run=dry) if stored.collection == "services" else None
        try:
            checked = resource if resource.custom else stored.resource
            lifecycle.validate_new(convert(obj, stored.resource, checked), checked)
            request.warnings += lifecycle.warnings_of_new(obj, stored.resource)
            if api.dynamic.validating:
                await api.dynamic.validate(api, attributes, resource, request)
            api.admission.validate(api, attributes)
            if dry:
                return _dry(api, request, resource, obj)
            return one(request, resource, stored, await write_new(api, stored, resource, obj), 201)
        except errors.StatusError as error:
            if undo is not None:
                undo()
            if not (generated and error.reason == "AlreadyExists"):
                raise
    raise errors.generate_name_conflict(resource, meta.name(obj))


def _dry(api: Api, request: Request, resource: Resource, obj: Obj) -> Answer:
    stored = api.stored(resource)
    if api.store.latest(stored.key(meta.namespace(obj), meta.name(obj))) is not None:
        raise errors.already_exists(resource, meta.name(obj))
    return show(request, resource, convert(obj, stored.resource, resource), 201)
