"""Rules of the storage group. Source followed: `pkg/apis/storage/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Sequence

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, duplicate, forbidden, invalid, not_supported, required, too_long
from netlab.api.validation.gofmt import GoSyntax
from netlab.api.validation.meta import (
    IMMUTABLE,
    each,
    label_key,
    label_selector,
    metadata,
    metadata_update,
    nonnegative,
    unchanged,
)
from netlab.api.validation.resources import nonnegative_quantity
from netlab.api.validation.volumes import csi_driver_name

_MOST_PARAMETERS, _LONGEST_PARAMETERS = 512, 256 << 10
_LONGEST_NODE_ID = 192
_SHORTEST_TOKEN, _LONGEST_TOKEN = 600, 1 << 32

# -- storage classes ---------------------------------------------------------------------------------------------------


def storage_class(obj: Obj) -> list[FieldError]:
    """`ValidateStorageClass`."""
    found = metadata(obj, False)
    provisioner = obj.get("provisioner", "")
    if not provisioner:
        found.append(required("provisioner"))
    else:
        found += each("provisioner", provisioner, names.qualified_name(provisioner.lower()))
    found += _parameters(obj.get("parameters") or {})
    policy = obj.get("reclaimPolicy", "")
    if policy and policy not in ("Delete", "Retain"):
        found.append(not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
    mode = obj.get("volumeBindingMode")
    if mode is None:
        found.append(required("volumeBindingMode"))
    elif mode not in ("Immediate", "WaitForFirstConsumer"):
        found.append(not_supported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer")))
    return found + _topologies(obj.get("allowedTopologies") or [], "allowedTopologies")


def _parameters(given: dict[str, str]) -> list[FieldError]:
    if len(given) > _MOST_PARAMETERS:
        return [too_long("parameters", _MOST_PARAMETERS)]
    found = [invalid("parameters", "", "field can not be empty.")] if "" in given else []
    if sum(len(key.encode()) + len(value.encode()) for key, value in given.items()) > _LONGEST_PARAMETERS:
        found.append(too_long("parameters", _LONGEST_PARAMETERS))
    return found


def _topologies(terms: Sequence[Obj], field: str) -> list[FieldError]:
    """`validateAllowedTopologies`. Upstream's list of terms already seen begins with as many empty ones as are given:
    a term that says nothing is a duplicate of each."""
    found: list[FieldError] = []
    known: list[dict[str, frozenset[str]]] = [{} for _ in terms]
    for index, term in enumerate(terms):
        said: dict[str, frozenset[str]] = {}
        for at, one in enumerate(term.get("matchLabelExpressions") or ()):
            here = f"{field}[{index}].matchLabelExpressions[{at}]"
            found += _topology(one, here)
            if one.get("key", "") in said:
                found.append(duplicate(f"{here}.key", one.get("key", "")))
            said[one.get("key", "")] = frozenset(one.get("values") or ())
        found += [duplicate(f"{field}[{index}].matchLabelExpressions", "") for other in known if other == said]
        known.append(said)
    return found


def _topology(one: Obj, field: str) -> list[FieldError]:
    values = one.get("values") or []
    found = [] if values else [required(f"{field}.values")]
    found += [duplicate(f"{field}.values[{at}]", value) for at, value in enumerate(values) if value in values[:at]]
    return found + label_key(one.get("key", ""), f"{field}.key")


def _storage_class_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        found.append(forbidden("parameters", "updates to parameters are forbidden."))
    for key in ("provisioner", "reclaimPolicy"):
        if new.get(key) != old.get(key):
            found.append(forbidden(key, f"updates to {key} are forbidden."))
    return found + unchanged(new.get("volumeBindingMode"), old.get("volumeBindingMode"), "volumeBindingMode")


# -- CSI drivers -------------------------------------------------------------------------------------------------------


def csi_driver(obj: Obj) -> list[FieldError]:
    """`ValidateCSIDriver`."""
    return metadata(obj, False) + _csi_driver_spec(obj["spec"])


def _csi_driver_spec(spec: Obj) -> list[FieldError]:
    found: list[FieldError] = []
    for key, shown in (("attachRequired", "attachedRequired"), ("podInfoOnMount", ""), ("storageCapacity", "")):
        found += [] if key in spec else [required(f"spec.{shown or key}")]
    policy = spec.get("fsGroupPolicy")
    policies = ("File", "None", "ReadWriteOnceWithFSType")
    if policy is not None and policy not in policies:
        found.append(not_supported("spec.fsGroupPolicy", policy, policies))
    found += _token_requests(spec.get("tokenRequests") or (), "spec.tokenRequests")
    modes = ("Persistent", "Ephemeral")
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in modes:
            found.append(not_supported("spec.volumeLifecycleModes", mode, modes))
    return found + ([] if "seLinuxMount" in spec else [required("spec.seLinuxMount")])


def _token_requests(requests: Sequence[Obj], field: str) -> list[FieldError]:
    """`validateTokenRequests`."""
    found: list[FieldError] = []
    audiences: list[str] = []
    for index, one in enumerate(requests):
        here, audience = f"{field}[{index}]", one.get("audience", "")
        if audience in audiences:
            found.append(duplicate(f"{here}.audience", audience))
            continue
        audiences.append(audience)
        seconds = one.get("expirationSeconds")
        if seconds is None:
            continue
        if seconds < _SHORTEST_TOKEN:
            detail = "may not specify a duration less than 10 minutes"
            found.append(invalid(f"{here}.expirationSeconds", seconds, detail))
        if seconds > _LONGEST_TOKEN:
            detail = "may not specify a duration larger than 2^32 seconds"
            found.append(invalid(f"{here}.expirationSeconds", seconds, detail))
    return found


def _csi_driver_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateCSIDriverUpdate`: how volumes are attached and live may not change."""
    after, before = new["spec"], old["spec"]
    found = metadata_update(new, old) + _csi_driver_spec(after)
    found += unchanged(after.get("attachRequired"), before.get("attachRequired"), "spec.attachedRequired")
    if (after.get("volumeLifecycleModes") or []) != (before.get("volumeLifecycleModes") or []):
        given = after.get("volumeLifecycleModes") or []
        shown = GoSyntax(f"[]storage.VolumeLifecycleMode{{{', '.join(chr(34) + one + chr(34) for one in given)}}}")
        found.append(invalid("spec.volumeLifecycleModes", shown, IMMUTABLE))
    return found


# -- what a node has of them -------------------------------------------------------------------------------------------


def csi_node(obj: Obj) -> list[FieldError]:
    """`ValidateCSINode`."""
    found, known = metadata(obj, False), list[str]()
    for index, driver in enumerate(obj["spec"].get("drivers") or ()):
        field, name, node = f"spec.drivers[{index}]", driver.get("name", ""), driver.get("nodeID", "")
        found += csi_driver_name(name, f"{field}.name")
        found += [] if node else [required(f"{field}.nodeID")]
        if len(node) > _LONGEST_NODE_ID:
            found.append(invalid(f"{field}.nodeID", node, f"must be {_LONGEST_NODE_ID} characters or less"))
        count = (driver.get("allocatable") or {}).get("count")
        found += nonnegative(count, f"{field}.allocatable.count") if count is not None else []
        found += [duplicate(f"{field}.name", name)] if name in known else []
        known.append(name)
        found += _topology_keys(driver.get("topologyKeys") or [], field)
    return found


def _topology_keys(keys: Sequence[str], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for at, key in enumerate(keys):
        found += [] if key else [required(field)]
        found += [duplicate(field, key)] if key in keys[:at] else []
        found += each(field, list(keys), names.qualified_name(key))
    return found


def _csi_node_update(new: Obj, old: Obj) -> list[FieldError]:
    found = csi_node(new)
    after = {driver.get("name"): driver for driver in new["spec"].get("drivers") or ()}
    for driver in old["spec"].get("drivers") or ():
        now = after.get(driver.get("name"), driver)
        if now != driver:
            found.append(invalid("spec.drivers", GoSyntax("storage.CSINodeDriver{…}"), IMMUTABLE))
    return found


# -- attachments and capacities ----------------------------------------------------------------------------------------


def attachment(obj: Obj) -> list[FieldError]:
    """`ValidateVolumeAttachment` and `ValidateVolumeAttachmentV1`."""
    spec = obj["spec"]
    attacher, node, source = spec.get("attacher", ""), spec.get("nodeName", ""), spec.get("source") or {}
    inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    found = metadata(obj, False)
    found += [] if attacher else [required("spec.attacher")]
    one_of = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and volume is None:
        found.append(required("spec.source", one_of))
    elif inline is not None and volume is not None:
        found.append(forbidden("spec.source", one_of))
    elif volume == "":
        found.append(required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName"))
    found += each("spec.nodeName", node, names.dns_subdomain(node))
    found += csi_driver_name(attacher, "spec.attacher")
    return found + (each("spec.source.persistentVolumeName", volume, names.dns_subdomain(volume)) if volume else [])


def _attachment_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    if new["spec"] != old["spec"]:
        found.append(invalid("spec", GoSyntax("storage.VolumeAttachmentSpec{…}"), IMMUTABLE))
    return found


def capacity(obj: Obj) -> list[FieldError]:
    """`ValidateCSIStorageCapacity`."""
    name = obj.get("storageClassName", "")
    found = metadata(obj, True) + label_selector(obj.get("nodeTopology"), "nodeTopology")
    found += each("storageClassName", name, names.dns_subdomain(name))
    return found + (nonnegative_quantity(obj["capacity"], "capacity") if "capacity" in obj else [])


def _capacity_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    if new.get("nodeTopology") != old.get("nodeTopology"):
        found.append(invalid("nodeTopology", GoSyntax("v1.LabelSelector{…}"), IMMUTABLE))
    return found + unchanged(new.get("storageClassName", ""), old.get("storageClassName", ""), "storageClassName")


RULES = {
    "StorageClass": Rules(storage_class, _storage_class_update, _storage_class_update),
    "CSIDriver": Rules(csi_driver, _csi_driver_update, _csi_driver_update),
    "CSINode": Rules(csi_node, _csi_node_update, _csi_node_update),
    "VolumeAttachment": Rules(attachment, _attachment_update, _attachment_update),
    "CSIStorageCapacity": Rules(capacity, _capacity_update, _capacity_update),
}
