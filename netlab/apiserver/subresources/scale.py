"""scale: the number of replicas of a workload, seen through autoscaling/v1 Scale."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from netlab.api import errors, labels, meta
from netlab.api import patch as patches
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.apply.operation import applies, check_name, configuration, merged
from netlab.apiserver.body import decode_of
from netlab.apiserver.conversion import convert
from netlab.apiserver.extensions import scale as custom
from netlab.apiserver.extensions.kinds import CustomResource
from netlab.apiserver.operations.change import View, changed_item
from netlab.apiserver.operations.options import check_patch_options
from netlab.apiserver.storage import load, load_for
from netlab.apiserver.wire.message import Answer, Request, json_response
from netlab.apiserver.wire.negotiate import content_type
from netlab.store import Item

_SCALE = Resource("autoscaling", "v1", "Scale", "scales", "scale", True, ())


async def serve(api: Api, request: Request, resource: Resource) -> Answer:
    if request.info.verb == "get":
        stored = api.stored(resource)
        item = api.store.get(stored.key(request.info.namespace, request.info.name))
        if item is None:
            raise errors.not_found(resource, request.info.name)
        return json_response(_shown(load_for(item, stored, resource), resource))
    if applies(request):
        return await _apply(api, request, resource)
    wanted = _wanted(request)

    def rescale(current: Obj) -> Obj:
        new = wanted(_shown(current, resource))
        _check(new, meta.name(current))
        uid, version = meta.uid(new), meta.resource_version(new)
        if uid and uid != meta.uid(current):
            raise errors.conflict(resource, meta.name(current))
        if version and version != meta.resource_version(current):
            raise errors.conflict(resource, meta.name(current))
        _put(current, new, resource)
        return current

    return await _changed(api, request, resource, rescale, tracked=True)


async def _apply(api: Api, request: Request, resource: Resource) -> Answer:
    """Server-side apply of a Scale: what it says is applied to the workload, in the name of this subresource."""
    check_patch_options(request, applying=True)
    scale = configuration(request, _SCALE)
    check_name(scale, request.info.name)
    config: Obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": request.info.name}}
    if meta.get(scale, "spec", "replicas") is not None:
        _check(scale, request.info.name)
        if isinstance(resource, CustomResource):
            custom.put_replicas(config, resource, scale["spec"]["replicas"])
        else:
            config["spec"] = {"replicas": scale["spec"]["replicas"]}
    return await _changed(
        api, request, resource, partial(merged, api, request, resource, config, through="scale"), tracked=False
    )


async def _changed(
    api: Api, request: Request, resource: Resource, transform: Callable[[Obj], Obj], *, tracked: bool
) -> Answer:
    # for the strategy this is an update of the spec
    asked, request.info = request.info, replace(request.info, subresource="")
    view = View("scale", partial(_shown, resource=resource), partial(_put, resource=resource))
    changed, stored = await changed_item(api, request, resource, transform, tracked=tracked, through="scale", view=view)
    request.info = asked
    obj = load(changed, stored) if isinstance(changed, Item) else changed
    return json_response(_shown(convert(obj, stored.resource, resource), resource))


def _put(obj: Obj, scale: Obj, resource: Resource) -> None:
    """Write a Scale's replicas into its workload."""
    replicas = meta.get(scale, "spec", "replicas", default=0)
    if isinstance(resource, CustomResource):
        custom.put_replicas(obj, resource, replicas)
    else:
        obj.setdefault("spec", {})["replicas"] = replicas


def _shown(obj: Obj, resource: Resource) -> Obj:
    return custom.scale_of(obj, resource) if isinstance(resource, CustomResource) else scale_of(obj)


def _wanted(request: Request) -> Callable[[Obj], Obj]:
    """From the present Scale to the one asked for: a whole one, or a patch."""
    if request.method != "PATCH":
        body = decode_of(request, "autoscaling/v1", "Scale")
        return lambda present: body
    kind = content_type(request.headers.get("content-type", ""))
    if kind not in patches.accepted_types(_SCALE):
        raise errors.unsupported_media_type(patches.accepted_types(_SCALE))
    document = patches.parse(kind, request.body)
    # a Scale has no lists, so a strategic merge is a merge
    plain = patches.MERGE_PATCH if kind == patches.STRATEGIC_MERGE_PATCH else kind
    return lambda present: patches.apply(plain, document, present, _SCALE)


def _check(scale: Obj, name: str) -> None:
    replicas = meta.get(scale, "spec", "replicas", default=0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise errors.bad_request("Scale.spec.replicas: expected an integer")
    if replicas < 0:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        cause = errors.cause("FieldValueInvalid", "spec.replicas", message)
        raise errors.invalid("Scale", name, [cause], group="autoscaling")


def scale_of(obj: Obj) -> Obj:
    """The autoscaling/v1 Scale of a workload."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {field: obj["metadata"][field] for field in kept if field in obj["metadata"]}
    selector = spec.get("selector") or {}
    if obj.get("kind") == "ReplicationController":
        text = str(labels.from_map(selector))
    else:
        text = str(labels.from_label_selector(selector))
    scale: Obj = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": {}}
    if spec.get("replicas"):
        scale["spec"]["replicas"] = spec["replicas"]
    scale["status"] = {"replicas": status.get("replicas", 0)}
    if text:
        scale["status"]["selector"] = text
    return scale
