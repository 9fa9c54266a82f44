"""Defaults of apps/v1 and batch/v1. Source followed: `pkg/apis/{apps,batch}/v1/defaults.go`."""

from __future__ import annotations

from netlab.api.defaults import pod
from netlab.api.defaults.core import persistent_volume_claim
from netlab.api.types import Obj

_MAX_INT32 = 2**31 - 1


def deployment(obj: Obj) -> None:
    """`SetDefaults_Deployment`."""
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    strategy = spec["strategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    pod.template(spec["template"])


def replica_set(obj: Obj) -> None:
    """`SetDefaults_ReplicaSet`."""
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    pod.template(spec["template"])


def daemon_set(obj: Obj) -> None:
    """`SetDefaults_DaemonSet`."""
    spec = obj["spec"]
    strategy = spec["updateStrategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    pod.template(spec["template"])


def stateful_set(obj: Obj) -> None:
    """`SetDefaults_StatefulSet`."""
    spec = obj["spec"]
    if not spec.get("podManagementPolicy"):
        spec["podManagementPolicy"] = "OrderedReady"
    strategy = spec["updateStrategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
        strategy["rollingUpdate"].setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    for key in ("whenDeleted", "whenScaled"):
        if not retention.get(key):
            retention[key] = "Retain"
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    for claim in spec.get("volumeClaimTemplates") or ():
        persistent_volume_claim(claim)
        claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
    pod.template(spec["template"])


def job(obj: Obj) -> None:
    """`SetDefaults_Job`."""
    spec = obj["spec"]
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    if "backoffLimit" not in spec:
        spec["backoffLimit"] = _MAX_INT32 if "backoffLimitPerIndex" in spec else 6
    labels = spec["template"]["metadata"].get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = labels  # the same map on purpose: what the strategy adds shows in both, as upstream
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    failure = spec.get("podFailurePolicy")
    if "podReplacementPolicy" not in spec:
        spec["podReplacementPolicy"] = "TerminatingOrFailed" if failure is None else "Failed"
    for rule in (failure or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"
    pod.template(spec["template"])


def cron_job(obj: Obj) -> None:
    """`SetDefaults_CronJob`; the job inside gets only its pod's defaults."""
    spec = obj["spec"]
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    pod.template(spec["jobTemplate"]["spec"]["template"])


DEFAULTS = {
    "apps/v1.Deployment": deployment,
    "apps/v1.ReplicaSet": replica_set,
    "apps/v1.DaemonSet": daemon_set,
    "apps/v1.StatefulSet": stateful_set,
    "batch/v1.Job": job,
    "batch/v1.CronJob": cron_job,
}
