"""Defaults of pods and pod templates. Source followed: `pkg/apis/core/v1/defaults.go`, `zz_generated.defaults.go`."""

from __future__ import annotations

from netlab.api.defaults.images import tag_of
from netlab.api.defaults.quantities import round_up
from netlab.api.types import Obj


def pod(obj: Obj) -> None:
    """`SetObjectDefaults_Pod`: a pod by itself."""
    spec = obj["spec"]
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    for container in containers:
        _requests_from_limits(container)
    if spec.get("hostNetwork"):
        for container in containers:
            for port in container.get("ports") or ():
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)
    pod_resources = spec.get("resources")
    if pod_resources:
        round_up(pod_resources.get("limits"))
        round_up(pod_resources.get("requests"))


def template(obj: Obj | None) -> None:
    """The pod template of a workload; None where there is none."""
    if obj is not None:
        pod_spec(obj["spec"])


def pod_spec(spec: Obj) -> None:
    """`SetDefaults_PodSpec` and everything below it."""
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    _service_account_alias(spec)
    for one in spec.get("volumes") or ():
        volume(one)
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for one in spec.get(key) or ():
            container(one)
    round_up(spec.get("overhead"))


def _service_account_alias(spec: Obj) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; upstream's conversion keeps both the same."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def container(obj: Obj) -> None:
    """`SetDefaults_Container` and its ports, environment, probes and handlers."""
    if not obj.get("imagePullPolicy"):
        obj["imagePullPolicy"] = "Always" if tag_of(obj.get("image", "")) == "latest" else "IfNotPresent"
    if not obj.get("terminationMessagePath"):
        obj["terminationMessagePath"] = "/dev/termination-log"
    if not obj.get("terminationMessagePolicy"):
        obj["terminationMessagePolicy"] = "File"
    for port in obj.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for env in obj.get("env") or ():
        source = env.get("valueFrom")
        if source:
            field_ref(source.get("fieldRef"))
    resources = obj.get("resources")
    if resources:
        round_up(resources.get("limits"))
        round_up(resources.get("requests"))
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        if key in obj:
            probe(obj[key])
    for handler in (obj.get("lifecycle") or {}).values():
        if isinstance(handler, dict):
            _handler(handler)


def probe(obj: Obj) -> None:
    """`SetDefaults_Probe`."""
    for key, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not obj.get(key):
            obj[key] = value
    _handler(obj)


def _handler(obj: Obj) -> None:
    http = obj.get("httpGet")
    if http is not None:
        if not http.get("path"):
            http["path"] = "/"
        if not http.get("scheme"):
            http["scheme"] = "HTTP"
    grpc = obj.get("grpc")
    if grpc is not None and grpc.get("service") is None:
        grpc["service"] = ""


def field_ref(obj: Obj | None) -> None:
    """`SetDefaults_ObjectFieldSelector`."""
    if obj is not None and not obj.get("apiVersion"):
        obj["apiVersion"] = "v1"


def _requests_from_limits(container: Obj) -> None:
    resources = container["resources"]
    limits = resources.get("limits")
    if not limits:
        return
    requests = resources.setdefault("requests", {})
    for name, value in limits.items():
        requests.setdefault(name, value)


# -- volumes -----------------------------------------------------------------------------------------------------------


def volume(obj: Obj) -> None:
    """`SetDefaults_Volume` and the defaults of each source."""
    if not any(key != "name" for key in obj):
        obj["emptyDir"] = {}
        return
    for key, source in obj.items():
        fill = _SOURCES.get(key)
        if fill is not None:
            fill(source)


def _default_mode(source: Obj) -> None:
    source.setdefault("defaultMode", 420)


def _downward(source: Obj) -> None:
    source.setdefault("defaultMode", 420)
    for item in source.get("items") or ():
        field_ref(item.get("fieldRef"))


def _projected(source: Obj) -> None:
    source.setdefault("defaultMode", 420)
    for one in source.get("sources") or ():
        for item in (one.get("downwardAPI") or {}).get("items") or ():
            field_ref(item.get("fieldRef"))
        token = one.get("serviceAccountToken")
        if token is not None:
            token.setdefault("expirationSeconds", 3600)


def host_path(source: Obj) -> None:
    """`SetDefaults_HostPathVolumeSource`."""
    source.setdefault("type", "")


def iscsi(source: Obj) -> None:
    """`SetDefaults_ISCSIVolumeSource`."""
    if not source.get("iscsiInterface"):
        source["iscsiInterface"] = "default"


def rbd(source: Obj) -> None:
    """`SetDefaults_RBDVolumeSource`."""
    for key, value in (("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")):
        if not source.get(key):
            source[key] = value


def azure_disk(source: Obj) -> None:
    """`SetDefaults_AzureDiskVolumeSource`."""
    for key, value in (("cachingMode", "ReadWrite"), ("fsType", "ext4"), ("readOnly", False), ("kind", "Shared")):
        source.setdefault(key, value)


def scale_io(source: Obj) -> None:
    """`SetDefaults_ScaleIOVolumeSource`."""
    for key, value in (("storageMode", "ThinProvisioned"), ("fsType", "xfs")):
        if not source.get(key):
            source[key] = value


def claim_spec(spec: Obj) -> None:
    """`SetDefaults_PersistentVolumeClaimSpec`."""
    spec.setdefault("volumeMode", "Filesystem")
    round_up(spec["resources"].get("limits"))
    round_up(spec["resources"].get("requests"))


def _ephemeral(source: Obj) -> None:
    claim = source.get("volumeClaimTemplate")
    if claim is not None:
        claim_spec(claim["spec"])


_SOURCES = {
    "secret": _default_mode,
    "configMap": _default_mode,
    "downwardAPI": _downward,
    "projected": _projected,
    "hostPath": host_path,
    "iscsi": iscsi,
    "rbd": rbd,
    "azureDisk": azure_disk,
    "scaleIO": scale_io,
    "ephemeral": _ephemeral,
}
