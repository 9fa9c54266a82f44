"""Stand-in for what the real API server's admission plugins and allocators did in the recorded answers."""

from __future__ import annotations

import ipaddress
import re

from netlab.api.types import Obj
from netlab.api.validation.field import FieldError, invalid

SERVICE_CIDR = ipaddress.ip_network("10.96.0.0/16")
_UID = "00000000-0000-0000-0000-000000000000"
_FIRST_NODE_PORT = 32769


def system_fields(obj: Obj) -> None:
    """What the server writes into metadata before the strategy runs."""
    obj["metadata"]["uid"] = _UID


def mutate(obj: Obj) -> None:
    """Admission before validation: only the service account's name matters to validation."""
    if obj["kind"] == "Pod" and not obj["spec"].get("serviceAccountName"):
        obj["spec"]["serviceAccountName"] = obj["spec"]["serviceAccount"] = "default"


def allocate(obj: Obj) -> list[FieldError]:
    """Dry-run allocation of addresses and node ports, as upstream before validation."""
    if obj["kind"] != "Service" or obj["spec"].get("type") == "ExternalName":
        return []
    spec = obj["spec"]
    asked = (spec.get("clusterIPs") or [""])[0]
    if not asked:
        first = str(SERVICE_CIDR.network_address)
        spec["clusterIP"], spec["clusterIPs"] = first, [first]
    elif asked != "None":
        try:
            address = ipaddress.ip_address(asked)
        except ValueError:
            return []
        if address not in SERVICE_CIDR:
            why = f"the provided IP ({asked}) is not in the valid range. The range of valid IPs is {SERVICE_CIDR}"
            return [invalid("spec.clusterIPs", spec["clusterIPs"], f"failed to allocate IP {asked}: {why}")]
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        _node_ports(spec)
    return []


def _node_ports(spec: Obj) -> None:
    given: dict[int, int] = {}
    following = _FIRST_NODE_PORT
    for port in spec.get("ports") or ():
        number = port.get("port", 0)
        if port.get("nodePort"):
            given.setdefault(number, port["nodePort"])
        elif number in given:
            port["nodePort"] = given[number]
        else:
            port["nodePort"] = given[number] = following
            following += 1


_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def normal(obj: Obj) -> Obj:
    """Without what admission and allocators added."""
    if obj["kind"] == "Pod":
        _without_pod_admission(obj["spec"])
    if obj["kind"] == "Job":
        text_uid = obj["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"]
        for labels in (
            obj["metadata"].get("labels", {}),
            obj["spec"]["template"]["metadata"]["labels"],
            obj["spec"]["selector"]["matchLabels"],
        ):
            for key, value in labels.items():
                labels[key] = re.sub(text_uid, _UID, value)
    if obj["kind"] in ("PersistentVolume", "PersistentVolumeClaim"):
        obj["metadata"].pop("finalizers", None)
        obj["status"].pop("lastPhaseTransitionTime", None)
    return obj


def _without_pod_admission(spec: Obj) -> None:
    for key in ("priority", "preemptionPolicy"):
        spec.pop(key, None)
    spec["tolerations"] = [
        one
        for one in spec.get("tolerations") or ()
        if not (one.get("key") in _TOLERATED and one.get("operator") == "Exists" and one.get("effect") == "NoExecute")
    ]
    spec["volumes"] = [one for one in spec.get("volumes") or () if not one["name"].startswith("kube-api-access-")]
    for key in ("initContainers", "containers"):
        for container in spec.get(key) or ():
            mounts = container.get("volumeMounts") or ()
            container["volumeMounts"] = [one for one in mounts if not one["name"].startswith("kube-api-access-")]
