"""The events of one request, as audit.k8s.io/v1 Events (apiserver/pkg/audit/request.go)."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from netlab.api import meta
from netlab.api.types import Obj
from netlab.apiserver.audit.policy import VERSION, Decision, without_managed_fields
from netlab.apiserver.wire.message import Answer, Request, Response, User
from netlab.apiserver.wire.negotiate import PROTOBUF, YAML, content_type


class Record:
    """Begun when it is known who asks. `annotations` end up in the last event."""

    def __init__(
        self, request: Request, user: User, decision: Decision, audit_id: str, write: Callable[[Obj], None]
    ) -> None:
        self._request, self._decision, self._write = request, decision, write
        self.annotations: dict[str, str] = {}
        self.impersonated: User | None = None
        self._received = meta.now_micro()
        info = request.info
        uri = info.path + (f"?{request.raw_query}" if request.raw_query else "")
        self._event: Obj = {
            "kind": "Event",
            "apiVersion": VERSION,
            "level": decision.level,
            "auditID": audit_id,
            "stage": "RequestReceived",
            "requestURI": uri,
            "verb": info.verb,
            "user": user.info(),
        }
        self._rest: Obj = {"sourceIPs": _sources(request)}
        if agent := request.headers.get("user-agent", ""):
            self._rest["userAgent"] = agent[:1024]
        if info.is_resource:
            self._rest["objectRef"] = _reference(request)

    def received(self) -> None:
        """The first stage: nothing is decided yet."""
        self._tell("RequestReceived", {})

    def refused_login(self) -> None:
        """Nobody: credentials that are not good."""
        self._event.pop("user", None)
        self._event["user"] = {}
        status: Obj = {"metadata": {}, "status": "Failure", "message": "Authentication failed, attempted: bearer"}
        status |= {"reason": "Unauthorized", "code": 401}
        self._tell("ResponseStarted", {"responseStatus": status})

    def decided(self, allowed: bool, reason: str) -> None:
        """What the authorizers said."""
        self.annotations["authorization.k8s.io/decision"] = "allow" if allowed else "forbid"
        self.annotations["authorization.k8s.io/reason"] = reason

    def started(self) -> None:
        """A request that lasts has been answered: a watch, a stream."""
        self._tell("ResponseStarted", {"responseStatus": {"metadata": {}, "code": 200}})

    def complete(self, found: Answer) -> None:
        """The last stage."""
        more: Obj = {"responseStatus": _status(found)}
        wants_request, wants_response = self._decision.bodies
        sent = self._sent()
        if sent is not None and "objectRef" in self._rest:
            _complete_reference(self._rest["objectRef"], sent)
        if wants_request and sent is not None:
            more["requestObject"] = self._shown(sent)
        if wants_response and isinstance(found, Response) and found.body:
            answer = _json(found.text)
            if isinstance(answer, dict):
                more["responseObject"] = self._shown(answer)
        self._tell("ResponseComplete", more)

    def _shown(self, obj: Any) -> Any:
        return without_managed_fields(obj) if self._decision.omit_managed_fields and isinstance(obj, dict) else obj

    def _sent(self) -> Any:
        """The request's body as an object; None without one."""
        request = self._request
        if not request.body:
            return None
        kind = content_type(request.headers.get("content-type", ""))
        try:
            if kind == PROTOBUF:
                from netlab.api import protobuf

                return protobuf.decode(request.body)
            if kind == YAML or kind.endswith("yaml"):
                import yaml

                return yaml.safe_load(request.body)
            return _json(request.body)
        except Exception:
            return None  # the answer says what is wrong with it

    def _tell(self, stage: str, more: Mapping[str, Any]) -> None:
        if stage in self._decision.omit_stages:
            return
        event = {**self._event, "stage": stage}
        if self.impersonated is not None:
            event["impersonatedUser"] = self.impersonated.info()
        event |= {**self._rest, **more}
        event["requestReceivedTimestamp"] = self._received
        event["stageTimestamp"] = meta.rfc3339_micro(time.time())
        if self.annotations and stage != "RequestReceived":
            event["annotations"] = dict(self.annotations)
        self._write(event)


def _reference(request: Request) -> Obj:
    info = request.info
    rows = (
        ("resource", info.resource),
        ("namespace", info.namespace),
        ("name", info.name),
        ("apiGroup", info.group),
        ("apiVersion", info.version),
        ("subresource", info.subresource),
    )
    return {key: value for key, value in rows if value}


def _complete_reference(reference: Obj, sent: Any) -> None:
    """What only the object says: the name of a new one, its uid and version."""
    metadata = sent.get("metadata") if isinstance(sent, dict) else None
    if not isinstance(metadata, dict) or sent.get("kind") == "DeleteOptions":
        return
    for key in ("namespace", "name", "uid", "resourceVersion"):
        value = metadata.get(key)
        if isinstance(value, str) and value:
            reference.setdefault(key, value)


def _status(found: Answer) -> Obj:
    if not isinstance(found, Response):
        return {"metadata": {}, "code": 200}
    status: Obj = {"metadata": {}}
    if found.code >= 400:
        told = _json(found.text)
        if isinstance(told, dict) and told.get("kind") == "Status":
            kept = ("status", "message", "reason", "details")
            status |= {key: told[key] for key in kept if told.get(key)}
    return {**status, "code": found.code}


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _sources(request: Request) -> list[str]:
    """Addresses that proxies told, then the peer's own."""
    told = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    real = request.headers.get("x-real-ip", "").strip()
    found = [*told, *([real] if real and not told else [])]
    peer = request.source
    if peer and peer not in found[-1:]:
        found.append(peer)
    return found
