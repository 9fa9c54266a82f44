"""Rules of a job's policies of failed pods and of success. Source: `pkg/apis/batch/validation/validation.go`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.field import (
    OMITTED,
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import each, nonnegative

_MOST_RULES, _MOST_CODES, _MOST_CONDITIONS, _LONGEST_INDEXES = 20, 255, 20, 64 << 10
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")


def _valid(values: Sequence[str]) -> str:
    return f"valid values: [{' '.join(quote(value) for value in values)}]"


# -- pod failure policy ------------------------------------------------------------------------------------------------


def failure_policy(spec: Obj, field: str) -> list[FieldError]:
    """`validatePodFailurePolicy`, of a JobSpec."""
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return []
    rules, template = policy.get("rules") or [], spec["template"]["spec"]
    containers = {one.get("name", "") for key in ("containers", "initContainers") for one in template.get(key) or ()}
    found = [too_many(f"{field}.rules", len(rules), _MOST_RULES)] if len(rules) > _MOST_RULES else []
    for index, rule in enumerate(rules):
        found += _failure_rule(spec, rule, containers, f"{field}.rules[{index}]")
    return found


def _failure_rule(spec: Obj, rule: Obj, containers: set[str], field: str) -> list[FieldError]:
    action, codes, conditions = rule.get("action", ""), rule.get("onExitCodes"), rule.get("onPodConditions") or []
    found: list[FieldError] = []
    if not action:
        found.append(required(f"{field}.action", _valid(_ACTIONS)))
    elif action == "FailIndex" and "backoffLimitPerIndex" not in spec:
        found.append(invalid(f"{field}.action", action, "requires the backoffLimitPerIndex to be set"))
    elif action not in _ACTIONS:
        found.append(not_supported(f"{field}.action", action, _ACTIONS))
    found += _exit_codes(codes, containers, f"{field}.onExitCodes") if codes is not None else []
    found += _conditions(conditions, f"{field}.onPodConditions")
    if codes is not None and conditions:
        found.append(invalid(field, OMITTED, "specifying both OnExitCodes and OnPodConditions is not supported"))
    if codes is None and not conditions:
        found.append(invalid(field, OMITTED, "specifying one of OnExitCodes and OnPodConditions is required"))
    return found


def _conditions(conditions: Sequence[Obj], field: str) -> list[FieldError]:
    found = [too_many(field, len(conditions), _MOST_CONDITIONS)] if len(conditions) > _MOST_CONDITIONS else []
    for index, one in enumerate(conditions):
        here, kind, status = f"{field}[{index}]", one.get("type", ""), one.get("status", "")
        found += each(f"{here}.type", kind, names.qualified_name(kind))
        if not status:
            found.append(required(f"{here}.status", _valid(_STATUSES)))
        elif status not in _STATUSES:
            found.append(not_supported(f"{here}.status", status, _STATUSES))
    return found


def _exit_codes(codes: Obj, containers: set[str], field: str) -> list[FieldError]:
    """`validatePodFailurePolicyRuleOnExitCodes`."""
    operator, name, values = codes.get("operator", ""), codes.get("containerName"), codes.get("values") or []
    found: list[FieldError] = []
    if not operator:
        found.append(required(f"{field}.operator", _valid(_OPERATORS)))
    elif operator not in _OPERATORS:
        found.append(not_supported(f"{field}.operator", operator, _OPERATORS))
    if name is not None and name not in containers:
        detail = "must be one of the container or initContainer names in the pod template"
        found.append(invalid(f"{field}.containerName", name, detail))
    shown = GoSyntax(f"[]int32{{{', '.join(map(str, values))}}}" if "values" in codes else "[]int32(nil)")
    if not values:
        found.append(invalid(f"{field}.values", shown, "at least one value is required"))
    elif len(values) > _MOST_CODES:
        found.append(too_many(f"{field}.values", len(values), _MOST_CODES))
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            found.append(invalid(f"{field}.values[{index}]", value, "must not be 0 for the In operator"))
        if value in values[:index]:
            found.append(duplicate(f"{field}.values[{index}]", value))
    if list(values) != sorted(values):
        found.append(invalid(f"{field}.values", shown, "must be ordered"))
    return found


# -- success policy ----------------------------------------------------------------------------------------------------


def success_policy(spec: Obj, field: str) -> list[FieldError]:
    """`validateSuccessPolicy`, of a JobSpec."""
    policy = spec.get("successPolicy")
    if policy is None:
        return []
    if spec.get("completionMode") != "Indexed":
        return [invalid(field, GoSyntax("batch.SuccessPolicy{…}"), "requires indexed completion mode")]
    rules, found = policy.get("rules") or [], list[FieldError]()
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        found.append(required(f"{field}.rules", detail))
    if len(rules) > _MOST_RULES:
        found.append(too_many(f"{field}.rules", len(rules), _MOST_RULES))
    for index, rule in enumerate(rules):
        found += _success_rule(rule, int(spec.get("completions") or 0), f"{field}.rules[{index}]")
    return found


def _success_rule(rule: Obj, completions: int, field: str) -> list[FieldError]:
    count, indexes, total, found = rule.get("succeededCount"), rule.get("succeededIndexes"), 0, list[FieldError]()
    if count is None and indexes is None:
        found.append(required(field, "at least one of succeededCount or succeededIndexes must be specified"))
    if indexes is not None:
        if len(indexes) > _LONGEST_INDEXES:
            found.append(too_long(f"{field}.succeededIndexes", _LONGEST_INDEXES))
        try:
            total = indexes_count(indexes, completions)
        except ValueError as error:
            detail = f"error parsing succeededIndexes: {error}"
            found.append(invalid(f"{field}.succeededIndexes", indexes, detail))
    if count is not None:
        here = f"{field}.succeededCount"
        found += nonnegative(count, here)
        if count > completions:
            detail = f"must be less than or equal to {completions} (the number of specified completions)"
            found.append(invalid(here, count, detail))
        if indexes is not None and count > total:
            what = "the number of indexes in the specified succeededIndexes field"
            found.append(invalid(here, count, f"must be less than or equal to {total} ({what})"))
    return found


def indexes_count(text: str, completions: int) -> int:
    """`validateIndexesFormat`: how many indexes "0-2,5" names. ValueError in upstream's words."""
    last, total = -1, 0
    for interval in text.split(",") if text else ():
        first, end = _interval(interval, completions)
        if total and last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total, last = total + end - first + 1, end
    return total


def _interval(text: str, completions: int) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) > 2:
        what = "violates the requirement that an index interval can have at most two parts separated by '-'"
        raise ValueError(f"the fragment {quote(text)} {what}")
    ends = []
    for part in parts:
        if not re.fullmatch(r"[+-]?[0-9]+", part):
            raise ValueError(f"cannot convert string to integer for index: {quote(part)}")
        if int(part) >= completions:
            raise ValueError(f"too large index: {quote(part)}")
        ends.append(int(part))
    if len(ends) == 2 and ends[0] >= ends[1]:
        raise ValueError(f"non-increasing order, previous: {ends[0]}, current: {ends[1]}")
    return ends[0], ends[-1]
