"""The scheduler: one queue, pure filters and scores, bindings written concurrently.

May not: talk to nodes or to the store; filters and scores may not do I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

from netlab.api.timing import LAB, Timing
from netlab.client.client import Client


@dataclass(frozen=True)
class SchedulerConfig:
    """`elect` False (one control plane) adopts the leader's Lease at once instead of waiting for it to expire.

    `secure_port` is where health and metrics are served over HTTPS; 0: nowhere. Upstream's is 10259.
    """

    scheduler_name: str = "default-scheduler"
    identity: str = "scheduler"
    elect: bool = False
    bind_concurrency: int = 32
    secure_port: int = 0
    timing: Timing = LAB


async def run_scheduler(client: Client, config: SchedulerConfig) -> None:
    """Schedule until cancelled."""
    from netlab.scheduler.scheduler import run

    await run(client, config)
