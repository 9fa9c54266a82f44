"""LimitRanger: requests and limits that a pod does not set come from its namespace; what is too much or too little is
refused. Source followed: plugin/pkg/admission/limitranger.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from netlab.api import errors, meta, pod_resources
from netlab.api.pod_resources import Amounts, amounts
from netlab.api.quantity import canonical, form_of, parse, render
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

ANNOTATION = "kubernetes.io/limit-ranger"
_JUDGED = {"pods": ("CREATE",), "persistentvolumeclaims": ("CREATE", "UPDATE")}


def _ranges(reader: Reader, attributes: Attributes) -> list[Obj]:
    operations = _JUDGED.get(attributes.resource.group_resource, ())
    if attributes.operation not in operations or attributes.subresource or attributes.obj is None:
        return []
    if attributes.old is not None and meta.deleting(attributes.old):
        return []
    return reader.read_all("v1", "LimitRange", attributes.namespace)


def _mutate(reader: Reader, attributes: Attributes) -> None:
    pod = attributes.obj
    if pod is None or attributes.resource.group_resource != "pods":
        return
    for limit_range in _ranges(reader, attributes):
        set_defaults(pod, limit_range)


def set_defaults(pod: Obj, limit_range: Obj) -> None:
    """PURE. Fill in what the containers leave out, in place, and say so in an annotation."""
    defaults: dict[str, Obj] = {"requests": {}, "limits": {}}
    for limit in _limits(limit_range, "Container"):
        defaults["requests"] |= limit.get("defaultRequest") or {}
        defaults["limits"] |= limit.get("default") or {}
    said = []
    for field, what in (("containers", "container"), ("initContainers", "init container")):
        for container in pod.get("spec", {}).get(field) or ():
            for kind, word in (("requests", "request"), ("limits", "limit")):
                missing = _fill(container, kind, defaults[kind])
                if missing:
                    said.append(f"{', '.join(missing)} {word} for {what} {container.get('name', '')}")
    if said:
        meta.set_annotation(pod, ANNOTATION, f"LimitRanger plugin set: {'; '.join(said)}")


def _fill(container: Obj, kind: str, defaults: Obj) -> list[str]:
    present = (container.get("resources") or {}).get(kind) or {}
    missing = sorted(set(defaults) - set(present))
    if missing:
        added = {name: canonical(defaults[name]) for name in missing}
        container["resources"] = {**(container.get("resources") or {}), kind: {**present, **added}}
    return missing


def _limits(limit_range: Obj, kind: str) -> Iterator[Obj]:
    return (limit for limit in (limit_range.get("spec") or {}).get("limits") or () if limit.get("type") == kind)


def _validate(reader: Reader, attributes: Attributes) -> None:
    obj = attributes.obj
    if obj is None:
        return
    judge = _pod_findings if attributes.resource.group_resource == "pods" else _claim_findings
    for limit_range in _ranges(reader, attributes):
        found = list(judge(obj, limit_range))
        if found:
            raise errors.forbidden(attributes.resource, attributes.shown_name, errors.aggregate(found))


def _pod_findings(pod: Obj, limit_range: Obj) -> Iterator[str]:
    spec = pod.get("spec") or {}
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    for limit in (limit_range.get("spec") or {}).get("limits") or ():
        if limit.get("type") == "Container":
            for container in containers:
                resources = container.get("resources") or {}
                yield from _findings(limit, amounts(resources.get("requests")), amounts(resources.get("limits")))
        elif limit.get("type") == "Pod":
            yield from _findings(limit, pod_resources.requests(pod), pod_resources.limits(pod))


def _claim_findings(claim: Obj, limit_range: Obj) -> Iterator[str]:
    requests = amounts(((claim.get("spec") or {}).get("resources") or {}).get("requests"))
    for limit in _limits(limit_range, "PersistentVolumeClaim"):
        for name, least in _sorted(limit, "min"):
            yield from _below(
                f"minimum {name} usage per PersistentVolumeClaim is {canonical(least)}", name, least, requests, {}
            )
        for name, most in _sorted(limit, "max"):
            text = f"maximum {name} usage per PersistentVolumeClaim is {canonical(most)}"
            if name not in requests:
                yield f"{text}.  No request is specified"
            elif requests[name] > parse(most):
                yield f"{text}, but request is {_shown(requests[name], most)}"


def _sorted(limit: Obj, field: str) -> list[tuple[str, str]]:
    return sorted((limit.get(field) or {}).items())


def _findings(limit: Obj, requests: Amounts, limits: Amounts) -> Iterator[str]:
    kind = limit["type"]
    for name, least in _sorted(limit, "min"):
        yield from _below(f"minimum {name} usage per {kind} is {canonical(least)}", name, least, requests, limits)
    for name, most in _sorted(limit, "max"):
        text, allowed = f"maximum {name} usage per {kind} is {canonical(most)}", parse(most)
        if name not in limits:
            yield f"{text}.  No limit is specified"
        elif limits[name] > allowed:
            yield f"{text}, but limit is {_shown(limits[name], most)}"
        elif requests.get(name, allowed) > allowed:
            yield f"{text}, but request is {_shown(requests[name], most)}"
    for name, ratio in _sorted(limit, "maxLimitRequestRatio"):
        text = f"{name} max limit to request ratio per {kind} is {canonical(ratio)}, but"
        if not requests.get(name):
            yield f"{text} no request is specified or request is 0"
        elif not limits.get(name):
            yield f"{text} no limit is specified or limit is 0"
        elif limits[name] / requests[name] > parse(ratio):
            yield f"{text} provided ratio is {float(limits[name] / requests[name]):f}"


def _below(
    text: str, name: str, least: str, requests: Mapping[str, Fraction], limits: Mapping[str, Fraction]
) -> Iterator[str]:
    wanted = parse(least)
    if name not in requests:
        yield f"{text}.  No request is specified"
    elif requests[name] < wanted:
        yield f"{text}, but request is {_shown(requests[name], least)}"
    elif limits.get(name, wanted) < wanted:
        yield f"{text}, but limit is {_shown(limits[name], least)}"


def _shown(number: Fraction, like: str) -> str:
    return render(number, form_of(like))


PLUGIN = Plugin("LimitRanger", mutate=_mutate, validate=_validate, about=frozenset(_JUDGED))
