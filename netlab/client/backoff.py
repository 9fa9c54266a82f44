"""Bounded exponential back-off with jitter."""

from __future__ import annotations

import random


class Backoff:
    """Waits that double from `least` to `most` seconds, each lengthened by up to `jitter` of itself."""

    def __init__(self, least: float, most: float, *, jitter: float = 0.5) -> None:
        self._least, self._most, self._jitter = least, most, jitter
        self._next = least

    def step(self) -> float:
        """Seconds to wait now."""
        wait = self._next
        self._next = min(self._most, self._next * 2)
        return wait * (1 + random.random() * self._jitter)

    def reset(self) -> None:
        """It worked: start anew."""
        self._next = self._least
