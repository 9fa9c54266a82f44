"""DefaultStorageClass and DefaultIngressClass: who names no class gets the one that an administrator marked.

Of several marked ones it is the newest, then the first by name. Sources followed:
plugin/pkg/admission/storage/storageclass/setdefault, plugin/pkg/admission/network/defaultingressclass.
"""

from netlab.api import errors, meta
from netlab.api.storage import default_class, newest_marked
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

_INGRESS_MARK = "ingressclass.kubernetes.io/is-default-class"


def _new(attributes: Attributes, kind: str) -> Obj | None:
    if attributes.operation != "CREATE" or attributes.subresource or attributes.resource.group_resource != kind:
        return None
    return attributes.obj


def _storage(reader: Reader, attributes: Attributes) -> None:
    claim = _new(attributes, "persistentvolumeclaims")
    if claim is None or "volume.beta.kubernetes.io/storage-class" in meta.annotations(claim):
        return
    spec = claim.setdefault("spec", {})
    if spec.get("storageClassName") is not None:
        return
    chosen = default_class(reader.read_all("storage.k8s.io/v1", "StorageClass", ""))
    if chosen is not None:
        spec["storageClassName"] = meta.name(chosen)


def _ingress(reader: Reader, attributes: Attributes) -> None:
    ingress = _new(attributes, "ingresses.networking.k8s.io")
    if ingress is None or "kubernetes.io/ingress.class" in meta.annotations(ingress):
        return
    spec = ingress.setdefault("spec", {})
    if spec.get("ingressClassName") is not None:
        return
    chosen = newest_marked(reader.read_all("networking.k8s.io/v1", "IngressClass", ""), _INGRESS_MARK)
    if chosen is not None:
        spec["ingressClassName"] = meta.name(chosen)


def _resize(reader: Reader, attributes: Attributes) -> None:
    """PersistentVolumeClaimResize (plugin/pkg/admission/storage/persistentvolume/resize)."""
    if attributes.resource.group_resource != "persistentvolumeclaims" or attributes.operation != "UPDATE":
        return
    new, old = attributes.obj, attributes.old
    if attributes.subresource or new is None or old is None:
        return
    from netlab.api.quantity import parse

    wish = ("spec", "resources", "requests", "storage")
    if parse(meta.get(new, *wish, default="0")) <= parse(meta.get(old, *wish, default="0")):
        return
    if meta.get(old, "status", "phase") != "Bound":
        why = "Only bound persistent volume claims can be expanded"
        raise errors.forbidden(attributes.resource, attributes.shown_name, why)
    name = meta.get(old, "spec", "storageClassName") or ""
    chosen = reader.read("storage.k8s.io/v1", "StorageClass", "", name) if name else None
    if name != (meta.get(new, "spec", "storageClassName") or "") or not (chosen or {}).get("allowVolumeExpansion"):
        why = (
            "only dynamically provisioned pvc can be resized and "
            "the storageclass that provisions the pvc must support resize"
        )
        raise errors.forbidden(attributes.resource, attributes.shown_name, why)


STORAGE = Plugin("DefaultStorageClass", mutate=_storage, about=frozenset({"persistentvolumeclaims"}))
RESIZE = Plugin("PersistentVolumeClaimResize", validate=_resize, about=frozenset({"persistentvolumeclaims"}))
INGRESS = Plugin("DefaultIngressClass", mutate=_ingress, about=frozenset({"ingresses.networking.k8s.io"}))
