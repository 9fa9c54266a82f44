"""PURE. Whether the Service behind an APIService can be asked at all.

Source followed: kube-aggregator pkg/controllers/status/remote/remote_available_controller.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from netlab.api.errors import quote
from netlab.api.types import Obj
from netlab.apiserver.aggregation.remotes import Remote

Verdict = tuple[str, str, str]
"""Status, reason and message of the condition Available."""
PASSED: Verdict = ("True", "Passed", "all checks passed")


def judge(remote: Remote, service: Obj | None, slices: Sequence[Obj]) -> Verdict | None:
    """What stands in the way; None: it is worth asking. `slices` are all of the Service's namespace."""
    where = f"service/{remote.service} in {quote(remote.namespace)}"
    if service is None:
        return "False", "ServiceNotFound", f"{where} is not present"
    spec = service["spec"]
    if spec.get("type", "ClusterIP") != "ClusterIP":
        return None
    port = next((one for one in spec.get("ports") or () if one["port"] == remote.port), None)
    if port is None:
        return "False", "ServicePortError", f"{where} is not listening on port {remote.port}"
    label = "kubernetes.io/service-name"
    mine = [one for one in slices if (one["metadata"].get("labels") or {}).get(label) == remote.service]
    if not mine:
        text = f"cannot find endpointslices for service/{remote.service} in {quote(remote.namespace)}"
        return "False", "EndpointsNotFound", text
    name = port.get("name", "")
    if not any(_answers(one, name) for one in mine):
        text = f"endpointslices for {where} have no addresses with port name {quote(name)}"
        return "False", "MissingEndpoints", text
    return None


def _answers(found: Obj, name: str) -> bool:
    endpoints = found.get("endpoints") or ()
    if not any((one.get("conditions") or {}).get("ready") in (None, True) for one in endpoints):
        return False
    return any(one.get("name", "") == name and one.get("port") for one in found.get("ports") or ())


def address(remote: Remote, service: Obj | None) -> tuple[str, int] | None:
    """Where the Service is reached: its cluster address, or the name it stands for; None where it has none."""
    if service is None:
        return None
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return spec["externalName"], remote.port
    cluster = spec.get("clusterIP") or ""
    listening = any(one["port"] == remote.port for one in spec.get("ports") or ())
    return (cluster, remote.port) if cluster not in ("", "None") and listening else None


def server_name(remote: Remote) -> str:
    """Whom its certificate must name."""
    return f"{remote.service}.{remote.namespace}.svc"
