"""Rules of jobs and cron jobs. Source followed: `pkg/apis/batch/validation/validation.go`."""

from __future__ import annotations

import re
from functools import lru_cache

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, invalid, not_supported, required, too_long
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.job_policies import failure_policy, success_policy
from netlab.api.validation.meta import (
    IMMUTABLE,
    domain_prefixed_path,
    label_selector,
    metadata,
    metadata_update,
    nonnegative,
)
from netlab.api.validation.pod_spec import pod_template
from netlab.api.validation.workloads import go_selector

_CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
_OLD_CONTROLLER_UID = "controller-uid"
_JOB_NAME = "batch.kubernetes.io/job-name"
_OLD_JOB_NAME = "job-name"
_MAX_INDEXED, _MAX_OF_MANY = 100_000, 10_000
_MAX_MANAGED_BY = 63
_MAX_CRON_NAME = 52


def job_create(job: Obj) -> list[FieldError]:
    """`ValidateJob`."""
    found = metadata(job, True)
    found += _generated_selector(job)
    found += _job_spec(job["spec"], "spec")
    spec = job["spec"]
    if spec.get("completionMode") == "Indexed" and spec.get("completions"):
        longest = f"{job['metadata'].get('name', '')}-{spec['completions'] - 1}"
        for _message in names.dns_label(longest):
            detail = f"will not able to create pod with invalid DNS label: {longest}"
            found.append(invalid("metadata.name", job["metadata"].get("name", ""), detail))
            break
    return found


def _generated_selector(job: Obj) -> list[FieldError]:
    """`ValidateGeneratedSelector`: unless manual, selector and labels are the server's own."""
    spec = job["spec"]
    if spec.get("manualSelector"):
        return []
    uid, name = job["metadata"].get("uid", ""), job["metadata"].get("name", "")
    if not uid:
        return [required("metadata.uid")]
    selector = spec.get("selector")
    if selector is None:
        return []
    found: list[FieldError] = []
    labels = spec["template"]["metadata"].get("labels") or {}
    for key, wanted in (
        (_OLD_CONTROLLER_UID, uid),
        (_OLD_JOB_NAME, name),
        (_CONTROLLER_UID, uid),
        (_JOB_NAME, name),
    ):
        given = labels.get(key)
        field = f"spec.template.metadata.labels[{key}]" if "/" in key else f"spec.template.metadata.labels.{key}"
        if given is None:
            found.append(required(field, f"must be '{wanted}'"))
        elif given != wanted:
            shown = GoSyntax(
                f"map[string]string{{{', '.join(f'{quote(k)}:{quote(labels[k])}' for k in sorted(labels))}}}"
            )
            found.append(invalid(field, shown, f"must be '{wanted}'"))
    if (selector.get("matchLabels") or {}).get(_CONTROLLER_UID) != uid:
        found.append(invalid("spec.selector", go_selector(selector), "`selector` not auto-generated"))
    return found


def _job_spec(spec: Obj, field: str) -> list[FieldError]:
    """`ValidateJobSpec`."""
    found = _job_fields(spec, field)
    selector = spec.get("selector")
    if selector is None:
        found.append(required(f"{field}.selector"))
    else:
        found += label_selector(selector, f"{field}.selector")
        wanted = selector.get("matchLabels") or {}
        given = spec["template"]["metadata"].get("labels") or {}
        if any(given.get(key) != value for key, value in wanted.items()):
            shown = GoSyntax(
                f"map[string]string{{{', '.join(f'{quote(k)}:{quote(given[k])}' for k in sorted(given))}}}"
            )
            detail = "`selector` does not match template `labels`"
            found.append(invalid(f"{field}.template.metadata.labels", shown, detail))
    return found


def _job_fields(spec: Obj, field: str) -> list[FieldError]:
    """`validateJobSpec`."""
    found: list[FieldError] = []
    for key in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        if key in spec:
            found += nonnegative(spec[key], f"{field}.{key}")
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        found.append(required(f"{field}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if "managedBy" in spec:
        found += domain_prefixed_path(spec["managedBy"], f"{field}.managedBy")
        if len(spec["managedBy"].encode()) > _MAX_MANAGED_BY:
            found.append(too_long(f"{field}.managedBy", _MAX_MANAGED_BY))
    found += _completion_mode(spec, field)
    found += failure_policy(spec, f"{field}.podFailurePolicy") + success_policy(spec, f"{field}.successPolicy")
    replacement = spec.get("podReplacementPolicy")
    if replacement is not None:
        if spec.get("podFailurePolicy") is not None:
            if replacement != "Failed":
                found.append(not_supported(f"{field}.podReplacementPolicy", replacement, ("Failed",)))
        elif replacement not in ("TerminatingOrFailed", "Failed"):
            allowed = ("Failed", "TerminatingOrFailed")
            found.append(not_supported(f"{field}.podReplacementPolicy", replacement, allowed))
    found += pod_template(spec["template"], f"{field}.template")
    policy = spec["template"]["spec"].get("restartPolicy", "")
    here = f"{field}.template.spec.restartPolicy"
    if policy not in ("OnFailure", "Never"):
        if policy == "Always":
            detail = 'valid values: "OnFailure", "Never"'
            found.append(FieldError(required(here).type, here, "", detail))
        else:
            found.append(not_supported(here, policy, ("OnFailure", "Never")))
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        found.append(invalid(here, policy, detail))
    return found


def _completion_mode(spec: Obj, field: str) -> list[FieldError]:
    mode, found = spec.get("completionMode"), list[FieldError]()
    if mode not in (None, "NonIndexed", "Indexed"):
        return [not_supported(f"{field}.completionMode", mode, ("NonIndexed", "Indexed"))]
    if mode == "Indexed":
        return _indexed(spec, field)
    detail = "requires indexed completion mode"
    keys = [key for key in ("backoffLimitPerIndex", "maxFailedIndexes") if key in spec]
    return found + [invalid(f"{field}.{key}", spec[key], detail) for key in keys]


def _indexed(spec: Obj, field: str) -> list[FieldError]:
    completions, parallelism, failures = (spec.get(key) for key in ("completions", "parallelism", "maxFailedIndexes"))
    found: list[FieldError] = []
    if completions is None:
        found.append(required(f"{field}.completions", "when completion mode is Indexed"))
    if parallelism is not None and parallelism > _MAX_INDEXED:
        detail = f"must be less than or equal to {_MAX_INDEXED} when completion mode is Indexed"
        found.append(invalid(f"{field}.parallelism", parallelism, detail))
    if completions is not None and failures is not None and failures > completions:
        found.append(invalid(f"{field}.maxFailedIndexes", failures, "must be less than or equal to completions"))
    if failures is not None and failures > _MAX_INDEXED:
        detail = f"must be less than or equal to {_MAX_INDEXED}"
        found.append(invalid(f"{field}.maxFailedIndexes", failures, detail))
    if completions is None or completions <= _MAX_INDEXED or "backoffLimitPerIndex" not in spec:
        return found
    if failures is None:
        detail = f"must be specified when completions is above {_MAX_INDEXED}"
        found.append(required(f"{field}.maxFailedIndexes", detail))
    when = f"when completions are above {_MAX_INDEXED} and used with backoff limit per index"
    for key, value in (("parallelism", parallelism), ("maxFailedIndexes", failures)):
        if value is not None and value > _MAX_OF_MANY:
            found.append(invalid(f"{field}.{key}", value, f"must be less than or equal to {_MAX_OF_MANY} {when}"))
    return found


def job_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateJobUpdate`: selector, template, completion mode and completions stay."""
    found = metadata_update(new, old) + _job_spec(new["spec"], "spec")
    after, before = new["spec"], old["spec"]
    if after.get("completions") != before.get("completions"):
        same = after.get("completions") == after.get("parallelism")
        if after.get("completionMode") != "Indexed" or not same:
            found.append(invalid("spec.completions", after.get("completions"), IMMUTABLE))
    if after.get("selector") != before.get("selector"):
        found.append(invalid("spec.selector", go_selector(after.get("selector") or {}), IMMUTABLE))
    if _template_fixed(after["template"], old) != _template_fixed(before["template"], old):
        found.append(invalid("spec.template", GoSyntax("core.PodTemplateSpec{…}"), IMMUTABLE))
    for key in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex"):
        if after.get(key) != before.get(key):
            found.append(invalid(f"spec.{key}", after.get(key), IMMUTABLE))
    return found


def _template_fixed(template: Obj, old: Obj) -> Obj:
    """The template without what may change while the job is suspended and has not started."""
    if not old["spec"].get("suspend") or old["status"].get("startTime"):
        return template
    spec = {key: value for key, value in template["spec"].items() if key not in _WHERE_TO_RUN}
    metadata = {key: value for key, value in template["metadata"].items() if key not in ("labels", "annotations")}
    return {"metadata": metadata, "spec": spec}


_WHERE_TO_RUN = ("nodeSelector", "affinity", "tolerations", "schedulingGates")


def _job_status_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    for key in ("active", "succeeded", "failed"):
        found += nonnegative(new["status"].get(key, 0), f"status.{key}")
    return found


# -- cron jobs ---------------------------------------------------------------------------------------------------------


def cron_create(obj: Obj) -> list[FieldError]:
    """`ValidateCronJobCreate`."""
    found = metadata(obj, True) + _cron_spec(obj["spec"])
    name = obj["metadata"].get("name", "")
    if len(name) > _MAX_CRON_NAME:
        found.append(invalid("metadata.name", name, "must be no more than 52 characters"))
    return found


def _cron_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _cron_spec(new["spec"])


def _cron_spec(spec: Obj) -> list[FieldError]:
    schedule, zone = spec.get("schedule", ""), spec.get("timeZone")
    found: list[FieldError] = []
    if not schedule:
        found.append(required("spec.schedule"))
    else:
        wrong = _schedule_error(schedule)
        if wrong:
            found.append(invalid("spec.schedule", schedule, wrong))
        if "TZ" in schedule:
            detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            found.append(invalid("spec.schedule", schedule, detail))
    if "startingDeadlineSeconds" in spec:
        found += nonnegative(spec["startingDeadlineSeconds"], "spec.startingDeadlineSeconds")
    if zone is not None and not _is_time_zone(zone):
        found.append(invalid("spec.timeZone", zone, f"unknown time zone {zone}"))
    policy = spec.get("concurrencyPolicy", "")
    if not policy:
        found.append(required("spec.concurrencyPolicy"))
    elif policy not in ("Allow", "Forbid", "Replace"):
        found.append(not_supported("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace")))
    found += _job_fields(spec["jobTemplate"]["spec"], "spec.jobTemplate.spec")
    if spec["jobTemplate"]["spec"].get("manualSelector") is True:
        found.append(not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
    for key in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        if key in spec:
            found += nonnegative(spec[key], f"spec.{key}")
    return found


def _is_time_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return bool(name) and name != "Local"


_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


@lru_cache(maxsize=256)
def _schedule_error(schedule: str) -> str:
    """What robfig/cron v3's standard parser says against a schedule, "" where nothing."""
    text = re.sub(r"^(TZ|CRON_TZ)=\S*\s*", "", schedule)
    if text.startswith("@"):
        if text in _DESCRIPTORS or re.fullmatch(r"@every ([\d.]+(ns|us|µs|ms|s|m|h))+", text):
            return ""
        return f"unrecognized descriptor: {text}"
    fields = text.split()
    if len(fields) != 5:
        return f"expected exactly 5 fields, found {len(fields)}: {fields if fields else '[]'}".replace("'", "").replace(
            ",", ""
        )
    for position, (given, (low, high)) in enumerate(zip(fields, _RANGES, strict=True)):
        for part in given.split(","):
            wrong = _part_error(part, low, high, _MONTHS if position == 3 else _DAYS if position == 4 else [])
            if wrong:
                return wrong
    return ""


def _part_error(part: str, low: int, high: int, words: list[str]) -> str:
    body, *step = part.split("/")
    ends = body.split("-")
    if len(step) > 1:
        return f"too many slashes: {part}"
    if len(ends) > 2:
        return f"too many hyphens: {part}"
    numbers: list[int] = []
    for end in [] if body in ("*", "?") else ends:
        if end.lower() in words:
            numbers.append(words.index(end.lower()) + low)
        elif re.fullmatch(r"[+]?\d+", end):
            numbers.append(int(end))
        else:
            return f"failed to parse int from {end}: strconv.Atoi: parsing {quote(end)}: invalid syntax"
    if step and not step[0].isdigit():
        return f"failed to parse int from {step[0]}: strconv.Atoi: parsing {quote(step[0])}: invalid syntax"
    first, last = (numbers[0], numbers[-1]) if numbers else (low, high)
    if first < low:
        return f"beginning of range ({first}) below minimum ({low}): {part}"
    if last > high:
        return f"end of range ({last}) above maximum ({high}): {part}"
    if first > last:
        return f"beginning of range ({first}) beyond end of range ({last}): {part}"
    return f"step of range should be a positive number: {part}" if step and int(step[0]) == 0 else ""


RULES = {
    "Job": Rules(job_create, job_update, _job_status_update),
    "CronJob": Rules(cron_create, _cron_update, metadata_update),
}
