"""PURE. Resource lists, name → quantity text; sums keep the form of the first number that is not zero."""

from collections.abc import Iterable, Mapping

from netlab.api.quantity import canonical, form_of, parse, render

Amounts = dict[str, str]


def plus(a: str, b: str) -> str:
    """The sum of two quantities."""
    value = parse(a)
    return render(value + parse(b), form_of(a if value else b))


def add(a: Mapping[str, str], b: Mapping[str, str]) -> Amounts:
    """Every name of either."""
    return {
        name: plus(a[name], b[name]) if name in a and name in b else (a[name] if name in a else b[name])
        for name in {**a, **b}
    }


def subtract(a: Mapping[str, str], b: Mapping[str, str]) -> Amounts:
    """What of `a` goes beyond `b`, never below zero; a name that only `b` has is zero."""
    found = {}
    for name in {**a, **b}:
        left = parse(a.get(name, "0")) - parse(b.get(name, "0"))
        found[name] = render(max(left, parse("0")), form_of(a.get(name, b.get(name, "0"))))
    return found


def mask(amounts: Mapping[str, str], names: Iterable[str]) -> Amounts:
    """Only these names."""
    kept = set(names)
    return {name: amount for name, amount in amounts.items() if name in kept}


def without_zeros(amounts: Mapping[str, str]) -> Amounts:
    return {name: amount for name, amount in amounts.items() if parse(amount)}


def negative(amounts: Mapping[str, str]) -> list[str]:
    """The names whose amount is below zero."""
    return [name for name, amount in amounts.items() if parse(amount) < 0]


def exceeded(amounts: Mapping[str, str], hard: Mapping[str, str]) -> list[str]:
    """The names whose amount is more than their hard limit."""
    return [name for name, amount in amounts.items() if name in hard and parse(amount) > parse(hard[name])]


def equal(a: Mapping[str, str] | None, b: Mapping[str, str] | None) -> bool:
    """Whether both name the same resources in equal amounts, however written."""
    a, b = a or {}, b or {}
    return a.keys() == b.keys() and all(parse(a[name]) == parse(b[name]) for name in a)


def shown(amounts: Mapping[str, str]) -> str:
    """As refusals list them."""
    return ",".join(f"{name}={canonical(amounts[name])}" for name in sorted(amounts))
