"""The scheduling loop: take a pod, filter, score, assume, bind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlab.client.client import Client

if TYPE_CHECKING:
    from netlab.scheduler import SchedulerConfig


async def run(client: Client, config: SchedulerConfig) -> None:
    """Schedule until cancelled."""
    raise NotImplementedError
