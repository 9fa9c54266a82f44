"""Resource quantities: exact values and upstream's canonical text (apimachinery pkg/api/resource/quantity.go)."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

Quantity = str | int | float

_FORM = re.compile(r"([+-]?)([0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()}
_NANO = 10**9

BAD_FORM = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
BAD_NUMBER = "unable to parse numeric part of quantity"
BAD_SUFFIX = "unable to parse quantity's suffix"


class QuantityError(ValueError):
    """Not a quantity; str() is upstream's message."""


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Fraction, str]:
    """(value, format) with format one of decimal, binary, exponent."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise QuantityError(BAD_FORM)
    sign, number, suffix = match.groups()
    if number.count(".") > 1 or number == ".":
        raise QuantityError(BAD_NUMBER if number != "." else BAD_FORM)
    value = Fraction(number if not number.endswith(".") else number + "0")
    if suffix in _BINARY:
        value, form = value * 1024 ** _BINARY[suffix], "binary"
    elif suffix in _DECIMAL:
        value, form = value * Fraction(10) ** _DECIMAL[suffix], "decimal"
    elif re.fullmatch(r"[eE][-+]?[0-9]+", suffix):
        value, form = value * Fraction(10) ** int(suffix[1:]), "exponent"
    else:
        raise QuantityError(BAD_SUFFIX)
    nanos = value * _NANO
    if nanos.denominator != 1:  # finer than nano is rounded up, away from zero
        value = Fraction(-(-nanos.numerator // nanos.denominator), _NANO)
    return (-value if sign == "-" else value), form


def _text(quantity: Quantity) -> str:
    return quantity if isinstance(quantity, str) else repr(quantity)


def parse(quantity: Quantity) -> Fraction:
    """The exact value in base units (cores, bytes). Raises QuantityError."""
    return _parse(_text(quantity))[0]


def canonical(quantity: Quantity) -> str:
    """The text that the API server stores: `0.5` → `500m`, `1024Mi` → `1Gi`, `1.5Gi` → `1536Mi`."""
    return _canonical(_text(quantity))


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return render(*_parse(text))


def render(value: Fraction | int, form: str = "decimal") -> str:
    """A value as text in a format: decimal (k, M, G), binary (Ki, Mi, Gi) or exponent (e3, e6)."""
    value = Fraction(value)
    if value == 0:
        return "0"
    if form == "binary" and value.denominator == 1 and abs(value) >= 1024:
        number, power = int(value), 0
        while number % 1024 == 0 and power < 6:
            number, power = number // 1024, power + 1
        return f"{number}{_BINARY_SUFFIX.get(power, '')}"
    exponent = 0
    while value.denominator != 1:
        value, exponent = value * 1000, exponent - 3
    number = int(value)
    while number % 1000 == 0 and exponent < 18:
        number, exponent = number // 1000, exponent + 3
    if form == "exponent":
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_DECIMAL_SUFFIX[exponent]}"


def form_of(quantity: Quantity) -> str:
    """decimal, binary or exponent: how the quantity is written (sums keep the first one's)."""
    return _parse(_text(quantity))[1]


def milli(quantity: Quantity) -> int:
    """Thousandths, rounded up: CPU as millicores."""
    return _ceil(parse(quantity) * 1000)


def whole(quantity: Quantity) -> int:
    """Whole units, rounded up: bytes, pods."""
    return _ceil(parse(quantity))


@lru_cache(maxsize=4096)
def nanos(quantity: Quantity) -> int:
    """Billionths, which is exact: nothing is finer. Sums of them are quick."""
    return int(parse(quantity) * _NANO)


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
