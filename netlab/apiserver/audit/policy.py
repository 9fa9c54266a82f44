"""PURE. audit.k8s.io/v1 Policy: how much is told of a request, and at which stages.

Source followed: apiserver/pkg/audit/policy (reader.go, checker.go) and apis/audit/validation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netlab.api.types import Obj
from netlab.apiserver.wire.message import User
from netlab.apiserver.wire.path import RequestInfo

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
VERSION = "audit.k8s.io/v1"


class PolicyError(ValueError):
    """The policy is none; str() names the field."""


@dataclass(frozen=True)
class Decision:
    """Of one request."""

    level: str
    omit_stages: frozenset[str]
    omit_managed_fields: bool

    @property
    def bodies(self) -> tuple[bool, bool]:
        """Whether the request's and the response's object are told."""
        return self.level in ("Request", "RequestResponse"), self.level == "RequestResponse"


@dataclass(frozen=True)
class Rule:
    """Empty fields match everything."""

    level: str
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    resources: tuple[tuple[str, tuple[str, ...], frozenset[str]], ...]
    namespaces: frozenset[str]
    urls: tuple[str, ...]
    omit_stages: frozenset[str]
    omit_managed_fields: bool | None

    def matches(self, user: User, info: RequestInfo) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return info.is_resource and self._resource(info)
        if self.urls:
            return not info.is_resource and any(_path(url, info.path) for url in self.urls)
        return True

    def _resource(self, info: RequestInfo) -> bool:
        if self.namespaces and info.namespace not in self.namespaces:
            return False
        if not self.resources:
            return True
        return any(
            group == info.group
            and (not names or info.name in names)
            and (not kinds or any(_kind(kind, info) for kind in kinds))
            for group, kinds, names in self.resources
        )


def _kind(pattern: str, info: RequestInfo) -> bool:
    combined = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if pattern in ("*", combined):
        return True
    if pattern.startswith("*/"):
        return bool(info.subresource) and pattern[2:] == info.subresource
    return pattern.endswith("/*") and pattern[:-2] == info.resource


def _path(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))


@dataclass(frozen=True)
class Policy:
    rules: tuple[Rule, ...]
    omit_stages: frozenset[str]
    omit_managed_fields: bool

    def decide(self, user: User, info: RequestInfo) -> Decision:
        """The first rule that matches holds; without any nothing is told."""
        for rule in self.rules:
            if rule.matches(user, info):
                omitted = self.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
                return Decision(rule.level, self.omit_stages | rule.omit_stages, omitted)
        return Decision("None", frozenset(STAGES), False)


def parse(document: Any) -> Policy:
    """A policy from its document. Raises PolicyError."""
    if not isinstance(document, Mapping) or document.get("kind") != "Policy":
        raise PolicyError("this is no audit policy: kind must be Policy")
    if document.get("apiVersion") != VERSION:
        raise PolicyError(f'apiVersion: Unsupported value: "{document.get("apiVersion", "")}": only {VERSION} is known')
    rules = document.get("rules")
    if not isinstance(rules, list) or not rules:
        raise PolicyError("rules: Required value: loaded illegal policy with 0 rules")
    unknown = document.keys() - {"apiVersion", "kind", "metadata", "omitStages", "rules", "omitManagedFields"}
    if unknown:
        raise PolicyError(f'unknown field "{min(unknown)}"')
    return Policy(
        tuple(_rule(rule, f"rules[{n}]") for n, rule in enumerate(rules)),
        _stages(document.get("omitStages"), "omitStages"),
        bool(document.get("omitManagedFields", False)),
    )


_RULE_FIELDS = frozenset(
    [
        *("level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages"),
        "omitManagedFields",
    ]
)


def _rule(rule: Any, field: str) -> Rule:
    if not isinstance(rule, Mapping):
        raise PolicyError(f"{field}: Invalid value: not an object")
    if unknown := rule.keys() - _RULE_FIELDS:
        raise PolicyError(f'{field}: unknown field "{min(unknown)}"')
    level = rule.get("level")
    if not level:
        raise PolicyError(f"{field}.level: Required value")
    if level not in LEVELS:
        listed = ", ".join(f'"{one}"' for one in LEVELS)
        raise PolicyError(f'{field}.level: Unsupported value: "{level}": supported values: {listed}')
    urls = tuple(_words(rule, "nonResourceURLs", field))
    if urls and (rule.get("resources") or rule.get("namespaces")):
        raise PolicyError(
            f"{field}.nonResourceURLs: Invalid value: "
            "rules cannot apply to both regular resources and non-resource URLs"
        )
    for url in urls:
        if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
            why = 'non-resource URL rules must start with "/" and have "*" only at the end'
            raise PolicyError(f'{field}.nonResourceURLs: Invalid value: "{url}": {why}')
    omitted = rule.get("omitManagedFields")
    return Rule(
        level,
        frozenset(_words(rule, "users", field)),
        frozenset(_words(rule, "userGroups", field)),
        frozenset(_words(rule, "verbs", field)),
        tuple(_resources(rule, field)),
        frozenset(_words(rule, "namespaces", field)),
        urls,
        _stages(rule.get("omitStages"), f"{field}.omitStages"),
        None if omitted is None else bool(omitted),
    )


def _words(rule: Mapping[str, Any], name: str, field: str) -> Sequence[str]:
    values = rule.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise PolicyError(f"{field}.{name}: Invalid value: not a list of strings")
    return values


def _resources(rule: Mapping[str, Any], field: str) -> list[tuple[str, tuple[str, ...], frozenset[str]]]:
    found = []
    for n, one in enumerate(rule.get("resources") or ()):
        here = f"{field}.resources[{n}]"
        if not isinstance(one, Mapping):
            raise PolicyError(f"{here}: Invalid value: not an object")
        names = frozenset(_words(one, "resourceNames", here))
        kinds = tuple(_words(one, "resources", here))
        if names and not kinds:
            raise PolicyError(
                f"{here}.resourceNames: Invalid value: using resourceNames requires at least one resource"
            )
        found.append((str(one.get("group") or ""), kinds, names))
    return found


def _stages(values: Any, field: str) -> frozenset[str]:
    for value in values or ():
        if value not in STAGES:
            listed = ", ".join(f'"{one}"' for one in STAGES)
            raise PolicyError(f'{field}: Invalid value: "{value}": allowed stages are {listed}')
    return frozenset(values or ())


def without_managed_fields(obj: Obj) -> Obj:
    """A copy without managedFields, also in the items of a list."""
    found = dict(obj)
    metadata = found.get("metadata")
    if isinstance(metadata, dict) and "managedFields" in metadata:
        found["metadata"] = {key: value for key, value in metadata.items() if key != "managedFields"}
    if isinstance(found.get("items"), list):
        found["items"] = [without_managed_fields(item) if isinstance(item, dict) else item for item in found["items"]]
    return found
