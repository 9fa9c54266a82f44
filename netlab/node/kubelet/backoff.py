"""Exponential back-off per key, as upstream's flowcontrol.Backoff: doubled per failure, forgotten after a quiet time.

Restarts of a container: 10 s, 20 s … 300 s, forgotten when it ran for 10 minutes. Image pulls likewise.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class _Entry:
    delay: float
    updated: float


@dataclass(slots=True)
class Backoff:
    """Delays in seconds; `now` is passed in, so tests and replays own the clock."""

    initial: float = 10.0
    maximum: float = 300.0
    reset_after: float = 600.0
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def remaining(self, key: str, since: float, now: float) -> float:
        """Seconds still to wait before `key` may start again; `since` is when it last failed."""
        entry = self._entries.get(key)
        if entry is None or since - entry.updated > self.reset_after:
            return 0.0
        return max(0.0, since + entry.delay - now)

    def current(self, key: str) -> float:
        """The delay in force, for messages ("back-off 20s restarting failed container")."""
        entry = self._entries.get(key)
        return entry.delay if entry else 0.0

    def next(self, key: str, now: float, last_event: float) -> None:
        """Count one more attempt at `now`; `last_event` is when the one before ended (the quiet time starts then)."""
        entry = self._entries.get(key)
        if entry is None or last_event - entry.updated > self.reset_after:
            self._entries[key] = _Entry(self.initial, now)
        else:
            entry.delay = min(entry.delay * 2, self.maximum)
            entry.updated = now

    def forget(self, prefix: str) -> None:
        """Drop every key that starts with `prefix` (a pod's)."""
        for key in [k for k in self._entries if k.startswith(prefix)]:
            del self._entries[key]
