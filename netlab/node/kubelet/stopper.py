"""Stops containers: preStop hook, stop signal, grace period, kill; sidecars after the main containers, last one first.

A pod that is being deleted may get a shorter grace period while it waits: `hurry` applies it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from netlab.api.types import Obj
from netlab.node.kubelet.hooks import HookError, run_hook
from netlab.node.kubelet.model import ContainerState, Kind, PodState
from netlab.node.kubelet.podspec import find_container
from netlab.node.kubelet.shared import Shared
from netlab.runtime.contract import ContainerError

log = logging.getLogger(__name__)

MINIMUM_GRACE = 2.0
"""What is left for the stop signal after a preStop hook used up the grace period (upstream's minimumGracePeriod)."""


def effective_grace(pod: Obj, *, gone: bool) -> float:
    """Seconds that the pod's containers have to end: the deletion's own, else the spec's; at least one."""
    meta = pod["metadata"]
    grace = meta.get("deletionGracePeriodSeconds") if meta.get("deletionTimestamp") or gone else None
    if grace is None:
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
    return max(1.0, float(grace))


@dataclass(slots=True)
class Stopper:
    """Of one pod."""

    shared: Shared
    state: PodState
    _deadline: float = float("inf")
    _hurried: asyncio.Event = field(default_factory=asyncio.Event)

    async def stop_pod(self, pod: Obj, grace: float, message: str = "") -> None:
        """Stop everything that runs; returns when it has ended."""
        loop = asyncio.get_running_loop()
        self._deadline = min(self._deadline, loop.time() + grace)
        await self._stop_many(pod, [c for c in self.state.containers.values() if c.kind is not Kind.SIDECAR], message)
        for sidecar in reversed(self.state.of(Kind.SIDECAR)):
            await self._stop_many(pod, [sidecar], message)

    def hurry(self, grace: float) -> None:
        """The grace period became shorter: it now ends in `grace` seconds at the latest."""
        due = asyncio.get_running_loop().time() + grace
        if due < self._deadline:
            self._deadline = due
            self._hurried.set()

    async def _stop_many(self, pod: Obj, containers: Iterable[ContainerState], message: str) -> None:
        running = [c for c in containers if c.running]
        if running:
            await asyncio.gather(*(self._stop_in_pod(pod, c, message) for c in running))

    async def _stop_in_pod(self, pod: Obj, container: ContainerState, message: str) -> None:
        """Until it has ended, by whichever of the attempts with ever shorter grace periods is first."""
        loop = asyncio.get_running_loop()
        first = self.stop_one(pod, container, self._deadline - loop.time(), message)
        attempts = {asyncio.ensure_future(first)}
        try:
            while not any(attempt.done() for attempt in attempts):
                self._hurried.clear()
                hurried = asyncio.ensure_future(self._hurried.wait())
                await asyncio.wait((*attempts, hurried), return_when=asyncio.FIRST_COMPLETED)
                if not hurried.cancel():
                    left = max(0.0, self._deadline - loop.time())
                    again = self.shared.context.runtime.stop_container(container.id, left)
                    attempts.add(asyncio.ensure_future(again))
        finally:
            for attempt in attempts:
                attempt.cancel()
        for attempt in attempts:
            if attempt.done() and not attempt.cancelled():
                attempt.result()

    async def stop_one(self, pod: Obj, container: ContainerState, grace: float, message: str = "") -> None:
        """Stop one container. `message` is the Killing event's, "Stopping container …" by default."""
        container.stopping = True
        text = message or f"Stopping container {container.name}"
        self.shared.events.container(pod, container.kind, container.name, "Killing", text)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._pre_stop(pod, container, grace)
        left = max(grace - (loop.time() - began), MINIMUM_GRACE if grace > MINIMUM_GRACE else grace)
        await self.shared.context.runtime.stop_container(container.id, left)

    async def _pre_stop(self, pod: Obj, container: ContainerState, grace: float) -> None:
        spec = find_container(pod["spec"], container.name) or {}
        hook = (spec.get("lifecycle") or {}).get("preStop")
        if not hook:
            return
        ip = self.state.ips[0] if self.state.ips else ""
        try:
            async with asyncio.timeout(max(grace, 0.0)):
                await run_hook(self.shared.context, hook, spec, container.id, ip)
        except TimeoutError:
            log.info("preStop hook of %s did not end within its grace period", container.name)
        except (HookError, ContainerError) as problem:
            log.info("preStop hook of %s: %s", container.name, problem)
            events = self.shared.events
            events.container(
                pod, container.kind, container.name, "FailedPreStopHook", "PreStopHook failed", warning=True
            )
