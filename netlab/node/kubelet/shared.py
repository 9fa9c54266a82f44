"""What the pod workers of one node share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from netlab.node.kubelet.backoff import Backoff
from netlab.node.kubelet.eventtext import PodEvents
from netlab.node.kubelet.imagecache import ImageCache
from netlab.node.kubelet.ipam import Ranges
from netlab.node.kubelet.ports import NodeContext
from netlab.node.kubelet.sources import ObjectSource

QUEUED_FEW = 4
"""So many pods that wait for their turn double the time that passing states may stay unpublished."""


@dataclass(slots=True)
class Shared:
    """`ipam` is None until the node has its podCIDR and its bridge; `network_up` says when.

    `slots` bounds how many pods of the node are being started at once. `node_hosts` and `node_resolver` are the texts
    of the node's own /etc/hosts and /etc/resolv.conf. `on_gone(uid)` is called when a pod's last trace is removed.
    """

    context: NodeContext
    source: ObjectSource
    events: PodEvents
    backoff: Backoff
    image_backoff: Backoff
    slots: asyncio.Semaphore
    allocatable: Mapping[str, str]
    on_gone: Callable[[str], None]
    images: ImageCache
    ipam: Ranges | None = None
    network_up: asyncio.Event = field(default_factory=asyncio.Event)
    node_hosts: str = ""
    node_resolver: str = ""
    queued: int = 0
    """How many pods of the node wait for a slot."""

    def patience(self, delay: float) -> float:
        """How long a status that will soon be another may wait: with many pods to start, what tells of none that has
        started only keeps the others waiting."""
        return delay * (1 + self.queued / QUEUED_FEW)
