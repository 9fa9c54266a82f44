"""PURE. The APIServices of what is served here, kept by the server itself.

Source followed: pkg/controlplane/apiserver/aggregator.go, kube-aggregator pkg/controllers/autoregister.
"""

from __future__ import annotations

from netlab.api.resources import Registry
from netlab.api.types import Obj

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
OWN_GROUP = "apiregistration.k8s.io"
"""Served always and first; it has no APIService of its own."""
CUSTOM = (1000, 100)
PRIORITIES: dict[str, int] = {
    OWN_GROUP: 20000,
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "internal.apiserver.k8s.io": 16000,
    "resource.k8s.io": 15900,
    "storagemigration.k8s.io": 15800,
}
_VERSIONS = {
    ("", "v1"): 1,
    ("autoscaling", "v2"): 30,
    ("flowcontrol.apiserver.k8s.io", "v1"): 21,
    ("flowcontrol.apiserver.k8s.io", "v1beta3"): 18,
}
_STABLE, _BETA, _ALPHA = 15, 9, 1
CONDITION = ("True", "Local", "Local APIServices are always available")


def group_priority(group: str) -> int:
    """Where a local group stands in discovery."""
    return PRIORITIES.get(group, CUSTOM[0])


def services(registry: Registry) -> dict[str, Obj]:
    """Name → APIService of every local group and version."""
    custom = {(resource.group, resource.version) for resource in registry if resource.custom}
    found = {}
    for group, versions in registry.groups():
        for version in versions:
            if group != OWN_GROUP:
                made = _service(group, version, custom=(group, version) in custom)
                found[made["metadata"]["name"]] = made
    return found


def _service(group: str, version: str, *, custom: bool) -> Obj:
    priority = _BETA if "beta" in version else _ALPHA if "alpha" in version else _STABLE
    first, second = CUSTOM if custom else (group_priority(group), _VERSIONS.get((group, version), priority))
    spec = {"group": group, "version": version, "groupPriorityMinimum": first, "versionPriority": second}
    if not group:
        del spec["group"]
    return {
        "apiVersion": f"{OWN_GROUP}/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {AUTOMANAGED: "true" if custom else "onstart"}},
        "spec": spec,
    }
