"""What clients of the API count of themselves, under client-go's names: work queues, and who leads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netlab.api.measuring import Counter, Gauge, Histogram, Measure, Reading
from netlab.client.workqueue import SECONDS, WorkQueue

_NAME = ("name",)


def queues(found: Sequence[WorkQueue]) -> list[Measure]:
    """The workqueue_* metrics of these queues."""

    def each(value: Callable[[WorkQueue], float]) -> Callable[[], Reading]:
        return lambda: [((one.name,), value(one)) for one in found if one.name]

    waited = Histogram(
        "workqueue_queue_duration_seconds",
        "[ALPHA] How long in seconds an item stays in workqueue before being requested.",
        SECONDS,
        _NAME,
    )
    worked = Histogram(
        "workqueue_work_duration_seconds",
        "[ALPHA] How long in seconds processing an item from workqueue takes.",
        SECONDS,
        _NAME,
    )
    for one in found:
        if one.name:
            waited.series[one.name,], worked.series[one.name,] = one.waited, one.worked
    running = (
        "[ALPHA] How many seconds of work has done that is in progress and hasn't been observed by work_duration. "
    )
    return [
        waited,
        worked,
        Counter("workqueue_adds", "[ALPHA] Total number of adds handled by workqueue", _NAME, each(lambda q: q.adds)),
        Counter(
            "workqueue_retries",
            "[ALPHA] Total number of retries handled by workqueue",
            _NAME,
            each(lambda q: q.retried),
        ),
        Gauge("workqueue_depth", "[ALPHA] Current depth of workqueue", _NAME, each(len)),
        Gauge(
            "workqueue_unfinished_work_seconds",
            f"{running}Large values indicate stuck threads.",
            _NAME,
            each(lambda q: sum(q.unfinished())),
        ),
        Gauge(
            "workqueue_longest_running_processor_seconds",
            "[ALPHA] How many seconds has the longest running processor for workqueue been running.",
            _NAME,
            each(lambda q: max(q.unfinished(), default=0.0)),
        ),
    ]


def leading(name: str) -> Gauge:
    """leader_election_master_status of a component that works only while it leads."""
    gauge = Gauge(
        "leader_election_master_status",
        "[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates "
        "master. 'name' is the string used to identify the lease. Please make sure to group by name.",
        _NAME,
    )
    gauge.set(0.0, name)
    return gauge
