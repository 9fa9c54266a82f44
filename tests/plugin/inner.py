"""A run of pytest as a user starts it, and what came of every test."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

OPTIONS = ("-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:anyio", "-p", "no:asyncio", "-W", "error")
LIMIT = 300
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """`tests`: name → "" where it passed, else the text of its failure."""

    tests: dict[str, str]
    output: str
    status: int


def command(directory: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", *OPTIONS, f"--junitxml={directory / 'result.xml'}", *options, "."]


def environment() -> dict[str, str]:
    path = os.pathsep.join((str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")} | {"PYTHONPATH": path}


def run(directory: Path, *options: str) -> Outcome:
    """All tests of a directory."""
    result = subprocess.run(
        command(directory, *options), cwd=directory, capture_output=True, text=True, timeout=LIMIT, env=environment()
    )
    tests = {}
    for case in ElementTree.parse(directory / "result.xml").getroot().iter("testcase"):
        bad = [part for kind in ("failure", "error") if (part := case.find(kind)) is not None]
        skipped = case.find("skipped")
        text = "skipped" if skipped is not None else "\n".join(f"{part.get('message')}\n{part.text}" for part in bad)
        tests[str(case.get("name"))] = text
    return Outcome(tests, result.stdout + result.stderr, result.returncode)
