"""Subresources and virtual resources: one file each, found by one table.

Subresources that carry the whole object (status, approval, …) are ordinary updates with another strategy; the others
have a body and a meaning of their own.
"""

from collections.abc import Awaitable, Callable

from netlab.api import errors
from netlab.api.resources import Resource
from netlab.apiserver.api import Api
from netlab.apiserver.operations.get import get
from netlab.apiserver.operations.patch import patch
from netlab.apiserver.operations.update import update
from netlab.apiserver.subresources import binding, eviction, finalize, kubelet, proxy, reviews, scale, token
from netlab.apiserver.wire.message import Answer, Request

Handler = Callable[[Api, Request, Resource], Awaitable[Answer]]

_WHOLE_OBJECT: dict[str, Handler] = {"get": get, "update": update, "patch": patch}
_OWN: dict[tuple[str, str], Handler] = {
    ("*", "scale"): scale.serve,
    ("pods", "binding"): binding.bind,
    ("pods", "eviction"): eviction.evict,
    ("pods", "log"): kubelet.log,
    ("pods", "exec"): kubelet.exec_,
    ("pods", "attach"): kubelet.attach,
    ("pods", "portforward"): kubelet.portforward,
    ("pods", "proxy"): proxy.pod,
    ("services", "proxy"): proxy.service,
    ("nodes", "proxy"): proxy.node,
    ("serviceaccounts", "token"): token.create,
    ("namespaces", "finalize"): finalize.finalize,
}
_VIRTUAL: dict[str, Handler] = {
    "bindings": binding.bind,
    "componentstatuses": reviews.component_statuses,
    "tokenreviews.authentication.k8s.io": reviews.token_review,
    "selfsubjectreviews.authentication.k8s.io": reviews.self_subject_review,
    "subjectaccessreviews.authorization.k8s.io": reviews.subject_access_review,
    "localsubjectaccessreviews.authorization.k8s.io": reviews.subject_access_review,
    "selfsubjectaccessreviews.authorization.k8s.io": reviews.self_subject_access_review,
    "selfsubjectrulesreviews.authorization.k8s.io": reviews.self_subject_rules_review,
}
_STREAMS = frozenset({"exec", "attach", "portforward", "proxy"})


async def serve(api: Api, request: Request, resource: Resource) -> Answer:
    """Raises 404 for a subresource that the resource does not have, 405 for a verb that it does not take."""
    info = request.info
    found = resource.subresource(info.subresource)
    if found is None:
        raise errors.path_not_found()
    if info.verb not in found.verbs and (info.verb, found.name) != ("options", "proxy"):  # discovery does not tell it
        raise errors.method_not_allowed()
    own = _OWN.get((resource.group_resource, found.name)) or _OWN.get(("*", found.name))
    if found.name in _STREAMS and (api.dynamic.mutating or api.dynamic.validating):
        await api.dynamic.connect(api, request, resource)
    if own is not None:
        return await own(api, request, resource)
    return await _WHOLE_OBJECT[info.verb](api, request, resource)


async def serve_virtual(api: Api, request: Request, resource: Resource) -> Answer:
    """Resources that are computed, not stored."""
    handler = _VIRTUAL.get(resource.group_resource)
    if handler is None or request.info.verb not in resource.verbs:
        raise errors.method_not_allowed()
    return await handler(api, request, resource)
