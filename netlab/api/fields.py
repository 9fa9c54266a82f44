"""Field selectors (`?fieldSelector=`): metadata.name and metadata.namespace for all, and upstream's few more per kind.

Messages follow apimachinery pkg/fields/selector.go and each group's conversion functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netlab.api import meta
from netlab.api.errors import quote
from netlab.api.resources import Resource
from netlab.api.types import Obj

Getter = Callable[[Obj], str]


class FieldSelectorError(ValueError):
    """The selector cannot be parsed or names a field that is not supported; str() is upstream's message."""


def _at(*path: str | int) -> Getter:
    def read(obj: Obj) -> str:
        value = meta.get(obj, *path, default="")
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)

    return read


def _flag(*path: str) -> Getter:
    return lambda obj: "true" if meta.get(obj, *path, default=False) else "false"


def _count(*path: str) -> Getter:
    return lambda obj: str(meta.get(obj, *path, default=0))


def _event_source(obj: Obj) -> str:
    return str(meta.get(obj, "source", "component", default="") or obj.get("reportingComponent") or "")


_POD: dict[str, Getter] = {
    "spec.nodeName": _at("spec", "nodeName"),
    "spec.host": _at("spec", "nodeName"),  # kept by upstream for clients older than v1
    "spec.restartPolicy": _at("spec", "restartPolicy"),
    "spec.schedulerName": _at("spec", "schedulerName"),
    "spec.serviceAccountName": _at("spec", "serviceAccountName"),
    "spec.hostNetwork": _flag("spec", "hostNetwork"),
    "status.phase": _at("status", "phase"),
    "status.podIP": _at("status", "podIP"),
    "status.podIPs": _at("status", "podIP"),
    "status.nominatedNodeName": _at("status", "nominatedNodeName"),
}
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT: dict[str, Getter] = {
    **{f"involvedObject.{field}": _at("involvedObject", field) for field in _INVOLVED},
    "reason": _at("reason"),
    "reportingComponent": _at("reportingComponent"),
    "source": _event_source,
    "type": _at("type"),
}
# An events.k8s.io/v1 object is read in its own shape: what core calls involvedObject is regarding here.
_EVENT_V1: dict[str, Getter] = {
    **{f"regarding.{field}": _at("regarding", field) for field in _INVOLVED},
    "reason": _at("reason"),
    "reportingController": _at("reportingController"),
    "type": _at("type"),
}
_STANDARD: dict[str, Getter] = {
    "metadata.name": _at("metadata", "name"),
    "metadata.namespace": _at("metadata", "namespace"),
}

# (group, plural) → the extra fields, and the wording of the error where the field is not supported.
_EXTRA: dict[tuple[str, str], tuple[dict[str, Getter], str]] = {
    ("", "pods"): (_POD, "field label not supported: {}"),
    ("", "nodes"): ({"spec.unschedulable": _flag("spec", "unschedulable")}, "field label not supported: {}"),
    ("", "replicationcontrollers"): (
        {"status.replicas": _count("status", "replicas")},
        "field label not supported: {}",
    ),
    ("", "events"): (_EVENT, "field label not supported: {}"),
    ("", "namespaces"): ({"status.phase": _at("status", "phase")}, "field label not supported: {}"),
    ("", "secrets"): ({"type": _at("type")}, "field label not supported: {}"),
    ("", "services"): (
        {"spec.clusterIP": _at("spec", "clusterIP"), "spec.type": _at("spec", "type")},
        "field label not supported: {}",
    ),
    ("events.k8s.io", "events"): (_EVENT_V1, "field label not supported: {}"),
    ("batch", "jobs"): (
        {"status.successful": _count("status", "succeeded")},
        "field label {} not supported for Job",
    ),
    ("apps", "replicasets"): (
        {"status.replicas": _count("status", "replicas")},
        "field label not supported: {}",
    ),
    ("certificates.k8s.io", "certificatesigningrequests"): (
        {"spec.signerName": _at("spec", "signerName")},
        "field label not supported: {}",
    ),
}


@dataclass(frozen=True, slots=True)
class Term:
    """One term: the field must (or, negated, must not) equal the value."""

    field: str
    value: str
    negated: bool
    read: Getter

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{_escape(self.value)}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All terms must hold; none matches everything."""

    terms: tuple[Term, ...] = ()

    def matches(self, obj: Obj) -> bool:
        """True where the object satisfies every term."""
        return all((term.read(obj) == term.value) != term.negated for term in self.terms)

    def requires(self, field: str) -> str | None:
        """The one value that `field` must have, if the selector says so: lets a list become a get."""
        for term in self.terms:
            if term.field == field and not term.negated:
                return term.value
        return None

    @property
    def empty(self) -> bool:
        """True where everything matches."""
        return not self.terms

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


EVERYTHING = FieldSelector()


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _split(text: str) -> list[str]:
    """Split at commas that no backslash escapes (escapes stay)."""
    parts, current, escaped = [], "", False
    for char in text:
        if escaped:
            current, escaped = current + char, False
        elif char == "\\":
            current, escaped = current + char, True
        elif char == ",":
            parts.append(current)
            current = ""
        else:
            current += char
    parts.append(current)
    return parts


def _unescape(value: str) -> str:
    out, escaped = "", False
    for char in value:
        if escaped:
            if char not in "\\,=":
                raise FieldSelectorError(f"invalid field selector: invalid escape sequence in value: \\{char}")
            out, escaped = out + char, False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise FieldSelectorError(f"invalid field selector: unescaped character in value: {char}")
        else:
            out += char
    if escaped:
        raise FieldSelectorError("invalid field selector: invalid escape sequence in value: \\")
    return out


def _split_term(term: str) -> tuple[str, str, str] | None:
    for index in range(len(term)):
        rest = term[index:]
        for operator in ("!=", "==", "="):
            if rest.startswith(operator):
                return term[:index], operator, rest[len(operator) :]
    return None


def supported(resource: Resource, selectable: tuple[str, ...] = ()) -> dict[str, Getter]:
    """The fields that can be selected on, and how each is read; `selectable` are a custom resource's own paths."""
    fields = dict(_STANDARD)
    fields.update(_EXTRA.get((resource.group, resource.plural), ({}, ""))[0])
    for path in (*resource.selectable, *selectable):
        steps = path.lstrip(".").split(".")
        fields[".".join(steps)] = _at(*steps)
    return fields


def parse_field_selector(text: str | None, resource: Resource, selectable: tuple[str, ...] = ()) -> FieldSelector:
    """Parse `metadata.name=x,status.phase!=Running`. Raises FieldSelectorError (a 400 at the API)."""
    if not text:
        return EVERYTHING
    fields = supported(resource, selectable)
    terms = []
    for part in _split(text):
        if not part:
            continue
        pieces = _split_term(part)
        if pieces is None:
            raise FieldSelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = pieces
        if field not in fields:
            raise FieldSelectorError(_unsupported(resource, field))
        terms.append(Term(field, _unescape(value), operator == "!=", fields[field]))
    return FieldSelector(tuple(terms))


def _unsupported(resource: Resource, field: str) -> str:
    if resource.custom:
        return f"field label not supported: {field}"
    extra = _EXTRA.get((resource.group, resource.plural))
    if extra is not None:
        shown = quote(field) if "{} not" in extra[1] else field
        return extra[1].format(shown)
    return f'{quote(field)} is not a known field selector: only "metadata.name", "metadata.namespace"'
