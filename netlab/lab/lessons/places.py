"""Where lessons are and how a directory is read. Every error names the file and what was expected."""

from __future__ import annotations

import runpy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from netlab.lab.lessons.model import Lesson, Text, steps_of
from netlab.lab.record import LabError

_KEYS = {"title", "minutes", "topology", "manifests", "wait"}


def directory() -> Path:
    """The lessons of the source tree, else those that the wheel has installed."""
    package = Path(__file__).resolve().parents[2]
    tree = package.parent / "labs"
    return tree if tree.is_dir() else package / "_data" / "labs"


def available() -> list[Lesson]:
    """Every lesson, by number."""
    return [read(place) for place in sorted(directory().iterdir()) if (place / "lesson.yaml").exists()]


def find(name: str) -> Lesson:
    """By number ("4", "04"), name ("04-service-by-iptables") or path. LabError with the choice otherwise."""
    place = Path(name)
    if (place / "lesson.yaml").exists():
        return read(place)
    lessons = available()
    wanted = name.zfill(2) if name.isdigit() else name
    for lesson in lessons:
        if wanted in (lesson.number, lesson.name, lesson.lab_name):
            return lesson
    names = [lesson.name for lesson in lessons]
    close = get_close_matches(name, names, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(names)}"
    raise LabError(f"no guided lab '{name}'; {hint}", 2)


def read(place: Path) -> Lesson:
    """One lesson's directory. LabError names what is wrong in it."""
    file = place / "lesson.yaml"
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise LabError(f"{file}: {error}") from error
    if not isinstance(data, dict) or not {"title", "topology"} <= data.keys() <= _KEYS:
        raise LabError(f"{file}: expected the keys {', '.join(sorted(_KEYS))}; 'title' and 'topology' must be there")
    namespace = _run(place / "check.py")
    steps = steps_of(namespace)
    if not steps:
        raise LabError(f"{place / 'check.py'}: has no @step")
    return Lesson(
        name=place.resolve().name,
        directory=place,
        title=Text(data["title"]["en"], data["title"]["zh"]),
        minutes=int(data.get("minutes", 20)),
        topology=_topology(place, str(data["topology"])),
        manifests=tuple(place / "manifests" / name for name in data.get("manifests", ())),
        steps=steps,
        prepare=namespace.get("prepare"),
        waits=dict(data.get("wait", {})),
    )


def _topology(place: Path, name: str) -> str:
    return str(place / name) if (place / name).exists() else name


def _run(file: Path) -> dict[str, Any]:
    try:
        return runpy.run_path(str(file))
    except Exception as error:
        raise LabError(f"{file}: {type(error).__name__}: {error}") from error
