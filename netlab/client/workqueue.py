"""A de-duplicating, rate-limited work queue, as client-go's workqueue.

A key is handed to one worker at a time; a key added while it is being worked on is handed out again afterwards, once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from netlab.api.errors import StatusError
from netlab.api.measuring import Series

log = logging.getLogger(__name__)

OUTAGE_MOST = 1.0
"""The longest back-off while there is no server at all: when it is back, work goes on at once."""


SECONDS = tuple(10.0**power for power in range(-8, 2))
"""The buckets of upstream's workqueue histograms."""


class WorkQueue:
    """Keys are strings. Make it on the event loop that uses it."""

    def __init__(self, name: str = "", *, backoff_min: float = 0.005, backoff_max: float = 1000.0) -> None:
        self.name = name
        self._backoff_min, self._backoff_max = backoff_min, backoff_max
        self._queue: deque[str] = deque()
        self._dirty: set[str] = set()
        self._processing: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.adds = self.retried = 0
        """How many keys were queued, and how many of them after a failure, since the start."""
        self.waited, self.worked = Series(SECONDS), Series(SECONDS)
        self._since: dict[str, float] = {}
        self._working: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, key: str) -> None:
        """Queue the key now (unless it is queued already)."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        self.adds += 1
        self._since.setdefault(key, time.monotonic())
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: str, delay: float) -> None:
        """Queue the key in `delay` seconds; the earliest of several wins."""
        if delay <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay, self._expire, key)

    def add_rate_limited(self, key: str, most: float | None = None) -> None:
        """Queue the key after its own exponential back-off, of at most `most` seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.retried += 1
        limit = self._backoff_max if most is None else min(most, self._backoff_max)
        self.add_after(key, min(limit, self._backoff_min * 2.0 ** min(failures, 40)))

    def forget(self, key: str) -> None:
        """The key succeeded: its back-off starts anew."""
        self._failures.pop(key, None)

    def retries(self, key: str) -> int:
        """How often the key was rate-limited since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> str:
        """The next key; call `done` with it afterwards."""
        while not self._queue:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and self._queue:
                    self._wake()  # the wake-up was meant for a worker that is going away
                raise
        key = self._queue.popleft()
        self._processing.add(key)
        self._dirty.discard(key)
        self._working[key] = now = time.monotonic()
        self.waited.observe(now - self._since.pop(key, now))
        return key

    def done(self, key: str) -> None:
        """The worker is through with the key; it is queued again if it was added meanwhile."""
        self._processing.discard(key)
        begun = self._working.pop(key, None)
        if begun is not None:
            self.worked.observe(time.monotonic() - begun)
        if key in self._dirty:
            self._push(key)

    def unfinished(self) -> list[float]:
        """For how many seconds each key has been worked on."""
        now = time.monotonic()
        return [now - begun for begun in self._working.values()]

    async def run(self, reconcile: Callable[[str], Awaitable[None]], workers: int = 1) -> None:
        """Work until cancelled. An exception is logged and the key is queued again after its back-off."""
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(reconcile), name=f"{self.name} worker {number}")

    def close(self) -> None:
        """Cancel what is still to be queued."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def _work(self, reconcile: Callable[[str], Awaitable[None]]) -> None:
        while True:
            key = await self.get()
            try:
                await reconcile(key)
            except (OSError, StatusError) as error:
                log.info("%s %s: %s (try %d)", self.name, key, error, self.retries(key) + 1)
                self.add_rate_limited(key, None if isinstance(error, StatusError) else OUTAGE_MOST)
            except Exception:
                log.exception("%s %s failed (try %d)", self.name, key, self.retries(key) + 1)
                self.add_rate_limited(key)
            else:
                self.forget(key)
            finally:
                self.done(key)

    def _expire(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _push(self, key: str) -> None:
        self._queue.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
