"""StorageObjectInUseProtection: claims and volumes are not gone while somebody uses them.

The finalizer is taken away by `netlab.controllers.storage_protection` (or upstream's controller manager).
Source followed: plugin/pkg/admission/storage/storageobjectinuseprotection.
"""

from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

FINALIZERS = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
}


def _mutate(reader: Reader, attributes: Attributes) -> None:
    finalizer = FINALIZERS.get(attributes.resource.group_resource)
    if finalizer is None or attributes.operation != "CREATE" or attributes.subresource or attributes.obj is None:
        return
    metadata = attributes.obj.setdefault("metadata", {})
    present = metadata.get("finalizers") or []
    if finalizer not in present:
        metadata["finalizers"] = [*present, finalizer]


PLUGIN = Plugin("StorageObjectInUseProtection", mutate=_mutate, about=frozenset(FINALIZERS))
