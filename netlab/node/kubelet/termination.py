"""Termination messages: the file a container may have written, or the end of its log."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from netlab.node.kubelet import containerconfig as keys
from netlab.node.kubelet.model import Exit
from netlab.runtime.contract import ContainerStatus

MAX_FILE = 4096
MAX_LOG = 2048
MAX_LOG_LINES = 80


def read_file(path: str) -> str:
    """At most 4 KiB of a termination file; "" where there is none."""
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return ""


def log_tail(path: Path) -> str:
    """At most 2 KiB and 80 lines of the end of a CRI log, without its time stamps."""
    try:
        raw = path.read_bytes()[-64 * 1024 :]
    except OSError:
        return ""
    lines = (line.split(b" ", 3) for line in raw.split(b"\n")[-MAX_LOG_LINES - 1 :])
    text = b"".join(_line(fields) for fields in lines if len(fields) == 4)
    return text[-MAX_LOG:].decode("utf-8", "replace")


def _line(fields: list[bytes]) -> bytes:
    return fields[3] + (b"\n" if fields[2] == b"F" else b"")


def exit_of(status: ContainerStatus, log_directories: Iterable[Path]) -> Exit:
    """How this attempt ended, as the pod's status tells it."""
    notes = status.annotations
    message = status.message
    if status.reason != "StartError":
        message = read_file(notes.get(keys.TERMINATION_FILE, ""))
        fallback = notes.get(keys.TERMINATION_POLICY) == "FallbackToLogsOnError"
        if not message and fallback and status.exit_code != 0 and status.log_path:
            message = next((text for d in log_directories if (text := log_tail(d / status.log_path))), "")
    return Exit(
        container_id=status.id,
        exit_code=status.exit_code,
        reason=status.reason or ("Completed" if status.exit_code == 0 else "Error"),
        message=message,
        started_at=status.started_at,
        finished_at=status.finished_at,
    )
