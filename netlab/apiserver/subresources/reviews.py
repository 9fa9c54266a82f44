"""Reviews: who am I, who is this token, may they do this (authentication.k8s.io, authorization.k8s.io)."""

from netlab.api import errors, meta
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.authn.legacy import TokenError
from netlab.apiserver.authz import Action
from netlab.apiserver.body import decode_of
from netlab.apiserver.representation import show
from netlab.apiserver.wire.message import Answer, Request, User, json_response


async def token_review(api: Api, request: Request, resource: Resource) -> Answer:
    body = decode_of(request, resource.api_version, resource.kind)
    spec = body.get("spec") or {}
    if not spec.get("token"):
        raise errors.bad_request("token is required for TokenReview in authentication")
    why = "token lookup failed"
    try:
        found = api.authenticator.review(api, str(spec["token"]), spec.get("audiences") or (), request.warnings)
    except TokenError as error:
        found, why = None, str(error)
    if found is None:
        status: Obj = {"user": {}, "error": f"[invalid bearer token, {why}]"}
    else:
        user, audiences = found
        status = {"authenticated": True, "user": user.info(), "audiences": audiences}
    return show(request, resource, {"metadata": _metadata(body), "spec": spec, "status": status}, 201, tables=False)


async def self_subject_review(api: Api, request: Request, resource: Resource) -> Answer:
    body = decode_of(request, resource.api_version, resource.kind, empty={})
    metadata = {**_metadata(body), "creationTimestamp": meta.now_rfc3339(api.clock)}
    return show(
        request, resource, {"metadata": metadata, "status": {"userInfo": request.user.info()}}, 201, tables=False
    )


async def subject_access_review(api: Api, request: Request, resource: Resource) -> Answer:
    body = decode_of(request, resource.api_version, resource.kind)
    spec = body.get("spec") or {}
    _check_attributes(resource, spec)
    if not spec.get("user") and not spec.get("groups"):
        message = "Required value: at least one of user or group must be specified"
        raise _invalid(resource, errors.cause("FieldValueRequired", "spec.user", message))
    user = User(str(spec.get("user", "")), tuple(spec.get("groups") or ()), str(spec.get("uid", "")))
    return _decided(api, request, resource, body, user)


async def self_subject_access_review(api: Api, request: Request, resource: Resource) -> Answer:
    body = decode_of(request, resource.api_version, resource.kind)
    _check_attributes(resource, body.get("spec") or {})
    return _decided(api, request, resource, body, request.user)


def _check_attributes(resource: Resource, spec: Obj) -> None:
    if bool(spec.get("resourceAttributes")) != bool(spec.get("nonResourceAttributes")):
        return
    message = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
    raise _invalid(resource, errors.cause("FieldValueInvalid", "spec.resourceAttributes", message))


def _invalid(resource: Resource, cause: Obj) -> errors.StatusError:
    return errors.invalid(resource.kind, "", [cause], group=resource.group)


def _decided(api: Api, request: Request, resource: Resource, body: Obj, user: User) -> Answer:
    spec = body.get("spec") or {}
    decision = api.authorizer.decide(user, _action(spec, request.info.namespace))
    status: Obj = {"allowed": decision.allowed}
    if decision.reason:
        status["reason"] = decision.reason
    return show(request, resource, {"metadata": _metadata(body), "spec": spec, "status": status}, 201, tables=False)


def _action(spec: Obj, namespace: str) -> Action:
    plain = spec.get("nonResourceAttributes")
    if plain:
        return Action(str(plain.get("verb", "")), path=str(plain.get("path", "")))
    asked = spec.get("resourceAttributes") or {}
    return Action(
        verb=str(asked.get("verb", "")),
        group=str(asked.get("group", "")),
        resource=str(asked.get("resource", "")),
        subresource=str(asked.get("subresource", "")),
        namespace=str(asked.get("namespace", "") or namespace),
        name=str(asked.get("name", "")),
    )


async def self_subject_rules_review(api: Api, request: Request, resource: Resource) -> Answer:
    body = decode_of(request, resource.api_version, resource.kind)
    spec = body.get("spec") or {}
    if not spec.get("namespace"):
        raise errors.bad_request("no namespace on request")
    resources, paths = api.authorizer.rules(request.user, str(spec["namespace"]))
    status: Obj = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
    return show(request, resource, {"metadata": _metadata(body), "spec": {}, "status": status}, 201, tables=False)


async def component_statuses(api: Api, request: Request, resource: Resource) -> Answer:
    """The deprecated list of components; what answers here is healthy."""
    healthy = [{"type": "Healthy", "status": "True", "message": "ok"}]
    items: list[Obj] = [
        {"metadata": {"name": name}, "conditions": healthy} for name in ("scheduler", "controller-manager", "etcd-0")
    ]
    if request.info.name:
        one = next((item for item in items if item["metadata"]["name"] == request.info.name), None)
        if one is None:
            raise errors.not_found(resource, request.info.name)
        return show(request, resource, one)
    return json_response({"kind": resource.list_kind, "apiVersion": "v1", "metadata": {}, "items": items})


def _metadata(body: Obj) -> Obj:
    return {"creationTimestamp": None, **(body.get("metadata") or {})}
