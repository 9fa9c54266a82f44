"""Provisions volumes of the default StorageClass: what kind's local-path provisioner does, by the same helper pods.

A volume is a directory of the node that the scheduler chose, made and deleted by a pod there; so a node that nobody
reaches gets no volume. Classes named in SHARED are on a file system that all nodes have in common: their claims are
provisioned at once and for any access mode.

Sources followed: sig-storage-lib-external-provisioner controller.go, rancher/local-path-provisioner provisioner.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.storage import PROVISIONED_BY, PROVISIONER, SELECTED_NODE, class_of, mode_of, waits
from netlab.api.types import Obj
from netlab.client.kinds import NODES, PODS, STORAGE_CLASSES
from netlab.client.kinds import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from netlab.client.kinds import PERSISTENT_VOLUMES as VOLUMES
from netlab.controllers import helper_pods
from netlab.controllers.context import Context

NAME = "rancher.io/local-path"
ROOT = "/var/local-path-provisioner"
SHARED = {"shared": "/var/shared-path-provisioner"}
"""Class name → where; the nodes' kubelets have one directory for all of them there."""
NAMESPACE = "kube-system"
HOSTNAME = "kubernetes.io/hostname"
TIMEOUT = 120.0
"""Seconds that a helper pod may take, as upstream's --helper-pod-timeout."""
_ONE_NODE = {"ReadWriteOnce", "ReadWriteOncePod"}
_CLAIM, _VOLUME = "claim:", "volume:"


class RefusedError(Exception):
    """What is asked for cannot be had, whoever tries again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """PURE. What is to be made: the volume's object, the directory, and the node ("" any) on which it is."""

    volume: Obj
    path: str
    node: str


def provisioned(claim: Obj, storage_class: Obj, node: Obj | None) -> Wanted:
    """PURE. The volume for a claim. Raises RefusedError."""
    spec = claim["spec"]
    if spec.get("selector"):
        raise RefusedError("claim.Spec.Selector is not supported")
    modes = list(spec.get("accessModes") or ())
    name, shared = f"pvc-{meta.uid(claim)}", SHARED.get(meta.name(storage_class))
    if shared is None and not _ONE_NODE.issuperset(modes):
        raise RefusedError("NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes")
    if shared is None and node is None:
        raise RefusedError("configuration error, no node was specified")
    path = f"{shared or ROOT}/{name}_{meta.namespace(claim)}_{meta.name(claim)}"
    wanted: Obj = {
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        "accessModes": modes,
        "volumeMode": "Filesystem",
        "capacity": {"storage": spec["resources"]["requests"]["storage"]},
        "hostPath": {"path": path, "type": "DirectoryOrCreate"},
        "storageClassName": class_of(claim),
        "mountOptions": storage_class.get("mountOptions"),
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": meta.namespace(claim),
            "name": meta.name(claim),
            "uid": meta.uid(claim),
            "resourceVersion": meta.resource_version(claim),
        },
    }
    if shared is None and node is not None:
        here = meta.labels(node).get(HOSTNAME, meta.name(node))
        terms = [{"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [here]}]}]
        wanted["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
    metadata = {"name": name, "annotations": {PROVISIONED_BY: NAME}}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": wanted}
    return Wanted(volume, path, "" if shared or node is None else meta.name(node))


def place(volume: Obj) -> tuple[str, str]:
    """PURE. (the directory of one of our volumes, the value of its node's host name label; "" for a shared one)."""
    path = meta.get(volume, "spec", "hostPath", "path")
    if not path:
        raise RefusedError("no HostPath set")
    terms = meta.get(volume, "spec", "nodeAffinity", "required", "nodeSelectorTerms", default=())
    values = [one["values"] for term in terms for one in term.get("matchExpressions") or () if one["key"] == HOSTNAME]
    if not values:
        if any(path.startswith(f"{root}/") for root in SHARED.values()):
            return str(path), ""
        raise RefusedError("no NodeAffinity set")
    return str(path), str(values[0][0])


def helper(action: str, name: str, path: str, node: str) -> Obj:
    """PURE. The pod that makes (`create`) or deletes (`delete`) a volume's directory; `node` "": on any."""
    parent, _, directory = path.rpartition("/")
    commands = {"create": ["mkdir", "-m", "0777", "-p"], "delete": ["rm", "-rf"]}
    spec: Obj = {
        "restartPolicy": "Never",
        "tolerations": [{"operator": "Exists"}],
        "volumes": [{"name": "data", "hostPath": {"path": parent, "type": "DirectoryOrCreate"}}],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "helper-pod",
                "image": "busybox",
                "command": [*commands[action], f"/data/{directory}"],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
    }
    if node:
        spec["nodeName"] = node
    metadata = {"name": f"helper-pod-{action}-{name}", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def ours(claim: Obj, classes: Mapping[str, Obj]) -> bool:
    """PURE. Whether we are asked to provision for the claim, and may begin."""
    told = meta.annotations(claim)
    if claim["spec"].get("volumeName") or meta.deleting(claim) or told.get(PROVISIONER[1]) != NAME:
        return False
    found = classes.get(class_of(claim))
    return (
        found is not None and found.get("provisioner") == NAME and (not waits(found) or bool(told.get(SELECTED_NODE)))
    )


class LocalPathProvisioner:
    """A key is a claim or a volume, and says which."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("local-path-provisioner")
        self.events = context.recorder(f"{NAME}_local-path-provisioner")
        self.claims, self.volumes = context.informer(CLAIMS), context.informer(VOLUMES)
        self.classes, self.pods, self.nodes = (context.informer(kind) for kind in (STORAGE_CLASSES, PODS, NODES))
        self.claims.add_handler(self._claim, lambda old, new: self._claim(new), None)
        self.volumes.add_handler(self._volume, lambda old, new: self._volume(new), None)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.claims, self.volumes, self.classes, self.pods, self.nodes)
        await self.queue.run(self.reconcile, workers=4)

    async def reconcile(self, key: str) -> None:
        """Provision for a claim, or delete a released volume. Raises OSError, StatusError: it is tried again."""
        if key.startswith(_CLAIM):
            claim = self.claims.store.get(key.removeprefix(_CLAIM))
            if claim is not None and ours(claim, self.classes.store):
                await self._provision(claim)
            return
        volume = self.volumes.store.get(key.removeprefix(_VOLUME))
        if volume is not None and _to_delete(volume):
            await self._delete(volume)

    async def _provision(self, claim: Obj) -> None:
        name, chosen = f"pvc-{meta.uid(claim)}", meta.annotations(claim).get(SELECTED_NODE)
        if name in self.volumes.store:
            return
        if mode_of(claim) == "Block":
            self._say(claim, "Warning", "ProvisioningFailed", f"{NAME} does not support block volume provisioning")
            return
        node = self.nodes.store.get(chosen) if chosen else None
        if chosen and node is None:
            self._say(claim, "Warning", "ProvisioningFailed", f'node "{chosen}" not found')
            await self._reschedule(claim)
            return
        storage_class = self.classes.store[class_of(claim)]
        text = f'External provisioner is provisioning volume for claim "{meta.key(claim)}"'
        self._say(claim, "Normal", "Provisioning", text)
        try:
            wanted = provisioned(claim, storage_class, node)
            await self._help("create", name, wanted.path, wanted.node)
        except (RefusedError, OSError, StatusError) as error:
            what = f'failed to provision volume with StorageClass "{meta.name(storage_class)}": {error}'
            self._say(claim, "Warning", "ProvisioningFailed", what)
            raise OSError(what) from None
        try:
            self.volumes.observe(await self.client.create(VOLUMES, wanted.volume))
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        self._say(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")

    async def _delete(self, volume: Obj) -> None:
        try:
            path, host = place(volume)
            nodes = [meta.name(one) for one in self.nodes.store.values() if meta.labels(one).get(HOSTNAME) == host]
            await self._help("delete", meta.name(volume), path, (nodes or [host])[0])
        except (RefusedError, OSError, StatusError) as error:
            what = f"failed to delete volume {meta.name(volume)}: {error}"
            self._say(volume, "Warning", "VolumeFailedDelete", what)
            raise OSError(what) from None
        try:
            await self.client.delete(VOLUMES, meta.name(volume), uid=meta.uid(volume))
        except StatusError as error:
            if error.code != 404:
                raise

    async def _help(self, action: str, name: str, path: str, node: str) -> None:
        try:
            await helper_pods.run(self.client, self.pods, helper(action, name, path, node), TIMEOUT)
        except (OSError, StatusError) as error:
            raise OSError(f"failed to {action} volume {name}: {error}") from None

    async def _reschedule(self, claim: Obj) -> None:
        """Tell the scheduler to choose another node."""
        patch = {"metadata": {"annotations": {SELECTED_NODE: None}}}
        written = await self.client.patch(CLAIMS, meta.name(claim), patch, meta.namespace(claim), patch_type="merge")
        self.claims.observe(written)

    def _say(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        self.events.event(obj, type_, reason, message)

    def _claim(self, claim: Obj) -> None:
        if meta.annotations(claim).get(PROVISIONER[1]) == NAME and not claim["spec"].get("volumeName"):
            self.queue.add(_CLAIM + meta.key(claim))

    def _volume(self, volume: Obj) -> None:
        if _to_delete(volume):
            self.queue.add(_VOLUME + meta.name(volume))


def _to_delete(volume: Obj) -> bool:
    return (
        meta.annotations(volume).get(PROVISIONED_BY) == NAME
        and meta.get(volume, "status", "phase") == "Released"
        and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        and not meta.deleting(volume)
    )
