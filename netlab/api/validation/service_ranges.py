"""Rules of ServiceCIDRs and IPAddresses. Source followed: `pkg/apis/networking/validation/validation.go`."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.addresses import dual_stack, parse_ip, valid_cidr
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, invalid, required
from netlab.api.validation.meta import IMMUTABLE, each, metadata, metadata_update, unchanged

_BOTH = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def cidr_create(obj: Obj) -> list[FieldError]:
    """`ValidateServiceCIDR`."""
    found, field = metadata(obj, False), "spec.cidrs"
    spec = obj.get("spec") or {}
    cidrs = spec.get("cidrs") or []
    if not cidrs:
        return [*found, required(field, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [*found, invalid(field, spec, "may only hold up to 2 values")]
    wrong = [error for index, cidr in enumerate(cidrs) for error in valid_cidr(cidr, f"{field}[{index}]")]
    if len(cidrs) == 2 and (wrong or not dual_stack([cidr.partition("/")[0] for cidr in cidrs])):
        found.append(invalid(field, spec, _BOTH))
    return found + wrong


def cidr_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateServiceCIDRUpdate`: a second family may be added, nothing else changes."""
    found, field = metadata_update(new, old), "spec.cidrs"
    before, after = (((obj.get("spec") or {}).get("cidrs") or []) for obj in (old, new))
    if len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return found + [invalid(f"{field}[{index}]", now, IMMUTABLE) for index, (was, now) in pairs if was != now]
    if (len(before), len(after)) == (1, 2):
        if before[0] != after[0]:
            found.append(invalid(f"{field}[0]", after[0], IMMUTABLE))
        return found + cidr_create(new)
    return [*found, invalid(field, after, IMMUTABLE)]


def address_create(obj: Obj) -> list[FieldError]:
    """`ValidateIPAddress`."""
    name = obj["metadata"].get("name", "")
    found: list[FieldError] = []
    address = parse_ip(name)
    if address is None or str(address) != name:
        found.append(invalid("metadata.name", name, "must be a valid IP address in canonical format"))
    parent = (obj.get("spec") or {}).get("parentRef")
    if not parent:
        return [*found, required("spec.parentRef", "")]
    group = parent.get("group", "")
    found += each("spec.parentRef.group", group, names.dns_subdomain(group)) if group else []
    for key in ("resource", "name"):
        value, field = parent.get(key, ""), f"spec.parentRef.{key}"
        found += each(field, value, names.path_segment(value)) if value else [required(field, "")]
    namespace = parent.get("namespace", "")
    return found + each("spec.parentRef.namespace", namespace, names.path_segment(namespace))


def address_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateIPAddressUpdate`."""
    before, after = ((obj.get("spec") or {}).get("parentRef") for obj in (old, new))
    return metadata_update(new, old) + unchanged(after, before, "spec.parentRef")


RULES = {
    "ServiceCIDR": Rules(cidr_create, cidr_update, metadata_update),
    "IPAddress": Rules(address_create, address_update, address_update),
}
