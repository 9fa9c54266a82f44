"""`klab lab`: the guided labs."""

from __future__ import annotations

import locale
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netlab.api.types import Obj
from netlab.cli.common import ended_in_order, output_option, print_json, print_table
from netlab.lab.finding import running_labs
from netlab.lab.lessons import Lesson, available, find
from netlab.lab.lessons.judge import DONE, MISSING, Verdict, complete, judge, junit
from netlab.lab.lifecycle import down
from netlab.lab.record import LabError

if TYPE_CHECKING:
    from netlab.lab.facade import Lab

_HEADER = {"en": ("LAB", "TITLE", "TIME", "STATE", "GUIDE"), "zh": ("实验", "标题", "用时", "状态", "指南")}
_MARKS = {DONE: ("✓", "green"), MISSING: ("✗", "red")}


def _language() -> str:
    """The language of the terminal: Chinese where the locale says so, else English."""
    said = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if (said or (locale.getlocale()[0] or "")).lower().startswith("zh") else "en"


_language_option = click.option(
    "--lang", type=click.Choice(["en", "zh"]), default=_language, show_default="of the terminal", help="Language."
)


def _running(name: str | None) -> tuple[Lesson, Lab]:
    """The lesson named, or the one that runs, with its lab."""
    from netlab.lab.facade import Lab

    running = set(running_labs())
    if name is not None:
        lesson = find(name)
    else:
        lessons = [lesson for lesson in available() if lesson.lab_name in running]
        if len(lessons) != 1:
            found = ", ".join(lesson.name for lesson in lessons)
            raise LabError(
                f"several guided labs run: {found}; name one" if lessons else "no guided lab runs; 'klab lab start 01'",
                2,
            )
        lesson = lessons[0]
    if lesson.lab_name not in running:
        raise LabError(f"guided lab '{lesson.name}' does not run; 'klab lab start {lesson.number}' starts it")
    return lesson, Lab.attach(lesson.lab_name)


@click.group("lab", epilog="Example: klab lab list && klab lab start 01 && klab lab check")
def lab_command() -> None:
    """Guided labs: start one, follow its README, and let it be checked."""


@lab_command.command("list", epilog="Example: klab lab list --lang zh")
@_language_option
@output_option
def list_labs(lang: str, output: str) -> None:
    """The guided labs there are."""
    running = set(running_labs())
    lessons = available()
    if output == "json":
        print_json([_lesson_data(lesson, lang, running) for lesson in lessons])
        return
    minutes, runs = {"en": ("min", "running"), "zh": ("分钟", "运行中")}[lang]
    rows = [
        (
            lesson.number,
            lesson.title.into(lang),
            f"{lesson.minutes} {minutes}",
            runs if lesson.lab_name in running else "",
            lesson.guide(lang),
        )
        for lesson in lessons
    ]
    print_table(_HEADER[lang], rows)


def _lesson_data(lesson: Lesson, lang: str, running: set[str]) -> Obj:
    return {
        "lab": lesson.number,
        "name": lesson.name,
        "title": lesson.title.into(lang),
        "minutes": lesson.minutes,
        "running": lesson.lab_name in running,
        "guide": str(lesson.guide(lang)),
        "steps": [step.title.into(lang) for step in lesson.steps],
    }


_seed_option = click.option(
    "--seed", type=int, help="Which faults a lab that breaks something picks (else at random; a reset keeps them)."
)


@lab_command.command("start", epilog="Example: klab lab start 04     klab lab start 8 --seed 7")
@click.argument("name")
@_seed_option
@_language_option
def start_lab(name: str, seed: int | None, lang: str) -> None:
    """Start guided lab NAME (its number will do) in a lab of its own."""
    from netlab.lab.lessons.course import start

    lesson = find(name)
    click.echo(f"{lesson.number}: {lesson.title.into(lang)} …", err=True)
    with ended_in_order():
        lab = start(lesson, seed)
    _introduce(lesson, lab, lang)


@lab_command.command("reset", epilog="Example: klab lab reset 04")
@click.argument("name")
@_seed_option
@_language_option
def reset_lab(name: str, seed: int | None, lang: str) -> None:
    """Start guided lab NAME over: everything done in it is forgotten."""
    from netlab.lab.lessons.course import reset

    lesson = find(name)
    with ended_in_order():
        lab = reset(lesson, seed)
    _introduce(lesson, lab, lang)


def _introduce(lesson: Lesson, lab: Lab, lang: str) -> None:
    click.echo(f"{lesson.guide(lang)}")
    for place, step in enumerate(lesson.steps, 1):
        click.echo(f"  {place}. {step.title.into(lang)}")
    click.echo(
        f'eval "$(klab --lab {lab.name} env)"     klab lab check {lesson.number}     klab lab hint {lesson.number}'
    )


@lab_command.command("check", epilog="Example: klab lab check     klab lab check 04 --junit result.xml")
@click.argument("name", required=False)
@click.option("--junit", "junit_file", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML there.")
@_language_option
@output_option
def check_lab(name: str | None, junit_file: Path | None, lang: str, output: str) -> None:
    """What is done and what is missing. Exit status 0 when everything is done, 1 when something is missing."""
    lesson, lab = _running(name)
    verdicts = []
    for verdict in judge(lesson, lab):
        verdicts.append(verdict)
        if output != "json":
            _print_verdict(verdict, lang)
    if output == "json":
        print_json([_verdict_data(verdict, lang) for verdict in verdicts])
    else:
        click.echo(f"{sum(verdict.state == DONE for verdict in verdicts)}/{len(verdicts)}")
    if junit_file is not None:
        try:
            junit_file.write_text(junit(lesson, verdicts, lang), encoding="utf-8")
        except OSError as error:
            raise LabError(f"{junit_file}: {error.strerror}") from None
    if not complete(verdicts):
        click.get_current_context().exit(1)


def _verdict_data(verdict: Verdict, lang: str) -> Obj:
    found = verdict.found.into(lang) if verdict.found else None
    return {"step": verdict.step.title.into(lang), "state": verdict.state, "found": found}


def _print_verdict(verdict: Verdict, lang: str) -> None:
    sign, colour = _MARKS.get(verdict.state, ("–", "yellow"))
    click.echo(f"{click.style(sign, fg=colour)} {verdict.step.title.into(lang)}")
    if verdict.found is not None:
        click.echo(f"    {verdict.found.into(lang)}")


@lab_command.command("hint", epilog="Example: klab lab hint")
@click.argument("name", required=False)
@_language_option
def hint_lab(name: str | None, lang: str) -> None:
    """A hint for the first step that is still missing."""
    lesson, lab = _running(name)
    for verdict in judge(lesson, lab):
        if verdict.state == MISSING:
            click.echo(f"{verdict.step.title.into(lang)}\n  {verdict.step.hint.into(lang)}")
            return
    click.echo({"en": "Everything is done.", "zh": "全部完成。"}[lang])


@lab_command.command("stop", epilog="Example: klab lab stop 04")
@click.argument("name", required=False)
def stop_lab(name: str | None) -> None:
    """End a guided lab and forget it."""
    lesson, _ = _running(name)
    down(lesson.lab_name, purge=True)
    click.echo(f"lab '{lesson.lab_name}' is down")
