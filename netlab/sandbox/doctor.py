"""What this machine and user can and cannot do for a lab: a pure list of checks, each with its remedy."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `klab doctor`. `level`: "required" (no lab without), "feature" (something is missing without)."""

    name: str
    ok: bool
    found: str
    needed_for: str
    remedy: str = ""
    level: Literal["required", "feature"] = "feature"


def checks() -> list[Check]:
    """All checks, required ones first. Changes nothing; takes some tens of milliseconds."""
    raise NotImplementedError


def required() -> list[Check]:
    """Only what no lab can do without; what `launch` names when it fails."""
    raise NotImplementedError
