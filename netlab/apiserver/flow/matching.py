"""PURE. Which flow schema a request falls under, and to which of its flows it belongs.

Source followed: apiserver/pkg/util/flowcontrol/rule.go.
"""

from collections.abc import Sequence

from netlab.api import meta
from netlab.api.types import Obj
from netlab.apiserver.wire.message import User
from netlab.apiserver.wire.path import RequestInfo

_ACCOUNTS = "system:serviceaccount:"


def ordered(schemas: Sequence[Obj]) -> list[Obj]:
    """By precedence, then by name: the first that matches holds."""
    return sorted(
        schemas, key=lambda one: (int(meta.get(one, "spec", "matchingPrecedence", default=1000)), meta.name(one))
    )


def matches(schema: Obj, user: User, info: RequestInfo) -> bool:
    """Whether one of the schema's rules is about this user and this request."""
    return any(
        any(_is(subject, user) for subject in rule.get("subjects") or ()) and _covers(rule, info)
        for rule in meta.get(schema, "spec", "rules", default=[])
    )


def flow_of(schema: Obj, user: User, info: RequestInfo) -> str:
    """What tells the flows of a schema apart."""
    by = meta.get(schema, "spec", "distinguisherMethod", "type", default="")
    return user.name if by == "ByUser" else info.namespace if by == "ByNamespace" else ""


def _is(subject: Obj, user: User) -> bool:
    kind = subject.get("kind")
    if kind == "User":
        name = subject["user"]["name"]
        return name in ("*", user.name)
    if kind == "Group":
        name = subject["group"]["name"]
        return name == "*" or name in user.groups
    if kind != "ServiceAccount" or not user.name.startswith(_ACCOUNTS):
        return False
    namespace, _, account = user.name[len(_ACCOUNTS) :].partition(":")
    wanted = subject["serviceAccount"]
    return bool(wanted["namespace"] == namespace and wanted["name"] in ("*", account))


def _covers(rule: Obj, info: RequestInfo) -> bool:
    if info.is_resource:
        return any(_resource(one, info) for one in rule.get("resourceRules") or ())
    return any(
        _among(one.get("verbs"), info.verb) and any(_path(url, info.path) for url in one.get("nonResourceURLs") or ())
        for one in rule.get("nonResourceRules") or ()
    )


def _resource(rule: Obj, info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not _among(rule.get("verbs"), info.verb) or not _among(rule.get("apiGroups"), info.group):
        return False
    if not _among(rule.get("resources"), resource):
        return False
    if not info.namespace:
        return bool(rule.get("clusterScope"))
    return _among(rule.get("namespaces"), info.namespace)


def _among(values: Sequence[str] | None, value: str) -> bool:
    return values is not None and ("*" in values or value in values)


def _path(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("/*") and path.startswith(pattern[:-1]))
