"""PURE. Pods and nodes as filters and scores see them: everything that is asked often computed once.

Resources are integers: cpu in thousandths, all others in whole units (upstream's framework.Resource).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from netlab.api import labels as labelling
from netlab.api import meta, quantity
from netlab.api.labels import Selector
from netlab.api.types import Obj

Resources = dict[str, int]

NONZERO_CPU, NONZERO_MEMORY = 100, 200 * 1024 * 1024
"""What a container without requests counts for in scores, so that such pods spread too."""

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


def amount(resource: str, value: str | int) -> int:
    return quantity.milli(value) if resource == "cpu" else quantity.whole(value)


def resources(quantities: Mapping[str, str | int] | None) -> Resources:
    return {name: amount(name, value) for name, value in (quantities or {}).items()}


def _add(total: Resources, more: Resources) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def pod_requests(spec: Obj, *, nonzero: bool = False) -> Resources:
    """What a pod asks for: the larger of its containers together and of each init step, plus sidecars and overhead."""

    def of(container: Obj) -> Resources:
        asked = resources((container.get("resources") or {}).get("requests"))
        if nonzero:
            asked.setdefault("cpu", NONZERO_CPU)
            asked.setdefault("memory", NONZERO_MEMORY)
        return asked

    total: Resources = {}
    for container in spec.get("containers") or ():
        _add(total, of(container))
    sidecars: Resources = {}
    steps: Resources = {}
    for container in spec.get("initContainers") or ():
        asked = of(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, asked)
            asked = dict(sidecars)
        else:
            _add(asked, sidecars)
        for name, value in asked.items():
            steps[name] = max(steps.get(name, 0), value)
    _add(total, sidecars)
    for name, value in steps.items():
        total[name] = max(total.get(name, 0), value)
    total.update(resources((spec.get("resources") or {}).get("requests")))
    _add(total, resources(spec.get("overhead")))
    return total


@dataclass(frozen=True)
class AffinityTerm:
    """One term of pod (anti-)affinity, of a pod in `namespace`."""

    key: str
    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector
    weight: int = 0

    def matches(self, pod: PodInfo, namespace_labels: Mapping[str, Mapping[str, str]]) -> bool:
        if pod.namespace not in self.namespaces and not self.namespace_selector.matches(
            namespace_labels.get(pod.namespace, {})
        ):
            return False
        return self.selector.matches(pod.labels)


def _term(raw: Obj, namespace: str, weight: int = 0) -> AffinityTerm:
    names, chosen = raw.get("namespaces") or (), raw.get("namespaceSelector")
    return AffinityTerm(
        raw["topologyKey"],
        labelling.from_label_selector(raw.get("labelSelector")),
        frozenset(names if names or chosen is not None else (namespace,)),
        labelling.from_label_selector(chosen) if chosen is not None else labelling.NOTHING,
        weight,
    )


@dataclass(frozen=True)
class PodAffinity:
    """Required and preferred terms of a pod's affinity, or of its anti-affinity."""

    required: tuple[AffinityTerm, ...] = ()
    preferred: tuple[AffinityTerm, ...] = ()


def _affinity(spec: Obj, kind: str, namespace: str) -> PodAffinity:
    raw = meta.get(spec, "affinity", kind)
    if not raw:
        return NO_AFFINITY
    required = raw.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    preferred = raw.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return PodAffinity(
        tuple(_term(term, namespace) for term in required),
        tuple(_term(entry["podAffinityTerm"], namespace, int(entry["weight"])) for entry in preferred),
    )


NO_AFFINITY = PodAffinity()


class PodInfo:
    """A pod, read once."""

    def __init__(self, pod: Obj) -> None:
        self.obj = pod
        data = pod["metadata"]
        self.key = meta.key(pod)
        self.name: str = data["name"]
        self.namespace: str = data.get("namespace", "")
        self.uid: str = data.get("uid", "")
        self.labels: Mapping[str, str] = data.get("labels") or {}
        spec: Obj = pod.get("spec") or {}
        self.spec = spec
        self.node: str = spec.get("nodeName") or ""
        self.priority = int(spec.get("priority") or 0)
        self.tolerations: list[Obj] = spec.get("tolerations") or []

    @cached_property
    def requests(self) -> Resources:
        return pod_requests(self.spec)

    @cached_property
    def nonzero(self) -> Resources:
        return pod_requests(self.spec, nonzero=True)

    @cached_property
    def ports(self) -> tuple[tuple[str, str, int], ...]:
        """(host IP, protocol, host port) of each host port."""
        found = []
        containers = [*(self.spec.get("containers") or ()), *_sidecars(self.spec)]
        for container in containers:
            for port in container.get("ports") or ():
                if port.get("hostPort"):
                    protocol = port.get("protocol") or "TCP"
                    found.append((port.get("hostIP") or "0.0.0.0", protocol, int(port["hostPort"])))
        return tuple(found)

    @cached_property
    def affinity(self) -> PodAffinity:
        return _affinity(self.spec, "podAffinity", self.namespace)

    @cached_property
    def anti_affinity(self) -> PodAffinity:
        return _affinity(self.spec, "podAntiAffinity", self.namespace)

    @cached_property
    def node_affinity(self) -> Obj:
        return meta.get(self.spec, "affinity", "nodeAffinity") or {}

    @cached_property
    def node_selector(self) -> Mapping[str, str]:
        return self.spec.get("nodeSelector") or {}

    @cached_property
    def claims(self) -> tuple[tuple[str, bool], ...]:
        """(name, ephemeral) of each PersistentVolumeClaim, its own or one made for it."""
        found = []
        for volume in self.spec.get("volumes") or ():
            if volume.get("persistentVolumeClaim") is not None:
                found.append((volume["persistentVolumeClaim"].get("claimName", ""), False))
            elif volume.get("ephemeral") is not None:
                found.append((f"{self.name}-{volume['name']}", True))
        return tuple(found)

    @cached_property
    def claim_keys(self) -> list[str]:
        """namespace/name of each of them."""
        return [meta.join_key(self.namespace, name) for name, _ in self.claims]

    @cached_property
    def gates(self) -> list[str]:
        return [gate["name"] for gate in self.spec.get("schedulingGates") or ()]


def _sidecars(spec: Obj) -> Iterable[Obj]:
    return (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")


@dataclass
class NodeInfo:
    """A node and what runs on it. `add` and `remove` keep the sums."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: list[Obj] = field(default_factory=list)
    unschedulable: bool = False
    allocatable: Resources = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)
    requested: Resources = field(default_factory=dict)
    nonzero_cpu: int = 0
    nonzero_memory: int = 0
    ports: dict[tuple[str, str, int], int] = field(default_factory=dict)
    known: bool = False
    """False for a node that only pods speak of."""

    def set_node(self, node: Obj) -> None:
        """Take labels, taints and allocatable from the Node object."""
        spec, status = node.get("spec") or {}, node.get("status") or {}
        self.labels = meta.labels(node)
        self.taints = spec.get("taints") or []
        self.unschedulable = bool(spec.get("unschedulable"))
        self.allocatable = resources(status.get("allocatable") or status.get("capacity"))
        self.images = {
            n: int(i.get("sizeBytes") or 0) for i in status.get("images") or () for n in i.get("names") or ()
        }
        self.known = True

    def copy(self) -> NodeInfo:
        """One to try things on."""
        return replace(
            self, pods=dict(self.pods), requested=dict(self.requested), ports=dict(self.ports), known=self.known
        )

    def add(self, pod: PodInfo) -> None:
        self.pods[pod.uid] = pod
        self._count(pod, 1)

    def remove(self, pod: PodInfo) -> None:
        known = self.pods.pop(pod.uid, None)
        if known is not None:
            self._count(known, -1)

    def _count(self, pod: PodInfo, sign: int) -> None:
        for name, value in pod.requests.items():
            self.requested[name] = self.requested.get(name, 0) + sign * value
        self.nonzero_cpu += sign * pod.nonzero.get("cpu", 0)
        self.nonzero_memory += sign * pod.nonzero.get("memory", 0)
        for port in pod.ports:
            count = self.ports.get(port, 0) + sign
            if count:
                self.ports[port] = count
            else:
                self.ports.pop(port, None)


def tolerates(tolerations: Iterable[Obj], taint: Obj) -> bool:
    """Whether one of the tolerations tolerates the taint (core/v1 toleration.go)."""
    for toleration in tolerations:
        if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
            continue
        key = toleration.get("key")
        if key and key != taint.get("key"):
            continue
        operator = toleration.get("operator") or "Equal"
        if operator == "Exists" or (
            operator == "Equal" and key and (toleration.get("value") or "") == (taint.get("value") or "")
        ):
            return True
    return False
