"""Writes one pod's status to the API: the newest state, one request at a time, as few as will do.

A state that is about to be overtaken (containers being created) is held back for a moment; what matters to others
(running, ready, failed, ended) goes out at once. What happened while a request was under way goes out with the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import PODS
from netlab.client.transport import TransportError
from netlab.node.kubelet.ports import NodeContext

log = logging.getLogger(__name__)

RETRY_FIRST, RETRY_MOST = 0.1, 5.0


class StatusPublisher:
    """`compute()` gives the patch against what the API has, or None when there is nothing to say.

    `published(obj)` gets the object that the API answered with.
    """

    def __init__(
        self, context: NodeContext, pod: Obj, compute: Callable[[], Obj | None], published: Callable[[Obj], None]
    ) -> None:
        meta = pod["metadata"]
        self._client, self._requests = context.client, context.requests
        self._name, self._namespace = meta["name"], meta["namespace"]
        self._compute, self._published = compute, published
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None
        self._dirty = False
        self._closed = False

    def soon(self, delay: float = 0.0) -> None:
        """Publish within `delay` seconds."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = loop.call_at(due, self._fire) if delay else loop.call_soon(self._fire)  # type: ignore[assignment]

    def _fire(self) -> None:
        self._timer = None
        self._dirty = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        retry = RETRY_FIRST
        while self._dirty and not self._closed:
            self._dirty = False
            try:
                async with self._requests:
                    patch = self._compute()
                    if patch is None:
                        continue
                    answer = await self._client.patch_status(PODS, self._name, patch, self._namespace)
            except StatusError as problem:
                if problem.code in (404, 409):
                    return
                log.warning("status of %s/%s: %s", self._namespace, self._name, problem)
            except TransportError as problem:
                log.info("status of %s/%s: %s", self._namespace, self._name, problem)
            else:
                retry = RETRY_FIRST
                self._published(answer)
                continue
            self._dirty = True
            await asyncio.sleep(retry)
            retry = min(retry * 2, RETRY_MOST)

    async def flush(self) -> None:
        """Publish now and wait until there is nothing more to say (or the pod is gone)."""
        if self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._fire()
        if self._task is not None:
            await asyncio.shield(self._task)

    def close(self) -> None:
        """Say no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
