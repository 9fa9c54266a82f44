"""Defaults of the core group. Source followed: `pkg/apis/core/v1/defaults.go`."""

from __future__ import annotations

import base64

from netlab.api.defaults import pod
from netlab.api.defaults.quantities import round_up
from netlab.api.types import Obj


def _pod_template(obj: Obj) -> None:
    pod.template(obj["template"])


def replication_controller(obj: Obj) -> None:
    """Selector and labels come from the template."""
    spec = obj["spec"]
    template = spec.get("template")
    labels = template["metadata"].get("labels") if template is not None else None
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)
    spec.setdefault("replicas", 1)
    pod.template(template)


def service(obj: Obj) -> None:
    """`SetDefaults_Service`; addresses and families are `netlab.api.services`' and the allocators'."""
    spec = obj["spec"]
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    if spec["sessionAffinity"] == "ClientIP":
        config = spec.get("sessionAffinityConfig")
        if config is None or (config.get("clientIP") or {}).get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if port.get("targetPort") in (0, "", None):
            port["targetPort"] = port.get("port", 0)
    external = spec["type"] in ("NodePort", "LoadBalancer") or (spec["type"] == "ClusterIP" and spec.get("externalIPs"))
    if external and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] in ("NodePort", "LoadBalancer", "ClusterIP"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip") and ingress.get("ipMode") is None:
                ingress["ipMode"] = "VIP"


def endpoints(obj: Obj) -> None:
    """Ports are TCP."""
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def secret(obj: Obj) -> None:
    """Type Opaque; `stringData` is written into `data` (upstream's conversion)."""
    text = obj.pop("stringData", None)
    if text:
        data = obj.setdefault("data", {})
        for key, value in text.items():
            data[key] = base64.b64encode(value.encode()).decode()
    if not obj.get("type"):
        obj["type"] = "Opaque"


def namespace(obj: Obj) -> None:
    """Phase Active, and the label with its own name."""
    if not obj["status"].get("phase"):
        obj["status"]["phase"] = "Active"
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {}).setdefault("kubernetes.io/metadata.name", name)
        obj["metadata"]["labels"]["kubernetes.io/metadata.name"] = name


def node(obj: Obj) -> None:
    """What is allocatable is the whole capacity where nothing else is said."""
    status = obj["status"]
    round_up(status.get("capacity"))
    round_up(status.get("allocatable"))
    if not status.get("allocatable") and status.get("capacity"):
        status["allocatable"] = dict(status["capacity"])


def persistent_volume(obj: Obj) -> None:
    """Phase, reclaim policy, mode, and the defaults of its source."""
    spec = obj["spec"]
    if not obj["status"].get("phase"):
        obj["status"]["phase"] = "Pending"
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    spec.setdefault("volumeMode", "Filesystem")
    round_up(spec.get("capacity"))
    for key, fill in _VOLUME_SOURCES.items():
        if key in spec:
            fill(spec[key])


_VOLUME_SOURCES = {
    "hostPath": pod.host_path,
    "iscsi": pod.iscsi,
    "rbd": pod.rbd,
    "azureDisk": pod.azure_disk,
}


def persistent_volume_claim(obj: Obj) -> None:
    """Phase and mode."""
    if not obj["status"].get("phase"):
        obj["status"]["phase"] = "Pending"
    pod.claim_spec(obj["spec"])
    for key in ("capacity", "allocatedResources"):
        round_up(obj["status"].get(key))


def limit_range(obj: Obj) -> None:
    """`SetDefaults_LimitRangeItem`: default from max, default request from default and min."""
    for item in obj["spec"].get("limits") or ():
        for key in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            round_up(item.get(key))
        if item.get("type") != "Container":
            continue
        default = item.setdefault("default", {})
        request = item.setdefault("defaultRequest", {})
        for source, target in ((item.get("max"), default), (default, request), (item.get("min"), request)):
            for key, value in (source or {}).items():
                target.setdefault(key, value)
        for key in ("default", "defaultRequest"):
            if not item[key]:
                del item[key]


def resource_quota(obj: Obj) -> None:
    """Quantities only."""
    for part, key in (("spec", "hard"), ("status", "hard"), ("status", "used")):
        round_up(obj[part].get(key))


DEFAULTS = {
    "v1.Pod": pod.pod,
    "v1.PodTemplate": _pod_template,
    "v1.ReplicationController": replication_controller,
    "v1.Service": service,
    "v1.Endpoints": endpoints,
    "v1.Secret": secret,
    "v1.Namespace": namespace,
    "v1.Node": node,
    "v1.PersistentVolume": persistent_volume,
    "v1.PersistentVolumeClaim": persistent_volume_claim,
    "v1.LimitRange": limit_range,
    "v1.ResourceQuota": resource_quota,
}
