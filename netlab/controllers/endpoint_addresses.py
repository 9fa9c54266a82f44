"""PURE. From Services and pods to addresses and ports: what Endpoints and EndpointSlices share.

Upstream: k8s.io/endpointslice (reconciler, utils), pkg/controller/endpoint, pkg/controller/util/endpoint.
"""

from __future__ import annotations

from netlab.api import meta
from netlab.api.types import Obj
from netlab.controllers.pods import TERMINAL, is_ready, phase

HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


def eligible(pod: Obj, *, terminating: bool) -> bool:
    """Whether a pod can be an endpoint at all; `terminating` lets those in that are being deleted."""
    status = pod.get("status") or {}
    if phase(pod) in TERMINAL or not status.get("podIP"):
        return False
    return terminating or not meta.deleting(pod)


def signature(pod: Obj) -> tuple[object, ...]:
    """All of a pod that matters to endpoints: equal signatures need no look."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    return (
        status.get("podIP"),
        status.get("podIPs"),
        phase(pod) in TERMINAL,
        is_ready(pod),
        meta.deleting(pod),
        meta.labels(pod),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
    )


def is_headless(service: Obj) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def publishes_not_ready(service: Obj) -> bool:
    if service["spec"].get("publishNotReadyAddresses"):
        return True
    return meta.annotations(service).get("service.alpha.kubernetes.io/tolerate-unready-endpoints") == "true"


def families(service: Obj) -> tuple[str, ...]:
    """IPv4, IPv6: the address types that slices are made for."""
    return tuple(service["spec"].get("ipFamilies") or ("IPv4",))


def pod_address(pod: Obj, family: str) -> str | None:
    """The pod's address of a family."""
    status = pod.get("status") or {}
    addresses = [entry["ip"] for entry in status.get("podIPs") or ()] or [status.get("podIP")]
    return next((ip for ip in addresses if ip and (":" in ip) == (family == "IPv6")), None)


def find_port(pod: Obj, port: Obj) -> int | None:
    """The number behind a Service port's targetPort in this pod; None where the pod has no port of that name."""
    target = port.get("targetPort") or port.get("port")
    if isinstance(target, int):
        return target
    protocol = port.get("protocol") or "TCP"
    spec = pod.get("spec") or {}
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for entry in container.get("ports") or ():
            if entry.get("name") == target and (entry.get("protocol") or "TCP") == protocol:
                return int(entry["containerPort"])
    return None


def ports_of(service: Obj, pod: Obj) -> list[Obj]:
    """The ports under which this pod serves this Service, as EndpointPorts."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = find_port(pod, port)
        if number is None:
            continue
        entry: Obj = {"name": port.get("name") or "", "port": number, "protocol": port.get("protocol") or "TCP"}
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        found.append(entry)
    return found


def target_ref(pod: Obj) -> Obj:
    return {"kind": "Pod", "namespace": meta.namespace(pod), "name": meta.name(pod), "uid": meta.uid(pod)}


def hostname(service: Obj, pod: Obj) -> str | None:
    """The pod's own name below the Service's, where its subdomain is the Service."""
    spec = pod.get("spec") or {}
    if spec.get("hostname") and spec.get("subdomain") == meta.name(service):
        return str(spec["hostname"])
    return None
