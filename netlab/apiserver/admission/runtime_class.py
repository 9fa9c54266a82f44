"""RuntimeClass: a pod gets its class's overhead and where it may run. Source: plugin/pkg/admission/runtimeclass."""

from netlab.api import errors
from netlab.api.quantity import parse
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

_MISMATCH = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"


def _new_pod(attributes: Attributes) -> Obj | None:
    if attributes.resource.group_resource != "pods" or attributes.subresource or attributes.operation != "CREATE":
        return None
    return attributes.obj


def _refused(attributes: Attributes, why: str) -> errors.StatusError:
    return errors.forbidden(attributes.resource, attributes.shown_name, why)


def _class(reader: Reader, attributes: Attributes, spec: Obj) -> Obj | None:
    name = spec.get("runtimeClassName")
    if name is None:
        return None
    found = reader.read("node.k8s.io/v1", "RuntimeClass", "", name)
    if found is None:
        raise _refused(attributes, f"pod rejected: RuntimeClass {errors.quote(name)} not found")
    return found


def _mutate(reader: Reader, attributes: Attributes) -> None:
    pod = _new_pod(attributes)
    if pod is None:
        return
    spec = pod.setdefault("spec", {})
    chosen = _class(reader, attributes, spec)
    if chosen is None:
        return
    fixed = _fixed(chosen)
    if fixed is not None:
        if spec.get("overhead") is not None and not _equal(fixed, spec["overhead"]):
            raise _refused(attributes, _MISMATCH)
        spec["overhead"] = dict(fixed)
    if chosen.get("scheduling"):
        _place(attributes, spec, chosen["scheduling"])


def _fixed(chosen: Obj) -> Obj | None:
    overhead = chosen.get("overhead")
    return None if overhead is None else overhead.get("podFixed") or {}


def _equal(a: Obj, b: Obj) -> bool:
    return a.keys() == b.keys() and all(parse(a[name]) == parse(b[name]) for name in a)


def _place(attributes: Attributes, spec: Obj, scheduling: Obj) -> None:
    wanted, given = scheduling.get("nodeSelector") or {}, dict(spec.get("nodeSelector") or {})
    for key, value in wanted.items():
        if given.get(key, value) != value:
            why = (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {given[key]}"
            )
            raise _refused(attributes, why)
        given[key] = value
    if given:
        spec["nodeSelector"] = given
    more = [one for one in scheduling.get("tolerations") or () if one not in (spec.get("tolerations") or ())]
    if more:
        spec["tolerations"] = [*(spec.get("tolerations") or ()), *more]


def _validate(reader: Reader, attributes: Attributes) -> None:
    pod = _new_pod(attributes)
    if pod is None:
        return
    spec = pod.get("spec") or {}
    overhead = spec.get("overhead")
    chosen = _class(reader, attributes, spec)
    fixed = _fixed(chosen) if chosen is not None else None
    if fixed is not None:
        if not _equal(fixed, overhead or {}):
            raise _refused(attributes, _MISMATCH)
    elif overhead is not None:
        why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        raise _refused(attributes, why)


PLUGIN = Plugin("RuntimeClass", mutate=_mutate, validate=_validate, about=frozenset({"pods"}))
