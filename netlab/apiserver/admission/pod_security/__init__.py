"""PodSecurity: namespaces say by labels what their pods may do: enforced, or told in a warning.

Source followed: k8s.io/pod-security-admission/admission. Every version is judged by the latest rules; there is no audit
log, so `audit` does nothing.
"""

import re

from netlab.api import errors, meta
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader
from netlab.apiserver.admission.pod_security.checks import LEVELS, violations

PREFIX = "pod-security.kubernetes.io/"
_MODES = ("enforce", "audit", "warn")
_VERSION = re.compile(r"latest|v1\.(0|[1-9]\d*)")
_TEMPLATED = frozenset(
    {
        "replicationcontrollers",
        "podtemplates",
        "replicasets.apps",
        "deployments.apps",
        "statefulsets.apps",
        "daemonsets.apps",
        "jobs.batch",
        "cronjobs.batch",
    }
)


def policy(labels: Obj, mode: str) -> tuple[str, str]:
    """PURE. (level, `level:version`) of a mode; a level that is none counts as restricted, as upstream."""
    level = labels.get(PREFIX + mode)
    version = labels.get(f"{PREFIX}{mode}-version", "latest")
    if level is None:
        return "privileged", "privileged:latest"
    known = level if level in LEVELS else "restricted"
    return known, f"{known}:{version if _VERSION.fullmatch(version) else 'latest'}"


def _validate(reader: Reader, attributes: Attributes) -> None:
    resource, obj = attributes.resource.group_resource, attributes.obj
    if obj is None or attributes.operation not in ("CREATE", "UPDATE"):
        return
    if resource == "namespaces" and not attributes.subresource:
        _namespace(reader, attributes, obj)
    elif resource == "pods" and attributes.subresource in ("", "ephemeralcontainers"):
        if attributes.old is None or attributes.old.get("spec") != obj.get("spec"):
            _judge(reader, attributes, obj.get("spec") or {}, enforced=True)
    elif resource in _TEMPLATED and not attributes.subresource:
        _judge(reader, attributes, _template(obj), enforced=False)


def _template(obj: Obj) -> Obj:
    if obj.get("kind") == "CronJob":
        found = meta.get(obj, "spec", "jobTemplate", "spec", "template", "spec", default={})
    elif obj.get("kind") == "PodTemplate":
        found = meta.get(obj, "template", "spec", default={})
    else:
        found = meta.get(obj, "spec", "template", "spec", default={})
    return found or {}


def _judge(reader: Reader, attributes: Attributes, spec: Obj, *, enforced: bool) -> None:
    namespace = reader.read("v1", "Namespace", "", attributes.namespace)
    labels = meta.labels(namespace) if namespace is not None else {}
    if not any(key.startswith(PREFIX) for key in labels):
        return
    if enforced:
        level, shown = policy(labels, "enforce")
        found = violations(spec, level)
        if found:
            why = f'violates PodSecurity "{shown}": {found}'
            raise errors.forbidden(attributes.resource, attributes.shown_name, why)
    level, shown = policy(labels, "warn")
    found = violations(spec, level)
    if found:
        attributes.warnings.append(f'would violate PodSecurity "{shown}": {found}')


def _namespace(reader: Reader, attributes: Attributes, namespace: Obj) -> None:
    labels = meta.labels(namespace)
    old = meta.labels(attributes.old) if attributes.old is not None else {}
    causes = [cause for mode in _MODES for cause in _bad_labels(labels, mode)]
    if causes and (attributes.old is None or not any(_bad_labels(old, mode) for mode in _MODES)):
        raise errors.invalid("Namespace", meta.name(namespace), causes)
    level, shown = policy(labels, "enforce")
    if attributes.old is None or level == "privileged" or policy(old, "enforce") == (level, shown):
        return
    told: dict[str, list[str]] = {}
    for pod in reader.read_all("v1", "Pod", meta.name(namespace)):
        found = violations(pod.get("spec") or {}, level)
        if found:
            reasons = re.sub(r" \([^()]*(?:\([^()]*\)[^()]*)*\)", "", found)
            told.setdefault(reasons, []).append(meta.name(pod))
    if told:
        where = errors.quote(meta.name(namespace))
        attributes.warnings.append(
            f'existing pods in namespace {where} violate the new PodSecurity enforce level "{shown}"'
        )
    for reasons, pods in sorted(told.items(), key=lambda row: min(row[1])):
        first, others = min(pods), len(pods) - 1
        more = f" (and {others} other pod{'s' if others > 1 else ''})" if others else ""
        attributes.warnings.append(f"{first}{more}: {reasons}")


def _bad_labels(labels: Obj, mode: str) -> list[Obj]:
    found = []
    level, version = labels.get(PREFIX + mode), labels.get(f"{PREFIX}{mode}-version")
    if level is not None and level not in LEVELS:
        message = f"Invalid value: {errors.quote(level)}: must be one of {', '.join(LEVELS)}"
        found.append(errors.cause("FieldValueInvalid", f"metadata.labels[{PREFIX}{mode}]", message))
    if version is not None and not _VERSION.fullmatch(version):
        message = f'Invalid value: {errors.quote(version)}: must be "latest" or "v1.x"'
        found.append(errors.cause("FieldValueInvalid", f"metadata.labels[{PREFIX}{mode}-version]", message))
    return found


PLUGIN = Plugin("PodSecurity", validate=_validate)
