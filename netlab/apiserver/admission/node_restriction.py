"""NodeRestriction: a kubelet changes its own node, the pods bound to it, and nothing that would draw work to it.

Source followed: plugin/pkg/admission/noderestriction/admission.go.
"""

from collections.abc import Callable

from netlab.api import errors, meta
from netlab.api.kubelet_labels import forbidden_labels
from netlab.api.resources import get
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader
from netlab.apiserver.authz.node import LEASES, node_of
from netlab.apiserver.authz.node_graph import MIRROR, references


def _mutate(reader: Reader, attributes: Attributes) -> None:
    node = node_of(attributes.user)
    if node is None:
        return
    if not node:
        raise _refused(attributes, f'could not determine node from user "{attributes.user.name}"')
    rule = _RULES.get(attributes.resource.group_resource)
    if rule is not None:
        rule(reader, node, attributes)


def _refused(attributes: Attributes, why: str) -> errors.StatusError:
    return errors.forbidden(attributes.resource, attributes.shown_name, why)


def _pod(reader: Reader, node: str, attributes: Attributes) -> None:
    through, operation = attributes.subresource, attributes.operation
    if through == "status":
        _pod_status(node, attributes)
    elif through == "eviction":
        if operation != "CREATE":
            raise _refused(attributes, f"unexpected operation {operation}")
        if _node_of_pod(_existing(reader, attributes, attributes.name)) != node:
            raise _refused(attributes, f"node {node} can only evict pods with spec.nodeName set to itself")
    elif through:
        why = f"unexpected pod subresource {errors.quote(through)}, only 'status' and 'eviction' are allowed"
        raise _refused(attributes, why)
    elif operation == "CREATE":
        _new_pod(reader, node, attributes)
    elif operation != "DELETE":
        why = f'unexpected operation "{operation}", node "{node}" can only create and delete mirror pods'
        raise _refused(attributes, why)
    elif _node_of_pod(attributes.old or {}) != node:
        raise _refused(attributes, f'node "{node}" can only delete pods with spec.nodeName set to itself')


def _existing(reader: Reader, attributes: Attributes, name: str) -> Obj:
    found = reader.read("v1", "Pod", attributes.namespace, name)
    if found is None:
        raise errors.not_found(get("v1", "Pod"), name)
    return found


def _node_of_pod(pod: Obj) -> str:
    return str(meta.get(pod, "spec", "nodeName", default=""))


def _pod_status(node: str, attributes: Attributes) -> None:
    if attributes.operation != "UPDATE" or attributes.old is None or attributes.obj is None:
        raise _refused(attributes, f'unexpected operation "{attributes.operation}"')
    old, new = attributes.old, attributes.obj
    if _node_of_pod(old) != node:
        raise _refused(
            attributes, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
        )
    if meta.labels(old) != meta.labels(new):
        raise _refused(attributes, f'node "{node}" cannot update labels through pod status')
    claims = ("status", "resourceClaimStatuses")
    if (meta.get(old, *claims) or []) != (meta.get(new, *claims) or []):
        raise _refused(attributes, f'node "{node}" cannot update resource claim statues')


def _new_pod(reader: Reader, node: str, attributes: Attributes) -> None:
    pod = attributes.obj or {}
    if MIRROR not in meta.annotations(pod):
        why = f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
        raise _refused(attributes, why)
    if _node_of_pod(pod) != node:
        raise _refused(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
    _check_owner(reader, node, attributes, meta.owner_references(pod))
    spec = pod.get("spec") or {}
    if spec.get("serviceAccountName"):
        raise _refused(attributes, f'node "{node}" can not create pods that reference a service account')
    named = {ref.plural for ref in references({**pod, "metadata": {**pod["metadata"], "annotations": {}}})}
    for plural in ("secrets", "configmaps"):
        if plural in named:
            raise _refused(attributes, f'node "{node}" can not create pods that reference {plural}')
    volumes = spec.get("volumes") or []
    sources = [source for volume in volumes for source in (volume.get("projected") or {}).get("sources") or ()]
    if any(source.get("clusterTrustBundle") for source in sources):
        raise _refused(attributes, f'node "{node}" can not create pods that reference clustertrustbundles')
    if any(volume.get("persistentVolumeClaim") for volume in volumes):
        raise _refused(attributes, f'node "{node}" can not create pods that reference persistentvolumeclaims')


def _check_owner(reader: Reader, node: str, attributes: Attributes, owners: list[Obj]) -> None:
    may = f'node "{node}" can only create pods with'
    if len(owners) > 1:
        raise _refused(attributes, f"{may} a single owner reference set to itself")
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        raise _refused(attributes, f"{may} an owner reference set to itself")
    if not owner.get("controller"):
        raise _refused(attributes, f"{may} a controller owner reference set to itself")
    if owner.get("blockOwnerDeletion"):
        raise _refused(attributes, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    found = reader.read("v1", "Node", "", node)
    if found is None:
        raise errors.not_found(get("v1", "Node"), node)
    if owner.get("uid") != meta.uid(found):
        why = f"node {node} UID mismatch: expected {owner.get('uid', '')} got {meta.uid(found)}"
        raise _refused(attributes, why)


def _node(reader: Reader, node: str, attributes: Attributes) -> None:
    new, old = attributes.obj or {}, attributes.old or {}
    asked = attributes.name or meta.name(new)
    if asked != node:
        raise _refused(attributes, f'node "{node}" is not allowed to modify node "{asked}"')
    if attributes.operation == "CREATE":
        if meta.get(new, "spec", "configSource"):
            raise _refused(attributes, f'node "{node}" is not allowed to create pods with a non-nil configSource')
        if labels := forbidden_labels(meta.labels(new), {}):
            why = f'node "{node}" is not allowed to set the following labels: {", ".join(labels)}'
            raise _refused(attributes, why)
    elif attributes.operation == "UPDATE":
        source = meta.get(new, "spec", "configSource")
        if source and source != meta.get(old, "spec", "configSource"):
            why = f'node "{node}" is not allowed to update configSource to a new non-nil configSource'
            raise _refused(attributes, why)
        if (meta.get(new, "spec", "taints") or []) != (meta.get(old, "spec", "taints") or []):
            raise _refused(attributes, f'node "{node}" is not allowed to modify taints')
        if labels := forbidden_labels(meta.labels(new), meta.labels(old)):
            raise _refused(attributes, f"is not allowed to modify labels: {', '.join(labels)}")


def _claim(reader: Reader, node: str, attributes: Attributes) -> None:
    if attributes.subresource != "status":
        raise _refused(attributes, "may only update PVC status")
    if attributes.operation != "UPDATE" or attributes.obj is None or attributes.old is None:
        raise _refused(attributes, f'unexpected operation "{attributes.operation}"')
    new, old = _rest_of_claim(attributes.obj), _rest_of_claim(attributes.old)
    if new != old:
        from netlab.api.validation.godiff import diff

        why = f'node "{node}" is not allowed to update fields other than status.capacity and status.conditions: '
        raise _refused(attributes, why + diff(old, new))


def _rest_of_claim(claim: Obj) -> Obj:
    """What of a claim a node may not touch."""
    own = ("resourceVersion", "managedFields")
    metadata = {key: value for key, value in claim["metadata"].items() if key not in own}
    written = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
    status = {key: value for key, value in (claim.get("status") or {}).items() if key not in written}
    return {**claim, "metadata": metadata, "status": status}


def _token(reader: Reader, node: str, attributes: Attributes) -> None:
    if attributes.operation != "CREATE" or attributes.subresource != "token":
        return
    bound = meta.get(attributes.obj, "spec", "boundObjectRef") or {}
    if bound.get("apiVersion") != "v1" or bound.get("kind") != "Pod" or not bound.get("name"):
        raise _refused(attributes, "node requested token not bound to a pod")
    uid = bound.get("uid")
    if not uid:
        raise _refused(attributes, "node requested token with a pod binding without a uid")
    pod = _existing(reader, attributes, bound["name"])
    if uid != meta.uid(pod):
        why = (
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise _refused(attributes, why)
    if _node_of_pod(pod) != node:
        raise _refused(attributes, "node requested token bound to a pod scheduled on a different node")


def _lease(reader: Reader, node: str, attributes: Attributes) -> None:
    if attributes.namespace != LEASES:
        raise _refused(attributes, f'can only access leases in the "{LEASES}" system namespace')
    _own_name(node, attributes, "node lease")


def _csi_node(reader: Reader, node: str, attributes: Attributes) -> None:
    _own_name(node, attributes, "CSINode")


def _own_name(node: str, attributes: Attributes, what: str) -> None:
    name = meta.name(attributes.obj or {}) if attributes.operation == "CREATE" else attributes.name
    if name != node:
        raise _refused(attributes, f"can only access {what} with the same name as the requesting node")


_RULES: dict[str, Callable[[Reader, str, Attributes], None]] = {
    "pods": _pod,
    "nodes": _node,
    "persistentvolumeclaims": _claim,
    "serviceaccounts": _token,
    "leases.coordination.k8s.io": _lease,
    "csinodes.storage.k8s.io": _csi_node,
}

PLUGIN = Plugin("NodeRestriction", mutate=_mutate)
