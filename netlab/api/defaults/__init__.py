"""PURE. Defaults: what upstream fills in when a field is absent (`SetObjectDefaults_*`), per kind and version.

May not validate, allocate (addresses, ports) or look at other objects. Works on decoded objects
(`netlab.api.decoding`), where an absent key is Go's zero value. Modules of kinds are imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module

from netlab.api.types import Obj

Default = Callable[[Obj], None]

_MODULES: dict[str, list[str]] = {
    "core": [
        "v1.Pod",
        "v1.PodTemplate",
        "v1.ReplicationController",
        "v1.Service",
        "v1.Endpoints",
        "v1.Secret",
        "v1.Namespace",
        "v1.Node",
        "v1.PersistentVolume",
        "v1.PersistentVolumeClaim",
        "v1.LimitRange",
        "v1.ResourceQuota",
    ],
    "workloads": [
        "apps/v1.Deployment",
        "apps/v1.ReplicaSet",
        "apps/v1.DaemonSet",
        "apps/v1.StatefulSet",
        "batch/v1.Job",
        "batch/v1.CronJob",
    ],
    "autoscaling": ["autoscaling/v1.HorizontalPodAutoscaler", "autoscaling/v2.HorizontalPodAutoscaler"],
    "others": [
        "discovery.k8s.io/v1.EndpointSlice",
        "networking.k8s.io/v1.IngressClass",
        "networking.k8s.io/v1.NetworkPolicy",
        "rbac.authorization.k8s.io/v1.RoleBinding",
        "rbac.authorization.k8s.io/v1.ClusterRoleBinding",
        "storage.k8s.io/v1.StorageClass",
        "storage.k8s.io/v1.CSIDriver",
        "scheduling.k8s.io/v1.PriorityClass",
        "flowcontrol.apiserver.k8s.io/v1.FlowSchema",
        "flowcontrol.apiserver.k8s.io/v1.PriorityLevelConfiguration",
        "apiextensions.k8s.io/v1.CustomResourceDefinition",
        "apiregistration.k8s.io/v1.APIService",
        "admissionregistration.k8s.io/v1.ValidatingWebhookConfiguration",
        "admissionregistration.k8s.io/v1.MutatingWebhookConfiguration",
        "admissionregistration.k8s.io/v1.ValidatingAdmissionPolicy",
        "admissionregistration.k8s.io/v1.ValidatingAdmissionPolicyBinding",
    ],
}
"""Which module of this package holds the defaults of which kinds, in its table `DEFAULTS`."""


def apply_defaults(obj: Obj) -> None:
    """Fill in upstream's defaults for `obj`'s apiVersion and kind, in place; unknown kinds are left alone."""
    found = _default_of(str(obj.get("apiVersion")), str(obj.get("kind")))
    if found is not None:
        found(obj)


@cache
def _default_of(api_version: str, kind: str) -> Default | None:
    name = f"{api_version}.{kind}"
    for module, kinds in _MODULES.items():
        if name in kinds:
            table: dict[str, Default] = import_module(f"netlab.api.defaults.{module}").DEFAULTS
            return table[name]
    return None
