"""Released volumes of type hostPath: emptied by a pod and offered anew, or deleted.

Source followed: pkg/controller/volume/persistentvolume (recycleVolumeOperation), pkg/volume/hostpath.
"""

from __future__ import annotations

import asyncio

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.events import EventRecorder
from netlab.client.informer import Informer
from netlab.client.kinds import PERSISTENT_VOLUMES as VOLUMES
from netlab.controllers import helper_pods
from netlab.controllers.volume_plan import scrubber

_SECONDS = 60.0
"""Upstream's --pv-recycler-minimum-timeout-hostpath."""


class Reclaimer:
    """Takes volumes, each once at a time; beside the binder's worker, because a pod takes its time."""

    def __init__(self, client: Client, pods: Informer, events: EventRecorder) -> None:
        self.client, self.pods, self.events = client, pods, events
        self._waiting: asyncio.Queue[tuple[Obj, bool]] = asyncio.Queue()
        self._under_way: set[str] = set()

    def take(self, volume: Obj, *, recycle: bool) -> None:
        """Recycle or delete the volume, unless that is under way."""
        if meta.name(volume) not in self._under_way:
            self._under_way.add(meta.name(volume))
            self._waiting.put_nowait((volume, recycle))

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                volume, recycle = await self._waiting.get()
                group.create_task(self._reclaim(volume, recycle))

    async def _reclaim(self, volume: Obj, recycle: bool) -> None:
        try:
            if recycle:
                await self._recycle(volume)
            else:
                await self.client.delete(VOLUMES, meta.name(volume), uid=meta.uid(volume))
        except (OSError, StatusError) as error:
            if isinstance(error, StatusError) and error.code == 404:
                return  # somebody deleted the volume
            reason, word = ("VolumeFailedRecycle", "Recycle") if recycle else ("VolumeFailedDelete", "Delete")
            await self._failed(volume, reason, f"{word} failed: {error}")
        finally:
            self._under_way.discard(meta.name(volume))

    async def _recycle(self, volume: Obj) -> None:
        await helper_pods.run(self.client, self.pods, scrubber(volume), _SECONDS)
        self.events.event(volume, "Normal", "VolumeRecycled", "Volume recycled")
        patch = {"metadata": {"resourceVersion": meta.resource_version(volume)}, "spec": {"claimRef": None}}
        await self.client.patch(VOLUMES, meta.name(volume), patch, patch_type="merge")

    async def _failed(self, volume: Obj, reason: str, text: str) -> None:
        self.events.event(volume, "Warning", reason, text)
        status = {"status": {"phase": "Failed", "message": text}}
        try:
            await self.client.patch_status(VOLUMES, meta.name(volume), status, patch_type="merge")
        except StatusError as error:
            if error.code != 404:
                raise
