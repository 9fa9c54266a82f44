"""What calls cost as they run, from the sizes of their operands; in cel-go's units.

Source followed: cel-go `interpreter/runtimecost.go`, apiserver `pkg/cel/library/cost.go` (`CallCost`).
"""

from __future__ import annotations

_STRING = 0.1
_REGEX = 0.25
Size = float


def shortest(a: Size, b: Size) -> float:
    return max(1.0, min(a, b) * _STRING)


def together(a: Size, b: Size) -> float:
    return (a + b) * _STRING


def first(a: Size, *rest: Size) -> float:
    """Reading a text once."""
    return max(1.0, a * _STRING)


def last(*sizes: Size) -> float:
    return max(1.0, sizes[-1] * _STRING)


def search(a: Size, b: Size, *rest: Size) -> float:
    return max(1.0, a * _STRING) * max(1.0, b * _STRING)


def regex(a: Size, b: Size, *rest: Size) -> float:
    return max(1.0, (a + 1) * _STRING) * max(1.0, b * _REGEX)


def items(a: Size, *rest: Size) -> float:
    """Looking at every item."""
    return max(1.0, a)


def items_of_last(*sizes: Size) -> float:
    return max(1.0, sizes[-1])


def pairs(a: Size, b: Size) -> float:
    return max(1.0, a * b)


def access(*sizes: Size) -> float:
    """What asks the authorizer."""
    return 350_000.0
