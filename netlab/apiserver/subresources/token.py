"""serviceaccounts/token: TokenRequest (pkg/registry/core/serviceaccount/storage/token.go)."""

from netlab.api import errors, meta
from netlab.api.resources import Resource, get
from netlab.api.types import Obj
from netlab.apiserver.admission import Attributes
from netlab.apiserver.api import Api
from netlab.apiserver.body import decode_of
from netlab.apiserver.storage import load
from netlab.apiserver.wire.message import Answer, Request, json_response

_HOUR, _LEAST = 3600, 600
_LONGEST = 1 << 32


async def create(api: Api, request: Request, resource: Resource) -> Answer:
    body, info = decode_of(request, "authentication.k8s.io/v1", "TokenRequest"), request.info
    stored = api.stored(resource)
    item = api.store.get(stored.key(info.namespace, info.name))
    if item is None:
        raise errors.not_found(resource, info.name)
    account = load(item, stored)
    attributes = Attributes("CREATE", resource, "token", info.namespace, info.name, body, None, request.user)
    api.admission.mutate(api, attributes)
    if api.dynamic.mutating or api.dynamic.validating:
        attributes.warnings = request.warnings
        await api.dynamic.both(api, attributes, resource, request)
    api.admission.validate(api, attributes)
    spec = body.setdefault("spec", {})
    seconds = spec.get("expirationSeconds") or _HOUR
    _check(seconds)
    bound = _bound(api, info.namespace, spec.get("boundObjectRef"))
    tokens = api.authenticator.tokens
    audiences = spec.get("audiences") or [tokens.issuer]
    token = tokens.sign(account, audiences, seconds, bound, _node_of(api, bound))
    expires = meta.rfc3339(int(api.clock()) + seconds)
    answer: Obj = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": info.name, "namespace": info.namespace, "creationTimestamp": meta.now_rfc3339(api.clock)},
        "spec": {
            "audiences": audiences,
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        },
        "status": {"token": token, "expirationTimestamp": expires},
    }
    return json_response(answer, 201)


def _node_of(api: Api, bound: Obj | None) -> Obj | None:
    """The Node of the pod that a token is bound to."""
    name = meta.get(bound, "spec", "nodeName") if bound is not None and bound.get("kind") == "Pod" else None
    return api.read("v1", "Node", "", str(name)) if name else None


def _check(seconds: int) -> None:
    message = ""
    if not isinstance(seconds, int):
        raise errors.bad_request("TokenRequest.spec.expirationSeconds: expected an integer")
    if seconds < _LEAST:
        message = f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
    elif seconds > _LONGEST:
        message = f"Too long: may not be more than {_LONGEST} seconds"
    if message:
        cause = errors.cause("FieldValueInvalid", "spec.expirationSeconds", message)
        raise errors.invalid("TokenRequest", "", [cause], group="authentication.k8s.io")


def _bound(api: Api, namespace: str, reference: Obj | None) -> Obj | None:
    """The object that the token lives and dies with; 404 or 409 where it is not the one named."""
    if not reference:
        return None
    kind, name = str(reference.get("kind", "")), str(reference.get("name", ""))
    if kind not in ("Pod", "Secret", "Node"):
        raise errors.bad_request(f"cannot bind token for serviceaccount to object kind {kind}")
    found = api.read("v1", kind, "" if kind == "Node" else namespace, name)
    resource = get("v1", kind)
    if found is None:
        raise errors.not_found(resource, name)
    uid = reference.get("uid") or ""
    if uid and uid != meta.uid(found):
        why = (
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise errors.conflict(resource, name, why)
    return found
