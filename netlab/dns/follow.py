"""Keeps a Zone as the API says, by informers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from netlab.api.types import Obj
from netlab.dns.config import Kubernetes
from netlab.dns.zone import Zone

if TYPE_CHECKING:
    from netlab.client.client import Client
    from netlab.client.informer import Informer

log = logging.getLogger("coredns")

Wanted = tuple[str, str, bool, bool]


def wanted(config: Kubernetes) -> Wanted:
    """What has to be watched for a `kubernetes` directive; equal for two that can share it."""
    return config.labels, config.namespace_labels, config.endpoints, config.pods == "verified"


class Follower:
    """Watches from `start` to `close`. Only what is asked for: pods for `pods verified` alone."""

    def __init__(self, client: Client, what: Wanted) -> None:
        self.zone = Zone()
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
            (("v1", "services"), labels, zone.put_service, zone.drop_service),
        ]
        if endpoints:
            slices = ("discovery.k8s.io/v1", "endpointslices")
            watched.append((slices, labels, zone.put_slice, zone.drop_slice))
        if pods:
            watched.append((("v1", "pods"), labels, zone.put_pod, zone.drop_pod))
        for resource, selector, put, drop in watched:
            informer = Informer(self._client, resource, label_selector=selector or None)
            informer.add_handler(put, partial(_second, put), drop)
            informer.start()
            self._informers.append(informer)
        self._task = asyncio.create_task(self._wait())

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


def _second(put: Callable[[Obj], None], _: Obj, new: Obj) -> None:
    put(new)
