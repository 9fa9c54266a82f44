"""An environment: variables with types, and every function; and expressions that are compiled in one.

Limits are Kubernetes' (`apiserver/pkg/apis/cel/config.go`, `apiserver/pkg/cel/limits.go`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from netlab.api.cel.checker import Checker
from netlab.api.cel.errors import CelError, CompileError
from netlab.api.cel.estimate import estimate
from netlab.api.cel.library import authorizer, collections, formats, network, optionals, quantities, standard, strings
from netlab.api.cel.parser import parse
from netlab.api.cel.plan import Frame, Step, plan
from netlab.api.cel.types import Overload, Type
from netlab.api.measuring import Series

PER_CALL_LIMIT = 1_000_000
"""The most that one evaluation may cost: about 0.1 s."""
BUDGET = 10_000_000
"""The most that all evaluations of one object may cost together."""
MATCH_CONDITIONS_BUDGET = 2_500_000
ESTIMATE_LIMIT, TOTAL_ESTIMATE_LIMIT = 10_000_000, 100_000_000
"""The most that one rule, and all rules of a schema, may be estimated to cost."""
LONGEST_MESSAGE = 5 * 1024
"""Bytes of what a messageExpression may say."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
COMPILED, EVALUATED = Series(SECONDS), Series(SECONDS)
"""How long compilations and evaluations of this process took."""
_LIBRARY = (standard, optionals, strings, collections, network, quantities, formats, authorizer)


@lru_cache(maxsize=1)
def functions() -> Mapping[str, tuple[Overload, ...]]:
    """Every function by name; made when the first expression is compiled."""
    found: dict[str, list[Overload]] = {}
    for module in _LIBRARY:
        for one in module.overloads():
            found.setdefault(one.function, []).append(one)
    return {name: tuple(overloads) for name, overloads in found.items()}


@dataclass(frozen=True)
class Environment:
    variables: Mapping[str, Type] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression: its type, the variables that it reads, the most it is estimated to cost."""

    source: str
    type: Type
    used: frozenset[str]
    estimate: int
    step: Step

    def evaluate(self, variables: Mapping[str, Any], limit: float = PER_CALL_LIMIT) -> tuple[Any, int]:
        """The value and what it cost. Raises CelError."""
        frame, begun = Frame(dict(variables), limit), time.perf_counter()
        try:
            value = self.step(frame)
            frame.spend(0)
        except RecursionError:
            raise CelError("operation cancelled: the expression nests too deeply") from None
        finally:
            EVALUATED.observe(time.perf_counter() - begun)
        return value, int(frame.cost)


def compile_expression(source: str, environment: Environment) -> Program:
    """Raises CompileError."""
    begun = time.perf_counter()
    try:
        return _compiled(source, environment)
    finally:
        COMPILED.observe(time.perf_counter() - begun)


def _compiled(source: str, environment: Environment) -> Program:
    node = parse(source)
    checker = Checker(environment.variables, functions())
    kind = checker.check(node)
    if checker.issues:
        raise CompileError(source, checker.issues)
    return Program(source, kind, frozenset(checker.used), estimate(node, environment.variables.get("self")), plan(node))
