"""What the verbs share: the lab they mean, output as text or JSON, tables."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TypeVar

import click

from netlab.lab.finding import pick
from netlab.lab.record import LabRecord, load_record
from netlab.sandbox.paths import LabPaths

F = TypeVar("F", bound=Callable[..., object])


def output_option(function: F) -> F:
    """`-o json` for verbs that have something to read."""
    return click.option(
        "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
    )(function)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does: what it has begun is cleared away. `nohup` is obeyed."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    except SystemExit:
        with suppress(OSError):  # the terminal may be gone
            click.echo("interrupted", err=True)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def this_lab(ctx: click.Context, name: str | None = None) -> LabPaths:
    """The lab of an argument, of `--lab`, or the only one that runs."""
    return pick(name or ctx.find_root().obj)


def record_of(paths: LabPaths) -> LabRecord:
    record = load_record(paths)
    if record is None:
        raise click.ClickException(f"lab '{paths.name}' has no record at {paths.lab_json}")
    return record


def print_json(data: object) -> None:
    click.echo(json.dumps(data, indent=2, default=str))


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as kubectl prints them: upper-case header, three spaces between."""
    cells = [tuple(header), *(tuple("" if cell is None else str(cell) for cell in row) for row in rows)]
    widths = [max(columns(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        padded = (cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True))
        click.echo("   ".join(padded).rstrip())


def columns(text: str) -> int:
    """The places that a text takes on a terminal, where a Chinese character takes two."""
    if text.isascii():
        return len(text)
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def to_terminal() -> bool:
    """Whether progress and colour make sense."""
    return sys.stderr.isatty()
