"""PURE. Readings of a kubelet's /metrics/resource, and what lies between two of them (metrics-server pkg/storage)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)(?: (\d+))?$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

PodKey = tuple[str, str]
"""(namespace, name)"""


@dataclass(slots=True)
class Reading:
    """`cpu` is seconds used so far, `memory` bytes of the working set, both at `stamp` (seconds since the epoch)."""

    stamp: float
    cpu: float | None = None
    memory: int | None = None

    @property
    def whole(self) -> bool:
        return self.cpu is not None and self.memory is not None


@dataclass(slots=True)
class Batch:
    """One scrape of one node: the node's own reading, and one for each container of each pod."""

    node: Reading
    pods: dict[PodKey, dict[str, Reading]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Between two readings: nanocores on average over `window` seconds up to `stamp`, and bytes at the end of it."""

    stamp: float
    window: float
    nano_cores: int
    memory: int


def parse(text: str, now: float) -> Batch:
    """What a kubelet says, read at `now`; a line's own time wins. What is not known is passed over."""
    batch = Batch(Reading(now))
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or match[1] not in _WANTED:
            continue
        about, value = _WANTED[match[1]], float(match[3])
        if about[0] == "node":
            reading = batch.node
        else:
            labels = dict(_LABEL.findall(match[2] or ""))
            pod = batch.pods.setdefault((labels.get("namespace", ""), labels.get("pod", "")), {})
            reading = pod.setdefault(labels.get("container", ""), Reading(now))
        if about[1] == "cpu":
            reading.cpu = value
            reading.stamp = int(match[4]) / 1000 if match[4] else now
        else:
            reading.memory = int(value)
    return batch


_WANTED = {
    "node_cpu_usage_seconds_total": ("node", "cpu"),
    "node_memory_working_set_bytes": ("node", "memory"),
    "container_cpu_usage_seconds_total": ("container", "cpu"),
    "container_memory_working_set_bytes": ("container", "memory"),
}


def between(before: Reading | None, after: Reading) -> Usage | None:
    """None where there are no two readings of the same life: a restart begins to count anew."""
    if before is None or before.cpu is None or after.cpu is None or after.memory is None:
        return None
    window = after.stamp - before.stamp
    if window <= 0 or after.cpu < before.cpu:
        return None
    return Usage(after.stamp, window, int((after.cpu - before.cpu) / window * 1e9), after.memory)


class Store:
    """The last two batches of every node."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[Batch | None, Batch]] = {}

    def put(self, node: str, batch: Batch) -> None:
        known = self._nodes.get(node)
        self._nodes[node] = (known[1] if known is not None else None, batch)

    def keep(self, nodes: set[str]) -> None:
        """Forget all other nodes."""
        self._nodes = {name: pair for name, pair in self._nodes.items() if name in nodes}

    @property
    def ready(self) -> bool:
        """Two batches of a node are there."""
        return any(before is not None for before, _ in self._nodes.values())

    def node(self, name: str) -> Usage | None:
        pair = self._nodes.get(name)
        return between(pair[0].node, pair[1].node) if pair is not None and pair[0] is not None else None

    def pod(self, node: str, key: PodKey) -> dict[str, Usage] | None:
        """Container → usage; None unless all of the pod's containers have one."""
        pair = self._nodes.get(node)
        if pair is None or pair[0] is None or key not in pair[1].pods:
            return None
        before = pair[0].pods.get(key, {})
        found: dict[str, Usage] = {}
        for name, reading in pair[1].pods[key].items():
            usage = between(before.get(name), reading)
            if usage is None:
                return None
            found[name] = usage
        return found or None
