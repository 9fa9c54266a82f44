"""The rules of a schema (x-kubernetes-validations): compiled, judged, and applied to a value.

Source followed: apiextensions-apiserver `pkg/apiserver/schema/cel` (`compilation.go`, `validation.go`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from netlab.api.cel.environment import BUDGET, LONGEST_MESSAGE, Environment, Program, compile_expression
from netlab.api.cel.errors import CelError, CompileError, CostExceededError
from netlab.api.cel.schemas import EMBEDDED, MAX_REQUEST, Convert, Declared, converter, declare
from netlab.api.cel.types import optional_of
from netlab.api.cel.values import NONE, Optional
from netlab.api.types import Obj

RULES = "x-kubernetes-validations"
_NUMBER = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `error` and `message_error` are why it, or its messageExpression, cannot be."""

    text: str
    message: str = ""
    reason: str = ""
    field_path: str = ""
    optional_old: bool = False
    program: Program | None = None
    error: str = ""
    required: bool = False
    """The error is that something is missing."""
    message_program: Program | None = None
    message_error: str = ""
    most: int = 0
    """How often the rule can be applied in one object, where no schema bounds that."""

    @property
    def transition(self) -> bool:
        return self.program is not None and "oldSelf" in self.program.used

    @property
    def shown(self) -> str:
        """The rule as errors name it."""
        return self.message.strip() or self.text.strip()


def compiled(schema: Obj, *, root: bool = False) -> list[Rule]:
    """The rules that stand directly in a schema."""
    given = schema.get(RULES) or ()
    if not given:
        return []
    declared = declare(schema, f"selfType{next(_NUMBER)}", root=root)
    if declared is None:
        kind, free = schema.get("type", ""), bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        why = (
            f"rule declared on schema that does not support validation rules type: '{kind}' "
            f"x-kubernetes-preserve-unknown-fields: '{'true' if free else 'false'}'"
        )
        return [Rule(one.get("rule", ""), error=why) for one in given]
    return [_rule(one, declared) for one in given]


def _rule(given: Obj, declared: Declared) -> Rule:
    text, message = given.get("rule") or "", given.get("message") or ""
    optional = bool(given.get("optionalOldSelf"))
    old = optional_of(declared.type) if optional else declared.type
    environment = Environment({"self": declared.type, "oldSelf": old})
    rule: dict[str, Any] = {"message": message, "reason": given.get("reason") or "", "optional_old": optional}
    rule |= {"field_path": given.get("fieldPath") or "", "most": MAX_REQUEST // (declared.smallest + 1)}
    if not text.strip():
        return Rule(text, **rule)
    program, error = _compiled(text, environment, "bool", "cel expression must evaluate to a bool")
    if program is not None and optional and "oldSelf" not in program.used:
        error = "optionalOldSelf may not be set if oldSelf is not used in rule"
        return Rule(text, error=error, **rule)
    told = given.get("messageExpression") or ""
    if told.strip():
        plain = Environment(
            {"self": declared.type, "oldSelf": old}
            if program and "oldSelf" in program.used
            else {"self": declared.type}
        )
        rule["message_program"], rule["message_error"] = _compiled(
            told, plain, "string", "messageExpression must evaluate to a string", "messageExpression "
        )
    return Rule(text, program=program, error=error, **rule)


def _compiled(
    text: str, environment: Environment, wanted: str, otherwise: str, what: str = ""
) -> tuple[Program | None, str]:
    try:
        program = compile_expression(text, environment)
    except CompileError as error:
        return None, f"{what}compilation failed: {error}"
    return (program, "") if program.type.name == wanted else (None, otherwise)


# -- a schema's rules, ready to be applied -----------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """The rules at one place of a schema, and below it."""

    kind: str
    rules: Sequence[Rule] = ()
    convert: Convert | None = None
    properties: dict[str, Node] = field(default_factory=dict)
    additional: Node | None = None
    items: Node | None = None
    all_of: Sequence[Node] = ()
    correlates: bool = True
    """Whether old and new values of properties can be compared (the object is not atomic)."""
    keys: tuple[str, ...] = ()
    """What tells the items of a list of type map apart."""


def tree(schema: Obj, *, root: bool = False) -> Node | None:
    """The rules of a schema; None where there are none at all."""
    if not mentions_rules(schema):
        return None
    return _node(schema, schema, root)


def mentions_rules(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(mentions_rules, schema))
    if not isinstance(schema, dict):
        return False
    return RULES in schema or any(mentions_rules(one) for key, one in schema.items() if key not in ("default", "enum"))


def _node(rules_of: Obj, schema: Obj, root: bool) -> Node | None:
    """`rules_of` is the schema, or a part of its allOf, which restricts the same values."""
    made = Node(str(schema.get("type", "")))
    made.rules = [one for one in compiled({**schema, RULES: rules_of.get(RULES)}, root=root) if one.text.strip()]
    if made.rules:
        made.convert = converter(schema)
    made.correlates = schema.get("x-kubernetes-map-type") in (None, "granular")
    if schema.get("x-kubernetes-list-type") == "map":
        made.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    for key, inner in (rules_of.get("properties") or {}).items():
        place = (schema.get("properties") or {}).get(key)
        if place is not None and (found := _node(inner, place, bool(place.get(EMBEDDED)))):
            made.properties[key] = found
    made.additional = _inner(rules_of, schema, "additionalProperties")
    made.items = _inner(rules_of, schema, "items")
    made.all_of = [found for one in rules_of.get("allOf") or () if (found := _node(one, schema, root))]
    used = made.rules or made.properties or made.additional or made.items or made.all_of
    return made if used else None


def _inner(rules_of: Obj, schema: Obj, key: str) -> Node | None:
    given, place = rules_of.get(key), schema.get(key)
    if not isinstance(given, dict) or not isinstance(place, dict):
        return None
    return _node(given, place, bool(place.get(EMBEDDED)))


# -- applying ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule. `reason` is the field error's, `kind` the type of the value (what upstream shows of it)."""

    path: str
    kind: str
    detail: str
    reason: str = ""
    transition: bool = False
    final: bool = False
    """Nothing further was looked at."""


class Budget:
    """What is left to spend on one object."""

    __slots__ = ("left",)

    def __init__(self, left: int = BUDGET) -> None:
        self.left = left


_OUT = "validation failed due to running out of cost budget, no further validation rules will be run"


def apply(node: Node, path: str, value: Any, old: Any, budget: Budget) -> list[Finding]:
    """The findings at one place; `old` is None where there is none to compare with."""
    found: list[Finding] = []
    if value is None or not node.rules:
        return found
    if budget.left <= 0:
        return [Finding(path, node.kind, _OUT, final=True)]
    seen, before = (value, old) if node.convert is None else (node.convert(value), node.convert(old))
    for rule in node.rules:
        if rule.program is None:
            found.append(Finding(path, node.kind, f"rule compile error: {rule.error}"))
            continue
        if rule.transition and old is None and not rule.optional_old:
            continue
        one = _applied(rule, node, path, seen, before, budget)
        if one is not None:
            found.append(one)
            if one.final:
                return found
    return found


def _applied(rule: Rule, node: Node, path: str, value: Any, old: Any, budget: Budget) -> Finding | None:
    program = rule.program
    if program is None:
        return None
    variables = {"self": value, "oldSelf": old}
    if rule.optional_old:
        variables["oldSelf"] = NONE if old is None else Optional(old, True)
    try:
        result, cost = program.evaluate(variables)
    except CostExceededError as error:
        why = (
            f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.shown}"
        )
        return Finding(path, node.kind, why, final=True)
    except CelError as error:
        if str(error).startswith("no such overload"):
            sentence = "call arguments did not match a supported operator, function or macro signature for rule"
            return Finding(path, node.kind, f"'{error}': {sentence}: {rule.shown}")
        return Finding(path, node.kind, f"{error} evaluating rule: {rule.shown}")
    if cost > budget.left:
        return Finding(path, node.kind, _OUT, final=True)
    budget.left -= cost
    if result is True:
        return None
    where = path + rule.field_path if path else rule.field_path.removeprefix(".")
    detail = _message(rule, variables, budget) or rule.message.strip() or f"failed rule: {rule.text.strip()}"
    return Finding(where, node.kind, detail, rule.reason, rule.transition)


def _message(rule: Rule, variables: dict[str, Any], budget: Budget) -> str:
    """What the messageExpression says, where it can."""
    if rule.message_program is None:
        return ""
    try:
        said, cost = rule.message_program.evaluate(variables)
    except CelError:
        return ""
    budget.left -= cost
    text = said.strip() if isinstance(said, str) else ""
    return "" if "\n" in text or len(text.encode()) > LONGEST_MESSAGE else text


# -- field paths -------------------------------------------------------------------------------------------------------

_TOKENS = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]']+|'")


def field_path_problem(path: str, schema: Obj) -> str:
    """Why a rule's fieldPath is no path in the schema; empty where it is."""
    words, at = _TOKENS.findall(path), 0
    while at < len(words):
        word = words[at]
        at += 1
        if word not in (".", "["):
            return f"expected [ or . but got: {word}"
        if at >= len(words):
            return "unexpected end of JSON path"
        name = words[at]
        at += 1
        if word == "[":
            if len(name) < 2 or name[0] != "'" or name[-1] != "'":
                return f"expected single quoted string but got {name}"
            name = name[1:-1].replace("\\'", "'").replace("\\\\", "\\")
        properties, additional = schema.get("properties"), schema.get("additionalProperties")
        if properties and name in properties:
            schema = properties[name]
        elif not properties and isinstance(additional, dict):
            schema = additional
        else:
            return "does not refer to a valid field"
        if word == "[":
            if at >= len(words):
                return "unexpected end of JSON path"
            if words[at] != "]":
                return f"expected ] but got {words[at]}"
            at += 1
    return ""
