"""What a lesson and its steps are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from netlab.lab.facade import Lab

LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Text:
    """The same sentence in both languages."""

    en: str
    zh: str

    def into(self, language: str) -> str:
        return self.zh if language == "zh" else self.en


class NotYet(Exception):  # noqa: N818
    """A step is not done; `text` says what was found and what was expected."""

    def __init__(self, text: Text) -> None:
        super().__init__(text.en)
        self.text = text


class NotHere(Exception):  # noqa: N818
    """A step cannot be done on this kernel; `text` names what is missing and where it works."""

    def __init__(self, text: Text) -> None:
        super().__init__(text.en)
        self.text = text


Check = Callable[["Lab"], None]


@dataclass(frozen=True, slots=True)
class Step:
    """`check` returns when the step is done, and raises NotYet or NotHere otherwise."""

    title: Text
    hint: Text
    check: Check


@dataclass(frozen=True, slots=True)
class Lesson:
    """`manifests` are applied when the lesson starts. `prepare` (lab, seed) breaks what is to be found, if anything."""

    name: str
    directory: Path
    title: Text
    minutes: int
    topology: str
    manifests: tuple[Path, ...]
    steps: tuple[Step, ...]
    prepare: Callable[[Lab, int], None] | None = None
    waits: Mapping[str, str] = field(default_factory=dict)
    """`kubectl wait` arguments: resource → condition that must hold before the learner begins."""

    @property
    def number(self) -> str:
        return self.name.partition("-")[0]

    @property
    def lab_name(self) -> str:
        """The name of the lab in which this lesson runs."""
        return f"lab{self.number}"

    def guide(self, language: str) -> Path:
        return self.directory / ("README.zh.md" if language == "zh" else "README.md")


_STEPS = "__netlab_steps__"


def step(title: str, zh: str, *, hint: str, hint_zh: str) -> Callable[[Check], Check]:
    """Make a function of a lesson's check.py one of its steps; they are judged in the order of the file."""

    def register(check: Check) -> Check:
        check.__globals__.setdefault(_STEPS, []).append(Step(Text(title, zh), Text(hint, hint_zh), check))
        return check

    return register


def steps_of(namespace: Mapping[str, object]) -> tuple[Step, ...]:
    """The steps that a check.py has registered."""
    found = namespace.get(_STEPS)
    return tuple(found) if isinstance(found, list) else ()


def missing(en: str, zh: str) -> NoReturn:
    """Say what a step still lacks."""
    raise NotYet(Text(en, zh))
