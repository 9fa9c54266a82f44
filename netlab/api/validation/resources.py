"""Rules of resource names, quantities and requirements. Source followed: `pkg/apis/core/validation/validation.go`,
`pkg/apis/core/helper/helpers.go`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from fractions import Fraction

from netlab.api import quantity
from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.field import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_found,
    required,
)
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import NEGATIVE, NOT_ABOVE_ZERO, each

_CONTAINER = frozenset({"cpu", "memory", "ephemeral-storage"})
_COUNTED = frozenset({"pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps"}) | {
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
}
_COMPUTE = frozenset(f"{kind}.{name}" for kind in ("requests", "limits") for name in _CONTAINER)
_STANDARD = _CONTAINER | _COUNTED | _COMPUTE | {"storage", "requests.storage"}
_QUOTA = (_STANDARD - {"storage"}) | {"requests.storage"}
_POD_LEVEL = ("cpu", "memory")
_QUANTITY_NOT_INTEGER = "must be an integer"

NameRule = Callable[[str, str], list[FieldError]]


def is_native(name: str) -> bool:
    """Without a domain, or in kubernetes.io."""
    return "/" not in name or "kubernetes.io/" in name


def is_huge_page(name: str) -> bool:
    """`hugepages-2Mi`."""
    return name.startswith("hugepages-")


def is_quota_huge_page(name: str) -> bool:
    """`requests.hugepages-2Mi` or `hugepages-2Mi`."""
    return name.startswith(("hugepages-", "requests.hugepages-"))


def is_extended(name: str) -> bool:
    """In a domain of its own."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.qualified_name(f"requests.{name}")


def overcommit_allowed(name: str) -> bool:
    """Whether requests may be lower than limits."""
    return is_native(name) and not is_huge_page(name)


def is_integer(name: str) -> bool:
    """Whether only whole numbers make sense."""
    return name in _COUNTED or is_extended(name)


def is_standard_quota(name: str) -> bool:
    """What quotas know by name."""
    return name in _QUOTA or is_quota_huge_page(name)


def resource_name(name: str, field: str) -> list[FieldError]:
    """`validateResourceName`."""
    found = each(field, name, names.qualified_name(name))
    if not found and "/" not in name and name not in _STANDARD and not is_quota_huge_page(name):
        return [invalid(field, name, "must be a standard resource type or fully qualified")]
    return found


def container_resource_name(name: str, field: str) -> list[FieldError]:
    """`validateContainerResourceName`."""
    found = resource_name(name, field)
    if "/" not in name:
        if name not in _CONTAINER and not is_huge_page(name):
            return [*found, invalid(field, name, "must be a standard resource for containers")]
    elif not is_native(name) and not is_extended(name):
        return [*found, invalid(field, name, "doesn't follow extended resource name standard")]
    return found


def quota_resource_name(name: str, field: str) -> list[FieldError]:
    """`ValidateResourceQuotaResourceName`."""
    found = resource_name(name, field)
    if "/" not in name and not is_standard_quota(name):
        return [*found, invalid(field, name, "must be a standard resource for quota")]
    return found


def value(text: str) -> Fraction:
    """The exact value of a quantity."""
    return quantity.parse(text)


def whole(text: str) -> int:
    """`Quantity.Value()`: rounded up."""
    return quantity.whole(text)


def nonnegative_quantity(text: str, field: str) -> list[FieldError]:
    """`ValidateNonnegativeQuantity`."""
    return [invalid(field, text, NEGATIVE)] if value(text) < 0 else []


def positive_quantity(text: str, field: str) -> list[FieldError]:
    """`ValidatePositiveQuantityValue`."""
    return [invalid(field, text, NOT_ABOVE_ZERO)] if value(text) <= 0 else []


def basic_resource(text: str, field: str) -> list[FieldError]:
    """`validateBasicResource`."""
    number = whole(text)
    return [invalid(field, number, "must be a valid resource quantity")] if number < 0 else []


def quantity_value(name: str, text: str, field: str) -> list[FieldError]:
    """`ValidateResourceQuantityValue`."""
    found = nonnegative_quantity(text, field)
    if is_integer(name) and value(text).denominator != 1:
        found.append(invalid(field, go_quantity(text, cached=bool(found)), _QUANTITY_NOT_INTEGER))
    return found


def go_quantity(text: str, *, cached: bool = True) -> GoSyntax:
    """A quantity as `%#v` shows it; `cached` where its text had been asked for before."""
    exact, form = value(text), quantity.form_of(text)
    scale = 0
    while exact.denominator != 1 and scale > -9:
        exact, scale = exact * 10, scale - 1
    if text[-1:] in ("m", "u", "n") and scale:
        wanted = {"m": -3, "u": -6, "n": -9}[text[-1]]
        exact, scale = exact * 10 ** (scale - wanted), wanted
    shown = quote(text) if cached else '""'
    name = {"decimal": "DecimalSI", "binary": "BinarySI", "exponent": "DecimalExponent"}[form]
    return GoSyntax(
        f"resource.Quantity{{i:resource.int64Amount{{value:{int(exact)}, scale:{scale}}}, "
        f'd:resource.infDecAmount{{Dec:(*inf.Dec)(nil)}}, s:{shown}, Format:"{name}"}}'
    )


def requirements(
    given: Obj, field: str, claims: Collection[str] = (), name_rule: NameRule = container_resource_name
) -> list[FieldError]:
    """`validateResourceRequirements`: limits, requests, and the claims of a pod by name."""
    limits, requests = given.get("limits") or {}, given.get("requests") or {}
    found: list[FieldError] = []
    for name, amount in limits.items():
        here = f"{field}.limits[{name}]"
        found += name_rule(name, here) + quantity_value(name, amount, here) + _huge_page_value(name, amount, here)
    for name, amount in requests.items():
        here = f"{field}.requests[{name}]"
        found += name_rule(name, here) + quantity_value(name, amount, here)
        found += _request_within(name, amount, limits.get(name), field)
        found += _huge_page_value(name, amount, here)
    both = [*limits, *requests]
    if any(is_huge_page(name) for name in both) and not any(name in ("cpu", "memory") for name in both):
        found.append(forbidden(field, "HugePages require cpu or memory"))
    found += _claim_names(given.get("claims") or (), claims, f"{field}.claims")
    return found


def _request_within(name: str, amount: str, limit: str | None, field: str) -> list[FieldError]:
    here = f"{field}.requests"
    if limit is None:
        if overcommit_allowed(name):
            return []
        return [required(f"{field}.limits", "Limit must be set for non overcommitable resources")]
    if value(amount) != value(limit) and not overcommit_allowed(name):
        return [invalid(here, amount, f"must be equal to {name} limit of {limit}")]
    if value(amount) > value(limit):
        return [invalid(here, amount, f"must be less than or equal to {name} limit of {limit}")]
    return []


def _huge_page_value(name: str, amount: str, field: str) -> list[FieldError]:
    if not is_huge_page(name):
        return []
    try:
        size = whole(name.removeprefix("hugepages-"))
    except quantity.QuantityError:
        size = 0
    if size > 0 and whole(amount) % size == 0:
        return []
    return [invalid(field, amount, f"{amount} is not positive integer multiple of {name}")]


def _claim_names(used: Collection[Obj], known: Collection[str], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, claim in enumerate(used):
        here, name = f"{field}[{index}]", claim.get("name", "")
        if not name:
            found.append(required(here))
            continue
        key = f"{name}/{claim['request']}" if claim.get("request") else name
        if key in seen or name in seen:
            found.append(duplicate(here, key))
        seen.add(key)
        if name not in known:
            missing = not_found(here, name)
            missing.detail = "must be one of the names in pod.spec.resourceClaims"
            missing.detail += f": {', '.join(sorted(known))}" if known else " which is empty"
            found.append(missing)
    return found
