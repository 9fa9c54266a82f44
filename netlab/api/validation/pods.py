"""Rules of pods: create, update, status, ephemeral containers. Source followed:
`pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

import copy

from netlab.api.types import Obj
from netlab.api.validation import addresses, containers, names, scheduling, security
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, duplicate, forbidden, invalid, not_supported, required
from netlab.api.validation.godiff import diff
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import each, metadata, metadata_update, unchanged
from netlab.api.validation.pod_spec import pod_annotations, pod_template
from netlab.api.validation.seen import spec_of_pod

_MIRROR = "kubernetes.io/config.mirror"
_MAX_INT32 = 2**31 - 1
_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)


def create(pod: Obj) -> list[FieldError]:
    """`ValidatePodCreate`."""
    found = _metadata_and_spec(pod)
    spec = pod["spec"]
    if spec.get("ephemeralContainers"):
        found.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        found.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return found + security.annotations_match(pod["metadata"].get("annotations") or {}, spec, "spec")


def _metadata_and_spec(pod: Obj) -> list[FieldError]:
    meta, spec = pod["metadata"], pod["spec"]
    found = metadata(pod, True)
    found += pod_annotations(meta.get("annotations") or {}, spec, "metadata.annotations")
    found += spec_of_pod(spec, meta.get("name", ""))
    if not spec.get("serviceAccountName"):
        for index, volume in enumerate(spec.get("volumes") or ()):
            for at, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
                if "serviceAccountToken" in source:
                    here = f"spec.volumes[{index}].projected.sources[{at}].serviceAccountToken"
                    found.append(forbidden(here, "must not be specified when serviceAccountName is not set"))
    for key in ("containers", "initContainers"):
        for index, one in enumerate(spec.get(key) or ()):
            found += containers.image_only_for_pod(one, f"spec.{key}[{index}]")
    return found


# -- update ------------------------------------------------------------------------------------------------------------


def update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidatePodUpdate`: images, deadlines, tolerations and gates may change, nothing else."""
    found = metadata_update(new, old) + _metadata_and_spec(new) + _annotation_updates(new, old)
    after, before = new["spec"], old["spec"]
    for key in ("containers", "initContainers"):
        wrong, stop = _container_updates(after.get(key) or [], before.get(key) or [], f"spec.{key}")
        found += wrong
        if stop:
            return found
    wrong, stop = _deadline(after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    found += wrong
    if stop:
        return found
    found += _only_added_tolerations(after.get("tolerations") or [], before.get("tolerations") or [])
    found += _only_deleted_gates(after.get("schedulingGates") or [], before.get("schedulingGates") or [])
    if after == before:
        return found
    masked = _masked(after, before)
    if before.get("schedulingGates"):
        found += _gated(masked, before)
    if masked != before:
        detail = f"pod updates may not change fields other than {_UPDATABLE}\n{diff(before, masked)}"
        found.append(forbidden("spec", detail))
    return found


def _masked(after: Obj, before: Obj) -> Obj:
    """The new spec with what may change set back."""
    masked = copy.copy(after)
    for key in ("containers", "initContainers"):
        if key in after:
            olds = before.get(key) or []
            masked[key] = [{**one, "image": was.get("image")} for one, was in zip(after[key], olds, strict=True)]
    for key in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        masked.pop(key, None)
        if key in before:
            masked[key] = before[key]
    grace = "terminationGracePeriodSeconds"
    if before.get(grace, 0) < 0 and after.get(grace) == 1:
        masked[grace] = before[grace]
    return masked


def _gated(masked: Obj, before: Obj) -> list[FieldError]:
    """A gated pod may still narrow where it can go; changes `masked`."""
    found: list[FieldError] = []
    new, old = masked.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if any(new.get(key) != value for key, value in old.items()):
        detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        found.append(invalid("spec.nodeSelector", new, detail))
    masked.pop("nodeSelector", None)
    if old:
        masked["nodeSelector"] = old
    had = before.get("affinity") or {}
    rest = {key: value for key, value in (masked.get("affinity") or {}).items() if key != "nodeAffinity"}
    if "nodeAffinity" in had:
        rest["nodeAffinity"] = had["nodeAffinity"]
    masked.pop("affinity", None)
    if rest or "affinity" in before:
        masked["affinity"] = rest
    return found


def _container_updates(new: list[Obj], old: list[Obj], field: str) -> tuple[list[FieldError], bool]:
    if len(new) != len(old):
        return [forbidden(field, "pod updates may not add or remove containers")], True
    found: list[FieldError] = []
    for index, one in enumerate(new):
        if not one.get("image"):
            found.append(required(f"{field}[{index}].image"))
        found += containers.image_only_for_pod(one, f"{field}[{index}]")
    return found, False


def _deadline(new: int | None, old: int | None) -> tuple[list[FieldError], bool]:
    field = "spec.activeDeadlineSeconds"
    if new is None:
        detail = "must not update from a positive integer to nil value"
        return ([invalid(field, None, detail)] if old is not None else []), False
    if not 0 <= new <= _MAX_INT32:
        return [invalid(field, new, names.range_error(0, _MAX_INT32))], True
    if old is not None and old < new:
        return [invalid(field, new, "must be less than or equal to previous value")], True
    return [], False


def _only_added_tolerations(new: list[Obj], old: list[Obj]) -> list[FieldError]:
    def bare(one: Obj) -> Obj:
        return {key: value for key, value in one.items() if key != "tolerationSeconds"}

    present = [bare(one) for one in new]
    if any(bare(one) not in present for one in old):
        return [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]
    return scheduling.tolerations(new, "spec.tolerations")


def _only_deleted_gates(new: list[Obj], old: list[Obj]) -> list[FieldError]:
    known = {one.get("name") for one in old}
    return [
        forbidden(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{one.get('name')}'",
        )
        for index, one in enumerate(new)
        if one.get("name") not in known
    ]


def _annotation_updates(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidatePodSpecificAnnotationUpdates`."""
    after, before = new["metadata"].get("annotations") or {}, old["metadata"].get("annotations") or {}
    found: list[FieldError] = []
    for verb, keys in (
        ("remove or update", [key for key in before if after.get(key) != before[key]]),
        ("add", [key for key in after if key not in before]),
    ):
        for key in keys:
            what = "AppArmor annotations" if key.startswith(security.APPARMOR_CONTAINER) else ""
            what = what or ("mirror pod annotation" if key == _MIRROR else "")
            if what:
                found.append(forbidden(f"metadata.annotations[{key}]", f"may not {verb} {what}"))
    return found + pod_annotations(after, new["spec"], "metadata.annotations")


# -- status ------------------------------------------------------------------------------------------------------------


def status_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidatePodStatusUpdate`."""
    after, before = new["status"], old["status"]
    found = metadata_update(new, old) + _annotation_updates(new, old)
    for index, condition in enumerate(after.get("conditions") or ()):
        kind = condition.get("type", "")
        if kind not in ("PodScheduled", "Ready", "Initialized"):
            found += each(f"metadata.conditions[{index}].Type", kind, names.qualified_name(kind))
    if new["spec"].get("nodeName", "") != old["spec"].get("nodeName", ""):
        found.append(forbidden("status.nodeName", "may not be changed directly"))
    nominated = after.get("nominatedNodeName", "")
    if nominated and nominated != before.get("nominatedNodeName", ""):
        found += each("status.nominatedNodeName", nominated, names.dns_subdomain(nominated))
    found += unchanged(after.get("qosClass", ""), before.get("qosClass", ""), "status.qosClass")
    found += _transitions(after, before, old["spec"])
    return found + _status_addresses(after)


def _transitions(after: Obj, before: Obj, spec: Obj) -> list[FieldError]:
    """A container that ended and is not to be started again stays ended."""
    policy = spec.get("restartPolicy", "")
    sidecars = {one.get("name") for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    found: list[FieldError] = []
    for key, rule in (
        ("containerStatuses", policy),
        ("initContainerStatuses", policy),
        ("ephemeralContainerStatuses", "Never"),
    ):
        if rule == "Always":
            continue
        for index, was in enumerate(before.get(key) or ()):
            ended = (was.get("state") or {}).get("terminated")
            if ended is None or (ended.get("exitCode", 0) != 0 and rule == "OnFailure"):
                continue
            if key == "initContainerStatuses" and was.get("name") in sidecars:
                continue
            for one in after.get(key) or ():
                if one.get("name") == was.get("name") and "terminated" not in (one.get("state") or {}):
                    detail = "may not be transitioned to non-terminated state"
                    found.append(forbidden(f"status.{key}[{index}].state", detail))
    return found


def _status_addresses(status: Obj) -> list[FieldError]:
    found: list[FieldError] = []
    hosts = status.get("hostIPs") or []
    if hosts and status.get("hostIP", "") != hosts[0].get("ip", ""):
        found.append(invalid("status.hostIPs[0].ip", hosts[0].get("ip", ""), "must be equal to `hostIP`"))
    for key, kind in (("podIPs", "PodIP"), ("hostIPs", "HostIP")):
        given = [one.get("ip", "") for one in status.get(key) or ()]
        for index, one in enumerate(given):
            found += addresses.valid_ip(one, f"status.{key}[{index}]")
        if len(given) > 1:
            shown = GoSyntax(f"[]core.{kind}{{{', '.join(f'core.{kind}{{IP:{quote(one)}}}' for one in given)}}}")
            if not addresses.dual_stack(given) or len(given) > 2:
                detail = "may specify no more than one IP for each IP family"
                found.append(invalid(f"status.{key}", shown, detail))
            for index, one in enumerate(given):
                if one in given[:index]:
                    twice = GoSyntax(f"core.{kind}{{IP:{quote(one)}}}")
                    found.append(duplicate(f"status.{key}[{index}]", twice))
    return found


def ephemeral_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidatePodEphemeralContainersUpdate`."""
    found = metadata_update(new, old) + _metadata_and_spec(new) + _annotation_updates(new, old)
    if _MIRROR in (old["metadata"].get("annotations") or {}):
        return [forbidden("", "static pods do not support ephemeral containers")]
    after = {one.get("name"): one for one in new["spec"].get("ephemeralContainers") or ()}
    for was in old["spec"].get("ephemeralContainers") or ():
        name, one = was.get("name"), after.get(was.get("name"))
        what = f'existing ephemeral containers "{name}" may not be'
        if one is None:
            found.append(forbidden("spec.ephemeralContainers", f"{what} removed\n"))
        elif one != was:
            found.append(forbidden("spec.ephemeralContainers", f"{what} changed\n{diff(was, one)}"))
    return found


# -- binding, templates ------------------------------------------------------------------------------------------------


def binding(obj: Obj) -> list[FieldError]:
    """`ValidatePodBinding`."""
    target = obj.get("target") or {}
    found = []
    if target.get("kind", "") not in ("", "Node"):
        found.append(not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        found.append(required("target.name"))
    return found


def _template_create(obj: Obj) -> list[FieldError]:
    return metadata(obj, True) + pod_template(obj["template"], "template")


def _template_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + pod_template(new["template"], "template")


def _binding_update(new: Obj, old: Obj) -> list[FieldError]:
    return binding(new)


RULES = {
    "Pod": Rules(create, update, status_update, {"ephemeralcontainers": ephemeral_update}),
    "PodTemplate": Rules(_template_create, _template_update, _template_update),
    "Binding": Rules(binding, _binding_update, _binding_update),
}
