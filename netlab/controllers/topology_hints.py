"""PURE. Topology aware routing (`service.kubernetes.io/topology-mode: Auto`): which zone each endpoint is for.

Zones get endpoints by their share of the nodes' CPUs, none more than 20 % too few. Source: upstream's
k8s.io/endpointslice topologycache. Upstream remembers what it gave; here what the slices say is the memory: an endpoint
keeps its zone as long as that zone has not too many.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netlab.api import meta
from netlab.api.quantity import parse
from netlab.api.types import Obj

MODE = "service.kubernetes.io/topology-mode"
DEPRECATED = "service.kubernetes.io/topology-aware-hints"
ZONE = "topology.kubernetes.io/zone"
EXCLUDED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
OVERLOAD = 0.2
ENABLED, DISABLED = "TopologyAwareHintsEnabled", "TopologyAwareHintsDisabled"
OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"


class Refused(Exception):  # noqa: N818
    """No hints for this Service; the text is upstream's event."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """How many endpoints a zone is to have."""

    minimum: int
    maximum: int
    desired: float


def wanted(service: Obj) -> bool:
    notes = meta.annotations(service)
    return notes.get(DEPRECATED, notes.get(MODE)) in ("Auto", "auto")


def matters(node: Obj) -> tuple[object, ...]:
    """Of a Node what the shares depend on."""
    ready = meta.condition_true(node, "Ready")
    return (meta.labels(node).get(ZONE), _excluded(node), ready, meta.get(node, "status", "allocatable", "cpu"))


def _excluded(node: Obj) -> bool:
    return any(label in meta.labels(node) for label in EXCLUDED)


def shares(nodes: Iterable[Obj]) -> Mapping[str, float]:
    """Zone → its part of all CPUs; {} where a node does not say enough, or all are in one zone."""
    cpus: dict[str, float] = {}
    for node in nodes:
        zone, excluded, ready, cpu = matters(node)
        if excluded or not ready:
            continue
        count = float(parse(str(cpu or 0)))
        if not zone or not count:
            return {}
        cpus[str(zone)] = cpus.get(str(zone), 0.0) + count
    total = sum(cpus.values())
    return {zone: cpu / total for zone, cpu in sorted(cpus.items())} if len(cpus) > 1 else {}


def allocations(ratios: Mapping[str, float], endpoints: int) -> dict[str, Allocation]:
    """Raises Refused."""
    if not ratios:
        raise Refused("Insufficient Node information: allocatable CPU or zone not specified on one or more nodes")
    counted = f"({endpoints} endpoints, {len(ratios)} zones)"
    if len(ratios) > endpoints:
        raise Refused(f"Insufficient number of endpoints {counted}")
    minima = {zone: math.ceil(ratio * endpoints / (1 + OVERLOAD)) for zone, ratio in ratios.items()}
    spare = endpoints - sum(minima.values())
    if spare < 0:
        raise Refused(f"{OVERLOADED} {counted}")
    return {
        zone: Allocation(minimum, minimum + spare, max(ratios[zone] * endpoints, minimum))
        for zone, minimum in minima.items()
    }


def zones(endpoints: Mapping[str, Obj], present: Mapping[str, str], ratios: Mapping[str, float]) -> dict[str, str]:
    """Ready endpoints by pod uid → the zone whose clients each is for. `present`: those that have one.

    Raises Refused."""
    ready = {uid: one for uid, one in sorted(endpoints.items()) if one["conditions"]["ready"]}
    allocated = allocations(ratios, len(ready))
    if not all(one.get("zone") for one in ready.values()):
        raise Refused("One or more endpoints do not have a zone specified")
    found: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for uid in ready:
        zone = present.get(uid, "")
        if zone in allocated and counts[zone] < allocated[zone].maximum:
            found[uid] = zone
            counts[zone] += 1
    fresh = [uid for uid in ready if uid not in found]
    for uid in fresh:
        found[uid] = str(ready[uid]["zone"])
        counts[found[uid]] += 1
    giving, receiving = exchanges(allocated, counts)
    for uid in [*fresh, *(uid for uid in ready if uid not in fresh)]:
        if giving[found[uid]] > 0 and +receiving:
            giving[found[uid]] -= 1
            found[uid] = next(zone for zone, number in sorted(receiving.items()) if number > 0)
            receiving[found[uid]] -= 1
    return found


def exchanges(allocated: Mapping[str, Allocation], counts: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """How many endpoints zones give away, and get. Zones that no node is in give all."""
    over = {zone: count - (allocated[zone].desired if zone in allocated else 0) for zone, count in counts.items()}
    under = {zone: one.desired - counts.get(zone, 0) for zone, one in allocated.items()}
    giving: Counter[str] = Counter()
    receiving: Counter[str] = Counter()
    while over and under:
        giver, taker = max(sorted(over), key=over.__getitem__), max(sorted(under), key=under.__getitem__)
        give, take = over[giver], under[taker]
        if min(give, take) < 0.5 or max(give, take) < 1:
            break
        over[giver], under[taker] = give - 1, take - 1
        giving[giver] += 1
        receiving[taker] += 1
    return giving, receiving
