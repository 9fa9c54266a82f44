"""CEL rules in the schemas of a CustomResourceDefinition: they must compile, and not cost too much.

Source followed: apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`
(`ValidateCustomResourceDefinitionOpenAPISchema`, `getCostErrorMessage`), `cel_validation.go`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from netlab.api.types import Obj
from netlab.api.validation.field import FieldError, forbidden, invalid, not_supported, required
from netlab.api.validation.gofmt import GoSyntax, quote

if TYPE_CHECKING:
    from netlab.api.cel.rules import Rule

RULES = "x-kubernetes-validations"
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_HINT = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings "
    "are declared)"
)
_MOST_EXPENSIVE = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a schema: how often its values can occur (None: unbounded), and what forbids to look at old values."""

    field: str
    root: bool = False
    most: int | None = 1
    uncorrelated: str = ""


@dataclass(slots=True)
class Costs:
    total: float = 0
    expensive: list[tuple[float, str]] = field(default_factory=list)

    def add(self, cost: float, where: str) -> None:
        self.total += cost
        self.expensive = sorted([*self.expensive, (cost, where)], key=lambda one: -one[0])[:_MOST_EXPENSIVE]


def forms(schema: Obj, at: str) -> list[FieldError]:
    """What every rule must say, whatever it means."""
    found: list[FieldError] = []
    for index, rule in enumerate(schema.get(RULES) or ()):
        here = f"{at}.{RULES}[{index}]"
        found += _texts(rule, here)
        reason, path = rule.get("reason"), rule.get("fieldPath") or ""
        if reason is not None and reason not in _REASONS:
            found.append(not_supported(f"{here}.reason", reason, _REASONS))
        if path and not path.strip():
            found.append(invalid(f"{here}.fieldPath", path, "fieldPath must be non-empty if specified"))
        if re.search(r"[\n\r]", path):
            found.append(invalid(f"{here}.fieldPath", path, "fieldPath must not contain line breaks"))
        if path:
            from netlab.api.cel.rules import field_path_problem

            problem = field_path_problem(path, schema)
            if problem:
                found.append(invalid(f"{here}.fieldPath", path, f"fieldPath must be a valid path: {problem}"))
    return found


def _texts(rule: Obj, here: str) -> list[FieldError]:
    found: list[FieldError] = []
    text, given = (rule.get("rule") or "").strip(), rule.get("message") or ""
    message = given.strip()
    if not text:
        found.append(required(f"{here}.rule", "rule is not specified"))
    elif given and not message:
        found.append(invalid(f"{here}.message", given, "message must be non-empty if specified"))
    elif len(given) > 2048:
        why = "message must have a maximum length of 2048 characters"
        found.append(invalid(f"{here}.message", f"{given[:10]}...", why))
    elif re.search(r"[\n\r]", message):
        found.append(invalid(f"{here}.message", given, "message must not contain line breaks"))
    elif re.search(r"[\n\r]", text) and not message:
        found.append(required(f"{here}.message", "message must be specified if rule contains line breaks"))
    told = rule.get("messageExpression") or ""
    if told and not told.strip():
        found.append(required(f"{here}.messageExpression", "messageExpression must be non-empty if specified"))
    return found


def meanings(schema: Obj, at: str) -> list[FieldError]:
    """The rules of a whole schema, compiled; call it only for schemas that are right otherwise."""
    from netlab.api.cel.environment import TOTAL_ESTIMATE_LIMIT
    from netlab.api.cel.rules import mentions_rules

    if not mentions_rules(schema):
        return []
    costs = Costs()
    found = _below(schema, Place(at, root=True), costs)
    if costs.total > TOTAL_ESTIMATE_LIMIT:
        why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        found += [forbidden(where, why) for _, where in costs.expensive]
        what = f"{RULES} estimated rule cost total for entire OpenAPIv3 schema"
        found.append(forbidden(at, too_expensive(what, costs.total, TOTAL_ESTIMATE_LIMIT)))
    return found


def _below(schema: Obj, place: Place, costs: Costs) -> list[FieldError]:
    found: list[FieldError] = []
    child = replace(place, root=False)
    additional, items = schema.get("additionalProperties"), schema.get("items")
    if isinstance(additional, dict):
        here = replace(child, field=f"{place.field}.additionalProperties", most=_times(place, schema, "maxProperties"))
        found += _below(additional, here, costs)
    atomic = schema.get("x-kubernetes-map-type") not in (None, "granular")
    for key, inner in sorted((schema.get("properties") or {}).items()):
        blocked = place.uncorrelated or (place.field if atomic else "")
        found += _below(inner, replace(child, field=f"{place.field}.properties[{key}]", uncorrelated=blocked), costs)
    if isinstance(items, dict):
        blocked = place.uncorrelated or (place.field if schema.get("x-kubernetes-list-type") != "map" else "")
        most = _times(place, schema, "maxItems")
        here = replace(child, field=f"{place.field}.items", most=most, uncorrelated=blocked)
        found += _below(items, here, costs)
    return found + _rules(schema, place, costs)


def _times(place: Place, schema: Obj, key: str) -> int | None:
    bound = schema.get(key)
    return None if place.most is None or bound is None else place.most * int(bound)


def _rules(schema: Obj, place: Place, costs: Costs) -> list[FieldError]:
    from netlab.api.cel.rules import compiled
    from netlab.api.cel.schemas import EMBEDDED

    found: list[FieldError] = []
    rules = compiled(schema, root=place.root or bool(schema.get(EMBEDDED)))
    for index, (rule, given) in enumerate(zip(rules, schema.get(RULES) or (), strict=True)):
        found += _rule(rule, given, place, f"{place.field}.{RULES}[{index}]", costs)
    return found


def _rule(rule: Rule, given: Obj, place: Place, here: str, costs: Costs) -> list[FieldError]:
    from netlab.api.cel.environment import ESTIMATE_LIMIT

    found: list[FieldError] = []
    if rule.program is not None:
        cost = rule.program.estimate * (rule.most if place.most is None else place.most)
        if cost > ESTIMATE_LIMIT:
            found.append(forbidden(f"{here}.rule", too_expensive("estimated rule cost", cost, ESTIMATE_LIMIT)))
        costs.add(cost, f"{here}.rule")
    if rule.error:
        found.append(invalid(f"{here}.rule", as_go(given), rule.error))
    if rule.message_error:
        found.append(invalid(f"{here}.messageExpression", as_go(given), rule.message_error))
    elif rule.message_program is not None:
        cost = rule.message_program.estimate
        if cost > ESTIMATE_LIMIT:
            why = too_expensive("estimated messageExpression cost", cost, ESTIMATE_LIMIT)
            found.append(forbidden(f"{here}.messageExpression", why))
        costs.add(cost, f"{here}.messageExpression")
    if rule.transition and place.uncorrelated:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelated}"
        found.append(invalid(f"{here}.rule", rule.text, why))
    return found


def too_expensive(what: str, cost: float, limit: int) -> str:
    """Upstream's sentence: by which factor a cost is beyond its limit."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {shown} {_HINT}"


def as_go(given: Obj) -> GoSyntax:
    """A rule as upstream prints it: its internal type in Go's syntax (pointers are addresses there, so unstable)."""
    reason = "(*apiextensions.FieldValueErrorReason)(nil)"
    if given.get("reason") is not None:
        reason = "(*apiextensions.FieldValueErrorReason)(0xc000000000)"
    optional = "(*bool)(nil)" if given.get("optionalOldSelf") is None else "(*bool)(0xc000000000)"
    texts = {"Rule": "rule", "Message": "message", "MessageExpression": "messageExpression"}
    inner = ", ".join(f"{name}:{quote(given.get(key) or '')}" for name, key in texts.items())
    inner += f", Reason:{reason}, FieldPath:{quote(given.get('fieldPath') or '')}, OptionalOldSelf:{optional}"
    return GoSyntax(f"apiextensions.ValidationRule{{{inner}}}")
