"""pods/binding and bindings: the scheduler's decision, written into the pod once (pkg/registry/core/pod/storage)."""

from dataclasses import replace

from netlab.api import errors, meta
from netlab.api.resources import Resource, get
from netlab.api.types import Obj
from netlab.apiserver.admission import Attributes
from netlab.apiserver.api import Api
from netlab.apiserver.body import decode_of
from netlab.apiserver.operations.options import dry_run
from netlab.apiserver.storage import load
from netlab.apiserver.wire.message import Answer, Request, json_response
from netlab.apiserver.writing import Conflict, NotFound, write_changed


async def bind(api: Api, request: Request, resource: Resource) -> Answer:
    body = decode_of(request, "v1", "Binding")
    pods = get("v1", "Pod")
    info = request.info
    if resource.plural == "bindings":
        request.info = info = replace(info, name=meta.name(body))
    if meta.name(body) not in ("", info.name):
        raise errors.bad_request("name in URL does not match name in Binding object")
    target = body.get("target") or {}
    _check(info.name, target)
    if api.dynamic.mutating or api.dynamic.validating:
        where = "" if resource.plural == "bindings" else "binding"
        attributes = Attributes(
            "CREATE", resource, where, info.namespace, info.name, body, None, request.user, dry_run(request)
        )
        attributes.warnings = request.warnings
        await api.dynamic.both(api, attributes, resource, request)
        target = body.get("target") or {}
        _check(info.name, target)
    stored = api.stored(pods)
    current = api.store.latest(stored.key(info.namespace, info.name))
    if current is None:
        raise errors.not_found(pods, info.name)
    pod = load(current, stored)
    _assign(pods, pod, body, str(target.get("name", "")), meta.now_rfc3339(api.clock))
    if not dry_run(request):
        try:
            await write_changed(api, stored, pods, pod, current.revision)
        except (Conflict, NotFound):
            raise errors.conflict(pods, info.name) from None
    return json_response(errors.success(code=201), 201)


def _check(name: str, target: Obj) -> None:
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        message = f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"'
        causes.append(errors.cause("FieldValueNotSupported", "target.kind", message))
    if not target.get("name"):
        causes.append(errors.cause("FieldValueRequired", "target.name", "Required value"))
    if causes:
        raise errors.invalid("Binding", name, causes)


def _assign(pods: Resource, pod: Obj, body: Obj, node: str, now: str) -> None:
    name, spec = meta.name(pod), pod["spec"]
    wanted_uid = meta.uid(body)
    if wanted_uid and wanted_uid != meta.uid(pod):
        why = f"Precondition failed: UID in precondition: {wanted_uid}, UID in object meta: {meta.uid(pod)}"
        raise errors.conflict(pods, name, why)
    if meta.deleting(pod):
        raise errors.conflict(pods, name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise errors.conflict(pods, name, f"pod {name} is already assigned to node {errors.quote(spec['nodeName'])}")
    if spec.get("schedulingGates"):
        raise errors.conflict(pods, name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = node
    metadata = pod["metadata"]
    for field in ("annotations", "labels"):
        if body.get("metadata", {}).get(field):
            metadata[field] = {**metadata.get(field, {}), **body["metadata"][field]}
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    meta.set_condition(conditions, {"type": "PodScheduled", "status": "True"}, now)
    for condition in conditions:
        if condition["type"] == "PodScheduled":
            # the reason of an earlier failure does not outlive it; upstream writes the probe time as null
            condition.pop("reason", None)
            condition.pop("message", None)
            condition.setdefault("lastProbeTime", None)
