"""/logs/ of the kubelet: what a path names, and what a directory looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from netlab.node.kubelet.nodelogs import find, listing


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    own, other = tmp_path / "default_a_u1", tmp_path / "default_b_u2"
    for place in (own, other):
        (place / "main").mkdir(parents=True)
        (place / "main" / "0.log").write_text("said\n")
    return [own]


@pytest.mark.parametrize(
    ("path", "entries"),
    [
        ("", ("pods/",)),
        ("pods", ("default_a_u1/",)),
        ("pods/default_a_u1", ("main/",)),
        ("pods/default_a_u1/main", ("0.log",)),
    ],
)
def test_directories(places: list[Path], path: str, entries: tuple[str, ...]) -> None:
    found = find([part for part in path.split("/") if part], places)
    assert found is not None
    assert (found.entries, found.file) == (entries, None)


def test_files(places: list[Path]) -> None:
    found = find(["pods", "default_a_u1", "main", "0.log"], places)
    assert found is not None
    assert found.file == places[0] / "main" / "0.log"


@pytest.mark.parametrize(
    "path", ["syslog", "pods/default_b_u2", "pods/default_a_u1/../default_b_u2/main/0.log", "pods/default_a_u1/x"]
)
def test_what_is_not_the_nodes(places: list[Path], path: str) -> None:
    assert find(path.split("/"), places) is None


def test_a_listing_as_go_writes_it() -> None:
    head = '<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n'
    assert (
        listing(["pods/", "a&b"]).decode() == f'{head}<a href="pods/">pods/</a>\n<a href="a%26b">a&amp;b</a>\n</pre>\n'
    )
