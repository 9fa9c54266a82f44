"""A request's path and method to what it asks for, as upstream's RequestInfo (apiserver/pkg/endpoints/request)."""

from dataclasses import dataclass
from functools import lru_cache

_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """`resource` is empty for paths that are no API object's (discovery, health); `rest` follows `subresource`."""

    path: str
    verb: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)


@lru_cache(maxsize=8192)
def parse(method: str, path: str, watch: bool) -> RequestInfo:
    """`watch` is whether the query asks for a watch. Never fails: what is not a resource is a plain path."""
    parts = path.split("/")[1:]
    if parts and parts[-1] == "" and "proxy" not in parts:
        parts.pop()
    plain = RequestInfo(path, method.lower())
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return plain
    verb = _VERBS.get(method, method.lower())
    if rest[0] == "watch" and len(rest) > 1:
        # the old way of watching, /api/v1/watch/...
        verb, rest = "watch", rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource, name = rest[0], rest[1] if len(rest) > 1 else ""
    if "" in (resource, *rest[:-1]) and "proxy" not in rest:
        return plain
    subresource, tail = rest[2] if len(rest) > 2 else "", "/".join(rest[3:])
    if not name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    if watch and verb in ("list", "get") and not subresource:
        verb = "watch"
    return RequestInfo(path, verb, group, version, namespace, resource, name, subresource, tail)
