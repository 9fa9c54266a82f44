"""The built-in kinds as a table: upstream 1.33's GA APIs, in upstream's order of group priority.

Rows are the facts of upstream's discovery documents (api/discovery/*.json). One row upstream 1.33 does not serve by
default: authentication.k8s.io/v1beta1 SelfSubjectReview, which kubectl 1.27 needs for `auth whoami`.
"""

from __future__ import annotations

from typing import NamedTuple

Verbs = tuple[str, ...]

ALL: Verbs = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
NO_COLLECTION: Verbs = ("create", "delete", "get", "list", "patch", "update", "watch")
CREATE: Verbs = ("create",)
READ_WRITE: Verbs = ("get", "patch", "update")
STREAM: Verbs = ("create", "get")
PROXY: Verbs = ("create", "delete", "get", "patch", "update")


class Sub(NamedTuple):
    """A subresource; empty kind and version and a None group mean "as the resource itself"."""

    name: str
    verbs: Verbs
    kind: str = ""
    group: str | None = None
    version: str = ""


class Row(NamedTuple):
    """One kind of one group and version."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: Verbs = ALL


SUBRESOURCES: dict[str, Sub] = {
    "status": Sub("status", READ_WRITE),
    "scale": Sub("scale", READ_WRITE, "Scale", "autoscaling", "v1"),
    "approval": Sub("approval", READ_WRITE),
    "finalize": Sub("finalize", ("update",)),
    "token": Sub("token", CREATE, "TokenRequest", "authentication.k8s.io", "v1"),
    "attach": Sub("attach", STREAM, "PodAttachOptions"),
    "binding": Sub("binding", CREATE, "Binding"),
    "ephemeralcontainers": Sub("ephemeralcontainers", READ_WRITE),
    "eviction": Sub("eviction", CREATE, "Eviction", "policy", "v1"),
    "exec": Sub("exec", STREAM, "PodExecOptions"),
    "log": Sub("log", ("get",)),
    "portforward": Sub("portforward", STREAM, "PodPortForwardOptions"),
    "resize": Sub("resize", READ_WRITE),
    "pod-proxy": Sub("proxy", PROXY, "PodProxyOptions"),
    "node-proxy": Sub("proxy", PROXY, "NodeProxyOptions"),
    "service-proxy": Sub("proxy", PROXY, "ServiceProxyOptions"),
}

_ALL = ("all",)
_EXT = ("api-extensions",)
_POD_SUBRESOURCES = (
    "attach",
    "binding",
    "ephemeralcontainers",
    "eviction",
    "exec",
    "log",
    "portforward",
    "pod-proxy",
    "resize",
    "status",
)
_STATUS = ("status",)
_SCALE = ("scale", "status")
_ADMISSION = "admissionregistration.k8s.io"
_AUTHN = "authentication.k8s.io"
_AUTHZ = "authorization.k8s.io"
_NET = "networking.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
_STORAGE = "storage.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"

ROWS: tuple[Row, ...] = (
    Row("", "v1", "Binding", "bindings", verbs=CREATE),
    Row("", "v1", "ComponentStatus", "componentstatuses", False, ("cs",), verbs=("get", "list")),
    Row("", "v1", "ConfigMap", "configmaps", short_names=("cm",)),
    Row("", "v1", "Endpoints", "endpoints", short_names=("ep",)),
    Row("", "v1", "Event", "events", short_names=("ev",)),
    Row("", "v1", "LimitRange", "limitranges", short_names=("limits",)),
    Row("", "v1", "Namespace", "namespaces", False, ("ns",), (), ("finalize", "status"), NO_COLLECTION),
    Row("", "v1", "Node", "nodes", False, ("no",), (), ("node-proxy", "status")),
    Row("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, ("pvc",), (), _STATUS),
    Row("", "v1", "PersistentVolume", "persistentvolumes", False, ("pv",), (), _STATUS),
    Row("", "v1", "Pod", "pods", True, ("po",), _ALL, _POD_SUBRESOURCES),
    Row("", "v1", "PodTemplate", "podtemplates"),
    Row("", "v1", "ReplicationController", "replicationcontrollers", True, ("rc",), _ALL, _SCALE),
    Row("", "v1", "ResourceQuota", "resourcequotas", True, ("quota",), (), _STATUS),
    Row("", "v1", "Secret", "secrets"),
    Row("", "v1", "ServiceAccount", "serviceaccounts", True, ("sa",), (), ("token",)),
    Row("", "v1", "Service", "services", True, ("svc",), _ALL, ("service-proxy", "status")),
    Row("apiregistration.k8s.io", "v1", "APIService", "apiservices", False, (), _EXT, _STATUS),
    Row("apps", "v1", "ControllerRevision", "controllerrevisions"),
    Row("apps", "v1", "DaemonSet", "daemonsets", True, ("ds",), _ALL, _STATUS),
    Row("apps", "v1", "Deployment", "deployments", True, ("deploy",), _ALL, _SCALE),
    Row("apps", "v1", "ReplicaSet", "replicasets", True, ("rs",), _ALL, _SCALE),
    Row("apps", "v1", "StatefulSet", "statefulsets", True, ("sts",), _ALL, _SCALE),
    Row("events.k8s.io", "v1", "Event", "events", short_names=("ev",)),
    Row(_AUTHN, "v1", "SelfSubjectReview", "selfsubjectreviews", False, verbs=CREATE),
    Row(_AUTHN, "v1", "TokenReview", "tokenreviews", False, verbs=CREATE),
    Row(_AUTHN, "v1beta1", "SelfSubjectReview", "selfsubjectreviews", False, verbs=CREATE),
    Row(_AUTHZ, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=CREATE),
    Row(_AUTHZ, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False, verbs=CREATE),
    Row(_AUTHZ, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", False, verbs=CREATE),
    Row(_AUTHZ, "v1", "SubjectAccessReview", "subjectaccessreviews", False, verbs=CREATE),
    Row("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, ("hpa",), _ALL, _STATUS),
    Row("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, ("hpa",), _ALL, _STATUS),
    Row("batch", "v1", "CronJob", "cronjobs", True, ("cj",), _ALL, _STATUS),
    Row("batch", "v1", "Job", "jobs", True, (), _ALL, _STATUS),
    Row(
        "certificates.k8s.io",
        "v1",
        "CertificateSigningRequest",
        "certificatesigningrequests",
        False,
        ("csr",),
        (),
        ("approval", "status"),
    ),
    Row(_NET, "v1", "IngressClass", "ingressclasses", False),
    Row(_NET, "v1", "Ingress", "ingresses", True, ("ing",), (), _STATUS),
    Row(_NET, "v1", "IPAddress", "ipaddresses", False, ("ip",)),
    Row(_NET, "v1", "NetworkPolicy", "networkpolicies", True, ("netpol",)),
    Row(_NET, "v1", "ServiceCIDR", "servicecidrs", False, (), (), _STATUS),
    Row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, ("pdb",), (), _STATUS),
    Row(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", False),
    Row(_RBAC, "v1", "ClusterRole", "clusterroles", False),
    Row(_RBAC, "v1", "RoleBinding", "rolebindings"),
    Row(_RBAC, "v1", "Role", "roles"),
    Row(_STORAGE, "v1", "CSIDriver", "csidrivers", False),
    Row(_STORAGE, "v1", "CSINode", "csinodes", False),
    Row(_STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities"),
    Row(_STORAGE, "v1", "StorageClass", "storageclasses", False, ("sc",)),
    Row(_STORAGE, "v1", "VolumeAttachment", "volumeattachments", False, (), (), _STATUS),
    Row(_ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", False, (), _EXT),
    Row(_ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", False, (), _EXT, _STATUS),
    Row(_ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", False, (), _EXT),
    Row(_ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False, (), _EXT),
    Row(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        False,
        ("crd", "crds"),
        _EXT,
        _STATUS,
    ),
    Row("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, ("pc",)),
    Row("coordination.k8s.io", "v1", "Lease", "leases"),
    Row("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", False),
    Row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    Row(_FLOW, "v1", "FlowSchema", "flowschemas", False, (), (), _STATUS),
    Row(_FLOW, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations", False, (), (), _STATUS),
)
