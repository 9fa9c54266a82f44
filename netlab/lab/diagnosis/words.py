"""Findings as text. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from netlab.api.types import Obj


def why(answer: Obj, *, everything: bool) -> Iterator[str]:
    """Lines for a person: the first thing that is wrong, or all of them."""
    found, probes = answer["findings"], answer["probes"]
    heading = f"{answer['source']} → {answer['target']} ({answer['means']})"
    if not found:
        yield f"{heading}: nothing is wrong"
        ends = ", ".join(answer["endpoints"])
        yield f"  {probes['answered']} of {probes['sent']} probes were answered" + (
            f"; endpoints: {ends}" if ends else ""
        )
        return
    yield heading
    causes = [one for one in found if not one["because"]]
    yield from _finding(found[0], "wrong")
    rest = found[1:]
    if not everything:
        more = len(causes) - 1 if not found[0]["because"] else 0
        if rest:
            others = f"{more} more that may be wrong by itself, " if more else ""
            yield f"{others}{len(rest) - more} that follow from it: klab why --all shows them"
        return
    for one in rest:
        yield from _finding(one, f"follows from {one['because']}" if one["because"] else "also wrong")


def _finding(one: Obj, title: str) -> Iterator[str]:
    yield ""
    yield f"  {title}: {one['where']}: {one['found']}"
    yield f"    code:     {one['code']} ({one['stage']})"
    yield f"    expected: {one['expected']}"
    yield f"    remedy:   {one['remedy']}"


def check_rows(answer: Obj) -> list[tuple[str, str, str]]:
    """(what, state, details) for a table."""
    return [
        (one["name"], "ok" if not one["findings"] else f"{len(one['findings'])} wrong", one["lookedAt"])
        for one in answer["sections"]
    ]


def check_findings(answer: Obj) -> Iterator[str]:
    for section in answer["sections"]:
        for one in section["findings"]:
            yield from _finding(one, section["name"])
