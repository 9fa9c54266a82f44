"""Runs the probes of one pod's containers: a timer per probe, one attempt at a time.

A lab's containers start in milliseconds, faster than the server in them listens. Upstream's first readiness probe would
then fail and the next come a whole period later; so until a container was first seen ready, and for its first seconds
only, failed readiness and startup attempts are repeated at once without being counted or reported.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from netlab.api.types import Obj
from netlab.node.kubelet.ports import NodeContext
from netlab.node.kubelet.probeactions import run_probe
from netlab.node.kubelet.probes import ProbeKind, Result, Threshold, message

EAGER_SECONDS = 3.0
EAGER_FIRST = 0.01

OnVerdict = Callable[[str, str, ProbeKind, bool], None]
"""(container name, container id, kind, healthy)."""
OnFailure = Callable[[str, str], None]
"""(container name, text of the Unhealthy event)."""


@dataclass(slots=True)
class _Probe:
    kind: ProbeKind
    spec: Obj
    container: Obj
    container_id: str
    threshold: Threshold
    began: float
    delay: float = 0.0
    eager: bool = False
    handle: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None
    closed: bool = False


@dataclass(slots=True)
class Prober:
    """The probes of one pod. `pod_ip` is asked for at each attempt (a new sandbox has a new address)."""

    context: NodeContext
    pod_ip: Callable[[], str]
    on_verdict: OnVerdict
    on_failure: OnFailure
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Attempts by (container, kind, result), in the words of upstream's metric."""
    _probes: dict[tuple[str, ProbeKind], _Probe] = field(default_factory=dict)

    def start(self, container: Obj, container_id: str, *, started: bool) -> None:
        """Begin for a container that runs: its startup probe, or (when it has started) the two others."""
        kinds = (ProbeKind.LIVENESS, ProbeKind.READINESS) if started else (ProbeKind.STARTUP,)
        for kind in kinds:
            spec = container.get(kind.value)
            if not spec:
                continue
            self._stop_one((container["name"], kind))
            now = asyncio.get_running_loop().time()
            probe = _Probe(kind, spec, container, container_id, Threshold.of(spec), now)
            probe.eager = kind is not ProbeKind.LIVENESS and not self.context.agent.upstream_timing
            self._probes[container["name"], kind] = probe
            initial = float(spec.get("initialDelaySeconds") or 0)
            probe.eager = probe.eager and not initial
            self._schedule(probe, initial or (EAGER_FIRST if probe.eager else 0.0))

    def stop(self, name: str, *, keep_readiness: bool = False) -> None:
        """End the probes of a container."""
        for key in [k for k in self._probes if k[0] == name]:
            if not (keep_readiness and key[1] is ProbeKind.READINESS):
                self._stop_one(key)

    def stop_all(self) -> None:
        for key in list(self._probes):
            self._stop_one(key)

    def _stop_one(self, key: tuple[str, ProbeKind]) -> None:
        probe = self._probes.pop(key, None)
        if probe is None:
            return
        probe.closed = True
        if probe.handle is not None:
            probe.handle.cancel()
        if probe.task is not None and probe.task is not asyncio.current_task():
            probe.task.cancel()

    def _schedule(self, probe: _Probe, delay: float) -> None:
        loop = asyncio.get_running_loop()
        probe.handle = loop.call_later(delay, self._fire, probe)

    def _fire(self, probe: _Probe) -> None:
        probe.task = asyncio.get_running_loop().create_task(self._attempt(probe))

    async def _attempt(self, probe: _Probe) -> None:
        context = self.context
        result = await run_probe(
            context.runtime, context.sockets, probe.spec, probe.container, probe.container_id, self.pod_ip()
        )
        probe.task = None
        if probe.closed:
            return
        if not result.success and self._retry_soon(probe):
            return
        probe.eager = False
        self._account(probe, result)
        if not probe.closed:
            self._schedule(probe, float(probe.spec.get("periodSeconds") or 10))

    def _retry_soon(self, probe: _Probe) -> bool:
        """In a container's first seconds a failure may only mean that it is not listening yet."""
        loop = asyncio.get_running_loop()
        if not probe.eager or loop.time() - probe.began > EAGER_SECONDS:
            return False
        probe.delay = min(probe.delay * 2 or EAGER_FIRST, 0.5)
        self._schedule(probe, probe.delay)
        return True

    def _account(self, probe: _Probe, result: Result) -> None:
        name = probe.container["name"]
        outcome = "successful" if result.success else "unknown" if result.error else "failed"
        self.counts[name, probe.kind.word, outcome] += 1
        if not result.success:
            self.on_failure(name, message(probe.kind, result))
        if result.error:
            return
        verdict = probe.threshold.add(result.success)
        if verdict is not None:
            self.on_verdict(name, probe.container_id, probe.kind, verdict)
