"""Quantities and semantic versions. Sources followed: apiserver `pkg/cel/library/quantity.go`, `semverlib.go`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from netlab.api import quantity
from netlab.api.cel.errors import CelError
from netlab.api.cel.library import costs
from netlab.api.cel.library.network import member
from netlab.api.cel.types import Overload, overload


@dataclass(frozen=True, slots=True)
class Quantity:
    cel_type: ClassVar[str] = "kubernetes.Quantity"
    value: Fraction


@dataclass(frozen=True, slots=True)
class Semver:
    """`pre` are the pre-release identifiers; the build does not count."""

    cel_type: ClassVar[str] = "kubernetes.Semver"
    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    def rank(self) -> tuple[Any, ...]:
        pre = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in self.pre)
        return (*self.numbers, not self.pre, pre)


def parse(text: str) -> Quantity:
    """Raises CelError."""
    try:
        return Quantity(quantity.parse(text))
    except quantity.QuantityError as error:
        raise CelError(str(error)) from None


def _is(text: str) -> bool:
    try:
        quantity.parse(text)
    except quantity.QuantityError:
        return False
    return True


def _whole(one: Quantity) -> int:
    if one.value.denominator != 1:
        raise CelError("cannot convert value to integer")
    return int(one.value)


def _order(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?", re.ASCII)


def semver(text: str, normalize: bool = False) -> Semver:
    """Raises CelError."""
    wanted = text
    if normalize:
        wanted = re.sub(r"(?<![\w.-])0+(?=\d)|(?<=\.)0+(?=\d)", "", text.removeprefix("v"))
        core, mark, rest = re.fullmatch(r"([^-+]*)([-+]?)(.*)", wanted, re.DOTALL).groups()  # type: ignore[union-attr]
        wanted = core + ".0" * max(0, 2 - core.count(".")) + mark + rest
    match = _SEMVER.fullmatch(wanted)
    if match is None:
        raise CelError(f'No Major.Minor.Patch elements found: "{text}"')
    major, minor, patch, pre, _ = match.groups()
    return Semver((int(major), int(minor), int(patch)), tuple(pre.split(".")) if pre else ())


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        semver(text, normalize)
    except CelError:
        return False
    return True


def overloads() -> list[Overload]:
    found = [
        overload("quantity(string) -> kubernetes.Quantity", parse, costs.first),
        overload("isQuantity(string) -> bool", _is, costs.first),
        overload("semver(string) -> kubernetes.Semver", semver, costs.first),
        overload("semver(string, bool) -> kubernetes.Semver", semver, costs.first),
        overload("isSemver(string) -> bool", _is_semver, costs.first),
        overload("isSemver(string, bool) -> bool", _is_semver, costs.first),
    ]
    q = "kubernetes.Quantity"
    rows: list[tuple[str, Any]] = [
        ("sign() -> int", lambda a: _order(a.value, 0)),
        ("isGreaterThan(kubernetes.Quantity) -> bool", lambda a, b: a.value > b.value),
        ("isLessThan(kubernetes.Quantity) -> bool", lambda a, b: a.value < b.value),
        ("compareTo(kubernetes.Quantity) -> int", lambda a, b: _order(a.value, b.value)),
        ("asApproximateFloat() -> double", lambda a: float(a.value)),
        ("asInteger() -> int", _whole),
        ("isInteger() -> bool", lambda a: a.value.denominator == 1 and abs(a.value) < 1 << 63),
        ("add(kubernetes.Quantity) -> kubernetes.Quantity", lambda a, b: Quantity(a.value + b.value)),
        ("add(int) -> kubernetes.Quantity", lambda a, b: Quantity(a.value + b)),
        ("sub(kubernetes.Quantity) -> kubernetes.Quantity", lambda a, b: Quantity(a.value - b.value)),
        ("sub(int) -> kubernetes.Quantity", lambda a, b: Quantity(a.value - b)),
    ]
    found += [member(q, signature, call) for signature, call in rows]
    versions: list[tuple[str, Any]] = [
        ("major() -> int", lambda a: a.numbers[0]),
        ("minor() -> int", lambda a: a.numbers[1]),
        ("patch() -> int", lambda a: a.numbers[2]),
        ("isGreaterThan(kubernetes.Semver) -> bool", lambda a, b: a.rank() > b.rank()),
        ("isLessThan(kubernetes.Semver) -> bool", lambda a, b: a.rank() < b.rank()),
        ("compareTo(kubernetes.Semver) -> int", lambda a, b: _order(a.rank(), b.rank())),
    ]
    return found + [member("kubernetes.Semver", signature, call) for signature, call in versions]
