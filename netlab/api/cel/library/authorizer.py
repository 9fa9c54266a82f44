"""What a policy can ask about the user's rights. Source followed: apiserver `pkg/cel/library/authz.go`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from netlab.api.cel.errors import CelError
from netlab.api.cel.library import costs
from netlab.api.cel.library.network import member
from netlab.api.cel.types import Overload, Type

AUTHORIZER = Type("kubernetes.authorization.Authorizer")
RESOURCE_CHECK = Type("kubernetes.authorization.ResourceCheck")


@dataclass(frozen=True, slots=True)
class Check:
    """A question: to a path, or to a resource; `user` is another one than who asks, where not empty."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    cel_type: ClassVar[str] = "kubernetes.authorization.Decision"
    allowed: bool
    reason: str = ""


Ask = Callable[[Check], Decision]


@dataclass(frozen=True, slots=True)
class Authorizer:
    cel_type: ClassVar[str] = AUTHORIZER.name
    ask: Ask
    user: str = ""


@dataclass(frozen=True, slots=True)
class PathCheck:
    cel_type: ClassVar[str] = "kubernetes.authorization.PathCheck"
    ask: Ask
    check: Check


@dataclass(frozen=True, slots=True)
class GroupCheck:
    cel_type: ClassVar[str] = "kubernetes.authorization.GroupCheck"
    ask: Ask
    check: Check


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    cel_type: ClassVar[str] = RESOURCE_CHECK.name
    ask: Ask
    check: Check


def _path(a: Authorizer, path: str) -> PathCheck:
    if not path:
        raise CelError("path must not be empty")
    return PathCheck(a.ask, Check(path=path, user=a.user))


def _account(a: Authorizer, namespace: str, name: str) -> Authorizer:
    return Authorizer(a.ask, f"system:serviceaccount:{namespace}:{name}")


def _with(field: str) -> Any:
    return lambda a, value: ResourceCheck(a.ask, replace(a.check, **{field: value}))


def _decide(a: PathCheck | ResourceCheck, verb: str) -> Decision:
    return a.ask(replace(a.check, verb=verb))


def overloads() -> list[Overload]:
    auth, path, group = AUTHORIZER.name, PathCheck.cel_type, GroupCheck.cel_type
    resource, decision = RESOURCE_CHECK.name, Decision.cel_type
    return [
        member(auth, f"path(string) -> {path}", _path),
        member(auth, f"group(string) -> {group}", lambda a, b: GroupCheck(a.ask, Check(group=b, user=a.user))),
        member(auth, f"serviceAccount(string, string) -> {auth}", _account),
        member(
            group,
            f"resource(string) -> {resource}",
            lambda a, b: ResourceCheck(a.ask, replace(a.check, resource=b)),
        ),
        member(resource, f"subresource(string) -> {resource}", _with("subresource")),
        member(resource, f"namespace(string) -> {resource}", _with("namespace")),
        member(resource, f"name(string) -> {resource}", _with("name")),
        member(resource, f"fieldSelector(string) -> {resource}", lambda a, b: a),
        member(resource, f"labelSelector(string) -> {resource}", lambda a, b: a),
        replace(member(path, f"check(string) -> {decision}", _decide), cost=costs.access),
        replace(member(resource, f"check(string) -> {decision}", _decide), cost=costs.access),
        member(decision, "allowed() -> bool", lambda a: a.allowed),
        member(decision, "reason() -> string", lambda a: a.reason),
        member(decision, "errored() -> bool", lambda a: False),
        member(decision, "error() -> string", lambda a: ""),
    ]
