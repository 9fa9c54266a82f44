"""Whether a node accepts a pod that was bound to it. Pure; follows upstream pkg/kubelet/lifecycle/predicate.go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from netlab.api.types import Obj
from netlab.node.kubelet import sysctls
from netlab.node.kubelet.podspec import host_ports, pod_requests, quantity, uid


@dataclass(frozen=True)
class Rejection:
    """`reason` becomes the pod's status.reason and the event's; `message` the event's text."""

    reason: str
    message: str


def _units(name: str, amount: Fraction) -> int:
    return ceil(amount * 1000) if name == "cpu" else ceil(amount)


def _insufficient(name: str, requested: int, used: int, capacity: int) -> Rejection:
    message = f"Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
    return Rejection(f"OutOf{name}", message)


def _predicate(name: str, description: str) -> Rejection:
    return Rejection(name, f"Predicate {name} failed: {description}")


def _term_matches(term: Obj, labels: Mapping[str, str], node_name: str) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_requirement(e, labels) for e in expressions) and all(
        _requirement(f, {"metadata.name": node_name}) for f in fields
    )


def _requirement(requirement: Obj, labels: Mapping[str, str]) -> bool:
    key, values = requirement["key"], requirement.get("values") or []
    value = labels.get(key)
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            try:
                left, right = int(value or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return left > right if operator == "Gt" else left < right
    return False


def _affinity(spec: Obj, node: Obj) -> bool:
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    name = node["metadata"]["name"]
    return any(_term_matches(term, labels, name) for term in required.get("nodeSelectorTerms") or ())


def _tolerates(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _taints(spec: Obj, node: Obj) -> bool:
    tolerations = spec.get("tolerations") or ()
    return all(
        any(_tolerates(toleration, taint) for toleration in tolerations)
        for taint in node["spec"].get("taints") or ()
        if taint["effect"] == "NoExecute"
    )


def is_extended(name: str) -> bool:
    """`v1helper.IsExtendedResourceName`."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


class Admission:
    """The pods that one node has accepted and that have not ended, with their sums kept."""

    def __init__(self, allocatable: Mapping[str, str]) -> None:
        self._capacity = {name: quantity(value) for name, value in allocatable.items()}
        self._pods: dict[str, tuple[dict[str, Fraction], set[tuple[str, str, int]]]] = {}
        self._used: dict[str, Fraction] = {}

    def add(self, pod: Obj) -> None:
        """Count a pod in, without a check."""
        pod_uid = uid(pod)
        if pod_uid in self._pods:
            return
        requests = pod_requests(pod["spec"])
        self._pods[pod_uid] = (requests, host_ports(pod["spec"]))
        for name, amount in requests.items():
            self._used[name] = self._used.get(name, Fraction(0)) + amount

    def remove(self, pod_uid: str) -> None:
        """The pod ended or is gone."""
        requests, _ = self._pods.pop(pod_uid, ({}, set()))
        for name, amount in requests.items():
            self._used[name] -= amount

    def admit(self, pod: Obj, node: Obj | None) -> Rejection | None:
        """None, and the pod is counted in; or why not. `node` is the Node object if known."""
        rejection = self._resources(pod, node)
        if rejection is None and node is not None and not _affinity(pod["spec"], node):
            rejection = _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
        if rejection is None and not self._ports_free(pod):
            rejection = _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
        if rejection is None and node is not None and not _taints(pod["spec"], node):
            rejection = _predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
        if rejection is None and (why := sysctls.forbidden(pod["spec"])):
            rejection = Rejection("SysctlForbidden", why)
        if rejection is None:
            self.add(pod)
        return rejection

    def _resources(self, pod: Obj, node: Obj | None) -> Rejection | None:
        limit = int(self._capacity.get("pods", Fraction(110)))
        if len(self._pods) + 1 > limit:
            return _insufficient("pods", 1, len(self._pods), limit)
        advertised = (node or {}).get("status", {}).get("allocatable") or {}
        for name, amount in pod_requests(pod["spec"]).items():
            used, capacity = self._used.get(name, Fraction(0)), self._capacity.get(name, Fraction(0))
            if is_extended(name):
                if name not in advertised:
                    continue  # `removeMissingExtendedResources`: of the cluster, not of the node
                capacity = quantity(advertised[name])
            if amount and amount + used > capacity:
                return _insufficient(name, _units(name, amount), _units(name, used), _units(name, capacity))
        return None

    def _ports_free(self, pod: Obj) -> bool:
        wanted = host_ports(pod["spec"])
        if not wanted:
            return True
        taken = {port for _, ports in self._pods.values() for port in ports}
        return not any(p == q and n == m and (a == b or "0.0.0.0" in (a, b)) for p, a, n in wanted for q, b, m in taken)
