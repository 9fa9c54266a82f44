"""The Chinese README says what the English one does: its commands are all there, word for word."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_commands_of_the_chinese_readme_are_the_english_ones() -> None:
    english = {line for block in BLOCK.findall((ROOT / "README.md").read_text("utf-8")) for line in block.splitlines()}
    chinese = [
        line for block in BLOCK.findall((ROOT / "README.zh.md").read_text("utf-8")) for line in block.splitlines()
    ]
    assert len(chinese) > 20
    assert [line for line in chinese if line not in english] == []


def test_every_file_that_the_readmes_name_is_there() -> None:
    for name in ("README.md", "README.zh.md", "docs/testing.md", "topologies/README.md"):
        text = (ROOT / name).read_text("utf-8")
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
        assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []
