"""A matrix as text and as a picture. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from netlab.trace.reach.matrix import GOOD, REACHABLE, SKIPPED, VERDICTS, Difference, Matrix

WIDE = 24
"""More targets than these do not fit on a terminal as columns."""
LISTED = 40
COLOURS = {
    "o": "#2da44e",
    "c": "#8fd19e",
    "r": "#d4a72c",
    "u": "#cf222e",
    "t": "#82071e",
    "w": "#bf3989",
    "e": "#57606a",
    "-": "#eaeef2",
}
_LETTERS = {"o": "✓", "c": "○", "r": "R", "u": "U", "t": "✗", "w": "W", "e": "!", "-": "·"}
CELL, LABEL, LABELLED = 12, 190, 80


def summary(matrix: Matrix) -> str:
    """One line: how many pairs, how many reach, how fast."""
    timing = matrix.timing
    words = [f"{matrix.reachable} of {matrix.asked} pairs reachable ({matrix.proto})"]
    others = [f"{number} {VERDICTS[letter]}" for letter, number in matrix.counts().items() if letter != REACHABLE]
    if others:
        words.append(", ".join(others))
    if timing.seconds:
        rate = matrix.asked / timing.seconds
        words.append(f"{timing.seconds:.3f} s, {rate:,.0f} pairs/s, rtt ≤ {timing.rtt[1] * 1e3:.2f} ms (median)")
    return "; ".join(words)


def lines(matrix: Matrix) -> list[str]:
    """A table where it fits, else the pairs that do not reach; the summary at the end."""
    found = _grid(matrix) if len(matrix.targets) <= WIDE and len(matrix.sources) <= 2 * WIDE else []
    bad = matrix.bad()
    if bad and found:
        found.append("")
    for source, target, letter, words in bad[:LISTED]:
        found.append(f"{source} -> {target}: {VERDICTS[letter]}" + (f" ({words})" if words else ""))
    if len(bad) > LISTED:
        found.append(f"… and {len(bad) - LISTED} more pairs (-o json has all)")
    return [*found, *([""] if found else []), summary(matrix)]


def _grid(matrix: Matrix) -> list[str]:
    width = max((len(name) for name in (*matrix.sources, "SOURCE")), default=0)
    legend = [f"{number:>3}  {name}" for number, name in enumerate(matrix.targets, 1)]
    head = "SOURCE".ljust(width) + "  " + " ".join(f"{number:>2}" for number in range(1, len(matrix.targets) + 1))
    rows = [
        source.ljust(width) + "  " + " ".join(f"{_LETTERS[letter]:>2}" for letter in row)
        for source, row in zip(matrix.sources, matrix.rows, strict=True)
    ]
    used = [letter for letter in VERDICTS if any(letter in row for row in matrix.rows)]
    marks = "   ".join(f"{_LETTERS[letter]} {VERDICTS[letter]}" for letter in used)
    return ["TARGETS", *legend, "", head, *rows, "", marks]


def differences(found: Sequence[Difference]) -> list[str]:
    """What changed, worst first: what no longer reaches, then the rest."""
    ordered = sorted(found, key=lambda one: not (one.before in GOOD and one.after not in GOOD))
    more = [f"… and {len(ordered) - LISTED} more differences"] if len(ordered) > LISTED else []
    return [str(one) for one in ordered[:LISTED]] + more


def svg(matrix: Matrix, changed: Sequence[Difference] = ()) -> str:
    """A heat map: a row per source, a column per target, a frame around what differs. Runs of one colour are one
    rectangle, so a million pairs stay a small file."""
    rows, columns = len(matrix.sources), len(matrix.targets)
    named = max(rows, columns) <= LABELLED
    cell = CELL if named else max(1, 960 // max(rows, columns, 1))
    left = top = LABEL if named else 8
    width, height = left + columns * cell + 8, top + rows * cell + 48
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="monospace" '
        f'font-size="10"><title>{escape(summary(matrix))}</title><rect width="100%" height="100%" fill="white"/>'
    ]
    for i, row in enumerate(matrix.rows):
        parts += _row(row, left, top + i * cell, cell)
    if named:
        parts += _labels(matrix, left, top, cell)
    places = {name: i for i, name in enumerate(matrix.sources)}, {name: j for j, name in enumerate(matrix.targets)}
    for one in changed:
        if one.source in places[0] and one.target in places[1]:
            x, y = left + places[1][one.target] * cell, top + places[0][one.source] * cell
            frame = f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}"'
            parts.append(f'{frame} fill="none" stroke="black" stroke-width="2"/>')
    parts += _legend(matrix, height - 28)
    return "\n".join([*parts, "</svg>", ""])


def _row(row: str, left: int, y: int, cell: int) -> list[str]:
    parts, start = [], 0
    while start < len(row):
        end = start
        while end < len(row) and row[end] == row[start]:
            end += 1
        box = f'x="{left + start * cell}" y="{y}" width="{(end - start) * cell}" height="{cell}"'
        parts.append(f'<rect {box} fill="{COLOURS[row[start]]}"/>')
        start = end
    return parts


def _labels(matrix: Matrix, left: int, top: int, cell: int) -> list[str]:
    parts = [
        f'<text x="{left - 4}" y="{top + i * cell + 10}" text-anchor="end">{escape(_short(name))}</text>'
        for i, name in enumerate(matrix.sources)
    ]
    for j, name in enumerate(matrix.targets):
        x = left + j * cell + 10
        parts.append(f'<text x="{x}" y="{top - 4}" transform="rotate(-90 {x} {top - 4})">{escape(_short(name))}</text>')
    return parts


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:14]}…{name[-15:]}"


def _legend(matrix: Matrix, y: int) -> list[str]:
    parts, x = [], 8
    for letter in VERDICTS:
        if letter != SKIPPED and any(letter in row for row in matrix.rows):
            parts.append(f'<rect x="{x}" y="{y}" width="10" height="10" fill="{COLOURS[letter]}"/>')
            parts.append(f'<text x="{x + 14}" y="{y + 9}">{VERDICTS[letter]}</text>')
            x += 30 + 7 * len(VERDICTS[letter])
    return [*parts, f'<text x="8" y="{y + 24}">{escape(summary(matrix))}</text>']
