"""Which addresses a LoadBalancer Service gets. Pure.

Reasons and messages of the events are those of MetalLB's controller (controller/service.go, internal/allocator); the
finalizer and when it comes and goes are those of upstream's service controller (cloud-provider
controllers/service/controller.go). Everything is decided from the Services alone: there is no state to lose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from netlab.api import meta
from netlab.api.types import Obj
from netlab.topology.model import family_of
from netlab.topology.pool import AddressRange

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
CLASS = "netlab.io/layer2"
"""Our loadBalancerClass. A Service that names none is ours too, one that names another is somebody else's."""
REQUESTED = ("metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs", "netlab.io/loadBalancerIPs")


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write. `addresses` None: the status is as it should be; empty: nothing is assigned (any more)."""

    finalizer: bool | None = None
    addresses: tuple[str, ...] | None = None
    event: tuple[str, str, str] | None = None
    """(type, reason, message)"""


class AllocationError(ValueError):
    """No address; the text is what MetalLB says after `Failed to allocate IP for "ns/name": `."""


def ours(service: Obj) -> bool:
    """Whether this Service wants an address, and from us."""
    spec = service.get("spec") or {}
    return spec.get("type") == "LoadBalancer" and spec.get("loadBalancerClass") in (None, "", CLASS)


def assigned(service: Obj) -> tuple[str, ...]:
    """The addresses in the status."""
    entries = meta.get(service, "status", "loadBalancer", "ingress", default=[]) or []
    return tuple(entry["ip"] for entry in entries if entry.get("ip"))


def ingress(addresses: Iterable[str]) -> list[Obj]:
    """The status for these addresses: nodes answer them themselves."""
    return [{"ip": address, "ipMode": "VIP"} for address in addresses]


def holders(services: Iterable[Obj]) -> dict[str, str]:
    """Address → key of the Service that has it; where two say so, the older one."""
    found: dict[str, str] = {}
    for service in sorted(services, key=_age):
        if ours(service) and not meta.deleting(service):
            for address in assigned(service):
                found.setdefault(address, meta.key(service))
    return found


def _age(service: Obj) -> tuple[str, str]:
    return service["metadata"].get("creationTimestamp") or "", meta.key(service)


def decide(service: Obj, holding: Mapping[str, str], pool: Sequence[AddressRange]) -> Decision:
    """What becomes of a Service; `holding` is what `holders` says of all of them.

    Without a pool nothing is ever assigned, and a status that somebody else wrote is left alone.
    """
    marked = FINALIZER in (service["metadata"].get("finalizers") or ())
    if (service.get("spec") or {}).get("type") == "LoadBalancer" and not ours(service):
        return Decision()
    if not ours(service) or meta.deleting(service):
        return Decision(False, () if assigned(service) else None) if marked else Decision()
    if not pool:
        return Decision()
    key, current = meta.key(service), assigned(service)
    try:
        addresses = allocate(service, holding, pool)
    except AllocationError as error:
        event = ("Warning", "AllocationFailed", f'Failed to allocate IP for "{key}": {error}')
        return Decision(None if marked else True, () if current else None, event)
    finalizer = None if marked else True
    if addresses == current:
        return Decision(finalizer)
    quoted = " ".join(f'"{address}"' for address in addresses)
    return Decision(finalizer, addresses, ("Normal", "IPAllocated", f"Assigned IP [{quoted}]"))


def allocate(service: Obj, holding: Mapping[str, str], pool: Sequence[AddressRange]) -> tuple[str, ...]:
    """The addresses of a Service, one for each of its families: those it asks for, else those it has, else the first
    free ones. AllocationError where there are none."""
    key, spec = meta.key(service), service["spec"]
    families: list[str] = list(spec.get("ipFamilies") or ["IPv4"])
    wanted = requested(service)
    if wanted:
        _check_requested(key, wanted, families, holding, pool)
        return wanted
    if spec.get("ipFamilyPolicy") == "PreferDualStack":  # as many as the pool has
        families = [one for one in families if any(entry.family == one for entry in pool)] or families[:1]
    kept = {family_of(one): one for one in assigned(service) if _in(pool, one) and holding.get(one, key) == key}
    return tuple(kept.get(family) or _first_free(family, holding, pool) for family in families)  # type: ignore[call-overload]


def requested(service: Obj) -> tuple[str, ...]:
    """The addresses that the Service asks for, in spec.loadBalancerIP or in MetalLB's annotation."""
    notes = service["metadata"].get("annotations") or {}
    text = next((notes[name] for name in REQUESTED if notes.get(name)), "")
    single = (service["spec"].get("loadBalancerIP") or "").strip()
    if text and single:
        raise AllocationError(f"service can not have both {REQUESTED[0]} and svc.Spec.LoadBalancerIP")
    source = text or single
    found = []
    for part in source.split(",") if source else ():
        try:
            found.append(str(ip_address(part.strip())))
        except ValueError:
            what = REQUESTED[0] if text else "spec.LoadBalancerIP"
            raise AllocationError(f"invalid {what} {source!r}") from None
    return tuple(found)


def _check_requested(
    key: str, wanted: tuple[str, ...], families: list[str], holding: Mapping[str, str], pool: Sequence[AddressRange]
) -> None:
    listed = " ".join(f'"{address}"' for address in wanted)
    found = [family_of(address) for address in wanted]
    if len(set(found)) != len(found) or not set(found) <= set(families):
        raise AllocationError(f"requested loadBalancer IP(s) [{listed}] does not match the ipFamily of the service")
    for address in wanted:
        if not _in(pool, address):
            raise AllocationError(f"[{listed}] is not allowed in config")
        holder = holding.get(address, key)
        if holder != key:
            raise AllocationError(f'can\'t change sharing key for "{key}", address also in use by {holder}')


def _in(pool: Sequence[AddressRange], address: str) -> bool:
    try:
        return any(ip_address(address) in entry for entry in pool)
    except ValueError:
        return False


def _first_free(family: str, holding: Mapping[str, str], pool: Sequence[AddressRange]) -> str:
    for entry in pool:
        if entry.family == family:
            for address in entry:
                if str(address) not in holding:
                    return str(address)
    raise AllocationError("no available IPs")
