"""Priority: a pod's class name becomes its number. Source followed: plugin/pkg/admission/priority."""

from netlab.api import errors, meta
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

SCHEDULING = "scheduling.k8s.io/v1"


def _mutate(reader: Reader, attributes: Attributes) -> None:
    if attributes.resource.group_resource != "pods" or attributes.subresource or attributes.obj is None:
        return
    spec = attributes.obj.setdefault("spec", {})
    if attributes.operation == "UPDATE" and attributes.old is not None:
        _keep(spec, attributes.old.get("spec", {}))
        return
    if attributes.operation == "CREATE":
        _resolve(reader, attributes, spec)


def _keep(spec: Obj, old: Obj) -> None:
    """An update that leaves the fields out keeps them."""
    for field in ("priority", "preemptionPolicy"):
        if field not in spec and field in old and spec.get("priorityClassName") == old.get("priorityClassName"):
            spec[field] = old[field]


def _resolve(reader: Reader, attributes: Attributes, spec: Obj) -> None:
    name = spec.get("priorityClassName", "")
    chosen = _class(reader, attributes, name) if name else _default(reader)
    if chosen is not None:
        spec["priorityClassName"] = meta.name(chosen)
    value = chosen.get("value", 0) if chosen is not None else 0
    policy = chosen.get("preemptionPolicy", "PreemptLowerPriority") if chosen is not None else "PreemptLowerPriority"
    if spec.get("priority", value) != value:
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
            f"priority admission controller computed {value} from the given PriorityClass name"
        )
        raise errors.forbidden(attributes.resource, attributes.name, why)
    spec["priority"] = value
    if spec.get("preemptionPolicy", policy) != policy:
        why = (
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name"
        )
        raise errors.forbidden(attributes.resource, attributes.name, why)
    spec["preemptionPolicy"] = policy


def _class(reader: Reader, attributes: Attributes, name: str) -> Obj:
    found = reader.read(SCHEDULING, "PriorityClass", "", name)
    if found is None:
        raise errors.forbidden(attributes.resource, attributes.name, f"no PriorityClass with name {name} was found")
    return found


def _default(reader: Reader) -> Obj | None:
    defaults = [c for c in reader.read_all(SCHEDULING, "PriorityClass", "") if c.get("globalDefault")]
    return min(defaults, key=lambda c: int(c.get("value", 0)), default=None)


PLUGIN = Plugin("Priority", mutate=_mutate, about=frozenset({"pods"}))
