"""Reading a pod's spec: which containers of which kind, what they request, its QoS class. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from netlab.api.quantity import parse
from netlab.api.types import Obj

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
SOURCE_ANNOTATION = "kubernetes.io/config.source"


def uid(pod: Obj) -> str:
    """The id under which the kubelet knows the pod (a static pod's mirror keeps the static pod's hash)."""
    meta = pod["metadata"]
    annotations = meta.get("annotations")
    if annotations and MIRROR_ANNOTATION in annotations:
        return str(annotations[MIRROR_ANNOTATION])
    return str(meta["uid"])


def full_name(pod: Obj) -> str:
    """`name_namespace(uid)`, as upstream's kubelet names a pod in messages."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta['namespace']}({uid(pod)})"


def is_sidecar(container: Obj) -> bool:
    """Whether an init container keeps running beside the main ones (KEP-753)."""
    return container.get("restartPolicy") == "Always"


def all_containers(spec: Obj) -> Iterator[Obj]:
    """Init, main and ephemeral containers, in that order."""
    yield from spec.get("initContainers") or ()
    yield from spec["containers"]
    yield from spec.get("ephemeralContainers") or ()


def find_container(spec: Obj, name: str) -> Obj | None:
    """The container of that name, of any kind."""
    return next((c for c in all_containers(spec) if c["name"] == name), None)


def host_network(spec: Obj) -> bool:
    return bool(spec.get("hostNetwork"))


def quantity(value: object) -> Fraction:
    """A resource quantity as an exact number."""
    return Fraction(parse(str(value)))


def container_requests(container: Obj) -> dict[str, Fraction]:
    """Requests of one container; a limit without a request counts as the request (upstream defaults it so)."""
    resources = container.get("resources")
    if not resources:
        return {}
    requests = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: quantity(value) for name, value in requests.items()}


def _add(into: dict[str, Fraction], other: dict[str, Fraction]) -> None:
    for name, value in other.items():
        into[name] = into.get(name, Fraction(0)) + value


def pod_requests(spec: Obj) -> dict[str, Fraction]:
    """What the pod as a whole asks of a node: k8s.io/component-helpers resource.PodRequests.

    Main containers and sidecars add up; a plain init container counts beside the sidecars started before it.
    """
    total: dict[str, Fraction] = {}
    for container in spec["containers"]:
        _add(total, container_requests(container))
    sidecars: dict[str, Fraction] = {}
    peak: dict[str, Fraction] = {}
    for container in spec.get("initContainers") or ():
        own = container_requests(container)
        if is_sidecar(container):
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        for name, value in own.items():
            peak[name] = max(peak.get(name, Fraction(0)), value)
    _add(total, sidecars)
    for name, value in peak.items():
        total[name] = max(total.get(name, Fraction(0)), value)
    overhead = spec.get("overhead")
    if overhead:
        _add(total, {name: quantity(value) for name, value in overhead.items()})
    return total


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort: upstream pkg/apis/core/v1/helper/qos (cpu and memory only)."""
    requests: dict[str, Fraction] = {}
    limits: dict[str, Fraction] = {}
    guaranteed = True
    for container in [*spec["containers"], *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        found: set[str] = set()
        for kind, into in (("requests", requests), ("limits", limits)):
            for name, value in (resources.get(kind) or {}).items():
                amount = quantity(value)
                if name in ("cpu", "memory") and amount > 0:
                    into[name] = into.get(name, Fraction(0)) + amount
                    if kind == "limits":
                        found.add(name)
        guaranteed = guaranteed and found == {"cpu", "memory"}
    if not requests and not limits:
        return "BestEffort"
    if guaranteed and all(limits.get(n) == v for n, v in requests.items()) and len(requests) == len(limits):
        return "Guaranteed"
    return "Burstable"


def host_ports(spec: Obj) -> set[tuple[str, str, int]]:
    """(protocol, host address, port) that the pod takes on its node."""
    return {
        (port.get("protocol", "TCP"), port.get("hostIP") or "0.0.0.0", int(port["hostPort"]))
        for container in [*(spec.get("initContainers") or ()), *spec["containers"]]
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }
