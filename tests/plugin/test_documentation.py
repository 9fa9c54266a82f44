"""What the documentation shows, run as a user would: the blocks of docs/testing.md, and the example beside it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.plugin.inner import REPOSITORY, run


def blocks(text: str) -> list[str]:
    """The Python of a Markdown page."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_examples_of_the_documentation_run(home: Path, tmp_path: Path) -> None:
    found = blocks((REPOSITORY / "docs" / "testing.md").read_text())
    assert len(found) >= 5
    for number, block in enumerate(found):
        (tmp_path / f"test_block_{number}.py").write_text(block)
    shutil.copy(REPOSITORY / "examples" / "test_broken_link.py", tmp_path)
    outcome = run(tmp_path)
    assert outcome.status == 0, outcome.output
    written = sum(block.count("\ndef test_") for block in found)
    assert len(outcome.tests) == written + 1 and not any(outcome.tests.values()), outcome.output
