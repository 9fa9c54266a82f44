"""Which objects belong to which node, through the pods that are bound to it.

Theory. A kubelet may read what its own pods need and nothing else, so every one of its requests asks: does a pod on
this node refer to this object? The graph is kept as counts, object → node → pods, from the store's own events: a pod
is looked into when it is bound (and when its ephemeral containers change), never on its status. A question is two or
three look-ups, whatever the cluster holds. It is built from the store at the first question.

The store tells these subscribers of a commit before any watcher, so no kubelet knows of a pod earlier than the graph.
Source followed: plugin/pkg/auth/authorizer/node (graph.go, graph_populator.go).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from netlab.api import meta
from netlab.api.types import Obj
from netlab.store import Event, Item, Store

MIRROR = "kubernetes.io/config.mirror"
_BOUND = b'"nodeName":"'
_EPHEMERAL = b'"ephemeralContainers"'

PODS, VOLUMES, ATTACHMENTS = "pods", "persistentvolumes", "volumeattachments.storage.k8s.io"
Load = Callable[[Item], Obj]


class Ref(NamedTuple):
    """An object, by the plural of its kind."""

    plural: str
    namespace: str
    name: str


def references(pod: Obj) -> set[Ref]:
    """PURE. Everything that a pod needs its node to read; nothing for mirror pods, which refer to nothing."""
    if MIRROR in meta.annotations(pod):
        return set()
    spec, namespace = pod.get("spec") or {}, meta.namespace(pod)
    found = {Ref("secrets", namespace, str(one.get("name", ""))) for one in spec.get("imagePullSecrets") or ()}
    if spec.get("serviceAccountName"):
        found.add(Ref("serviceaccounts", namespace, spec["serviceAccountName"]))
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            found.update(Ref(plural, namespace, name) for plural, name in _environment(container))
    for volume in spec.get("volumes") or ():
        found.update(Ref(plural, namespace, name) for plural, name in _volume(volume, meta.name(pod)))
    return {ref for ref in found if ref.name}


def _environment(container: Obj) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        yield "configmaps", (source.get("configMapRef") or {}).get("name", "")
        yield "secrets", (source.get("secretRef") or {}).get("name", "")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield "configmaps", (source.get("configMapKeyRef") or {}).get("name", "")
        yield "secrets", (source.get("secretKeyRef") or {}).get("name", "")


_SECRET_REFS = ("cephfs", "rbd", "flexVolume", "scaleIO", "storageos", "iscsi")


def _volume(volume: Obj, pod: str) -> Iterator[tuple[str, str]]:
    yield "configmaps", (volume.get("configMap") or {}).get("name", "")
    yield "secrets", (volume.get("secret") or {}).get("secretName", "")
    yield "secrets", (volume.get("azureFile") or {}).get("secretName", "")
    yield "secrets", ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name", "")
    for kind in _SECRET_REFS:
        yield "secrets", ((volume.get(kind) or {}).get("secretRef") or {}).get("name", "")
    yield "persistentvolumeclaims", (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
    if volume.get("ephemeral"):
        yield "persistentvolumeclaims", f"{pod}-{volume.get('name', '')}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield "configmaps", (source.get("configMap") or {}).get("name", "")
        yield "secrets", (source.get("secret") or {}).get("name", "")


def volume_secrets(volume: Obj) -> set[Ref]:
    """PURE. The secrets of a PersistentVolume's source; without a namespace of their own they are the claim's."""
    spec = volume.get("spec") or {}
    claim = (spec.get("claimRef") or {}).get("namespace", "")
    found: set[Ref] = set()
    for source in spec.values():
        if not isinstance(source, dict):
            continue
        for field, value in source.items():
            if field.endswith("ecretRef") and isinstance(value, dict) and not field.startswith("controller"):
                found.add(Ref("secrets", value.get("namespace") or claim, value.get("name", "")))
        if source.get("secretName"):
            found.add(Ref("secrets", source.get("secretNamespace") or claim, source["secretName"]))
    return {ref for ref in found if ref.name}


class NodeGraph:
    """`load` decodes an item of the store."""

    def __init__(self, store: Store, load: Callable[[str, Item], Obj]) -> None:
        self._store, self._load = store, load
        self._built = False
        self._pods: dict[str, tuple[str, set[Ref]]] = {}
        self._uses: dict[Ref, Counter[str]] = {}
        self._volumes: dict[str, tuple[Ref, set[Ref]]] = {}
        self._by_secret: dict[Ref, set[str]] = {}
        self._attachments: dict[str, str] = {}
        for collection, seen in ((PODS, self._pod), (VOLUMES, self._volume), (ATTACHMENTS, self._attachment)):
            store.subscribe(collection, self._told(seen))

    def related(self, node: str, ref: Ref) -> bool:
        """Whether the object belongs to the node."""
        if not self._built:
            self._build()
        if ref.plural == "volumeattachments":
            return self._attachments.get(ref.name) == node
        if ref.plural == "persistentvolumes":
            known = self._volumes.get(ref.name)
            return known is not None and self._used(node, known[0])
        if self._used(node, ref):
            return True
        return any(self._used(node, self._volumes[name][0]) for name in self._by_secret.get(ref, ()))

    def _used(self, node: str, ref: Ref) -> bool:
        counts = self._uses.get(ref)
        return counts is not None and node in counts

    def _build(self) -> None:
        self._built = True
        for collection, seen in ((PODS, self._pod), (VOLUMES, self._volume), (ATTACHMENTS, self._attachment)):
            for item in self._store.list(collection).items:
                seen(item, False)

    def _told(self, seen: Callable[[Item, bool], None]) -> Callable[[Sequence[Event]], None]:
        def told(events: Sequence[Event]) -> None:
            if self._built:
                for event in events:
                    seen(event.item, event.type == "DELETED")

        return told

    def _pod(self, item: Item, gone: bool) -> None:
        key = item.key
        known = key in self._pods
        if gone:
            self._forget_pod(key)
            return
        # a bound pod stays where it is, and only its ephemeral containers can come to need more
        if _BOUND not in item.value or (known and _EPHEMERAL not in item.value):
            return
        pod = self._load(PODS, item)
        node = str(meta.get(pod, "spec", "nodeName", default=""))
        if known:
            self._forget_pod(key)
        if not node:
            return
        refs = references(pod) | {Ref("pods", meta.namespace(pod), meta.name(pod))}
        self._pods[key] = node, refs
        for ref in refs:
            self._uses.setdefault(ref, Counter())[node] += 1

    def _forget_pod(self, key: str) -> None:
        node, refs = self._pods.pop(key, ("", set()))
        for ref in refs:
            counts = self._uses[ref]
            counts[node] -= 1
            if not counts[node]:
                del counts[node]
            if not counts:
                del self._uses[ref]

    def _volume(self, item: Item, gone: bool) -> None:
        name = item.key.rpartition("/")[2]
        for secret in self._volumes.pop(name, (None, set()))[1]:
            self._by_secret[secret].discard(name)
            if not self._by_secret[secret]:
                del self._by_secret[secret]
        volume = None if gone else self._load(VOLUMES, item)
        claim = meta.get(volume, "spec", "claimRef") if volume is not None else None
        if volume is None or not claim:
            return
        secrets = volume_secrets(volume)
        ref = Ref("persistentvolumeclaims", claim.get("namespace", ""), claim.get("name", ""))
        self._volumes[name] = ref, secrets
        for secret in secrets:
            self._by_secret.setdefault(secret, set()).add(name)

    def _attachment(self, item: Item, gone: bool) -> None:
        name = item.key.rpartition("/")[2]
        if gone:
            self._attachments.pop(name, None)
        else:
            self._attachments[name] = str(meta.get(self._load(ATTACHMENTS, item), "spec", "nodeName", default=""))
