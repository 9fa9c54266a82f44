"""/stats/summary and /metrics/resource: what metrics pipelines ask of a kubelet (upstream stats/v1alpha1)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from netlab.api.types import Obj
from netlab.node.kubelet.clock import rfc3339
from netlab.node.kubelet.ports import NodeContext
from netlab.node.kubelet.worker import PodWorker
from netlab.runtime.contract import ContainerStats


class Usage:
    """Turns growing CPU seconds into a rate: remembers the last reading of each container."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}

    def nano_cores(self, stats: ContainerStats, now: float) -> int:
        before = self._last.get(stats.container_id)
        self._last[stats.container_id] = (now, stats.cpu_seconds)
        if before is None or now <= before[0]:
            return 0
        return max(0, int((stats.cpu_seconds - before[1]) / (now - before[0]) * 1e9))


class NodeCpu:
    """CPU seconds that a node's containers have used: a counter, which must not fall when one of them goes."""

    def __init__(self) -> None:
        self._total = 0.0
        self._last: dict[str, float] = {}

    def count(self, found: Iterable[ContainerStats]) -> float:
        """The sum so far, with these readings of all containers that run."""
        now = {stats.container_id: stats.cpu_seconds for stats in found}
        self._total += sum(max(0.0, seconds - self._last.get(name, 0.0)) for name, seconds in now.items())
        self._last = now
        return self._total


def _cpu(stamp: str, nano_cores: int, seconds: float) -> Obj:
    return {"time": stamp, "usageNanoCores": nano_cores, "usageCoreNanoSeconds": int(seconds * 1e9)}


def _memory(stamp: str, used: int) -> Obj:
    return {"time": stamp, "usageBytes": used, "workingSetBytes": used, "rssBytes": used}


async def summary(context: NodeContext, workers: Mapping[str, PodWorker], usage: Usage, counter: NodeCpu) -> Obj:
    """The Summary object."""
    now = time.time()
    stamp = rfc3339(now)
    found = {stats.container_id: stats for stats in await context.runtime.stats(context.name)}
    pods, node_memory, node_rate = [], 0, 0
    for worker in workers.values():
        containers, pod_cpu, pod_memory, pod_rate = [], 0.0, 0, 0
        for container in worker.state.containers.values():
            stats = found.get(container.id)
            if stats is None or not container.running:
                continue
            rate = usage.nano_cores(stats, now)
            containers.append(
                {
                    "name": container.name,
                    "startTime": rfc3339(container.started_at),
                    "cpu": _cpu(stamp, rate, stats.cpu_seconds),
                    "memory": _memory(stamp, stats.memory_bytes),
                }
            )
            pod_cpu, pod_memory, pod_rate = (
                pod_cpu + stats.cpu_seconds,
                pod_memory + stats.memory_bytes,
                pod_rate + rate,
            )
        meta = worker.pod["metadata"]
        pods.append(
            {
                "podRef": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
                "startTime": rfc3339(worker.state.start_time),
                "containers": containers,
                "cpu": _cpu(stamp, pod_rate, pod_cpu),
                "memory": _memory(stamp, pod_memory),
            }
        )
        node_memory, node_rate = node_memory + pod_memory, node_rate + pod_rate
    node = {
        "nodeName": context.name,
        "startTime": stamp,
        "cpu": _cpu(stamp, node_rate, counter.count(found.values())),
        "memory": _memory(stamp, node_memory),
    }
    return {"node": node, "pods": pods}


async def resource_metrics(context: NodeContext, workers: Mapping[str, PodWorker], counter: NodeCpu) -> str:
    """/metrics/resource in Prometheus' text format. Read every few seconds: nothing more is made than it says."""
    found = {stats.container_id: stats for stats in await context.runtime.stats(context.name)}
    cpu, memory, starts, pod_cpu, pod_memory, node_memory = [], [], [], [], [], 0
    for worker in workers.values():
        meta, seconds, used = worker.pod["metadata"], 0.0, 0
        for container in worker.state.containers.values():
            stats = found.get(container.id)
            if stats is None or not container.running:
                continue
            labels = f'container="{container.name}",namespace="{meta["namespace"]}",pod="{meta["name"]}"'
            cpu.append(f"container_cpu_usage_seconds_total{{{labels}}} {_seconds(stats.cpu_seconds)}")
            memory.append(f"container_memory_working_set_bytes{{{labels}}} {stats.memory_bytes}")
            starts.append(f"container_start_time_seconds{{{labels}}} {container.started_at:.3f}")
            seconds, used = seconds + stats.cpu_seconds, used + stats.memory_bytes
        labels = f'namespace="{meta["namespace"]}",pod="{meta["name"]}"'
        pod_cpu.append(f"pod_cpu_usage_seconds_total{{{labels}}} {_seconds(seconds)}")
        pod_memory.append(f"pod_memory_working_set_bytes{{{labels}}} {used}")
        node_memory += used
    lines = [
        "# TYPE container_cpu_usage_seconds_total counter",
        *cpu,
        "# TYPE container_memory_working_set_bytes gauge",
        *memory,
        "# TYPE container_start_time_seconds gauge",
        *starts,
        "# TYPE pod_cpu_usage_seconds_total counter",
        *pod_cpu,
        "# TYPE pod_memory_working_set_bytes gauge",
        *pod_memory,
        "# TYPE node_cpu_usage_seconds_total counter",
        f"node_cpu_usage_seconds_total {_seconds(counter.count(found.values()))}",
        "# TYPE node_memory_working_set_bytes gauge",
        f"node_memory_working_set_bytes {node_memory}",
        "# TYPE scrape_error gauge",
        "scrape_error 0",
        "# TYPE resource_scrape_error gauge",
        "resource_scrape_error 0",
    ]
    return "\n".join(lines) + "\n"


def _seconds(seconds: float) -> float:
    """To the nanosecond, as the Summary counts."""
    return int(seconds * 1e9) / 1e9
