"""Helper programs, run inside a namespace with text in and text out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence

from netlab.kernel.errors import CommandFailed
from netlab.kernel.netns import NetNs
from netlab.kernel.programs import find

_LINE = re.compile(r"line[: ]+(\d+)|<?stdin>?:(\d+)|^(\d+)[:.]", re.MULTILINE)


def run(ns: NetNs, argv: Sequence[str], text: str = "", *, env: Mapping[str, str] | None = None) -> str:
    """Run a program in the namespace with `text` on its standard input; its standard output.

    CommandFailed with the program's words, and the line of `text` it complained about where it names one; status 127
    where the program is not installed.
    """
    path = find(argv[0])
    if path is None:
        raise CommandFailed(tuple(argv), 127, f"{argv[0]} is not installed")
    pipe = subprocess.PIPE
    with ns.popen([path, *argv[1:]], stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
        output, complaint = process.communicate(text.encode())
    if process.returncode:
        raise _failure(argv, process.returncode, complaint.decode(errors="replace"), text)
    return output.decode(errors="replace")


def _failure(argv: Sequence[str], status: int, complaint: str, text: str) -> CommandFailed:
    found = _LINE.search(complaint)
    line = int(next(filter(None, found.groups()))) if found else 0
    lines = text.splitlines()
    blamed = lines[line - 1] if 0 < line <= len(lines) else ""
    return CommandFailed(tuple(argv), status, complaint, line if blamed else 0, blamed)
