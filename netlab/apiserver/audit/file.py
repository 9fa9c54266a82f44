"""The log file: JSON lines, rotated by size as upstream's --audit-log-maxsize and --audit-log-maxbackup.

Lines are gathered for a moment and written together, outside the event loop's turn that made them.
"""

import asyncio
import logging
from pathlib import Path

log = logging.getLogger("netlab.apiserver")

MAX_BYTES = 100 << 20
BACKUPS = 10
_PAUSE = 0.05
_MOST = 8 << 20


class LogFile:
    """`<name>` is written to; `<name>.1` is the file before it, and so on."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, backups: int = BACKUPS) -> None:
        self._path, self._max, self._backups = path, max_bytes, backups
        self.lines: list[bytes] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, line: bytes) -> None:
        """Add a line; it is in the file a moment later."""
        self.lines.append(line)
        self._bytes += len(line)
        if self._bytes > _MOST:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE, self.flush)

    def flush(self) -> None:
        """Write what was gathered. A disk that does not take it loses the lines, and says so in the server's log."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self.lines, self._bytes = self.lines, [], 0
        if not lines:
            return
        try:
            self._rotate(sum(map(len, lines)))
            with self._path.open("ab") as file:
                file.writelines(lines)
        except OSError as error:
            log.error("audit log %s: %d events lost: %s", self._path, len(lines), error)

    def _rotate(self, more: int) -> None:
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            return
        if self._path.stat().st_size + more <= self._max:
            return
        for number in range(self._backups, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)
        self._path.touch(mode=0o600)
