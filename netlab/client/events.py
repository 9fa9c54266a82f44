"""Events, as client-go's EventRecorder and EventCorrelator write them: repeated ones counted, floods dropped.

Per (source, object): at most `SPAM_BURST` at once and one more each `SPAM_REFILL` seconds. More than `AGGREGATE_MOST`
that differ only in their message within `AGGREGATE_WINDOW` become "(combined from similar events): …". An equal event
raises `count` by a patch. One writer per recorder, in order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from netlab.api.errors import StatusError
from netlab.api.meta import now_micro, object_reference, rfc3339
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.kinds import EVENTS

log = logging.getLogger(__name__)

SPAM_BURST, SPAM_REFILL = 25, 300.0
AGGREGATE_MOST, AGGREGATE_WINDOW = 10, 600.0
REMEMBERED = 4096
PENDING_MOST = 10_000
COMBINED = "(combined from similar events): "

K = TypeVar("K")
V = TypeVar("V")


class _Recent(OrderedDict[K, V], Generic[K, V]):
    """A dictionary of the most recently used entries."""

    def touch(self, key: K) -> V | None:
        if key not in self:
            return None
        self.move_to_end(key)
        return self[key]

    def remember(self, key: K, value: V) -> V:
        self[key] = value
        self.move_to_end(key)
        if len(self) > REMEMBERED:
            self.popitem(last=False)
        return value


@dataclass
class _Similar:
    since: float
    messages: set[str] = field(default_factory=set)


@dataclass
class _Written:
    name: str
    count: int


class Correlator:
    """Decides what becomes of an event: nothing, a new object, or a higher count. Its clock is injected."""

    def __init__(self) -> None:
        self._tokens: _Recent[str, list[float]] = _Recent()
        self._similar: _Recent[tuple[str, ...], _Similar] = _Recent()
        self.written: _Recent[tuple[str, ...], _Written] = _Recent()

    def admit(self, about: str, now: float) -> bool:
        """Whether the object's bucket has a token left; takes it."""
        bucket = self._tokens.touch(about) or self._tokens.remember(about, [float(SPAM_BURST), now])
        tokens = min(float(SPAM_BURST), bucket[0] + (now - bucket[1]) / SPAM_REFILL)
        bucket[:] = [tokens - 1 if tokens >= 1 else tokens, now]
        return tokens >= 1

    def aggregate(self, key: tuple[str, ...], message: str, now: float) -> str:
        """The message to write: itself, or the combined one."""
        similar = self._similar.touch(key)
        if similar is None or now - similar.since > AGGREGATE_WINDOW:
            similar = self._similar.remember(key, _Similar(now))
        similar.since = now
        similar.messages.add(message)
        if len(similar.messages) <= AGGREGATE_MOST:
            return message
        similar.messages.pop()
        return COMBINED + message


class EventRecorder:
    """Writes in the background; never blocks and never raises. `component` is source.component, `host` source.host.

    With `modern` events are written as the events.k8s.io recorder does (the scheduler's): eventTime,
    reportingComponent and action instead of source and timestamps, repetitions as a series; nothing is dropped.
    """

    def __init__(self, client: Client, component: str, *, host: str = "", modern: bool = False) -> None:
        self._client, self._component, self._host, self._modern = client, component, host, modern
        self._instance = f"{component}-{host or os.uname().nodename}"
        self._correlator = Correlator()
        self._pending: deque[tuple[Obj, str, str, str, str, float]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._serial = time.time_ns()

    def event(self, obj: Obj, type_: str, reason: str, message: str, *, field_path: str = "", action: str = "") -> None:
        """Record an event about `obj` (an API object, or an ObjectReference with kind, name, namespace, uid).

        `type_` is Normal or Warning; `field_path` is involvedObject.fieldPath, e.g. "spec.containers{app}".
        """
        if len(self._pending) >= PENDING_MOST:
            log.warning("event dropped, the queue is full: %s %s", reason, message)
            return
        ref = object_reference(obj) if "metadata" in obj else dict(obj)
        if field_path:
            ref["fieldPath"] = field_path
        now = time.time()
        about = f"{ref.get('kind')}/{ref.get('namespace')}/{ref.get('name')}/{ref.get('uid')}"
        if not self._modern and not self._correlator.admit(about, now):
            return
        self._pending.append((ref, type_, reason, message, action, now))
        self._idle.clear()
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"events {self._component}")

    async def flush(self, timeout: float = 5.0) -> None:
        """Wait until what was recorded is written. Raises TimeoutError that says how much is left."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            raise TimeoutError(f"{len(self._pending)} events of {self._component} not written in {timeout} s") from None

    async def close(self) -> None:
        """Stop writing; what is pending is lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            if not self._pending:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                continue
            ref, type_, reason, message, action, now = self._pending[0]
            try:
                await self._write(ref, type_, reason, message, action, now)
            except OSError as error:
                log.info("events: %s", error)
                await asyncio.sleep(0.2)  # the server is away: keep what is pending
                continue
            except StatusError as error:
                # a namespace that is being deleted takes no more events
                level = logging.DEBUG if error.code in (403, 404) else logging.WARNING
                log.log(level, "event %s refused: %s", reason, error)
            except Exception:
                log.exception("event %s lost", reason)
            self._pending.popleft()

    async def _write(self, ref: Obj, type_: str, reason: str, message: str, action: str, now: float) -> None:
        where = (str(ref.get("namespace", "")), str(ref.get("name", "")), str(ref.get("uid", "")))
        key = (*where, str(ref.get("fieldPath", "")), type_, reason)
        if not self._modern:
            message = self._correlator.aggregate(key, message, now)
        same = key if message.startswith(COMBINED) else (*key, message)
        written = self._correlator.written.touch(same)
        if written is not None and await self._count(written, ref, message, now):
            return
        event = self._new(ref, type_, reason, message, action, now)
        await self._client.create(EVENTS, event)
        self._correlator.written.remember(same, _Written(event["metadata"]["name"], 1))

    async def _count(self, written: _Written, ref: Obj, message: str, now: float) -> bool:
        patch: Obj
        if self._modern:
            patch = {"series": {"count": written.count + 1, "lastObservedTime": now_micro(lambda: now)}}
        else:
            patch = {"count": written.count + 1, "lastTimestamp": rfc3339(now), "message": message}
        try:
            await self._client.patch(EVENTS, written.name, patch, ref.get("namespace") or "default", patch_type="merge")
        except StatusError as error:
            if error.code != 404:
                raise
            return False  # expired: a new one starts at 1
        written.count += 1
        return True

    def _new(self, ref: Obj, type_: str, reason: str, message: str, action: str, now: float) -> Obj:
        self._serial = max(self._serial + 1, time.time_ns())
        event: Obj = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{ref.get('name')}.{self._serial:x}", "namespace": ref.get("namespace") or "default"},
            "involvedObject": ref,
            "reason": reason,
            "message": message[:1024],
            "type": type_,
        }
        if self._modern:
            event |= {
                "source": {},
                "firstTimestamp": None,
                "lastTimestamp": None,
                "eventTime": now_micro(lambda: now),
                "reportingComponent": self._component,
                "reportingInstance": self._instance,
                "action": action or reason,
            }
            return event
        source = {"component": self._component} | ({"host": self._host} if self._host else {})
        stamp = rfc3339(now)
        return event | {
            "source": source,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
