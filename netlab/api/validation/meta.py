"""Rules of metadata, labels and selectors. Source followed: apimachinery `pkg/api/validation/objectmeta.go`,
`pkg/apis/meta/v1/validation/validation.go`, and the core group's additions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.field import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from netlab.api.validation.gofmt import GoSyntax, go_syntax

NameRule = Callable[[str, bool], list[str]]

IMMUTABLE = "field is immutable"
NEGATIVE = "must be greater than or equal to 0"
NOT_POSITIVE = "must be greater than 0"
NOT_ABOVE_ZERO = "must be greater than zero"
"""The core group's wording of the same."""

_MAX_ANNOTATIONS = 256 * 1024
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_BANNED_OWNERS = frozenset({("v1", "Event")})


def metadata(
    obj: Obj, namespaced: bool, name_rule: NameRule = names.subdomain_name, *, kube_finalizers: bool = True
) -> list[FieldError]:
    """`ValidateObjectMeta` on create; `kube_finalizers` adds the core group's check of finalizer names."""
    meta = obj["metadata"]
    found: list[FieldError] = []
    if meta.get("generateName"):
        generated = meta["generateName"]
        found += each("metadata.generateName", generated, name_rule(generated, True))
    name = meta.get("name", "")
    if not name:
        found.append(required("metadata.name", "name or generateName is required"))
    else:
        found += each("metadata.name", name, name_rule(name, False))
    found += _namespace(meta, namespaced)
    found += nonnegative(meta.get("generation", 0), "metadata.generation")
    if meta.get("labels"):
        found += labels(meta["labels"], "metadata.labels")
    if meta.get("annotations"):
        found += annotation_map(meta["annotations"], "metadata.annotations")
    if meta.get("ownerReferences"):
        found += _owner_references(meta["ownerReferences"])
    if meta.get("finalizers"):
        found += _finalizers(meta["finalizers"])
        if kube_finalizers:
            found += _kube_finalizers(meta["finalizers"])
    return found


def _namespace(meta: Obj, namespaced: bool) -> list[FieldError]:
    namespace = meta.get("namespace", "")
    if namespaced:
        if not namespace:
            return [required("metadata.namespace")]
        return each("metadata.namespace", namespace, names.dns_label(namespace))
    return [forbidden("metadata.namespace", "not allowed on this type")] if namespace else []


def metadata_update(new: Obj, old: Obj, *, kube_finalizers: bool = True) -> list[FieldError]:
    """`ValidateObjectMetaUpdate`."""
    after, before = new["metadata"], old["metadata"]
    found: list[FieldError] = []
    if before.get("deletionTimestamp"):
        added = sorted(set(after.get("finalizers") or ()) - set(before.get("finalizers") or ()))
        if added:
            detail = "no new finalizers can be added if the object is being deleted, found new finalizers "
            found.append(forbidden("metadata.finalizers", f"{detail}[]string{{{', '.join(map(_quoted, added))}}}"))
    if after.get("generation", 0) < before.get("generation", 0):
        found.append(invalid("metadata.generation", after.get("generation", 0), "must not be decremented"))
    fixed = ["name", "namespace", "uid", "creationTimestamp"]
    fixed += [key for key in ("deletionTimestamp", "deletionGracePeriodSeconds") if key in before]
    for key in fixed:
        if after.get(key) != before.get(key):
            found += [invalid(f"metadata.{key}", after.get(key, ""), IMMUTABLE)]
    found += labels(after.get("labels"), "metadata.labels")
    found += annotation_map(after.get("annotations"), "metadata.annotations")
    found += _owner_references(after.get("ownerReferences") or ())
    if kube_finalizers:
        found += _kube_finalizers(after.get("finalizers") or ())
    return found


def _quoted(text: str) -> str:
    return f'"{text}"'


def _finalizers(finalizers: Iterable[str]) -> list[FieldError]:
    found: list[FieldError] = []
    given = list(finalizers)
    for one in given:
        found += each("metadata.finalizers", one, names.qualified_name(one))
    if "orphan" in given and "foregroundDeletion" in given:
        shown = GoSyntax(go_syntax(given))
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(invalid("metadata.finalizers", shown, detail))
    return found


def _kube_finalizers(finalizers: Iterable[str]) -> list[FieldError]:
    found: list[FieldError] = []
    for index, one in enumerate(finalizers):
        found += kube_finalizer(one, f"metadata.finalizers[{index}]")
    return found


def kube_finalizer(name: str, field: str) -> list[FieldError]:
    """A finalizer without a domain must be one of upstream's own."""
    if "/" in name or name in _STANDARD_FINALIZERS:
        return []
    return [invalid(field, name, "name is neither a standard finalizer name nor is it fully qualified")]


def _owner_references(references: Iterable[Obj]) -> list[FieldError]:
    found: list[FieldError] = []
    first_controller: Obj | None = None
    for one in references:
        field = "metadata.ownerReferences"
        group, _, version = one.get("apiVersion", "").rpartition("/")
        if not version:
            found.append(invalid(f"{field}.apiVersion", one.get("apiVersion", ""), "version must not be empty"))
        for key, label in (("kind", "kind"), ("name", "name"), ("uid", "uid")):
            if not one.get(key):
                found.append(invalid(f"{field}.{key}", one.get(key, ""), f"{label} must not be empty"))
        if (version, one.get("kind")) in _BANNED_OWNERS and not group:
            found.append(invalid(field, one.get("kind", ""), "/v1, Kind=Event is disallowed from being an owner"))
        if one.get("controller"):
            if first_controller is not None:
                detail = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{first_controller.get('name')} and {one.get('name')}"
                )
                found.append(invalid(field, GoSyntax("[]v1.OwnerReference{…}"), detail))
            first_controller = one
    return found


def each(field: str, value: object, messages: Iterable[str]) -> list[FieldError]:
    """One `Invalid value` for each message."""
    return [invalid(field, value, message) for message in messages]


def domain_prefixed_path(value: str, field: str) -> list[FieldError]:
    """`IsDomainPrefixedPath`."""
    if not value:
        return [required(field)]
    domain, slash, path = value.partition("/")
    if not slash or not domain or not path:
        form = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [invalid(field, value, form)]
    found = [invalid(field, domain, one) for one in names.dns_subdomain(domain)]
    if not all(char.isascii() and (char.isalnum() or char in "-._~!$&'()*+,;=:@%/") for char in path):
        found.append(
            invalid(field, path, "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')")
        )
    return found


def nonnegative(value: int, field: str) -> list[FieldError]:
    """`ValidateNonnegativeField`."""
    return [invalid(field, value, NEGATIVE)] if value < 0 else []


def unchanged(new: object, old: object, field: str) -> list[FieldError]:
    """`ValidateImmutableField`."""
    return [] if new == old else [invalid(field, new, IMMUTABLE)]


def labels(given: dict[str, str] | None, field: str) -> list[FieldError]:
    """`ValidateLabels`."""
    found: list[FieldError] = []
    for key, value in (given or {}).items():
        wrong = names.qualified_name(key)
        if wrong:
            found += each(field, key, wrong)
        wrong = names.label_value(value)
        if wrong:
            found += each(field, value, wrong)
    return found


def label_key(key: str, field: str) -> list[FieldError]:
    """`ValidateLabelName`."""
    return each(field, key, names.qualified_name(key))


def annotation_map(given: dict[str, str] | None, field: str) -> list[FieldError]:
    """`ValidateAnnotations`."""
    found: list[FieldError] = []
    size = 0
    for key, value in (given or {}).items():
        found += each(field, key, names.qualified_name(key.lower()))
        size += len(key.encode()) + len(value.encode())
    if size > _MAX_ANNOTATIONS:
        found.append(too_long(field, _MAX_ANNOTATIONS))
    return found


def label_selector(selector: Obj | None, field: str, *, any_value: bool = False) -> list[FieldError]:
    """`ValidateLabelSelector`."""
    if selector is None:
        return []
    found = labels(selector.get("matchLabels"), f"{field}.matchLabels")
    for index, one in enumerate(selector.get("matchExpressions") or ()):
        found += _requirement(one, f"{field}.matchExpressions[{index}]", any_value)
    return found


def _requirement(one: Obj, field: str, any_value: bool) -> list[FieldError]:
    found: list[FieldError] = []
    operator, values = one.get("operator", ""), one.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            found.append(required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(forbidden(f"{field}.values", detail))
    else:
        found.append(invalid(f"{field}.operator", operator, "not a valid selector operator"))
    found += label_key(one.get("key", ""), f"{field}.key")
    if not any_value:
        for index, value in enumerate(values):
            found += each(f"{field}.values[{index}]", value, names.label_value(value))
    return found


def conditions(given: Iterable[Obj], field: str) -> list[FieldError]:
    """`ValidateConditions` of metav1.Condition."""
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, one in enumerate(given):
        here = f"{field}[{index}]"
        if one.get("type") in seen:
            found.append(duplicate(f"{here}.type", one.get("type", "")))
        seen.add(one.get("type", ""))
        if one.get("status") not in ("True", "False", "Unknown"):
            found.append(not_supported(f"{here}.status", one.get("status", ""), ("False", "True", "Unknown")))
        if not one.get("reason"):
            found.append(required(f"{here}.reason"))
        if not one.get("lastTransitionTime"):
            found.append(required(f"{here}.lastTransitionTime"))
    return found


def validate_generic(obj: Obj) -> list[FieldError]:
    """Metadata of an object of a kind without rules of its own (whether it is namespaced is the router's to know)."""
    namespaced = bool(obj["metadata"].get("namespace"))
    return metadata(obj, namespaced, kube_finalizers=False)


def validate_generic_update(new: Obj, old: Obj) -> list[FieldError]:
    """Metadata of an update of a kind without rules of its own."""
    return metadata_update(new, old, kube_finalizers=False)
