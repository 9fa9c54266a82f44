"""/metrics and /metrics/probes of a kubelet, under upstream's names (pkg/kubelet/metrics, pkg/kubelet/prober)."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping

from netlab.api.measuring import Counter, Gauge, Labels, Measure
from netlab.node.kubelet.worker import PodWorker

Workers = Mapping[str, PodWorker]


def own(node: str, workers: Workers) -> list[Measure]:
    """/metrics: how many pods and containers there are."""
    states: Tally[str] = Tally()
    for worker in workers.values():
        for container in worker.state.containers.values():
            states["running" if container.running else "exited" if container.exit is not None else "created"] += 1
    name = Gauge("kubelet_node_name", "[ALPHA] The node's name. The count is always 1.", ("node",))
    name.set(1.0, node)
    pods = Gauge("kubelet_running_pods", "[ALPHA] Number of pods that have a running pod sandbox")
    pods.set(float(sum(worker.state.any_running for worker in workers.values())))
    desired = Gauge("kubelet_desired_pods", "[ALPHA] The number of pods the kubelet is being instructed to run.")
    desired.set(float(len(workers)))
    containers = Gauge(
        "kubelet_running_containers", "[ALPHA] Number of containers currently running", ("container_state",)
    )
    for state, count in states.items():
        containers.set(float(count), state)
    return [name, pods, desired, containers]


def probes(workers: Workers) -> list[Measure]:
    """/metrics/probes: attempts by container, kind and result."""
    found: dict[Labels, float] = {}
    for worker in workers.values():
        meta = worker.pod["metadata"]
        for (container, kind, result), count in worker.prober.counts.items():
            labels = (container, meta["namespace"], meta["name"], worker.uid, kind, result)
            found[labels] = found.get(labels, 0.0) + count
    labels = ("container", "namespace", "pod", "pod_uid", "probe_type", "result")
    text = "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result."
    return [Counter("prober_probe", text, labels, lambda: list(found.items()))]
