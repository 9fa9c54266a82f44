"""Which module holds the rules of a kind; one explicit table, modules loaded on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import import_module

from netlab.api.types import Obj
from netlab.api.validation import meta
from netlab.api.validation.field import FieldError

Create = Callable[[Obj], list[FieldError]]
Update = Callable[[Obj, Obj], list[FieldError]]


@dataclass(frozen=True)
class Rules:
    """The rules of one kind. Each returns findings in upstream's order."""

    create: Create
    update: Update
    status_update: Update
    others: dict[str, Update] = field(default_factory=dict)

    def subresource_update(self, name: str, new: Obj, old: Obj) -> list[FieldError]:
        """Rules of another subresource; those of a plain update where it has none."""
        return self.others.get(name, self.update)(new, old)


_KINDS_OF: dict[str, tuple[str, ...]] = {
    "pods": ("/Pod", "/PodTemplate", "/Binding"),
    "services": ("/Service",),
    "core": ("/Namespace", "/ServiceAccount", "/Secret", "/ConfigMap", "/Endpoints", "/Node"),
    "quotas": ("/LimitRange", "/ResourceQuota"),
    "persistent": ("/PersistentVolume", "/PersistentVolumeClaim"),
    "workloads": (
        "/ReplicationController",
        "apps/ReplicaSet",
        "apps/Deployment",
        "apps/DaemonSet",
        "apps/StatefulSet",
        "apps/ControllerRevision",
    ),
    "jobs": ("batch/Job", "batch/CronJob"),
    "rbac": (
        "rbac.authorization.k8s.io/Role",
        "rbac.authorization.k8s.io/ClusterRole",
        "rbac.authorization.k8s.io/RoleBinding",
        "rbac.authorization.k8s.io/ClusterRoleBinding",
    ),
    "service_ranges": ("networking.k8s.io/ServiceCIDR", "networking.k8s.io/IPAddress"),
    "networking": ("networking.k8s.io/Ingress", "networking.k8s.io/IngressClass", "networking.k8s.io/NetworkPolicy"),
    "discovery": ("discovery.k8s.io/EndpointSlice",),
    "smaller": (
        "coordination.k8s.io/Lease",
        "/Event",
        "events.k8s.io/Event",
        "policy/PodDisruptionBudget",
        "scheduling.k8s.io/PriorityClass",
        "node.k8s.io/RuntimeClass",
    ),
    "autoscaling": ("autoscaling/HorizontalPodAutoscaler",),
    "storage": (
        "storage.k8s.io/StorageClass",
        "storage.k8s.io/CSIDriver",
        "storage.k8s.io/CSINode",
        "storage.k8s.io/VolumeAttachment",
        "storage.k8s.io/CSIStorageCapacity",
    ),
    "flowcontrol": (
        "flowcontrol.apiserver.k8s.io/FlowSchema",
        "flowcontrol.apiserver.k8s.io/PriorityLevelConfiguration",
    ),
    "admission_kinds": (
        "admissionregistration.k8s.io/MutatingWebhookConfiguration",
        "admissionregistration.k8s.io/ValidatingWebhookConfiguration",
        "admissionregistration.k8s.io/ValidatingAdmissionPolicy",
        "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding",
    ),
    "definitions": ("apiextensions.k8s.io/CustomResourceDefinition",),
    "certificates": ("certificates.k8s.io/CertificateSigningRequest",),
    "registration": ("apiregistration.k8s.io/APIService",),
}
"""Which module of this package holds, in its table `RULES`, the rules of which `<group>/<kind>`."""
_MODULES = {name: module for module, kinds in _KINDS_OF.items() for name in kinds}

_GENERIC = Rules(
    create=meta.validate_generic, update=meta.validate_generic_update, status_update=meta.validate_generic_update
)


def rules_of(obj: Obj) -> Rules:
    """The rules for `obj`'s apiVersion and kind."""
    return _rules_in(str(obj.get("apiVersion", "")), str(obj.get("kind", "")))


@lru_cache(maxsize=512)
def _rules_in(api_version: str, kind: str) -> Rules:
    return rules_for(api_version.rpartition("/")[0], kind)


@cache
def rules_for(group: str, kind: str) -> Rules:
    """The rules of a kind; the generic ones (metadata only) where it has none of its own."""
    module = _MODULES.get(f"{group}/{kind}")
    if module is None:
        return _GENERIC
    rules: dict[str, Rules] = import_module(f"netlab.api.validation.{module}").RULES
    return rules[kind]
