"""Gathering changes: the first one at once, those that follow it together, once a period.

Rewriting a slice of a hundred endpoints for each of a thousand pods that become ready is most of the cost of rolling
them out; small Services are not made to wait.
"""

from __future__ import annotations

import asyncio

from netlab.client.workqueue import WorkQueue

SMALL = 16
"""Services with fewer endpoints are written at once."""
LARGE = 256
"""Services with more are written in longer steps: each is read, and made into rules, by every node."""


class Pacer:
    """In front of a queue. `period` is the least time between two passes over a large Service."""

    def __init__(self, queue: WorkQueue, period: float) -> None:
        self._queue, self._period = queue, period
        self._last: dict[str, float] = {}

    def add(self, key: str, size: int) -> None:
        """Queue a key whose object has about `size` parts."""
        if size <= SMALL or not self._period:
            self._queue.add(key)
            return
        period = self._period * (1 if size < LARGE else 5)
        wait = self._last.get(key, 0.0) + period - asyncio.get_running_loop().time()
        self._queue.add_after(key, wait)

    def started(self, key: str) -> None:
        """A pass over this key begins."""
        now = asyncio.get_running_loop().time()
        self._last[key] = now
        if len(self._last) > 4096:
            self._last = {k: t for k, t in self._last.items() if now - t < self._period * 10}
