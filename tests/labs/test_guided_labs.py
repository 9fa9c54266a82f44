"""Every guided lab: a fresh one is not done, what its solution types makes it done, and both guides are whole."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from netlab.lab.lessons import Lesson, available
from tests.labs.tools import User, until

pytestmark = pytest.mark.timeout(400)

LESSONS = available()
SEEDS = {"08": (3, 5, 7)}
"""A lab that breaks something at random is solved for several choices."""
CASES = [(lesson, seed) for lesson in LESSONS for seed in SEEDS.get(lesson.number, (0,))]


def check(user: User, lesson: Lesson, *more: str) -> subprocess.CompletedProcess[str]:
    return user.klab("lab", "check", lesson.number, "--lang", "en", *more)


@pytest.mark.parametrize(("lesson", "seed"), CASES, ids=lambda case: case.name if isinstance(case, Lesson) else None)
def test_solved(caller: User, tmp_path: Path, lesson: Lesson, seed: int) -> None:
    started = caller.klab("lab", "start", lesson.number, "--seed", str(seed), "--lang", "zh")
    assert started.returncode == 0, started.stderr
    assert lesson.steps[0].title.zh in started.stdout
    asked = check(caller, lesson, "-o", "json")
    assert asked.returncode == 1
    fresh = json.loads(asked.stdout)
    assert [verdict["state"] for verdict in fresh].count("missing") >= len(lesson.steps) / 2, fresh
    hint = caller.klab("lab", "hint", "--lang", "en")
    first = next(step for step, verdict in zip(lesson.steps, fresh, strict=True) if verdict["state"] == "missing")
    assert first.hint.en in hint.stdout
    _solve(caller, lesson, tmp_path)
    report = tmp_path / "junit.xml"
    said: list[str] = []

    def done() -> bool:
        result = check(caller, lesson, "--junit", str(report))
        said[:] = [result.stdout + result.stderr]
        return result.returncode == 0

    until(f"the solution of {lesson.name} is accepted", done, 60, lambda: said[0])
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures")) == (str(len(lesson.steps)), "0")


def _solve(user: User, lesson: Lesson, tmp_path: Path) -> None:
    """Run solution.sh with `klab` and `kubectl` as a learner has them."""
    wrapper = tmp_path / "klab"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(user.klab_command)} "$@"\n')
    wrapper.chmod(0o755)
    environment = {
        **user.environment,
        "PATH": f"{tmp_path}:{user.environment['PATH']}",
        "KUBECONFIG": str(user.home / "state" / "netlab" / lesson.lab_name / "kubeconfig"),
        "KLAB_LAB": lesson.lab_name,
    }
    script = lesson.directory.resolve() / "solution.sh"
    solved = subprocess.run(
        ["sh", "-e", str(script)], env=environment, capture_output=True, text=True, timeout=240, check=False, cwd="/"
    )
    assert solved.returncode == 0, solved.stdout + solved.stderr


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_both_guides_are_whole(lesson: Lesson) -> None:
    """The same sections, commands and folded answers in both languages, and a way to the check."""
    guides = {language: lesson.guide(language).read_text(encoding="utf-8") for language in ("en", "zh")}
    for text in guides.values():
        assert f"klab lab start {lesson.number}" in text
        assert f"klab lab check {lesson.number}" in text
        assert text.count("<details>") == text.count("</details>") >= 3
    shapes = [(len(re.findall(r"^## ", t, re.M)), t.count("```"), t.count("<details>")) for t in guides.values()]
    assert shapes[0] == shapes[1]
    assert re.search("[\u4e00-\u9fff]", guides["zh"])
    assert not re.search("[\u4e00-\u9fff]", guides["en"])
    for step in lesson.steps:
        assert step.title.en != step.title.zh
        assert step.hint.en != step.hint.zh or not re.search("[a-z]{4}", step.hint.en.split("kubectl")[0])


def test_words_for_what_is_not_there(caller: User) -> None:
    unknown = caller.klab("lab", "start", "docker")
    assert unknown.returncode == 2
    assert "no guided lab 'docker'" in unknown.stderr
    idle = caller.klab("lab", "check", "01")
    assert idle.returncode == 1
    assert "klab lab start 01" in idle.stderr
    assert caller.klab("lab", "check").returncode == 2
