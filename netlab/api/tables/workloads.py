"""Controllers of pods: Deployment, ReplicaSet, ReplicationController, DaemonSet, StatefulSet, Job, CronJob and kin."""

from __future__ import annotations

from typing import Any

from netlab.api import meta
from netlab.api.tables import human
from netlab.api.tables.human import number, text
from netlab.api.tables.model import AGE, CONTAINERS, IMAGES, NAME, SELECTOR, Column, Printer, boolean, integer, string
from netlab.api.types import Obj


def _selector(obj: Obj) -> str:
    return human.format_selector(meta.get(obj, "spec", "selector"))


def _deployment(obj: Obj, now: float) -> list[Any]:
    return [
        meta.name(obj),
        f"{number(obj, 'status', 'readyReplicas')}/{number(obj, 'spec', 'replicas')}",
        number(obj, "status", "updatedReplicas"),
        number(obj, "status", "availableReplicas"),
        human.age(obj, now),
        *human.template_containers(obj),
        human.selector_query(meta.get(obj, "spec", "selector")),
    ]


DEPLOYMENT = Printer(
    (
        NAME,
        string("Ready", "Number of the pod with ready state"),
        string("Up-to-date", "Pods that have the desired template."),
        string("Available", "Pods ready for at least minReadySeconds."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
    _deployment,
)


def _replica_counts(obj: Obj, now: float) -> list[Any]:
    return [
        meta.name(obj),
        number(obj, "spec", "replicas"),
        number(obj, "status", "replicas"),
        number(obj, "status", "readyReplicas"),
        human.age(obj, now),
        *human.template_containers(obj),
    ]


_REPLICA_COLUMNS = (
    NAME,
    integer("Desired", "Replicas asked for."),
    integer("Current", "Replicas that exist."),
    integer("Ready", "Replicas that are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
)
REPLICA_SET = Printer(_REPLICA_COLUMNS, lambda obj, now: [*_replica_counts(obj, now), _selector(obj)])
REPLICATION_CONTROLLER = Printer(
    _REPLICA_COLUMNS,
    lambda obj, now: [*_replica_counts(obj, now), human.format_labels(meta.get(obj, "spec", "selector"))],
)


def _daemon_set(obj: Obj, now: float) -> list[Any]:
    return [
        meta.name(obj),
        number(obj, "status", "desiredNumberScheduled"),
        number(obj, "status", "currentNumberScheduled"),
        number(obj, "status", "numberReady"),
        number(obj, "status", "updatedNumberScheduled"),
        number(obj, "status", "numberAvailable"),
        human.format_labels(meta.get(obj, "spec", "template", "spec", "nodeSelector")),
        human.age(obj, now),
        *human.template_containers(obj),
        _selector(obj),
    ]


DAEMON_SET = Printer(
    (
        NAME,
        integer("Desired", "Nodes that should run it."),
        integer("Current", "Nodes that run it and should."),
        integer("Ready", "Nodes on which it is ready."),
        integer("Up-to-date", "Nodes that run the current template."),
        integer("Available", "Nodes on which it is available."),
        string("Node Selector", "Labels that a node must have."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
    _daemon_set,
)


def _stateful_set(obj: Obj, now: float) -> list[Any]:
    ready = f"{number(obj, 'status', 'readyReplicas')}/{number(obj, 'spec', 'replicas')}"
    return [meta.name(obj), ready, human.age(obj, now), *human.template_containers(obj)]


STATEFUL_SET = Printer(
    (NAME, string("Ready", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES), _stateful_set
)

_JOB_STATES = (("Complete", "Complete"), ("Failed", "Failed"))
_JOB_LATER_STATES = (("Suspended", "Suspended"), ("FailureTarget", "FailureTarget"))


def _job_status(obj: Obj) -> str:
    for condition, shown in _JOB_STATES:
        if meta.condition_true(obj, condition):
            return shown
    if meta.deleting(obj):
        return "Terminating"
    return next((shown for kind, shown in _JOB_LATER_STATES if meta.condition_true(obj, kind)), "Running")


def _completions(obj: Obj) -> str:
    succeeded = number(obj, "status", "succeeded")
    wanted = meta.get(obj, "spec", "completions")
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    parallelism = number(obj, "spec", "parallelism")
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _job(obj: Obj, now: float) -> list[Any]:
    started, completed = text(obj, "status", "startTime"), text(obj, "status", "completionTime")
    took = ""
    if started:
        took = human.between(started, completed) if completed else human.since(started, now)
    return [
        meta.name(obj),
        _job_status(obj),
        _completions(obj),
        took,
        human.age(obj, now),
        *human.template_containers(obj),
        _selector(obj),
    ]


JOB = Printer(
    (
        NAME,
        string("Status", "Status of the job."),
        string("Completions", "Pods that succeeded, of how many."),
        string("Duration", "Time required to complete the job."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
    _job,
)


def _cron_job(obj: Obj, now: float) -> list[Any]:
    suspend = meta.get(obj, "spec", "suspend")
    last = text(obj, "status", "lastScheduleTime")
    job = meta.get(obj, "spec", "jobTemplate", "spec", default={})
    return [
        meta.name(obj),
        text(obj, "spec", "schedule"),
        text(obj, "spec", "timeZone", default=human.NONE),
        human.UNSET if suspend is None else str(bool(suspend)),
        len(meta.get(obj, "status", "active", default=[])),
        human.since(last, now) if last else human.NONE,
        human.age(obj, now),
        *human.containers(meta.get(job, "template", "spec")),
        human.format_selector(job["selector"]) if job.get("selector") else human.NONE,
    ]


CRON_JOB = Printer(
    (
        NAME,
        string("Schedule", "The schedule in Cron format."),
        string("Timezone", "The time zone of the schedule."),
        boolean("Suspend", "Whether later runs are suspended."),
        integer("Active", "Jobs running now."),
        string("Last Schedule", "When a job was last scheduled."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
    _cron_job,
)


def _pod_template(obj: Obj, now: float) -> list[Any]:
    names_and_images = human.containers(meta.get(obj, "template", "spec"))
    return [meta.name(obj), *names_and_images, human.format_labels(meta.get(obj, "template", "metadata", "labels"))]


POD_TEMPLATE = Printer(
    (
        NAME,
        string("Containers", "Names of each container in the template."),
        string("Images", "Images referenced by each container in the template."),
        Column("Pod Labels", description="The labels for the pod template."),
    ),
    _pod_template,
)


def _controller_revision(obj: Obj, now: float) -> list[Any]:
    owner = meta.controller_of(obj)
    shown = human.NONE
    if owner is not None:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = f"{owner.get('kind', '')}.{group}" if group else owner.get("kind", "")
        shown = f"{kind.lower()}/{owner.get('name', '')}"
    return [meta.name(obj), shown, obj.get("revision", 0), human.age(obj, now)]


CONTROLLER_REVISION = Printer(
    (NAME, string("Controller", "Controller of the object"), string("Revision", "The state's revision."), AGE),
    _controller_revision,
)


def _hpa_current(source: Obj | None, *keys: str, suffix: str = "") -> str:
    for key in keys:
        value = meta.get(source, "current", key)
        if value is not None:
            return f"{value}{suffix}"
    return human.UNKNOWN


def _hpa_metric(spec: Obj, status: Obj | None) -> str:
    kind = spec.get("type", "")
    field = kind[:1].lower() + kind[1:]
    source = spec.get(field)
    if not isinstance(source, dict):
        return "<unknown type>"
    now = (status or {}).get(field)
    target = source.get("target") or {}
    name = f"{source.get('name', '')}: " if field in ("resource", "containerResource") else ""
    if target.get("averageValue") is not None:
        average = " (avg)" if field in ("external", "object") else ""
        return f"{name}{_hpa_current(now, 'averageValue')}/{target['averageValue']}{average}"
    if name:
        wanted = target.get("averageUtilization")
        shown = "<auto>" if wanted is None else f"{wanted}%"
        return f"{name}{_hpa_current(now, 'averageUtilization', suffix='%')}/{shown}"
    return f"{_hpa_current(now, 'value', 'averageValue')}/{target.get('value', '0')}"


def _hpa_targets(obj: Obj) -> str:
    if "targetCPUUtilizationPercentage" in (obj.get("spec") or {}):  # autoscaling/v1
        current = meta.get(obj, "status", "currentCPUUtilizationPercentage")
        shown = human.UNKNOWN if current is None else f"{current}%"
        return f"cpu: {shown}/{obj['spec']['targetCPUUtilizationPercentage']}%"
    specs = meta.get(obj, "spec", "metrics", default=[])
    statuses = meta.get(obj, "status", "currentMetrics", default=[])
    if not specs:
        return human.NONE
    listed = [_hpa_metric(spec, statuses[i] if i < len(statuses) else None) for i, spec in enumerate(specs)]
    shown = ", ".join(listed[:2])
    return f"{shown} + {len(listed) - 2} more..." if len(listed) > 2 else shown


def _hpa(obj: Obj, now: float) -> list[Any]:
    target = meta.get(obj, "spec", "scaleTargetRef", default={})
    minimum = meta.get(obj, "spec", "minReplicas")
    return [
        meta.name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _hpa_targets(obj),
        human.UNSET if minimum is None else str(minimum),
        number(obj, "spec", "maxReplicas"),
        number(obj, "status", "currentReplicas"),
        human.age(obj, now),
    ]


HPA = Printer(
    (
        NAME,
        string("Reference", "What is scaled."),
        string("Targets", "Current and wanted metrics."),
        string("MinPods", "The lower limit of replicas."),
        string("MaxPods", "The upper limit of replicas."),
        string("Replicas", "Current replicas."),
        AGE,
    ),
    _hpa,
)


def _pdb(obj: Obj, now: float) -> list[Any]:
    return [
        meta.name(obj),
        str(meta.get(obj, "spec", "minAvailable", default="N/A")),
        str(meta.get(obj, "spec", "maxUnavailable", default="N/A")),
        number(obj, "status", "disruptionsAllowed"),
        human.age(obj, now),
    ]


PDB = Printer(
    (
        NAME,
        string("Min Available", "The minimum number of pods that must be available."),
        string("Max Unavailable", "The maximum number of pods that may be unavailable."),
        integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
        AGE,
    ),
    _pdb,
)


def _scale(obj: Obj, now: float) -> list[Any]:
    return [meta.name(obj), number(obj, "spec", "replicas"), number(obj, "status", "replicas"), human.age(obj, now)]


SCALE = Printer((NAME, integer("Desired"), integer("Available"), AGE), _scale)
