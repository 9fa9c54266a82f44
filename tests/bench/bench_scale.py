"""1,000 pods on 20 nodes, from `kubectl apply` to all Running and Ready, and what they cost.

`python -m tests.bench.bench_scale [PODS] [NODES]`: Deployments one after the other on one lab, without and with a
readiness probe, and behind a Service; the time line comes from a watch on pods, processor time from /proc by part of
the lab, API calls from the API server's own metrics, memory as proportional set size by difference (the lab's shared
pages are counted once). It fails when pods do not come up, do not all go again, or leave something behind.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netlab.client.client import Client
from netlab.client.kubeconfig import load
from netlab.client.transport import HttpTransport
from tests.bench.labs import BenchLab, busy_machine, lab, median
from tests.bench.peers import table

PODS, NODES = 1000, 20
READY_TARGET = 15.0
NODE_TARGET, POD_TARGET = 5.0, 4.0
PATIENCE = 300.0
MILESTONES = ("created", "scheduled", "running", "ready")


def topology(nodes: int, pods: int) -> str:
    """One control-plane node and `nodes` workers on a switch, with room for the pods."""
    lines = ["name: scale", "cluster: {nodePrefix: 23}" if pods // nodes > 200 else "cluster: {}"]
    lines += [f"defaults: {{node: {{capacity: {{cpu: '64', memory: 64Gi, pods: {max(110, 2 * pods // nodes)}}}}}}}"]
    lines += ["nodes:", "  master: {role: control-plane}", f"  node1..{nodes}:", "switches:", "  lan:", "links:"]
    lines += ["  - ends: [master, lan]", f"  - ends: [node1..{nodes}, lan]"]
    return "\n".join(lines) + "\n"


def deployment(name: str, replicas: int, *, probe: bool) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "web",
        "image": "registry.k8s.io/e2e-test-images/agnhost:2.47",
        "args": ["netexec", "--http-port=8080"],
        "ports": [{"containerPort": 8080}],
    }
    if probe:
        container["readinessProbe"] = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    }


def service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


@dataclass
class Timeline:
    """When each pod reached each milestone, in seconds since the apply; `events` that the watch gave."""

    reached: dict[str, dict[str, float]] = field(default_factory=lambda: {name: {} for name in MILESTONES})
    gone: set[str] = field(default_factory=set)
    events: int = 0

    def note(self, kind: str, pod: dict[str, Any], now: float) -> None:
        name = pod["metadata"]["name"]
        self.events += 1
        status = pod.get("status", {})
        conditions = {entry["type"]: entry["status"] for entry in status.get("conditions", ())}
        held = {
            "created": True,
            "scheduled": bool(pod["spec"].get("nodeName")),
            "running": status.get("phase") == "Running",
            "ready": conditions.get("Ready") == "True",
        }
        for milestone, true in held.items():
            if true:
                self.reached[milestone].setdefault(name, now)
        if kind == "DELETED":
            self.gone.add(name)

    def rows(self) -> list[list[object]]:
        """Milestone, first, median, last, pods per second between the first and the last."""
        rows: list[list[object]] = []
        for name in MILESTONES:
            times = sorted(self.reached[name].values())
            span = max(times[-1] - times[0], 1e-3)
            rows.append([name, times[0], median(times), times[-1], len(times) / span])
        return rows


async def _watch(bench: BenchLab, app: str, timeline: Timeline, done: Callable[[], bool], start: float) -> None:
    """Follow the pods of an application until `done`."""
    url, context, token = load(bench.kubeconfig)
    client = Client(HttpTransport(url, context, token))
    try:
        listed = await client.list(("v1", "pods"), "default", label_selector=f"app={app}")
        version = listed["metadata"]["resourceVersion"]
        stream = client.watch(("v1", "pods"), "default", label_selector=f"app={app}", resource_version=version)
        async for kind, pod in stream:
            if kind != "BOOKMARK":
                timeline.note(kind, pod, time.monotonic() - start)
            if done():
                return
    finally:
        await client.close()


async def _apply(
    bench: BenchLab, app: str, count: int, *, probe: bool = False, exposed: bool = False
) -> tuple[Timeline, float]:
    """Apply and wait; the time line and the seconds until the last pod was Ready."""
    timeline = Timeline()
    manifests = [deployment(app, count, probe=probe)]
    if exposed:
        manifests.insert(0, service(app))
    text = "\n---\n".join(json.dumps(manifest) for manifest in manifests)
    start = time.monotonic()
    ready = timeline.reached["ready"]
    watch = asyncio.ensure_future(_watch(bench, app, timeline, lambda: len(ready) >= count, start))
    await asyncio.to_thread(bench.kubectl, "apply", "-f", "-", stdin=text)
    try:
        await asyncio.wait_for(watch, PATIENCE)
    except TimeoutError:
        reached = {name: len(times) for name, times in timeline.reached.items()}
        raise RuntimeError(f"{count} pods were not all ready after {PATIENCE:.0f} s: {reached}") from None
    return timeline, time.monotonic() - start


async def _delete(bench: BenchLab, app: str, count: int) -> float:
    """Delete the Deployment; seconds until the last pod object had gone."""
    timeline = Timeline()
    start = time.monotonic()
    watch = asyncio.ensure_future(_watch(bench, app, timeline, lambda: len(timeline.gone) >= count, start))
    await asyncio.sleep(0.3)  # the watch must have its list before the first pod goes
    await asyncio.to_thread(bench.kubectl, "delete", "deployment,service", "--all", "--wait=false")
    try:
        await asyncio.wait_for(watch, PATIENCE)
    except TimeoutError:
        raise RuntimeError(f"{count - len(timeline.gone)} of {count} pods are still there") from None
    return time.monotonic() - start


def api_calls(bench: BenchLab) -> dict[str, float]:
    """`verb resource[/subresource]` → calls so far, from /metrics."""
    calls: dict[str, float] = {}
    for line in bench.kubectl("get", "--raw", "/metrics").splitlines():
        if line.startswith("apiserver_request_total{"):
            labels, _, value = line.removeprefix("apiserver_request_total{").rpartition("} ")
            named = dict(part.split("=", 1) for part in labels.replace('"', "").split(",") if "=" in part)
            name = "/".join(filter(None, (named.get("resource"), named.get("subresource"))))
            key = f"{named.get('verb')} {name}"
            calls[key] = calls.get(key, 0.0) + float(value)
    return calls


def inside(bench: BenchLab) -> dict[str, int]:
    """What a lab holds: processes, network namespaces of pods, veth pairs."""
    names = Path(f"/proc/{bench.init_pid}/root/run/netns")
    nodes = [entry for entry in names.iterdir() if not entry.name.startswith("cni-")]
    veths = 0
    for node in nodes:
        links = bench.klab("exec", node.name, "--", "ip", "-o", "link", "show", "type", "veth")
        veths += len(links.splitlines())
    pods = sum(1 for entry in names.iterdir() if entry.name.startswith("cni-"))
    return {"processes": len(bench.processes()), "pod namespaces": pods, "veths": veths}


@dataclass
class Cost:
    """The difference between two moments: processor seconds by part, API calls, what others on the machine used."""

    cpu: dict[str, float]
    calls: dict[str, float]
    others: float


class Meter:
    """Begin, work, `end`."""

    def __init__(self, bench: BenchLab) -> None:
        self.bench = bench
        self.calls = api_calls(bench)
        self.cpu = bench.cpu()
        self.machine = busy_machine()

    def end(self) -> Cost:
        busy, total = busy_machine()
        cpu = _difference(self.bench.cpu(), self.cpu)
        calls = _difference(api_calls(self.bench), self.calls)
        others = (busy - self.machine[0] - sum(cpu.values())) / (total - self.machine[1])
        return Cost(cpu, calls, max(0.0, others))


def _difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def _report(title: str, timeline: Timeline, seconds: float, cost: Cost, count: int) -> None:
    head = [title, "first", "median", "last", "pods/s"]
    table(f"{title}: seconds since `kubectl apply`", head, timeline.rows())
    busiest = sorted(cost.cpu.items(), key=lambda item: -item[1])
    rows: list[list[object]] = [[name, used, used / count * 1000] for name, used in busiest if used >= 0.05]
    rows.append(["the whole lab", sum(cost.cpu.values()), sum(cost.cpu.values()) / count * 1000])
    table(f"{title}: processor time by part", ["part", "CPU s", "ms per pod"], rows)
    busy = sorted(cost.calls.items(), key=lambda item: -item[1])
    calls: list[list[object]] = [[name, number, number / count] for name, number in busy if number >= count / 50]
    calls.append(["all", sum(cost.calls.values()), sum(cost.calls.values()) / count])
    table(f"{title}: API calls", ["call", "number", "per pod"], calls)
    print(f"watch events per pod: {timeline.events / count:.1f}; other work on this machine: {cost.others:.0%}")
    print(f"{title}: {seconds:.1f} s to all {count} Ready (target {READY_TARGET:g})")


def _settle(bench: BenchLab, want: dict[str, int]) -> dict[str, int]:
    """What the lab holds once its pods are gone, waiting for the kernel's and the agents' tidying up."""
    deadline = time.monotonic() + 20
    while (left := inside(bench)) != want and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def _one_row(
    bench: BenchLab, title: str, app: str, count: int, *, probe: bool = False, exposed: bool = False
) -> list[object]:
    """One Deployment up and gone again: its row of the summary. RuntimeError when something stays behind."""
    empty = inside(bench)
    before = sum(bench.memory().values())
    meter = Meter(bench)
    timeline, seconds = asyncio.run(_apply(bench, app, count, probe=probe, exposed=exposed))
    _report(title, timeline, seconds, meter.end(), count)
    time.sleep(2.0)
    memory = (sum(bench.memory().values()) - before) / count
    meter = Meter(bench)
    time.sleep(10.0)
    idle = sum(meter.end().cpu.values()) / 10
    meter = Meter(bench)
    deleted = asyncio.run(_delete(bench, app, count))
    cost = sum(meter.end().cpu.values())
    left = _settle(bench, empty)
    if left != empty:
        raise RuntimeError(f"{title}: {empty} before, {left} after the pods were deleted")
    return [title, seconds, memory, idle, deleted, cost]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else PODS
    nodes = int(sys.argv[2]) if len(sys.argv) > 2 else NODES
    with lab("scale-small", "course") as bench:
        time.sleep(1.0)
        small = bench.memory()
    with tempfile.TemporaryDirectory(prefix="netlab-bench-") as directory:
        file = Path(directory) / "scale.yaml"
        file.write_text(topology(nodes, count))
        with lab("scale", str(file)) as bench:
            time.sleep(1.0)
            large = bench.memory()
            rows = [
                _one_row(bench, "without a probe", "plain", count),
                _one_row(bench, "with a readiness probe", "probed", count, probe=True),
                _one_row(bench, "with a probe and a Service", "exposed", count, probe=True, exposed=True),
            ]
            asyncio.run(_apply(bench, "last", count))
            ended = bench.down()
    head = ["", "s to all Ready", "MB per pod", "idle CPUs", "s to delete", "CPU s to delete"]
    table(f"{count} pods on {nodes} nodes (targets: {READY_TARGET:g} s, {POD_TARGET:g} MB a pod)", head, rows)
    parts = [[part, small.get(part, 0.0), size] for part, size in sorted(large.items(), key=lambda item: -item[1])]
    table(
        "Memory of an empty lab, MB (proportional set size)", ["part", "course, 3 nodes", f"{nodes + 1} nodes"], parts
    )
    each = (sum(large.values()) - sum(small.values())) / (nodes + 1 - 3)
    print(f"per node, by difference: {each:.2f} MB (target {NODE_TARGET:g})")
    print(f"klab down with {count} pods running: {ended:.1f} s")


if __name__ == "__main__":
    main()
