"""HorizontalPodAutoscalers, every sync period (upstream pkg/controller/podautoscaler). Thin: `decide` decides."""

from __future__ import annotations

import asyncio
import logging
import time

from netlab.api import labels, meta
from netlab.api.errors import StatusError
from netlab.api.resources import BUILTIN
from netlab.api.types import Obj
from netlab.client.kinds import PODS
from netlab.client.transport import TransportError
from netlab.controllers.context import BY_NAMESPACE, Context, by_namespace
from netlab.controllers.horizontal import decide as deciding
from netlab.controllers.horizontal.calculator import Rules
from netlab.controllers.horizontal.decide import Round, Seen
from netlab.controllers.horizontal.pace import History
from netlab.controllers.horizontal.sources import FetchError, plural_of, read

AUTOSCALERS = ("autoscaling/v2", "horizontalpodautoscalers")
log = logging.getLogger(__name__)


class HorizontalController:
    """A key is an autoscaler; each is looked at once a period, however often it changes."""

    def __init__(self, context: Context) -> None:
        self.context, self.client, timing = context, context.client, context.timing
        self.hpas, self.pods = context.informer(AUTOSCALERS), context.informer(PODS)
        self.pods.add_index(BY_NAMESPACE, by_namespace)
        self.events = context.recorder("horizontal-pod-autoscaler")
        self.period, self.window = timing.hpa_sync, timing.hpa_downscale_stabilization
        self.rules = Rules(0.1, timing.hpa_cpu_initialization, timing.hpa_initial_readiness_delay)
        self._history: dict[str, History] = {}
        self._plurals: dict[tuple[str, str], str] = {}
        self._selectors: dict[str, labels.Selector] = {}

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.hpas, self.pods)
        while True:
            for key in [known for known in self._history if known not in self.hpas.store]:
                del self._history[key]
                self._selectors.pop(key, None)
            await asyncio.gather(*(self._round(key) for key in list(self.hpas.store)))
            await asyncio.sleep(self.period)

    async def _round(self, key: str) -> None:
        try:
            await self.reconcile(key)
        except (StatusError, TransportError) as error:
            log.info("%s: %s", key, error)

    async def reconcile(self, key: str) -> None:
        """One round of one autoscaler."""
        hpa = self.hpas.store.get(key)
        if hpa is None or meta.deleting(hpa):
            return
        now = time.time()
        try:
            resource, scale = await self._scale(hpa)
        except (FetchError, StatusError) as error:
            await self._finish(hpa, deciding.cannot_scale(hpa, str(error), now))
            return
        history = self._history.setdefault(key, History())
        found = deciding.decide(hpa, await self._look(hpa, scale, now), history)
        if found.replicas is not None:
            current = int(scale["spec"].get("replicas") or 0)
            problem = await self._rescale(resource, scale, found.replicas)
            deciding.rescaled(hpa, found, current, history, problem, time.time())
        await self._finish(hpa, found)

    async def _scale(self, hpa: Obj) -> tuple[tuple[str, str], Obj]:
        target = hpa["spec"]["scaleTargetRef"]
        version, kind = target.get("apiVersion") or "v1", target["kind"]
        known = BUILTIN.by_kind(version, kind)
        plural = known.plural if known is not None else self._plurals.get((version, kind))
        if plural is None:
            plural = self._plurals[version, kind] = await plural_of(self.client, version, kind)
        place = (target["name"], "scale", meta.namespace(hpa))
        return (version, plural), await self.client.subresource((version, plural), *place, method="GET")

    async def _look(self, hpa: Obj, scale: Obj, now: float) -> Seen:
        namespace, selector = meta.namespace(hpa), str(meta.get(scale, "status", "selector", default=""))
        pods: list[Obj] = []
        readings = []
        if selector:
            chosen = self._selectors[meta.key(hpa)] = labels.parse_selector(selector)
            pods = [pod for pod in self.pods.by_index(BY_NAMESPACE, namespace) if chosen.matches(meta.labels(pod))]
            if deciding.needs_metrics(hpa, scale):
                specs = hpa["spec"].get("metrics") or ()
                readings = await asyncio.gather(*(read(self.client, one, namespace, selector) for one in specs))
        return Seen(scale, pods, readings, self.rules, self.window, now, self._rivals(namespace, pods))

    def _rivals(self, namespace: str, pods: list[Obj]) -> tuple[str, ...]:
        """The autoscalers of a namespace that select any of these pods."""
        inside = [(meta.split_key(key), selector) for key, selector in self._selectors.items()]
        return tuple(
            sorted(
                name
                for (space, name), selector in inside
                if space == namespace and any(selector.matches(meta.labels(pod)) for pod in pods)
            )
        )

    async def _rescale(self, resource: tuple[str, str], scale: Obj, replicas: int) -> str:
        """Write the scale; what was wrong, "" where nothing."""
        body = {**scale, "spec": {**scale["spec"], "replicas": replicas}}
        place = (meta.name(scale), "scale", meta.namespace(scale))
        try:
            await self.client.subresource(resource, *place, method="PUT", body=body)
        except StatusError as error:
            return str(error)
        return ""

    async def _finish(self, hpa: Obj, found: Round) -> None:
        for type_, reason, message in found.events:
            self.events.event(hpa, type_, reason, message)
        if found.error:
            log.info("%s: %s", meta.key(hpa), found.error)
        old = {"currentMetrics": None, "desiredReplicas": 0, **(hpa.get("status") or {})}
        if found.status == old:
            return
        try:
            written = await self.client.patch_status(
                AUTOSCALERS, meta.name(hpa), {"status": found.status}, meta.namespace(hpa), patch_type="merge"
            )
        except StatusError as error:
            if error.code != 404:
                self.events.event(hpa, "Warning", "FailedUpdateStatus", str(error))
                raise
            return
        self.hpas.observe(written)
