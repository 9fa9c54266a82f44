"""A de-duplicating, rate-limited work queue, as client-go's workqueue.

A key is handed to one worker at a time; a key added while it is being worked on is handed out again afterwards, once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class WorkQueue:
    """Keys are strings."""

    def __init__(self, name: str = "", *, backoff_min: float = 0.005, backoff_max: float = 1000.0) -> None:
        raise NotImplementedError

    def add(self, key: str) -> None:
        """Queue the key now (unless it is queued already)."""
        raise NotImplementedError

    def add_after(self, key: str, delay: float) -> None:
        """Queue the key in `delay` seconds; the earliest of several wins."""
        raise NotImplementedError

    def add_rate_limited(self, key: str) -> None:
        """Queue the key after its own exponential back-off."""
        raise NotImplementedError

    def forget(self, key: str) -> None:
        """The key succeeded: its back-off starts anew."""
        raise NotImplementedError

    def retries(self, key: str) -> int:
        """How often the key was rate-limited since it was last forgotten."""
        raise NotImplementedError

    async def get(self) -> str:
        """The next key; call `done` with it afterwards."""
        raise NotImplementedError

    def done(self, key: str) -> None:
        raise NotImplementedError

    async def run(self, reconcile: Callable[[str], Awaitable[None]], workers: int = 1) -> None:
        """Work until cancelled. An exception is logged and the key is queued again after its back-off."""
        raise NotImplementedError
