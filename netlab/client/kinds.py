"""How callers name a resource: the registry's `Resource`, or the pair (apiVersion, plural); and the usual pairs."""

from __future__ import annotations

from typing import Protocol, TypeAlias


class NamedResource(Protocol):
    """What the client needs of a registry entry."""

    @property
    def api_version(self) -> str: ...
    @property
    def plural(self) -> str: ...


ResourceRef: TypeAlias = "NamedResource | tuple[str, str]"

PODS = ("v1", "pods")
NODES = ("v1", "nodes")
SERVICES = ("v1", "services")
ENDPOINTS = ("v1", "endpoints")
NAMESPACES = ("v1", "namespaces")
NETWORK_POLICIES = ("networking.k8s.io/v1", "networkpolicies")
CONFIG_MAPS = ("v1", "configmaps")
SECRETS = ("v1", "secrets")
SERVICE_ACCOUNTS = ("v1", "serviceaccounts")
EVENTS = ("v1", "events")
REPLICATION_CONTROLLERS = ("v1", "replicationcontrollers")
REPLICA_SETS = ("apps/v1", "replicasets")
DEPLOYMENTS = ("apps/v1", "deployments")
DAEMON_SETS = ("apps/v1", "daemonsets")
STATEFUL_SETS = ("apps/v1", "statefulsets")
CONTROLLER_REVISIONS = ("apps/v1", "controllerrevisions")
JOBS = ("batch/v1", "jobs")
CRON_JOBS = ("batch/v1", "cronjobs")
ENDPOINT_SLICES = ("discovery.k8s.io/v1", "endpointslices")
LEASES = ("coordination.k8s.io/v1", "leases")
PRIORITY_CLASSES = ("scheduling.k8s.io/v1", "priorityclasses")
POD_DISRUPTION_BUDGETS = ("policy/v1", "poddisruptionbudgets")
PERSISTENT_VOLUME_CLAIMS = ("v1", "persistentvolumeclaims")
PERSISTENT_VOLUMES = ("v1", "persistentvolumes")
VALIDATING_ADMISSION_POLICIES = ("admissionregistration.k8s.io/v1", "validatingadmissionpolicies")
STORAGE_CLASSES = ("storage.k8s.io/v1", "storageclasses")
RUNTIME_CLASSES = ("node.k8s.io/v1", "runtimeclasses")
SERVICE_CIDRS = ("networking.k8s.io/v1", "servicecidrs")
IP_ADDRESSES = ("networking.k8s.io/v1", "ipaddresses")
CLUSTER_ROLES = ("rbac.authorization.k8s.io/v1", "clusterroles")


def ref_of(resource: ResourceRef) -> tuple[str, str]:
    """(apiVersion, plural), hashable."""
    if isinstance(resource, tuple):
        return resource
    return (resource.api_version, resource.plural)


def collection_path(resource: ResourceRef, namespace: str | None = None) -> str:
    """URL path of a collection; `namespace` None means cluster scope, or all namespaces."""
    api_version, plural = ref_of(resource)
    root = "/apis/" if "/" in api_version else "/api/"
    if namespace:
        return f"{root}{api_version}/namespaces/{namespace}/{plural}"
    return f"{root}{api_version}/{plural}"


def object_path(resource: ResourceRef, namespace: str | None, name: str, subresource: str = "") -> str:
    """URL path of one object, or of its subresource."""
    path = f"{collection_path(resource, namespace)}/{name}"
    return f"{path}/{subresource}" if subresource else path
