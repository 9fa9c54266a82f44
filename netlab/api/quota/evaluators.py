"""PURE. For each kind: which resource names measure it, and how much of them one object uses."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from netlab.api import meta
from netlab.api.quota import pods
from netlab.api.quota.lists import Amounts
from netlab.api.quota.scopes import Scope
from netlab.api.types import Obj

IGNORED = frozenset({"events", "events.events.k8s.io", "bindings"})
"""Kinds that no quota counts."""
_CREATE, _WRITE = frozenset({"CREATE"}), frozenset({"CREATE", "UPDATE"})
_CLASS_SUFFIX = ".storageclass.storage.k8s.io/"


@dataclass(frozen=True)
class Evaluator:
    """How one kind is measured. `measures` picks from names those that it accounts for."""

    group_resource: str
    operations: frozenset[str]
    measures: Callable[[Iterable[str]], list[str]]
    usage: Callable[[Obj, float], Amounts]
    in_scope: Callable[[Scope, Obj], bool]
    missing: Callable[[Collection[str], Obj], str] = lambda names, obj: ""
    subresources: frozenset[str] = frozenset()
    """Subresources whose updates count too."""

    def handles(self, operation: str, subresource: str) -> bool:
        if subresource:
            return operation == "UPDATE" and subresource in self.subresources
        return operation in self.operations


def count_name(group_resource: str) -> str:
    """The object count quota of a kind: count/deployments.apps."""
    return f"count/{group_resource}"


def _no_scope(scope: Scope, obj: Obj) -> bool:
    return False


def _counted(group_resource: str, alias: str = "") -> Evaluator:
    names = [name for name in (count_name(group_resource), alias) if name]
    return Evaluator(
        group_resource,
        _CREATE,
        lambda given: [name for name in given if name in names],
        lambda obj, now: dict.fromkeys(names, "1"),
        _no_scope,
    )


_SERVICE_NAMES = ("count/services", "services", "services.nodeports", "services.loadbalancers")


def _service(service: Obj, now: float) -> Amounts:
    spec = service.get("spec") or {}
    ports = spec.get("ports") or []
    found = {"count/services": "1", "services": "1", "services.nodeports": "0", "services.loadbalancers": "0"}
    if spec.get("type") == "NodePort":
        found["services.nodeports"] = str(len(ports))
    elif spec.get("type") == "LoadBalancer":
        found["services.loadbalancers"] = "1"
        asked = ports
        if spec.get("allocateLoadBalancerNodePorts") is False:
            asked = [port for port in ports if port.get("nodePort")]
        found["services.nodeports"] = str(len(asked))
    return found


_CLAIM_NAMES = ("count/persistentvolumeclaims", "persistentvolumeclaims", "requests.storage")


def _claim_names(given: Iterable[str]) -> list[str]:
    suffixes = (f"{_CLASS_SUFFIX}requests.storage", f"{_CLASS_SUFFIX}persistentvolumeclaims")
    return [name for name in given if name in _CLAIM_NAMES or name.endswith(suffixes)]


def _claim(claim: Obj, now: float) -> Amounts:
    from netlab.api.quantity import parse

    spec = claim.get("spec") or {}
    storage_class = meta.annotations(claim).get("volume.beta.kubernetes.io/storage-class")
    storage_class = storage_class or spec.get("storageClassName") or ""
    found = {"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1"}
    asked = meta.get(spec, "resources", "requests", "storage")
    allocated = meta.get(claim, "status", "allocatedResources", "storage")
    if asked is not None and allocated is not None and parse(allocated) > parse(asked):
        asked = allocated
    if storage_class:
        found[f"{storage_class}{_CLASS_SUFFIX}persistentvolumeclaims"] = "1"
    if asked is not None:
        found["requests.storage"] = str(asked)
        if storage_class:
            found[f"{storage_class}{_CLASS_SUFFIX}requests.storage"] = str(asked)
    return found


_EVALUATORS = {
    "pods": Evaluator(
        "pods", _CREATE, pods.measured, pods.usage, pods.in_scope, pods.missing, subresources=frozenset({"resize"})
    ),
    "services": Evaluator(
        "services", _WRITE, lambda given: [name for name in given if name in _SERVICE_NAMES], _service, _no_scope
    ),
    "persistentvolumeclaims": Evaluator(
        "persistentvolumeclaims", _WRITE, _claim_names, _claim, _no_scope, subresources=frozenset({"status"})
    ),
    **{kind: _counted(kind, kind) for kind in ("configmaps", "resourcequotas", "replicationcontrollers", "secrets")},
}


def evaluator_for(group_resource: str) -> Evaluator | None:
    """The rules of a kind; None for one that no quota counts. Kinds without rules of their own are counted."""
    if group_resource in IGNORED:
        return None
    found = _EVALUATORS.get(group_resource)
    if found is None:
        found = _EVALUATORS[group_resource] = _counted(group_resource)
    return found


def tracked(names: Iterable[str]) -> list[Evaluator]:
    """The kinds that the hard limits of a quota are about."""
    names = list(names)
    counted = [name.partition("/")[2] for name in names if name.startswith("count/")]
    found = [evaluator_for(kind) for kind in dict.fromkeys([*_BUILT_IN, *counted])]
    return [one for one in found if one is not None and one.measures(names)]


_BUILT_IN = tuple(_EVALUATORS)
