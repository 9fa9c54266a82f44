"""The one table of printers, by (group, plural); the entry of ("", "") serves every kind that is not here."""

from __future__ import annotations

from netlab.api.tables import cluster, extension, network, pods, storage, workloads
from netlab.api.tables.model import Printer

_ADMISSION = "admissionregistration.k8s.io"
_NET = "networking.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
_STORAGE = "storage.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"

PRINTERS: dict[tuple[str, str], Printer] = {
    ("", ""): cluster.DEFAULT,
    ("", "componentstatuses"): cluster.COMPONENT_STATUS,
    ("", "configmaps"): cluster.CONFIG_MAP,
    ("", "endpoints"): network.ENDPOINTS,
    ("", "events"): cluster.EVENT,
    ("", "limitranges"): cluster.CREATED,
    ("", "namespaces"): cluster.NAMESPACE,
    ("", "nodes"): cluster.NODE,
    ("", "persistentvolumeclaims"): storage.PERSISTENT_VOLUME_CLAIM,
    ("", "persistentvolumes"): storage.PERSISTENT_VOLUME,
    ("", "pods"): pods.POD,
    ("", "podtemplates"): workloads.POD_TEMPLATE,
    ("", "replicationcontrollers"): workloads.REPLICATION_CONTROLLER,
    ("", "resourcequotas"): cluster.RESOURCE_QUOTA,
    ("", "secrets"): cluster.SECRET,
    ("", "serviceaccounts"): cluster.SERVICE_ACCOUNT,
    ("", "services"): network.SERVICE,
    ("apiregistration.k8s.io", "apiservices"): extension.API_SERVICE,
    ("apps", "controllerrevisions"): workloads.CONTROLLER_REVISION,
    ("apps", "daemonsets"): workloads.DAEMON_SET,
    ("apps", "deployments"): workloads.DEPLOYMENT,
    ("apps", "replicasets"): workloads.REPLICA_SET,
    ("apps", "statefulsets"): workloads.STATEFUL_SET,
    ("events.k8s.io", "events"): cluster.EVENT,
    ("autoscaling", "horizontalpodautoscalers"): workloads.HPA,
    ("autoscaling", "scale"): workloads.SCALE,
    ("batch", "cronjobs"): workloads.CRON_JOB,
    ("batch", "jobs"): workloads.JOB,
    ("certificates.k8s.io", "certificatesigningrequests"): cluster.CSR,
    (_NET, "ingressclasses"): network.INGRESS_CLASS,
    (_NET, "ingresses"): network.INGRESS,
    (_NET, "ipaddresses"): network.IP_ADDRESS,
    (_NET, "networkpolicies"): network.NETWORK_POLICY,
    (_NET, "servicecidrs"): network.SERVICE_CIDR,
    ("policy", "poddisruptionbudgets"): workloads.PDB,
    (_RBAC, "clusterrolebindings"): cluster.ROLE_BINDING,
    (_RBAC, "clusterroles"): cluster.CREATED,
    (_RBAC, "rolebindings"): cluster.ROLE_BINDING,
    (_RBAC, "roles"): cluster.CREATED,
    (_STORAGE, "csidrivers"): storage.CSI_DRIVER,
    (_STORAGE, "csinodes"): storage.CSI_NODE,
    (_STORAGE, "csistoragecapacities"): storage.CSI_STORAGE_CAPACITY,
    (_STORAGE, "storageclasses"): storage.STORAGE_CLASS,
    (_STORAGE, "volumeattachments"): storage.VOLUME_ATTACHMENT,
    (_ADMISSION, "mutatingwebhookconfigurations"): extension.WEBHOOKS,
    (_ADMISSION, "validatingadmissionpolicies"): extension.ADMISSION_POLICY,
    (_ADMISSION, "validatingadmissionpolicybindings"): extension.ADMISSION_POLICY_BINDING,
    (_ADMISSION, "validatingwebhookconfigurations"): extension.WEBHOOKS,
    ("apiextensions.k8s.io", "customresourcedefinitions"): cluster.CREATED,
    ("scheduling.k8s.io", "priorityclasses"): cluster.PRIORITY_CLASS,
    ("coordination.k8s.io", "leases"): cluster.LEASE,
    ("node.k8s.io", "runtimeclasses"): cluster.RUNTIME_CLASS,
    ("discovery.k8s.io", "endpointslices"): network.ENDPOINT_SLICE,
    (_FLOW, "flowschemas"): cluster.FLOW_SCHEMA,
    (_FLOW, "prioritylevelconfigurations"): cluster.PRIORITY_LEVEL,
}
