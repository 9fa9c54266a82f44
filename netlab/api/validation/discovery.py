"""Rules of EndpointSlices. Source followed: `pkg/apis/discovery/validation/validation.go`."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation import addresses, names
from netlab.api.validation.containers import protocol
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import (
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_many,
)
from netlab.api.validation.meta import IMMUTABLE, each, metadata, metadata_update

_TYPES = ("FQDN", "IPv4", "IPv6")
_MAX_ADDRESSES, _MAX_ENDPOINTS, _MAX_PORTS, _MAX_HINTS = 100, 1000, 20000, 8


def create(obj: Obj) -> list[FieldError]:
    """`ValidateEndpointSlice`."""
    kind = obj.get("addressType", "")
    found = metadata(obj, True)
    if not kind:
        found.append(required("addressType"))
    elif kind not in _TYPES:
        found.append(not_supported("addressType", kind, _TYPES))
    found += _endpoints(obj.get("endpoints") or [], kind)
    return found + _ports(obj.get("ports") or [])


def update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateEndpointSliceUpdate`: the address type stays."""
    found = create(new) + metadata_update(new, old)
    if new.get("addressType") != old.get("addressType"):
        found.append(invalid("addressType", new.get("addressType", ""), IMMUTABLE))
    return found


def _endpoints(given: list[Obj], kind: str) -> list[FieldError]:
    if len(given) > _MAX_ENDPOINTS:
        return [too_many("endpoints", len(given), _MAX_ENDPOINTS)]
    found: list[FieldError] = []
    for index, one in enumerate(given):
        here, listed = f"endpoints[{index}]", one.get("addresses") or []
        if not listed:
            found.append(required(f"{here}.addresses", "must contain at least 1 address"))
        elif len(listed) > _MAX_ADDRESSES:
            found.append(too_many(f"{here}.addresses", len(listed), _MAX_ADDRESSES))
        for at, address in enumerate(listed):
            found += _address(address, kind, f"{here}.addresses[{at}]")
        if "nodeName" in one:
            found += each(f"{here}.nodeName", one["nodeName"], names.dns_subdomain(one["nodeName"]))
        for key, value in (one.get("deprecatedTopology") or {}).items():
            field = f"{here}.deprecatedTopology"
            found += each(field, key, names.qualified_name(key)) + each(field, value, names.label_value(value))
        if "hostname" in one:
            found += each(f"{here}.hostname", one["hostname"], names.dns_label(one["hostname"]))
        found += _hints(one.get("hints"), f"{here}.hints")
    return found


def _address(address: str, kind: str, field: str) -> list[FieldError]:
    if kind == "FQDN":
        bare = address.removesuffix(".")
        return each(field, address, names.dns_subdomain(bare))
    wrong = addresses.valid_ip(address, field)
    if wrong:
        return wrong
    found: list[FieldError] = []
    if kind in ("IPv4", "IPv6") and addresses.family(address) != kind:
        found.append(invalid(field, address, f"must be an {kind} address"))
    return found + addresses.not_special(address, field)


def _hints(hints: Obj | None, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key in ("forZones", "forNodes"):
        zones = (hints or {}).get(key) or []
        if len(zones) > _MAX_HINTS:
            return [*found, too_many(f"{field}.{key}", len(zones), _MAX_HINTS)]
        for index, zone in enumerate(zones):
            name = zone.get("name", "")
            if any(other.get("name", "") == name for other in zones[:index]):
                found.append(duplicate(f"{field}.{key}[{index}].name", name))
            found += each(f"{field}.{key}[{index}].name", name, names.label_value(name))
    return found


def _ports(given: list[Obj]) -> list[FieldError]:
    if len(given) > _MAX_PORTS:
        return [too_many("ports", len(given), _MAX_PORTS)]
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, port in enumerate(given):
        here, name = f"ports[{index}]", port.get("name", "")
        if name:
            found += each(f"{here}.name", name, names.dns_label(name))
        if name in seen:
            found.append(duplicate(f"{here}.name", name))
        seen.add(name)
        found += protocol(port.get("protocol", ""), f"{here}.protocol")
        if "appProtocol" in port:
            found += each(f"{here}.appProtocol", port["appProtocol"], names.qualified_name(port["appProtocol"]))
    return found


RULES = {"EndpointSlice": Rules(create, update, update)}
