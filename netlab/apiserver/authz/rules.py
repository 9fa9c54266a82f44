"""PURE. What one set of RBAC rules grants beyond another. Source followed: component-helpers auth/rbac/validation."""

import json
from collections.abc import Iterable, Iterator, Sequence

from netlab.api.types import Obj


def uncovered(owner: Sequence[Obj], wanted: Iterable[Obj]) -> list[Obj]:
    """The parts of `wanted`, each with one verb on one thing, that no rule of `owner` covers."""
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(one, part) for one in owner)]


def _parts(rule: Obj) -> Iterator[Obj]:
    verbs, names = rule.get("verbs") or (), rule.get("resourceNames") or ()
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                part = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                if not names:
                    yield part
                for name in names:
                    yield {**part, "resourceNames": [name]}
    for path in rule.get("nonResourceURLs") or ():
        for verb in verbs:
            yield {"verbs": [verb], "nonResourceURLs": [path]}


def _covers(owner: Obj, part: Obj) -> bool:
    if not _has(owner, "verbs", part["verbs"][0]):
        return False
    if "nonResourceURLs" in part:
        path = part["nonResourceURLs"][0]
        return any(_path_covers(one, path) for one in owner.get("nonResourceURLs") or ())
    if not _has(owner, "apiGroups", part["apiGroups"][0]):
        return False
    resource = part["resources"][0]
    _, slash, through = resource.partition("/")
    if not _has(owner, "resources", resource) and not (slash and _has(owner, "resources", f"*/{through}")):
        return False
    names = owner.get("resourceNames")
    return not names or ("resourceNames" in part and part["resourceNames"][0] in names)


def _has(owner: Obj, field: str, value: str) -> bool:
    values = owner.get(field) or ()
    return value in values or "*" in values


def _path_covers(owner: str, path: str) -> bool:
    return owner in ("*", path) or (owner.endswith("*") and path.startswith(owner.rstrip("*")))


def compact(parts: Iterable[Obj]) -> list[Obj]:
    """Parts about the same resource (and name) as one rule with all their verbs."""
    simple: dict[tuple[str, ...], Obj] = {}
    other: list[Obj] = []
    for part in parts:
        if "nonResourceURLs" in part:
            other.append(part)
            continue
        key = (part["apiGroups"][0], part["resources"][0], *part.get("resourceNames", ()))
        if key in simple:
            simple[key]["verbs"] += part["verbs"]
        else:
            simple[key] = {**part, "verbs": list(part["verbs"])}
    return other + list(simple.values())


_SHOWN = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
    ("Verbs", "verbs"),
)


def shown(rule: Obj) -> str:
    """A rule as a refusal shows it: {APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}."""
    return "{" + ", ".join(f"{name}:{quoted(rule[field])}" for name, field in _SHOWN if rule.get(field)) + "}"


def quoted(values: Iterable[str]) -> str:
    """A list of strings as Go's %q shows it."""
    return "[" + " ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"
