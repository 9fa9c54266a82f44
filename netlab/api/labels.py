"""Label selectors: the query syntax of `?labelSelector=` and the LabelSelector object.

Grammar and messages follow apimachinery pkg/labels/selector.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from netlab.api.types import Obj


class SelectorError(ValueError):
    """The selector cannot be parsed; str() is upstream's message."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term. `operator` is one of = != in notin exists ! gt lt, as upstream's selection.Operator."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True where the labels satisfy this term."""
        return _MATCH[self.operator](self, labels)

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{self.values[0]}"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


def _compare(term: Requirement, labels: Mapping[str, str]) -> bool:
    try:
        found, wanted = int(labels[term.key]), int(term.values[0])
    except (KeyError, ValueError):
        return False
    return found > wanted if term.operator == "gt" else found < wanted


_MATCH: dict[str, Callable[[Requirement, Mapping[str, str]], bool]] = {
    "=": lambda r, labels: labels.get(r.key) == r.values[0],
    "in": lambda r, labels: r.key in labels and labels[r.key] in r.values,
    "!=": lambda r, labels: r.key not in labels or labels[r.key] not in r.values,
    "notin": lambda r, labels: r.key not in labels or labels[r.key] not in r.values,
    "exists": lambda r, labels: r.key in labels,
    "!": lambda r, labels: r.key not in labels,
    "gt": _compare,
    "lt": _compare,
}


@dataclass(frozen=True, slots=True)
class Selector:
    """All terms must hold; none at all matches everything, `nothing` matches nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """True where the labels satisfy every term."""
        if self.nothing:
            return False
        labels = labels or {}
        return all(r.matches(labels) for r in self.requirements)

    @property
    def empty(self) -> bool:
        """True where everything matches."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)

_TOKEN = re.compile(r"\s*(==|!=|=|!|>|<|\(|\)|,|[^\s=!<>(),]+)")


def _tokens(text: str) -> list[str]:
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            break
        found.append(match[1])
        position = match.end()
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.position = 0

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def parse(self) -> list[Requirement]:
        terms: list[Requirement] = []
        while self.peek():
            token = self.peek()
            if token not in ("!",) and not _is_word(token):
                raise SelectorError(f"found '{token}', expected: !, identifier, or 'end of string'")
            terms.append(self._requirement())
            token = self.next()
            if not token:
                break
            if token != ",":
                raise SelectorError(f"found '{token}', expected: ',' or 'end of string'")
            if self.peek() != "!" and not _is_word(self.peek()):
                raise SelectorError(f"found '{self.peek()}', expected: identifier after ','")
        return terms

    def _requirement(self) -> Requirement:
        negated = self.peek() == "!"
        if negated:
            self.next()
        key = self.next()
        if not _is_word(key):
            raise SelectorError(f"found '{key}', expected: identifier")
        check_key(key)
        if negated:
            return Requirement(key, "!")
        if self.peek() in ("", ","):
            return Requirement(key, "exists")
        operator = self.next()
        if operator in ("in", "notin"):
            values = self._values()
        elif operator in ("=", "==", "!=", ">", "<"):
            operator = {"==": "=", ">": "gt", "<": "lt"}.get(operator, operator)
            values = self._exact_value()
        else:
            raise SelectorError(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
        for value in values:
            check_value(key, value)
        if operator in ("gt", "lt") and not re.fullmatch(r"[+-]?\d+", values[0]):
            raise SelectorError("for 'Gt', 'Lt' operators, the value must be an integer")
        return Requirement(key, operator, values)

    def _exact_value(self) -> tuple[str, ...]:
        if self.peek() in ("", ","):
            return ("",)
        value = self.next()
        if not _is_word(value):
            raise SelectorError(f"found '{value}', expected: identifier")
        return (value,)

    def _values(self) -> tuple[str, ...]:
        token = self.next()
        if token != "(":
            raise SelectorError(f"found '{token}' expected: '('")
        values: list[str] = []
        while True:
            token = self.next()
            if _is_word(token):
                values.append(token)
                token = self.next()
            else:
                values.append("")
            if token == ")":
                return tuple(dict.fromkeys(values))
            if token != ",":
                raise SelectorError(f"found '{token}', expected: ',', ')' or identifier")


def _is_word(token: str) -> bool:
    return bool(token) and token[0] not in "=!<>(),"


_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NAME_RE, _SUBDOMAIN_RE = re.compile(_NAME), re.compile(_SUBDOMAIN)
_NAME_MESSAGE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_PREFIX_MESSAGE = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def key_problems(key: str) -> list[str]:
    """What is wrong with a qualified name (label key), in upstream's words; [] if nothing."""
    parts = key.split("/")
    if len(parts) > 2:
        return [
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        ]
    problems = []
    if len(parts) == 2:
        if not parts[0]:
            problems.append("prefix part must be non-empty")
        elif len(parts[0]) > 253:
            problems.append("prefix part must be no more than 253 bytes")
        elif not _SUBDOMAIN_RE.fullmatch(parts[0]):
            problems.append(_PREFIX_MESSAGE)
    name = parts[-1]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not _NAME_RE.fullmatch(name):
        problems.append(_NAME_MESSAGE)
    return problems


def value_problems(value: str) -> list[str]:
    """What is wrong with a label value, in upstream's words; [] if nothing."""
    problems = ["must be no more than 63 bytes"] if len(value) > 63 else []
    if value and not _NAME_RE.fullmatch(value):
        problems.append(_VALUE_MESSAGE)
    return problems


def check_key(key: str) -> None:
    """SelectorError where `key` is not a qualified name."""
    problems = key_problems(key)
    if problems:
        raise SelectorError(f'key: Invalid value: "{key}": {"; ".join(problems)}')


def check_value(key: str, value: str) -> None:
    """SelectorError where `value` cannot be a label value."""
    problems = value_problems(value)
    if problems:
        raise SelectorError(f'values[0][{key}]: Invalid value: "{value}": {"; ".join(problems)}')


def parse_selector(text: str | None) -> Selector:
    """Parse `a=b,c!=d,e in (f,g),!h`; empty or None matches everything. Raises SelectorError."""
    if not text:
        return EVERYTHING
    try:
        terms = _Parser(text).parse()
    except SelectorError as error:
        raise SelectorError(f"unable to parse requirement: {error}") from None
    return Selector(tuple(sorted(terms, key=lambda term: term.key)))


_EXPRESSION = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


def from_label_selector(selector: Obj | None) -> Selector:
    """A LabelSelector object; None matches nothing, {} everything, as upstream's LabelSelectorAsSelector."""
    if selector is None:
        return NOTHING
    terms = [Requirement(k, "=", (str(v),)) for k, v in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        operator = _EXPRESSION.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(f"{expression.get('operator')!r} is not a valid label selector operator")
        terms.append(Requirement(expression["key"], operator, tuple(expression.get("values") or ())))
    return Selector(tuple(terms)) if terms else EVERYTHING


def from_map(labels: Mapping[str, str] | None) -> Selector:
    """A plain map (Service.spec.selector): every pair must be there; empty matches everything."""
    return Selector(tuple(Requirement(k, "=", (v,)) for k, v in (labels or {}).items()))


def node_selector_matches(terms: Sequence[Obj], labels: Mapping[str, str], name: str) -> bool:
    """NodeSelectorTerms (terms OR-ed, their expressions AND-ed; matchFields knows metadata.name)."""
    return any(_node_term_matches(term, labels, name) for term in terms)


def _node_term_matches(term: Obj, labels: Mapping[str, str], name: str) -> bool:
    expressions = term.get("matchExpressions") or []
    fields = term.get("matchFields") or []
    if not expressions and not fields:
        return False  # an empty term matches no node, as upstream
    return from_label_selector({"matchExpressions": expressions}).matches(labels) and from_label_selector(
        {"matchExpressions": fields}
    ).matches({"metadata.name": name})
