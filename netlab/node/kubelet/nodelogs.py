"""The kubelet's /logs/: a node's /var/log as Go's http.FileServer shows it. What is there are the logs of its pods.

    /logs/                                          pods/
    /logs/pods/<namespace>_<pod>_<uid>/<container>/<attempt>.log

Source: upstream pkg/kubelet/server (systemLogHandler) and net/http fs.go (dirList).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

LISTING = '<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n{}</pre>\n'


@dataclass(frozen=True, slots=True)
class Found:
    """A directory's entries (directories end in "/"), or a file."""

    entries: tuple[str, ...] = ()
    file: Path | None = None


def find(parts: Sequence[str], directories: Iterable[Path]) -> Found | None:
    """What a path below /logs/ names. `directories`: those of the node's own pods; None for anything else."""
    own = {path.name: path for path in directories}
    if not parts:
        return Found(("pods/",))
    if parts[0] != "pods" or ".." in parts:
        return None
    if len(parts) == 1:
        return Found(tuple(f"{name}/" for name in sorted(own)))
    place = own.get(parts[1])
    if place is None:
        return None
    place = place.joinpath(*parts[2:])
    if place.is_file():
        return Found(file=place)
    if not place.is_dir():
        return None
    return Found(tuple(sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in place.iterdir())))


def listing(entries: Iterable[str]) -> bytes:
    """HTML, a link for each."""
    return LISTING.format("".join(f'<a href="{quote(name)}">{escape(name)}</a>\n' for name in entries)).encode()
