"""What can be wrong with an expression, when it is compiled and when it is evaluated; texts are cel-go's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class CelError(Exception):
    """Evaluation failed; str() is cel-go's message (`no such key: x`, `division by zero`, …)."""


class CostExceededError(CelError):
    """An evaluation was ended because it cost more than it may."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


@dataclass(frozen=True, slots=True)
class Issue:
    """Something wrong at an offset (in characters) of the source."""

    offset: int
    message: str


class CompileError(Exception):
    """The expression is not well-formed or does not type-check; str() is what cel-go prints of its issues."""

    def __init__(self, source: str, issues: Sequence[Issue]) -> None:
        self.issues = tuple(sorted(issues, key=lambda issue: issue.offset))
        super().__init__("\n".join(_shown(source, issue) for issue in self.issues))


def _shown(source: str, issue: Issue) -> str:
    start = source.rfind("\n", 0, issue.offset) + 1
    end = source.find("\n", start)
    line = source[start : end if end >= 0 else len(source)].replace("\t", " ")
    number, column = source.count("\n", 0, start) + 1, issue.offset - start
    return f"ERROR: <input>:{number}:{column + 1}: {issue.message}\n | {line}\n | {'.' * column}^"
