"""RBAC: rules of roles, reached through bindings. Source followed: plugin/pkg/auth/authorizer/rbac.

A user's rules are gathered once and indexed by what they are about; a decision is a few look-ups. Any change of a role
or binding forgets what was gathered.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from netlab.api import meta
from netlab.api.types import Obj
from netlab.apiserver.authz.authorizer import ALLOWED, Action, Decision
from netlab.apiserver.wire.message import User

GROUP = "rbac.authorization.k8s.io/v1"
_MAX_USERS = 4096


class Reader(Protocol):
    def read(self, api_version: str, kind: str, namespace: str, name: str) -> Obj | None: ...

    def read_all(self, api_version: str, kind: str, namespace: str) -> list[Obj]: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule as it reaches one user: `namespace` is empty where it holds everywhere, `names` where all are meant."""

    verbs: frozenset[str]
    names: frozenset[str]
    namespace: str
    decision: Decision = ALLOWED

    def allows(self, action: Action) -> bool:
        if action.verb not in self.verbs and "*" not in self.verbs:
            return False
        if self.namespace and self.namespace != action.namespace:
            return False
        return not self.names or action.name in self.names


@dataclass(slots=True)
class Grants:
    """All that one user was granted: by (API group, resource or resource/subresource), and by path."""

    resources: dict[tuple[str, str], list[Grant]] = field(default_factory=dict)
    paths: list[tuple[str, frozenset[str], Decision]] = field(default_factory=list)

    def add(self, rule: Obj, namespace: str, decision: Decision = ALLOWED) -> None:
        verbs = frozenset(rule.get("verbs") or ())
        if not namespace:
            self.paths += [(path, verbs, decision) for path in rule.get("nonResourceURLs") or ()]
        grant = Grant(verbs, frozenset(rule.get("resourceNames") or ()), namespace, decision)
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                self.resources.setdefault((group, resource), []).append(grant)

    def allow(self, action: Action) -> Decision | None:
        """The decision of the first rule that allows it."""
        if not action.resource:
            for path, verbs, decision in self.paths:
                if _path_matches(path, action.path) and _has(verbs, action.verb):
                    return decision
            return None
        if action.subresource:
            wanted: tuple[str, ...] = (f"{action.resource}/{action.subresource}", f"*/{action.subresource}", "*")
        else:
            wanted = (action.resource, "*")
        for group in (action.group, "*"):
            for resource in wanted:
                for grant in self.resources.get((group, resource), ()):
                    if grant.allows(action):
                        return grant.decision
        return None


def _has(verbs: frozenset[str], verb: str) -> bool:
    return verb in verbs or "*" in verbs


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))


class Rbac:
    """Decides by the roles and bindings that `reader` reads."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._grants: dict[tuple[str, tuple[str, ...]], Grants] = {}
        self._bindings: dict[str, list[tuple[str, Obj, Decision]]] | None = None

    def forget(self, *_: object) -> None:
        """Roles or bindings changed."""
        self._grants.clear()
        self._bindings = None

    def decide(self, user: User, action: Action) -> Decision | None:
        return self._of(user).allow(action)

    def rules(self, user: User, namespace: str) -> tuple[list[Obj], list[Obj]]:
        resources: list[Obj] = []
        paths: list[Obj] = []
        for rule, where, _ in self._rules(user):
            if where in ("", namespace) and rule.get("resources"):
                kept = ("verbs", "apiGroups", "resources", "resourceNames")
                resources.append({name: rule[name] for name in kept if rule.get(name)})
            if not where and rule.get("nonResourceURLs"):
                paths.append({name: rule[name] for name in ("verbs", "nonResourceURLs")})
        return resources, paths

    def _of(self, user: User) -> Grants:
        key = (user.name, user.groups)
        found = self._grants.get(key)
        if found is None:
            if len(self._grants) >= _MAX_USERS:
                self._grants.clear()
            found = self._grants[key] = Grants()
            for rule, namespace, decision in self._rules(user):
                found.add(rule, namespace, decision)
        return found

    def _rules(self, user: User) -> Iterable[tuple[Obj, str, Decision]]:
        if self._bindings is None:
            self._bindings = self._read_bindings()
        for subject in (f"User:{user.name}", *(f"Group:{group}" for group in user.groups)):
            for namespace, reference, decision in self._bindings.get(subject, ()):
                for rule in self._role_rules(reference, namespace):
                    yield rule, namespace, decision

    def _read_bindings(self) -> dict[str, list[tuple[str, Obj, Decision]]]:
        found: dict[str, list[tuple[str, Obj, Decision]]] = {}
        for kind in ("ClusterRoleBinding", "RoleBinding"):
            for binding in self._reader.read_all(GROUP, kind, ""):
                namespace = meta.namespace(binding)
                for subject in binding.get("subjects") or ():
                    key = _subject(subject, namespace)
                    decision = Decision(True, _because(kind, binding, subject, namespace))
                    found.setdefault(key, []).append((namespace, binding.get("roleRef") or {}, decision))
        return found

    def _role_rules(self, reference: Obj, namespace: str) -> Sequence[Obj]:
        kind, name = str(reference.get("kind", "")), str(reference.get("name", ""))
        if kind == "Role" and namespace:
            role = self._reader.read(GROUP, "Role", namespace, name)
        else:
            role = self._reader.read(GROUP, "ClusterRole", "", name)
        if role is None:
            return ()
        return role.get("rules") or ()


def _subject(subject: Obj, namespace: str) -> str:
    kind, name = subject.get("kind"), subject.get("name", "")
    if kind == "ServiceAccount":
        return f"User:system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
    return f"{kind}:{name}"


def _because(kind: str, binding: Obj, subject: Obj, namespace: str) -> str:
    """The reason that reviews and the audit log give for what a binding allows."""
    reference = binding.get("roleRef") or {}
    place = f"{meta.name(binding)}/{namespace}" if namespace else meta.name(binding)
    who = str(subject.get("name", ""))
    if subject.get("kind") == "ServiceAccount":
        who = f"{who}/{subject.get('namespace') or namespace}"
    role = f'{reference.get("kind", "")} "{reference.get("name", "")}"'
    return f'RBAC: allowed by {kind} "{place}" of {role} to {subject.get("kind", "")} "{who}"'
