"""Pods and the kinds that make them from a template. PURE.

Source followed: the strategies of these kinds; upstream `pkg/api/job/warnings.go`.
"""

from __future__ import annotations

from collections.abc import Callable

from netlab.api import meta
from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.warnings.pods import of_pod, of_template

_IN_NAMES = "this is used in Pod names and hostnames"
_IN_HOSTNAME = "this is used in the Pod's hostname"
_TOO_MANY_INDEXES = (
    "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
    "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
)
_ZONE_IN_SCHEDULE = (
    "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, "
    "see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)
Template = Callable[[Obj], list[str]]


def _name(obj: Obj, why: str) -> list[str]:
    messages = names.dns_label(meta.name(obj))
    if not messages:
        return []
    text = " ".join(messages)
    return [f"metadata.name: {why}, which can result in surprising behavior; a DNS label is recommended: [{text}]"]


def _pod(obj: Obj) -> list[str]:
    return _name(obj, _IN_HOSTNAME) + of_pod(obj)


def _spec_template(obj: Obj) -> list[str]:
    return of_template(meta.get(obj, "spec", "template", default=None) or {}, "spec.template")


def _own_template(obj: Obj) -> list[str]:
    return of_template(obj.get("template") or {}, "template")


def _stateful_set(obj: Obj) -> list[str]:
    return _spec_template(obj) + _history(obj)


def _history(obj: Obj) -> list[str]:
    negative = (obj["spec"].get("revisionHistoryLimit") or 0) < 0
    return ["a negative value for .spec.revisionHistoryLimit is not supported"] if negative else []


def _job(obj: Obj) -> list[str]:
    return _job_spec(obj["spec"], "spec")


def _cron_job(obj: Obj) -> list[str]:
    return _job_spec(obj["spec"]["jobTemplate"].get("spec") or {}, "spec.jobTemplate.spec")


def _job_spec(spec: Obj, path: str) -> list[str]:
    many = (spec.get("completions") or 0) > 100_000 and (spec.get("parallelism") or 0) > 10_000
    found = [f"{path}: {_TOO_MANY_INDEXES}"] if many and spec.get("completionMode") == "Indexed" else []
    return found + of_template(spec.get("template") or {}, f"{path}.template")


def _named(of: Template) -> Template:
    return lambda obj: _name(obj, _IN_NAMES) + of(obj)


def _where_new(of: Template) -> Callable[[Obj, Obj], list[str]]:
    """People change what the generation counts; the controllers' own writes are not told again."""
    return lambda new, old: of(new) if meta.generation(new) != meta.generation(old) else []


def _changed_set(new: Obj, old: Obj) -> list[str]:
    return _where_new(_spec_template)(new, old) + _history(new)


def _changed_cron_job(new: Obj, old: Obj) -> list[str]:
    zone = [_ZONE_IN_SCHEDULE] if "TZ" in str(new["spec"].get("schedule")) else []
    return _where_new(_cron_job)(new, old) + zone


CREATED: dict[str, Template] = {
    "Pod": _pod,
    "PodTemplate": _own_template,
    "ReplicationController": _named(_spec_template),
    "ReplicaSet": _named(_spec_template),
    "Deployment": _named(_spec_template),
    "DaemonSet": _spec_template,
    "StatefulSet": _stateful_set,
    "Job": _named(_job),
    "CronJob": _named(_cron_job),
}
CHANGED: dict[str, Callable[[Obj, Obj], list[str]]] = {
    "Pod": lambda new, old: [],
    "PodTemplate": _where_new(_own_template),
    "ReplicationController": _where_new(_spec_template),
    "ReplicaSet": _where_new(_spec_template),
    "Deployment": _where_new(_spec_template),
    "DaemonSet": _where_new(_spec_template),
    "StatefulSet": _changed_set,
    "Job": _where_new(_job),
    "CronJob": _changed_cron_job,
}
