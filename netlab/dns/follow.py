"""Keeps a Zone as the API says, by informers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from netlab.api.types import Obj
from netlab.dns.config import Kubernetes
from netlab.dns.counting import Metrics
from netlab.dns.zone import Zone

if TYPE_CHECKING:
    from netlab.client.client import Client
    from netlab.client.informer import Informer

log = logging.getLogger("coredns")

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
PROGRAMMING_DURATION = "coredns_kubernetes_dns_programming_duration_seconds"

Wanted = tuple[str, str, bool, bool]


def wanted(config: Kubernetes) -> Wanted:
    """What has to be watched for a `kubernetes` directive; equal for two that can share it."""
    return config.labels, config.namespace_labels, config.endpoints, config.pods == "verified"


class Follower:
    """Watches from `start` to `close`. Only what is asked for: pods for `pods verified` alone."""

    def __init__(self, client: Client, what: Wanted, metrics: Metrics) -> None:
        self.zone = Zone()
        self._metrics, self._began = metrics, int(time.time())  # what is compared with it has whole seconds only
        self._unnamed: dict[tuple[str, str], float] = {}
        """When the endpoints of Services that are not known yet changed: slices and Services come on two watches."""
        self.synced = asyncio.Event()
        self._client, self._what = client, what
        self._informers: list[Informer] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        from netlab.client.informer import Informer

        labels, namespace_labels, endpoints, pods = self._what
        zone = self.zone
        watched: list[tuple[tuple[str, str], str, Callable[[Obj], None], Callable[[Obj], None]]] = [
            (("v1", "namespaces"), namespace_labels, zone.put_namespace, zone.drop_namespace),
            (("v1", "services"), labels, self._put_service, zone.drop_service),
        ]
        if endpoints:
            slices = ("discovery.k8s.io/v1", "endpointslices")
            watched.append((slices, labels, self._put_slice, self._drop_slice))
        if pods:
            watched.append((("v1", "pods"), labels, zone.put_pod, zone.drop_pod))
        for resource, selector, put, drop in watched:
            informer = Informer(self._client, resource, label_selector=selector or None)
            informer.add_handler(put, partial(_second, put), drop)
            informer.start()
            self._informers.append(informer)
        self._task = asyncio.create_task(self._wait())

    def _put_slice(self, obj: Obj) -> None:
        """As CoreDNS measures it: from the change that a headless Service's endpoints are due to until names say so;
        what changed before this server was there is not its delay."""
        before = self.zone.serial
        self.zone.put_slice(obj)
        changed = seconds_of((obj["metadata"].get("annotations") or {}).get(TRIGGER_TIME, ""))
        if self.zone.serial == before or changed < self._began:
            return
        service = _service_of(obj)
        self._unnamed.setdefault(service, changed)
        self._measure(service)

    def _drop_slice(self, obj: Obj) -> None:
        self._unnamed.pop(_service_of(obj), None)
        self.zone.drop_slice(obj)

    def _put_service(self, obj: Obj) -> None:
        self.zone.put_service(obj)
        self._measure((obj["metadata"]["namespace"].lower(), obj["metadata"]["name"].lower()))

    def _measure(self, key: tuple[str, str]) -> None:
        """Once both are known there are names."""
        service = self.zone.services.get(key)
        changed = self._unnamed.pop(key, None) if service is not None else None
        if service is not None and service.headless and changed is not None:
            self._metrics.histogram(PROGRAMMING_DURATION, ("headless_with_selector",)).observe(time.time() - changed)

    async def _wait(self) -> None:
        for informer in self._informers:
            await informer.wait_synced()
        self.synced.set()
        log.info("plugin/kubernetes: synced: %d services", len(self.zone.services))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for informer in self._informers:
            await informer.stop()


def _service_of(endpoint_slice: Obj) -> tuple[str, str]:
    metadata = endpoint_slice["metadata"]
    name = (metadata.get("labels") or {}).get("kubernetes.io/service-name", "")
    return metadata["namespace"].lower(), name.lower()


def seconds_of(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time, 0 for none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _second(put: Callable[[Obj], None], _: Obj, new: Obj) -> None:
    put(new)
