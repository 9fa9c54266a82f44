"""What is remembered of a lab between its runs: `<state>/lab.json`, small and written atomically."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from netlab.sandbox.paths import LabPaths


class LabError(Exception):
    """What a user can cause or mend, in one sentence with the remedy. `status` is the exit status of `klab`."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class LabRecord:
    """The choices with which a lab was made. `api_port` is the API's port on 127.0.0.1 of the machine."""

    name: str
    topology: str
    api_port: int
    created: float
    version: str
    upstream_timing: bool = False
    without: tuple[str, ...] = ()
    """Components that are left out, for others to take their place."""

    @property
    def api_url(self) -> str:
        return f"https://127.0.0.1:{self.api_port}"

    def moved_to(self, port: int) -> LabRecord:
        """The same lab with its API on another port."""
        return replace(self, api_port=port)


def load_record(paths: LabPaths) -> LabRecord | None:
    """The record, or None where there is no such lab. LabError when the file is damaged."""
    try:
        text = paths.lab_json.read_text()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        return LabRecord(**{**found, "without": tuple(found.get("without", ()))})
    except (ValueError, TypeError) as error:
        raise LabError(
            f"{paths.lab_json}: damaged ({error}); 'klab down {paths.name} --purge' starts the lab afresh"
        ) from error


def save_record(paths: LabPaths, record: LabRecord) -> None:
    write_atomically(paths.lab_json, json.dumps(asdict(record), indent=2) + "\n")


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader, or the next start after a crash, sees the old text or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


NO_SPACE = 64 << 10
"""With so few bytes left a component cannot even log why it ended."""


def no_space(paths: LabPaths) -> str:
    """The sentence for a full disk under a lab; empty where it is not full."""
    disk = os.statvfs(paths.state)
    return f"no space left on the disk that holds {paths.state}" if disk.f_bavail * disk.f_frsize < NO_SPACE else ""
