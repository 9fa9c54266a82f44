"""From a request to its answer: who asks, may they, which operation; whatever goes wrong becomes a Status."""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from netlab.api import errors, warnings
from netlab.api.errors import StatusError
from netlab.api.resources import Resource
from netlab.apiserver import subresources
from netlab.apiserver.api import Api
from netlab.apiserver.authn.impersonation import asked, impersonated, needed
from netlab.apiserver.authz import Action, forbidden
from netlab.apiserver.extensions.kinds import CustomResource
from netlab.apiserver.extensions.webhook_conversion import with_conversion
from netlab.apiserver.flow.control import Rejected, Way, rejection
from netlab.apiserver.measured import Kind
from netlab.apiserver.nonresource import serve_path
from netlab.apiserver.operations.create import create
from netlab.apiserver.operations.delete import delete
from netlab.apiserver.operations.deletecollection import deletecollection
from netlab.apiserver.operations.get import get
from netlab.apiserver.operations.list_ import list_
from netlab.apiserver.operations.patch import patch
from netlab.apiserver.operations.update import update
from netlab.apiserver.operations.watch import watch
from netlab.apiserver.wire.compression import compressed, large
from netlab.apiserver.wire.message import Answer, Request, Response, Sink, Streaming, User, error_response
from netlab.apiserver.wire.path import RequestInfo
from netlab.apiserver.wire.pretty import prettify, wants_pretty

log = logging.getLogger("netlab.apiserver")

_SELECTING = frozenset({"list", "watch", "deletecollection"})
Operation = Callable[[Api, Request, Resource], Awaitable[Answer]]
OPERATIONS: dict[str, Operation] = {
    "get": get,
    "list": list_,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": deletecollection,
}


async def answer(api: Api, request: Request, der: bytes | None) -> Answer:
    """Never raises (but for cancellation): every failure is an answer."""
    begun = time.perf_counter()
    kind = api.measured.kind(request)
    api.measured.begun(kind, begun)
    try:
        user = api.authenticator.authenticate(api, der, request.headers.get("authorization", ""), request.warnings)
        if api.auditor is not None:
            request.audit = api.auditor.begin(request, user)
        if user is None:
            if request.audit is not None:
                request.audit.refused_login()
            raise errors.unauthorized()
        request.user = _acting_as(api, request, user)
        way = api.flow.way(request)
        if way is None:
            authorize(api, request)
            found = await _route(api, request)
        else:
            found = await _seated(api, request, way)
    except StatusError as error:
        found = error_response(error)
    except Exception as error:
        found = error_response(_unforeseen(request, error))
    if request.warnings and isinstance(found, (Response, Streaming)):
        said = ", ".join(f'299 - "{_escaped(text)}"' for text in dict.fromkeys(request.warnings))
        found.headers = {**found.headers, "Warning": said}
    if isinstance(found, Response) and wants_pretty(request):
        prettify(found)
    if isinstance(found, Response) and large(found):
        found = await compressed(request, found)
    if isinstance(found, Response):
        api.measured.ended(kind, found, time.perf_counter() - begun)
    else:
        api.measured.lasts(kind)
        if isinstance(found, Streaming):
            found = _lasting(api, kind, found)
    return found if api.auditor is None else _audited(request, found)


def _lasting(api: Api, kind: Kind, found: Streaming) -> Streaming:
    """The same stream, counted while it runs."""
    run = found.run

    async def counted(sink: Sink) -> None:
        api.measured.lasting.add(*kind.labels)
        try:
            await run(sink)
        finally:
            api.measured.lasting.add(*kind.labels, by=-1)

    return replace(found, run=counted)


async def _seated(api: Api, request: Request, way: Way) -> Answer:
    """Answer with a seat of the request's priority level: at once where one is free, else when its turn comes."""
    level = way.level
    if not level.take():
        try:
            await api.flow.wait(way)
        except Rejected:
            refused = rejection()
            refused.headers.update(way.headers)
            return refused
    way.counted.dispatched += 1
    way.counted.executing += 1
    try:
        authorize(api, request)
        found = await _route(api, request)
    except StatusError as error:
        found = error_response(error)
    except Exception as error:
        found = error_response(_unforeseen(request, error))
    finally:
        level.leave()
        way.counted.executing -= 1
    if isinstance(found, Response):
        found.headers.update(way.headers)
    return found


def _audited(request: Request, found: Answer) -> Answer:
    """Tell how the request ended, or that it lasts and later how it ended."""
    record = request.audit
    if isinstance(found, Response):
        found.headers["Audit-Id"] = request.audit_id
    if record is None:
        return found
    if isinstance(found, Streaming):
        run = found.run

        async def told(sink: Sink) -> None:
            record.started()
            try:
                await run(sink)
            finally:
                record.complete(found)

        return replace(found, run=told)
    if not isinstance(found, Response):
        record.started()
    record.complete(found)
    return found


def _unforeseen(request: Request, error: Exception) -> StatusError:
    """What is nested too deeply or is no Unicode is the client's doing; the rest is ours, and goes to the log."""
    if isinstance(error, RecursionError) or str(error) == "Recursion limit reached":
        return errors.bad_request("json parse error: exceeded max depth")
    if isinstance(error, UnicodeEncodeError) or (isinstance(error, TypeError) and "surrogates" in str(error)):
        return errors.bad_request("json parse error: invalid UTF-8")
    request_id = f"{time.time_ns():x}"
    log.error("request %s failed: %s %s", request_id, request.method, request.info.path, exc_info=error)
    return errors.internal(f"unexpected error, see the server's log for request {request_id}")


def _acting_as(api: Api, request: Request, user: User) -> User:
    """The user, or whom they may and want to impersonate."""
    if not asked(request.headers):
        return user
    groups = [group for group in request.headers.get("impersonate-group", "").split("\n") if group]
    other = impersonated(request.headers, groups)
    if other is None:
        return user
    for action in needed(other, groups):
        decision = api.authorizer.decide(user, action)
        if not decision.allowed:
            raise forbidden(user.name, action, decision.reason)
    if request.audit is not None:
        request.audit.impersonated = other
    return other


def authorize(api: Api, request: Request) -> None:
    """Raise 403 in upstream's words unless the user may do this."""
    info, user = request.info, request.user
    if not info.is_resource:
        action = Action(info.verb, path=info.path)
    else:
        name, fields = info.name, _required_fields(request) if info.verb in _SELECTING else ()
        if fields and not name:
            # as upstream's RequestInfo: who selects one object by its name asks for that object
            name = dict(fields).get("metadata.name", "")
        action = Action(info.verb, info.group, info.resource, info.subresource, info.namespace, name, info.path, fields)
    decision = api.authorizer.decide(user, action)
    if request.audit is not None:
        request.audit.decided(decision.allowed, decision.reason)
    if decision.allowed:
        return
    if not info.is_resource:
        raise errors.path_forbidden(user.name, info.verb, info.path)
    raise forbidden(user.name, action, decision.reason)


def _required_fields(request: Request) -> tuple[tuple[str, str], ...]:
    """The equalities of a field selector, read loosely: whether it is a good one is found later."""
    text = request.query.get("fieldSelector", "")
    if not text or "\\" in text:
        return ()
    pairs = (part.replace("==", "=", 1).partition("=") for part in text.split(",") if part and "!=" not in part)
    return tuple((name, value) for name, sign, value in pairs if sign)


async def _route(api: Api, request: Request) -> Answer:
    info = request.info
    remote = api.remotes.of(info.path)
    if remote is not None:
        from netlab.apiserver.aggregation.serving import serve

        return serve(api, request, remote)
    if not info.is_resource:
        return serve_path(api, request)
    resource = api.registry.by_path(info.group, info.version, info.resource)
    if resource is None:
        raise errors.path_not_found()
    if not _reachable(info, resource):
        raise errors.path_not_found()
    deprecated = warnings.of_api(resource)
    if deprecated:
        request.warnings.append(deprecated)
    if isinstance(resource, CustomResource) and resource.conversion is not None:
        return await with_conversion(api, resource, lambda: _perform(api, request, resource))
    return await _perform(api, request, resource)


async def _perform(api: Api, request: Request, resource: Resource) -> Answer:
    info = request.info
    if info.subresource:
        return await subresources.serve(api, request, resource)
    if not resource.stored:
        return await subresources.serve_virtual(api, request, resource)
    if resource.custom and info.verb == "create" and "create" not in resource.verbs:
        raise errors.method_not_supported_while_ending(resource, info.verb)
    operation = OPERATIONS.get(info.verb)
    if operation is None or info.verb not in resource.verbs or bool(info.name) != _names_one(info.verb, info.name):
        raise errors.method_not_allowed()
    return await operation(api, request, resource)


def _names_one(verb: str, name: str) -> bool:
    """Whether the verb's path names an object (a watch's may)."""
    return bool(name) if verb == "watch" else verb in ("get", "update", "patch", "delete")


def _reachable(info: RequestInfo, resource: Resource) -> bool:
    """Paths over all namespaces serve lists and watches only; cluster-scoped kinds live in no namespace."""
    if not resource.namespaced:
        return not info.namespace or resource.plural == "namespaces"
    return bool(info.namespace) or not (info.name or info.verb in ("create", "deletecollection"))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
