"""What the controllers count of themselves: upstream's stable metrics of kube-controller-manager."""

from __future__ import annotations

from netlab.api.measuring import Counter, Histogram, Measure

_SYNC = tuple(0.004 * 2**power for power in range(15))


class Measured:
    """Of one process."""

    def __init__(self) -> None:
        self.skew = Histogram(
            "cronjob_controller_job_creation_skew_duration_seconds",
            "[STABLE] Time between when a cronjob is scheduled to be run, and when the corresponding job is created",
            tuple(float(2**power) for power in range(10)),
        )
        job = ("action", "completion_mode", "result")
        self.job_sync = Histogram(
            "job_controller_job_sync_duration_seconds", "[STABLE] The time it took to sync a job", _SYNC, job
        )
        self.job_syncs = Counter("job_controller_job_syncs", "[STABLE] The number of job syncs", job)
        self.jobs_finished = Counter(
            "job_controller_jobs_finished",
            "[STABLE] The number of finished jobs",
            ("completion_mode", "reason", "result"),
        )
        self.job_pods_finished = Counter(
            "job_controller_job_pods_finished",
            "[STABLE] The number of finished Pods that are fully tracked",
            ("completion_mode", "result"),
        )
        self.evictions = Counter(
            "node_collector_evictions",
            "[STABLE] Number of Node evictions that happened since current instance of NodeController started.",
            ("zone",),
        )

    def all(self) -> list[Measure]:
        return list(vars(self).values())
