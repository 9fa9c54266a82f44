"""The names of upstream's conformance tests by group, and that each has a test of ours or a reason why not."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from tests.labs.sig_network_lab import MARK

HERE = Path(__file__).parent
_TAGS = (" [Conformance]", " [NodeConformance]", " [LinuxOnly]")


def _word(group: str) -> str:
    """The group in names of files."""
    return group.replace("-", "_")


def listed(group: str) -> list[str]:
    """Upstream's names of 1.33, as a test of ours names them: without "[sig-…]" and the tags at the end."""
    found = []
    for line in (HERE / f"sig_{_word(group)}.txt").read_text().splitlines():
        name = line.removeprefix(f"[sig-{group}] ")
        for tag in _TAGS:
            name = name.removesuffix(tag)
        found.append(name)
    return found


def tested(group: str) -> list[str]:
    """The names on the tests of `test_conformance_<group>_*.py`."""
    found = []
    for file in sorted(HERE.glob(f"test_conformance_{_word(group)}_*.py")):
        module = importlib.import_module(f"tests.labs.{file.stem}")
        found += [name for test in vars(module).values() for name in getattr(test, MARK, ())]
    return found


def check(group: str, count: int, not_kept: Mapping[str, str]) -> None:
    """Every name has exactly one test, or stands among those that are not kept."""
    wanted = listed(group)
    assert len(wanted) == len(set(wanted)) == count
    assert sorted([*tested(group), *not_kept]) == sorted(wanted)
