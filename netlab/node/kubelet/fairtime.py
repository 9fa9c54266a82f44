"""A time limit that does not count what this process itself came late by.

A kubelet's probe has a second; here one event loop serves many nodes on a machine that may be busy with anything. When
the loop gets the processor two seconds late, the answer has long been there, but so has the end of the timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STEP = 0.1
MOST = 5.0
"""Times the limit after which it ends however late the loop is."""


@asynccontextmanager
async def fair_timeout(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, in steps: one that ends late by more than its own length is not counted."""
    loop = asyncio.get_running_loop()
    left, last = seconds, loop.time() + seconds * MOST
    timer: asyncio.TimerHandle

    def begin() -> asyncio.TimerHandle:
        step = min(left, STEP)
        return loop.call_later(step, end, step, loop.time() + step)

    def end(step: float, due: float) -> None:
        nonlocal left, timer
        now = loop.time()
        if now - due < STEP:
            left -= step
        if left > 1e-9 and now < last:
            timer = begin()
        else:
            limit.reschedule(now)

    async with asyncio.timeout(None) as limit:
        timer = begin()
        try:
            yield
        finally:
            timer.cancel()
