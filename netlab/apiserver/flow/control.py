"""The gate that every request passes: finds its priority level, takes a seat or waits, and gives the seat back.

Which level a request has is remembered per user and kind of request until a schema or level changes. Requests that
last (exec, logs, proxies) are not counted; a watch is, until it has begun.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from netlab.api import meta
from netlab.api.measuring import Histogram
from netlab.api.types import Obj
from netlab.apiserver.flow.defaults import GROUP, VERSION, mandatory
from netlab.apiserver.flow.level import Level, Limits, Rejected
from netlab.apiserver.flow.matching import flow_of, matches, ordered
from netlab.apiserver.wire.message import Request, Response
from netlab.apiserver.wire.path import RequestInfo
from netlab.store import Store

SEATS = 600
"""Of the whole server: upstream's --max-requests-inflight and --max-mutating-requests-inflight together."""
QUEUE_TIMEOUT = 15.0
RETRY_AFTER = "1"
_MOST = 8192
_LASTING = frozenset({"exec", "attach", "portforward", "proxy", "log"})
_SCHEMAS, _LEVELS = f"flowschemas.{GROUP}", f"prioritylevelconfigurations.{GROUP}"


class Reader(Protocol):
    def read_all(self, api_version: str, kind: str, namespace: str) -> list[Obj]: ...


_WAIT = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)


@dataclass(slots=True)
class Flow:
    """What is counted of a schema at a level. `rejected` is by reason."""

    executing: int = 0
    waiting: int = 0
    dispatched: int = 0
    rejected: dict[str, int] = field(default_factory=dict)


class Way(NamedTuple):
    """Where a request goes: its level, its flow, and the headers that its answer says so with."""

    level: Level
    flow: str
    headers: Mapping[str, str]
    counted: Flow


class FlowControl:
    """Of one server. `seats` are shared out to the levels by their shares."""

    def __init__(self, reader: Reader, store: Store, seats: int = SEATS) -> None:
        self._reader, self._seats = reader, seats
        self._levels: dict[str, Level] = {}
        self._schemas: list[Obj] | None = None
        self._uids: dict[str, str] = {}
        self._known: dict[tuple[object, ...], Way] = {}
        self.flows: dict[tuple[str, str], Flow] = {}
        """By flow schema and priority level."""
        self.waited = Histogram(
            "apiserver_flowcontrol_request_wait_duration_seconds",
            "[BETA] Length of time a request spent waiting in its queue",
            _WAIT,
            ("execute", "flow_schema", "priority_level"),
        )
        for collection in (_SCHEMAS, _LEVELS):
            store.subscribe(collection, self.forget)

    def forget(self, *_: object) -> None:
        """Schemas or levels changed."""
        self._schemas = None
        self._known.clear()

    def way(self, request: Request) -> Way | None:
        """The way of a request; None where it is not counted."""
        info, user = request.info, request.user
        if info.subresource in _LASTING:
            return None
        path = "" if info.resource else info.path
        key = (user.name, user.groups, info.verb, info.group, info.resource, info.subresource, info.namespace, path)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            found = self._known[key] = self._classify(request, info)
        return found

    async def wait(self, way: Way) -> None:
        """Wait for a seat of the level; raises Rejected."""
        begun, schema = time.perf_counter(), way.flow.partition("/")[0]
        way.counted.waiting += 1
        try:
            await way.level.wait(way.flow, QUEUE_TIMEOUT)
        except BaseException as error:
            if isinstance(error, Rejected):
                reason = error.args[0]
                way.counted.rejected[reason] = way.counted.rejected.get(reason, 0) + 1
            self.waited.observe(time.perf_counter() - begun, "false", schema, way.level.name)
            raise
        finally:
            way.counted.waiting -= 1
        self.waited.observe(time.perf_counter() - begun, "true", schema, way.level.name)

    @property
    def levels(self) -> Mapping[str, Level]:
        """By name, as configured now."""
        self._load()
        return self._levels

    def _classify(self, request: Request, info: RequestInfo) -> Way:
        schemas = self._load()
        schema = next((one for one in schemas if matches(one, request.user, info)), schemas[-1])
        name = meta.get(schema, "spec", "priorityLevelConfiguration", "name", default="")
        level = self._levels.get(name)
        if level is None:
            # a schema that dangles catches nothing of its own
            schema, level = schemas[-1], self._levels["catch-all"]
        headers = {
            "X-Kubernetes-Pf-Flowschema-Uid": meta.uid(schema),
            "X-Kubernetes-Pf-Prioritylevel-Uid": self._uids.get(level.name, ""),
        }
        flow = f"{meta.name(schema)}/{flow_of(schema, request.user, info)}"
        counted = self.flows.setdefault((meta.name(schema), level.name), Flow())
        return Way(level, flow, {key: value for key, value in headers.items() if value}, counted)

    def _load(self) -> list[Obj]:
        if self._schemas is None:
            levels, schemas = self._read("PriorityLevelConfiguration"), self._read("FlowSchema")
            self._configure(levels)
            self._schemas = ordered(schemas)
        return self._schemas

    def _read(self, kind: str) -> list[Obj]:
        """The stored objects, and of the mandatory ones those that are missing."""
        stored = self._reader.read_all(VERSION, kind, "")
        names = {meta.name(obj) for obj in stored}
        return [*stored, *(obj for obj in mandatory() if obj["kind"] == kind and meta.name(obj) not in names)]

    def _configure(self, objects: list[Obj]) -> None:
        self._uids = {meta.name(obj): meta.uid(obj) for obj in objects}
        total = sum(_shares(obj) for obj in objects) or 1
        for obj in objects:
            name, limits = meta.name(obj), _limits(obj, self._seats, total)
            known = self._levels.get(name)
            if known is None:
                self._levels[name] = Level(name, limits)
            else:
                known.limits = limits
        for gone in self._levels.keys() - self._uids.keys():
            del self._levels[gone]


def _shares(obj: Obj) -> int:
    spec = obj.get("spec") or {}
    return int((spec.get("limited") or {}).get("nominalConcurrencyShares", 30)) if spec.get("type") == "Limited" else 0


def _limits(obj: Obj, seats: int, total: int) -> Limits | None:
    """PURE. The seats of a level are its share of the server's, rounded up."""
    spec = obj.get("spec") or {}
    if spec.get("type") != "Limited":
        return None
    own = math.ceil(seats * _shares(obj) / total)
    response = (spec.get("limited") or {}).get("limitResponse") or {}
    if response.get("type") != "Queue":
        return Limits(own)
    queuing = response.get("queuing") or {}
    return Limits(
        own, int(queuing.get("queues", 64)), int(queuing.get("handSize", 8)), int(queuing.get("queueLengthLimit", 50))
    )


def rejection() -> Response:
    """The answer to a request without a seat, as upstream's tooManyRequests."""
    body = b"Too many requests, please try again later.\n"
    headers = {"Retry-After": RETRY_AFTER, "X-Content-Type-Options": "nosniff"}
    return Response(429, body, "text/plain; charset=utf-8", headers)


__all__ = ["FlowControl", "Rejected", "Way", "rejection"]
