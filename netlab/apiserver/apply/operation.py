"""PATCH with application/apply-patch+yaml: create the object or merge the configuration into it.

Source followed: apiserver/pkg/endpoints/handlers/patch.go (applyPatcher) and its tests.
"""

from functools import partial

from netlab.api import errors, managedfields, meta
from netlab.api import patch as patches
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.apply.tracking import shape_of
from netlab.apiserver.body import decode, field_validation, mapping, yaml_value
from netlab.apiserver.operations.change import change
from netlab.apiserver.operations.create import authorize_creation, create_object
from netlab.apiserver.operations.options import flag
from netlab.apiserver.wire.message import Answer, Request
from netlab.apiserver.wire.negotiate import content_type

_TRIES = 5


def applies(request: Request) -> bool:
    """Whether this is a server-side apply."""
    kind = content_type(request.headers.get("content-type", ""))
    return request.method == "PATCH" and kind == patches.APPLY_PATCH


async def apply(api: Api, request: Request, resource: Resource) -> Answer:
    """Raises StatusError 409 with FieldManagerConflict causes where others own what is applied differently."""
    config = configuration(request, resource)
    stored, info = api.stored(resource), request.info
    merge = partial(merged, api, request, resource, config)
    for _ in range(_TRIES):
        if info.subresource or api.store.latest(stored.key(info.namespace, info.name)) is not None:
            try:
                return await change(api, request, resource, merge, tracked=False)
            except errors.StatusError as error:
                if error.reason != "NotFound" or info.subresource:
                    raise
        try:
            return await _create(api, request, resource, config, merge(None))
        except errors.StatusError as error:
            if error.reason != "AlreadyExists":
                raise
    raise errors.conflict(resource, info.name)


async def _create(api: Api, request: Request, resource: Resource, config: Obj, obj: Obj) -> Answer:
    info = request.info
    uid = meta.uid(config)
    if uid:
        why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise errors.conflict(resource, info.name, why)
    check_name(obj, info.name)
    authorize_creation(api, request)
    obj["metadata"].pop("resourceVersion", None)
    return await create_object(api, request, resource, obj, tracked=False)


def check_name(obj: Obj, name: str) -> None:
    """The configuration names the object, or leaves that to the URL."""
    given = meta.metadata(obj).setdefault("name", name)
    if given != name:
        why = f"the name of the object ({given}) does not match the name on the URL ({name})"
        raise errors.bad_request(why)


def configuration(request: Request, resource: Resource) -> Obj:
    """The body of an apply. Raises StatusError 400."""
    strictness = field_validation(request)
    value, repeated = yaml_value(request.body)
    config = mapping(value)
    version, kind = str(config.get("apiVersion", "")), config.get("kind")
    if version != resource.api_version:
        why = f"Incorrect version specified in apply patch. Specified patch version: {version}, expected: "
        raise errors.bad_request(why + resource.api_version)
    if kind != resource.kind:
        raise errors.bad_request(f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})")
    if repeated and strictness == "Strict":
        raise errors.bad_request(f"error strict decoding YAML: {repeated}")
    if repeated and strictness == "Warn":
        request.warnings.append(repeated)
    return config


def merged(
    api: Api, request: Request, resource: Resource, config: Obj, live: Obj | None, *, through: str | None = None
) -> Obj:
    """The live object (None: nothing) with the configuration, its managedFields set; not defaulted.

    `through` is the subresource that the managedFields name, where that is not the request's.
    """
    info = request.info
    merged = managedfields.apply(
        live,
        config,
        resource,
        request.query["fieldManager"],
        meta.now_rfc3339(api.clock),
        force=flag(request, "force"),
        subresource=info.subresource if through is None else through,
        schema=shape_of(resource),
    )
    managed = merged["metadata"].pop("managedFields", None)
    obj, _ = decode(merged, resource, "Ignore")
    if managed:
        obj["metadata"]["managedFields"] = managed
    check_name(obj, info.name)
    return obj
