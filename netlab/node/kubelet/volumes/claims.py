"""Persistent volumes on a node: from a pod's claim to a directory of the node's own.

Volumes of type hostPath and local are here; whatever needs a driver is refused with its kind.
"""

from __future__ import annotations

from pathlib import Path

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.kinds import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from netlab.client.transport import TransportError
from netlab.node.kubelet.volumes import hostpath
from netlab.node.kubelet.volumes.payload import VolumeError

_NO_SOURCE = frozenset(
    {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
)


def claim_name(pod: Obj, volume: Obj) -> str:
    """PURE. The claim behind a volume of a pod."""
    if "ephemeral" in volume:
        return f"{pod['metadata']['name']}-{volume['name']}"
    return str(volume["persistentVolumeClaim"]["claimName"])


def source_of(persistent: Obj) -> tuple[str, Obj]:
    """PURE. Kind and fields of a PersistentVolume's source."""
    return next(((key, one or {}) for key, one in persistent["spec"].items() if key not in _NO_SOURCE), ("", {}))


async def mounted(client: Client, pod: Obj, volume: Obj, node_root: Path) -> tuple[str, bool]:
    """(the real path, read-only). Raises VolumeError while the claim is not bound, and where there is no driver."""
    name, namespace = volume["name"], pod["metadata"]["namespace"]
    wanted = claim_name(pod, volume)
    what = f"error processing PVC {namespace}/{wanted}"
    try:
        claim = await client.get(PERSISTENT_VOLUME_CLAIMS, wanted, namespace)
        bound = (claim.get("status") or {}).get("phase") == "Bound" and claim["spec"].get("volumeName")
        if not bound:
            raise VolumeError(name, f"{what}: PVC is not bound")
        persistent = await client.get(PERSISTENT_VOLUMES, bound)
    except (StatusError, TransportError) as problem:
        raise VolumeError(name, f"{what}: failed to fetch PVC from API server: {problem}") from problem
    reference = persistent["spec"].get("claimRef") or {}
    if reference.get("uid") != claim["metadata"]["uid"]:
        raise VolumeError(name, f"{what}: PVC is not bound to PV {bound}")
    if persistent["spec"].get("volumeMode") == "Block":
        raise VolumeError(name, f"{what}: volumes of mode Block are not supported by netlab")
    kind, source = source_of(persistent)
    if kind not in ("hostPath", "local"):
        raise VolumeError(name, f"PersistentVolume {bound}: volumes of kind {kind} are not supported by netlab")
    path, read_only = hostpath.resolve(name, source["path"], source.get("type") or "", node_root)
    asked = (volume.get("persistentVolumeClaim") or {}).get("readOnly")
    only_read = claim["spec"].get("accessModes") == ["ReadOnlyMany"]
    return path, bool(read_only or asked or only_read)
