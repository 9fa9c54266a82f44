"""What every controller is given: the client, informers shared between controllers, queues, an event recorder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netlab.api.meta import controller_of, namespace
from netlab.api.timing import Timing
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.events import EventRecorder
from netlab.client.informer import Informer
from netlab.client.kinds import ResourceRef, ref_of
from netlab.client.workqueue import WorkQueue
from netlab.controllers.measured import Measured

if TYPE_CHECKING:
    from netlab.controllers import ControllersConfig

BY_OWNER = "controller uid"
BY_ORPHAN = "namespace of objects without a controller"
BY_NAMESPACE = "namespace"
BY_NODE = "node"
BY_LABEL = "namespace and label pair"


def controller_uid(obj: Obj) -> Sequence[str]:
    """Index: the uid of the controlling owner."""
    ref = controller_of(obj)
    return (ref["uid"],) if ref else ()


def orphan_namespace(obj: Obj) -> Sequence[str]:
    """Index: the namespace of an object without a controlling owner, for adoption."""
    return () if controller_of(obj) else (namespace(obj),)


def by_namespace(obj: Obj) -> Sequence[str]:
    """Index: the namespace."""
    return (namespace(obj),)


def pod_node(pod: Obj) -> Sequence[str]:
    """Index: the node a pod is bound to."""
    node = (pod.get("spec") or {}).get("nodeName")
    return (node,) if node else ()


def label_pairs(obj: Obj) -> Sequence[str]:
    """Index: namespace/key=value of each label."""
    meta = obj["metadata"]
    where = meta.get("namespace", "")
    return [f"{where}/{key}={value}" for key, value in (meta.get("labels") or {}).items()]


@dataclass
class Context:
    """Shared by all controllers of one process."""

    client: Client
    config: ControllersConfig
    informers: dict[tuple[str, str], Informer] = field(default_factory=dict)
    recorders: dict[str, EventRecorder] = field(default_factory=dict)
    queues: list[WorkQueue] = field(default_factory=list)
    measured: Measured = field(default_factory=Measured)

    @property
    def timing(self) -> Timing:
        return self.config.timing

    def informer(self, resource: ResourceRef) -> Informer:
        """The one informer of a resource over all namespaces."""
        ref = ref_of(resource)
        found = self.informers.get(ref)
        if found is None:
            found = self.informers[ref] = Informer(self.client, ref, timing=self.timing)
        return found

    def recorder(self, component: str) -> EventRecorder:
        """The one recorder of a component name."""
        found = self.recorders.get(component)
        if found is None:
            found = self.recorders[component] = EventRecorder(self.client, component)
        return found

    def queue(self, name: str, backoff_min: float | None = None) -> WorkQueue:
        """A work queue with this lab's back-off."""
        least = self.timing.queue_backoff_min if backoff_min is None else backoff_min
        made = WorkQueue(name, backoff_min=least, backoff_max=self.timing.queue_backoff_max)
        self.queues.append(made)
        return made

    async def synced(self, *informers: Informer) -> None:
        """Start and wait for informers. There is no time limit: without a server there is nothing else to do."""
        await asyncio.gather(*(informer.wait_synced() for informer in informers))


async def slow_start(total: int, call: Callable[[int], Awaitable[None]]) -> tuple[int, Exception | None]:
    """Make `total` calls in batches of 1, 2, 4, …, up to the first batch with a failure (upstream's slowStartBatch).

    Returns (how many succeeded, the first error): a quota that refuses one pod is asked once, not a thousand times.
    """
    done, size = 0, 1
    while done < total:
        size = min(size, total - done, BATCH_MOST)
        results = await asyncio.gather(*(call(done + n) for n in range(size)), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in errors:
            if not isinstance(error, Exception):
                raise error
        done += size
        if errors:
            first = errors[0]
            return done - len(errors), first if isinstance(first, Exception) else None
        size *= 2
    return done, None


BATCH_MOST = 64
"""More than so many at once only queue up in the connection pool."""
