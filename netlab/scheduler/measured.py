"""What the scheduler counts of itself: upstream's stable metrics of kube-scheduler, and its beta ones.

Source followed: pkg/scheduler/metrics; pkg/scheduler/metrics/resources for /metrics/resources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction

from netlab.api import pod_resources
from netlab.api.measuring import Counter, Gauge, Histogram, Labels, Measure
from netlab.api.types import Obj

_FINISHED = ("Succeeded", "Failed")


class Measured:
    """Of one scheduler."""

    def __init__(self, profile: str) -> None:
        self.profile = profile
        self.points = Histogram(
            "scheduler_framework_extension_point_duration_seconds",
            "[STABLE] Latency for running all plugins of a specific extension point.",
            tuple(0.0001 * 2**power for power in range(12)),
            ("extension_point", "profile", "status"),
        )
        self.tries = Histogram(
            "scheduler_pod_scheduling_attempts",
            "[STABLE] Number of attempts to successfully schedule a pod.",
            (1, 2, 4, 8, 16),
        )
        self.preemptions = Counter(
            "scheduler_preemption_attempts", "[STABLE] Total preemption attempts in the cluster till now"
        )
        self.victims = Histogram(
            "scheduler_preemption_victims",
            "[STABLE] Number of selected preemption victims",
            (1, 2, 4, 8, 16, 32, 64),
        )
        self.incoming = Counter(
            "scheduler_queue_incoming_pods",
            "[STABLE] Number of pods added to scheduling queues by event and queue type.",
            ("event", "queue"),
        )
        self.attempts = Counter(
            "scheduler_schedule_attempts",
            "[STABLE] Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be "
            "scheduled, while 'error' means an internal scheduler problem.",
            ("profile", "result"),
        )
        self.duration = Histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            tuple(0.001 * 2**power for power in range(15)),
            ("profile", "result"),
        )
        self.sli = Histogram(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "[BETA] E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might "
            "involve multiple scheduling attempts.",
            tuple(0.01 * 2**power for power in range(20)),
            ("attempts",),
        )

    def attempted(self, result: str, seconds: float) -> None:
        """`result` is scheduled, unschedulable or error."""
        self.attempts.add(self.profile, result)
        self.duration.observe(seconds, self.profile, result)

    def all(self, pending: dict[str, int]) -> list[Measure]:
        """With the present lengths of the queues: active, backoff, unschedulable, gated."""
        queued = Gauge(
            "scheduler_pending_pods",
            "[STABLE] Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' "
            "means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the "
            "scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the "
            "scheduler never attempted to schedule because they are gated.",
            ("queue",),
            lambda: [((name,), float(count)) for name, count in pending.items()],
        )
        return [queued, *(one for one in vars(self).values() if not isinstance(one, str))]


def resources(pods: Iterable[Obj]) -> list[Measure]:
    """/metrics/resources: what the pods that have not ended ask for and may use at most."""
    found = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in _FINISHED]
    labels = ("namespace", "pod", "node", "scheduler", "priority", "resource", "unit")
    text = "[STABLE] Resources {} on the cluster, broken down by pod. This shows the resource usage the scheduler and "
    text += "kubelet expect per pod for resources along with the unit for the resource if any."
    return [
        Gauge(
            "kube_pod_resource_request",
            text.format("requested by workloads"),
            labels,
            lambda: list(_rows(found, pod_resources.requests)),
        ),
        Gauge(
            "kube_pod_resource_limit",
            text.format("limit for workloads"),
            labels,
            lambda: list(_rows(found, pod_resources.limits)),
        ),
    ]


def _rows(pods: Iterable[Obj], amounts: Callable[[Obj], Mapping[str, Fraction]]) -> Iterator[tuple[Labels, float]]:
    for pod in pods:
        spec, metadata = pod.get("spec") or {}, pod["metadata"]
        who = (metadata.get("namespace", ""), metadata["name"], spec.get("nodeName", ""), spec.get("schedulerName", ""))
        priority = "" if spec.get("priority") is None else str(spec["priority"])
        for name, amount in amounts(pod).items():
            if amount:
                yield (*who, priority, name, _unit(name)), float(amount)


def _unit(resource: str) -> str:
    if resource == "cpu":
        return "cores"
    return "bytes" if resource in _BYTES or resource.startswith("hugepages-") else "integer"


_BYTES = frozenset({"memory", "storage", "ephemeral-storage"})
