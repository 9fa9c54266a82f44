"""The pods and namespaces that policies select, thinned out to what matters here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from netlab.api.labels import from_label_selector
from netlab.api.types import Obj

Direction = Literal["ingress", "egress"]
_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod with addresses of its own. `ports`: (name, protocol) → number, of its containers."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    node: str
    addresses: tuple[str, ...]
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


def pod_of(obj: Obj) -> Pod | None:
    """None for a pod that policies do not know: it uses the node's network, has ended, or has no address yet."""
    spec, status, metadata = obj.get("spec") or {}, obj.get("status") or {}, obj["metadata"]
    addresses = tuple(entry["ip"] for entry in status.get("podIPs") or ())
    if spec.get("hostNetwork") or status.get("phase") in _ENDED or not addresses:
        return None
    ports = {
        (port["name"], port.get("protocol", "TCP")): int(port["containerPort"])
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
        for port in container.get("ports") or ()
        if port.get("name")
    }
    labels = metadata.get("labels") or {}
    return Pod(metadata["namespace"], metadata["name"], labels, spec.get("nodeName", ""), addresses, ports)


class Cluster:
    """What selectors choose from: pods, and the labels of namespaces."""

    def __init__(self, pods: Iterable[Pod], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self.pods = tuple(sorted(pods, key=lambda pod: pod.key))
        self.namespaces = namespaces
        self._in: dict[str, list[Pod]] = {}
        for pod in self.pods:
            self._in.setdefault(pod.namespace, []).append(pod)

    def select(self, peer: Obj, home: str) -> list[Pod]:
        """The pods of a peer of a policy in the namespace `home`, or of its spec (a podSelector alone)."""
        chosen: Sequence[str] = (home,)
        if peer.get("namespaceSelector") is not None:
            wanted = from_label_selector(peer["namespaceSelector"])
            chosen = [name for name, labels in sorted(self.namespaces.items()) if wanted.matches(labels)]
        of = from_label_selector(peer.get("podSelector") or {})
        return [pod for name in chosen for pod in self._in.get(name, ()) if of.matches(pod.labels)]
