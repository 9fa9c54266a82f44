"""The scheduling queue: active by priority and age, backing off, unschedulable until something helps, gated.

Upstream's three queues (internal/queue/scheduling_queue.go); what may help is told by the plugins that rejected a pod.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from netlab.api.measuring import Counter
from netlab.scheduler.model import PodInfo


@dataclass
class Entry:
    """A pod on its way through the queue."""

    pod: PodInfo
    since: float
    attempts: int = 0
    ready_at: float = 0.0
    plugins: frozenset[str] = field(default_factory=frozenset)


class SchedulingQueue:
    """Times come from `clock`; a pod is in one place at a time."""

    def __init__(
        self, backoff_min: float, backoff_max: float, clock: Callable[[], float], incoming: Counter | None = None
    ) -> None:
        self._backoff_min, self._backoff_max, self._clock = backoff_min, backoff_max, clock
        self._entries: dict[str, Entry] = {}
        self._active: list[tuple[int, float, int, str]] = []
        self._backing_off: dict[str, asyncio.TimerHandle] = {}
        self._unschedulable: dict[str, float] = {}
        self._serial = itertools.count()
        self._queued: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._incoming = incoming

    def __len__(self) -> int:
        return len(self._entries)

    def lengths(self) -> dict[str, int]:
        """Pods by the queue that they are in."""
        gated = sum(bool(entry.pod.gates) for entry in self._entries.values())
        backoff, unschedulable = len(self._backing_off), len(self._unschedulable)
        return {"active": len(self._queued), "backoff": backoff, "unschedulable": unschedulable, "gated": gated}

    def _count(self, event: str, queue: str) -> None:
        if self._incoming is not None:
            self._incoming.add(event, queue)

    def put(self, pod: PodInfo) -> None:
        """A pod without a node appeared or changed. A change makes an unschedulable pod worth another try."""
        entry = self._entries.get(pod.uid)
        if entry is None:
            self._entries[pod.uid] = entry = Entry(pod, self._clock())
            if pod.gates:
                self._count("PodAdd", "gated")
            else:
                self._activate(entry, "PodAdd")
            return
        old, entry.pod = entry.pod, pod
        if pod.gates:
            self._withdraw(pod.uid)
        elif old.gates:
            self._activate(entry, "PodUpdate")
        elif pod.uid in self._unschedulable and (old.spec != pod.spec or old.labels != pod.labels):
            self._retry(entry, "PodUpdate")

    def remove(self, uid: str) -> None:
        """The pod is gone or bound."""
        self._withdraw(uid)
        self._entries.pop(uid, None)

    async def pop(self) -> Entry:
        """The most important, then oldest, active pod."""
        while True:
            while self._active:
                _, _, serial, uid = heapq.heappop(self._active)
                if self._queued.get(uid) == serial:
                    del self._queued[uid]
                    entry = self._entries[uid]
                    entry.attempts += 1
                    return entry
            self._wake.clear()
            await self._wake.wait()

    def unschedulable(self, entry: Entry, plugins: frozenset[str]) -> None:
        """No node would do: wait for `wake`."""
        if entry.pod.uid in self._entries:
            entry.plugins = plugins
            entry.ready_at = self._clock() + self._backoff(entry)
            self._unschedulable[entry.pod.uid] = self._clock()
            self._count("ScheduleAttemptFailure", "unschedulable")

    def again(self, entry: Entry, most: float | None = None) -> None:
        """Something went wrong that is not the pod's fault: try again after the back-off, at most `most` seconds."""
        if entry.pod.uid in self._entries:
            wait = self._backoff(entry)
            entry.ready_at = self._clock() + (wait if most is None else min(wait, most))
            self._retry(entry, "ScheduleAttemptFailure")

    def wake(self, helped: Callable[[Entry], bool], event: str = "UnschedulableTimeout") -> None:
        """Something changed in the cluster: try again what it may have helped."""
        for uid in [uid for uid in self._unschedulable if helped(self._entries[uid])]:
            self._retry(self._entries[uid], event)

    def wake_older_than(self, age: float) -> None:
        """Try again what has been waiting for long, in case an event was not understood."""
        now = self._clock()
        for uid in [uid for uid, since in self._unschedulable.items() if now - since > age]:
            self._retry(self._entries[uid], "UnschedulableTimeout")

    def _backoff(self, entry: Entry) -> float:
        return min(self._backoff_max, self._backoff_min * 2.0 ** min(entry.attempts - 1, 30))

    def _retry(self, entry: Entry, event: str) -> None:
        uid = entry.pod.uid
        self._unschedulable.pop(uid, None)
        wait = entry.ready_at - self._clock()
        if wait <= 0:
            self._activate(entry, event)
        elif uid not in self._backing_off:
            self._count(event, "backoff")
            self._backing_off[uid] = asyncio.get_running_loop().call_later(wait, self._ready, uid)

    def _ready(self, uid: str) -> None:
        self._backing_off.pop(uid, None)
        entry = self._entries.get(uid)
        if entry is not None:
            self._activate(entry, "BackoffComplete")

    def _activate(self, entry: Entry, event: str) -> None:
        self._count(event, "active")
        serial = next(self._serial)
        self._queued[entry.pod.uid] = serial
        heapq.heappush(self._active, (-entry.pod.priority, entry.since, serial, entry.pod.uid))
        self._wake.set()

    def _withdraw(self, uid: str) -> None:
        self._queued.pop(uid, None)
        self._unschedulable.pop(uid, None)
        timer = self._backing_off.pop(uid, None)
        if timer is not None:
            timer.cancel()
