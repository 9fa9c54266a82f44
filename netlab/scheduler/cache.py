"""PURE. What the scheduler knows of the cluster: nodes, the pods on them, and pods assumed to be on them.

An assumed pod is one whose binding is being written: it takes room at once, so that the next pod can be placed without
waiting. Counts of matching pods per node are kept for each selector asked for, so that spreading a thousand pods of one
Deployment does not look at a thousand pods a thousand times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from netlab.api import meta
from netlab.api.labels import Selector
from netlab.api.types import Obj
from netlab.scheduler.model import NodeInfo, PodInfo
from netlab.scheduler.volumes import Storage

SELECTORS_KEPT = 256


class Snapshot(Protocol):
    """What filters and scores may ask."""

    @property
    def nodes(self) -> list[NodeInfo]: ...
    @property
    def by_name(self) -> Mapping[str, NodeInfo]: ...
    @property
    def with_affinity(self) -> Iterable[PodInfo]: ...
    @property
    def with_anti_affinity(self) -> Iterable[PodInfo]: ...
    @property
    def namespace_labels(self) -> Mapping[str, Mapping[str, str]]: ...
    @property
    def storage(self) -> Storage: ...
    def users(self, claim: str) -> int:
        """How many placed pods use the claim (namespace/name)."""
        ...

    def matching(self, namespace: str, selector: Selector) -> Mapping[str, int]:
        """How many live pods of the namespace match, by node name."""
        ...

    def default_selector(self, pod: PodInfo) -> Selector | None:
        """What the default spreading counts: the pod's Services' and owner's selectors together; None without."""
        ...


class Cache:
    """The one Snapshot: the scheduler works on it between two awaits, so nothing moves under a decision."""

    def __init__(self) -> None:
        self._infos: dict[str, NodeInfo] = {}
        self._ordered: list[NodeInfo] | None = None
        self._pods: dict[str, PodInfo] = {}
        self._assumed: set[str] = set()
        self._with_affinity: dict[str, PodInfo] = {}
        self._with_anti: dict[str, PodInfo] = {}
        self._users: Counter[str] = Counter()
        self._counters: dict[tuple[str, Selector], dict[str, int]] = {}
        self.namespace_labels: dict[str, Mapping[str, str]] = {}
        self.selectors: DefaultSelectors | None = None
        self.storage = Storage()

    @property
    def nodes(self) -> list[NodeInfo]:
        """Known nodes, in a steady order."""
        if self._ordered is None:
            self._ordered = [info for info in self._infos.values() if info.known]
        return self._ordered

    @property
    def by_name(self) -> Mapping[str, NodeInfo]:
        return self._infos

    @property
    def with_affinity(self) -> Iterable[PodInfo]:
        return self._with_affinity.values()

    @property
    def with_anti_affinity(self) -> Iterable[PodInfo]:
        return self._with_anti.values()

    def default_selector(self, pod: PodInfo) -> Selector | None:
        return self.selectors.of(pod) if self.selectors is not None else None

    def matching(self, namespace: str, selector: Selector) -> Mapping[str, int]:
        key = (namespace, selector)
        found = self._counters.get(key)
        if found is None:
            found = {}
            for pod in self._pods.values():
                if pod.namespace == namespace and not meta.deleting(pod.obj) and selector.matches(pod.labels):
                    found[pod.node] = found.get(pod.node, 0) + 1
            if len(self._counters) >= SELECTORS_KEPT:
                self._counters.pop(next(iter(self._counters)))
            self._counters[key] = found
        return found

    def users(self, claim: str) -> int:
        return self._users[claim]

    def set_node(self, node: Obj) -> None:
        """A Node appeared or changed."""
        self._info(meta.name(node)).set_node(node)
        self._ordered = None

    def remove_node(self, name: str) -> None:
        """A Node is gone; pods that still name it are remembered."""
        info = self._infos.get(name)
        if info is not None:
            info.known = False
            self._forget_empty(info)
        self._ordered = None

    def has(self, uid: str) -> bool:
        return uid in self._pods

    def assumed(self, uid: str) -> bool:
        return uid in self._assumed

    def assume(self, pod: PodInfo, node: str) -> PodInfo:
        """Count the pod on the node before its binding is written."""
        placed = PodInfo({**pod.obj, "spec": {**pod.spec, "nodeName": node}})
        for shared in ("requests", "nonzero", "ports", "affinity", "anti_affinity"):
            setattr(placed, shared, getattr(pod, shared))
        self._put(placed)
        self._assumed.add(placed.uid)
        return placed

    def forget(self, uid: str) -> None:
        """The binding failed."""
        if uid in self._assumed:
            self.remove_pod(uid)

    def set_pod(self, pod: Obj) -> None:
        """A bound pod appeared or changed."""
        uid = meta.uid(pod)
        old = self._pods.get(uid)
        if old is not None and uid in self._assumed and old.node == pod["spec"]["nodeName"]:
            self._assumed.discard(uid)
            if old.labels == meta.labels(pod) and not meta.deleting(pod):
                old.obj = pod
                return
        elif old is not None and _same(old, pod):
            old.obj = pod
            return
        self.remove_pod(uid)
        self._put(PodInfo(pod))

    def remove_pod(self, uid: str) -> PodInfo | None:
        """A pod is gone or finished."""
        pod = self._pods.pop(uid, None)
        if pod is None:
            return None
        self._assumed.discard(uid)
        self._users.subtract(pod.claim_keys)
        self._with_affinity.pop(uid, None)
        self._with_anti.pop(uid, None)
        info = self._infos.get(pod.node)
        if info is not None:
            info.remove(pod)
            self._forget_empty(info)
        self._tally(pod, -1)
        return pod

    def _put(self, pod: PodInfo) -> None:
        self._pods[pod.uid] = pod
        self._users.update(pod.claim_keys)
        self._info(pod.node).add(pod)
        if pod.anti_affinity.required:
            self._with_anti[pod.uid] = pod
        if pod.affinity.required or pod.affinity.preferred or pod.anti_affinity.preferred:
            self._with_affinity[pod.uid] = pod
        self._tally(pod, 1)

    def _tally(self, pod: PodInfo, sign: int) -> None:
        if meta.deleting(pod.obj):
            return
        for (namespace, selector), counts in self._counters.items():
            if namespace == pod.namespace and selector.matches(pod.labels):
                counts[pod.node] = counts.get(pod.node, 0) + sign

    def _info(self, name: str) -> NodeInfo:
        info = self._infos.get(name)
        if info is None:
            info = self._infos[name] = NodeInfo(name)
        return info

    def _forget_empty(self, info: NodeInfo) -> None:
        if not info.known and not info.pods:
            self._infos.pop(info.name, None)


def _same(old: PodInfo, pod: Obj) -> bool:
    """Nothing that the scheduler looks at changed."""
    spec = pod.get("spec") or {}
    return (
        old.node == spec.get("nodeName")
        and old.labels == meta.labels(pod)
        and meta.deleting(old.obj) == meta.deleting(pod)
        and old.spec.get("containers") == spec.get("containers")
    )


class DefaultSelectors(Protocol):
    """Where the default spreading gets its selector from."""

    def of(self, pod: PodInfo) -> Selector | None: ...
