"""Judging a running lab against a lesson's steps; the result as data, and as JUnit's XML."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from netlab.lab.lessons.model import Lesson, NotHere, NotYet, Step, Text
from netlab.lab.record import LabError, write_atomically

if TYPE_CHECKING:
    from netlab.lab.facade import Lab

DONE, MISSING, NOT_HERE = "done", "missing", "not here"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One step's result: `state` is DONE, MISSING or NOT_HERE; `found` says what is missing."""

    step: Step
    state: str
    found: Text | None
    seconds: float


def judge(lesson: Lesson, lab: Lab) -> Iterator[Verdict]:
    """Every step, in order, as it has been looked at.

    A step that cannot look because something is broken is missing, with that as the reason.
    """
    return (_judge(step, lab) for step in lesson.steps)


def complete(verdicts: Iterable[Verdict]) -> bool:
    """Nothing that can be done here is missing, and something was done."""
    states = [verdict.state for verdict in verdicts]
    return MISSING not in states and DONE in states


def _judge(step: Step, lab: Lab) -> Verdict:
    began = time.monotonic()
    state, found = DONE, None
    try:
        step.check(lab)
    except NotYet as error:
        state, found = MISSING, error.text
    except NotHere as error:
        state, found = NOT_HERE, error.text
    except LabError as error:
        state, found = MISSING, Text(str(error), str(error))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        text = f"an object is not as expected: {type(error).__name__} {error}"
        state, found = MISSING, Text(text, text)
    return Verdict(step, state, found, time.monotonic() - began)


def junit(lesson: Lesson, verdicts: Sequence[Verdict], language: str) -> str:
    """A <testsuite> as CI systems read it."""
    counts = {state: sum(v.state == state for v in verdicts) for state in (MISSING, NOT_HERE)}
    suite = ElementTree.Element(
        "testsuite",
        name=lesson.name,
        tests=str(len(verdicts)),
        failures=str(counts[MISSING]),
        errors="0",
        skipped=str(counts[NOT_HERE]),
        time=f"{sum(v.seconds for v in verdicts):.3f}",
    )
    for verdict in verdicts:
        title = verdict.step.title.into(language)
        case = ElementTree.SubElement(
            suite, "testcase", classname=lesson.name, name=title, time=f"{verdict.seconds:.3f}"
        )
        if verdict.found is not None:
            tag = "failure" if verdict.state == MISSING else "skipped"
            ElementTree.SubElement(case, tag, message=verdict.found.into(language))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def remember_seed(lab: Lab, seed: int) -> None:
    """A lesson that breaks something at random breaks the same after a reset."""
    write_atomically(lab.paths.state / "lesson.json", json.dumps({"seed": seed}))


def remembered_seed(lab: Lab) -> int | None:
    try:
        return int(json.loads((lab.paths.state / "lesson.json").read_text())["seed"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
