"""A probe's time limit: strict on time that passed, patient with a loop that was late."""

import asyncio
import time

import pytest

from netlab.node.kubelet.fairtime import fair_timeout


async def test_what_takes_too_long_ends_in_time() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with fair_timeout(0.25):
            await asyncio.sleep(30)
    assert 0.2 < time.monotonic() - began < 20


async def test_what_is_quick_is_left_alone() -> None:
    async with fair_timeout(5):
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_a_loop_that_was_busy_for_longer_than_the_limit_is_forgiven() -> None:
    answer = asyncio.Event()

    async def slow() -> None:
        time.sleep(0.6)  # noqa: ASYNC251 - the loop does not come to anything else
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        answer.set()

    busy = asyncio.create_task(slow())
    async with fair_timeout(0.3):
        await answer.wait()
    await busy


async def test_but_not_for_ever() -> None:
    async def hog() -> None:
        while True:
            time.sleep(0.25)  # noqa: ASYNC251 - always late
            await asyncio.sleep(0)

    busy = asyncio.create_task(hog())
    with pytest.raises(TimeoutError):
        async with fair_timeout(0.3):
            await asyncio.Event().wait()
    busy.cancel()
