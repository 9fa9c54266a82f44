"""PURE. EndpointSlices of one Service: which to create, change and delete (k8s.io/endpointslice reconciler.go)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.types import Obj
from netlab.controllers import endpoint_addresses as addresses
from netlab.controllers import topology_hints
from netlab.controllers.pods import is_ready

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"
MAX_ENDPOINTS = 100


@dataclass
class Changes:
    """Slices to write; those in `update` are whole objects."""

    create: list[Obj] = field(default_factory=list)
    update: list[Obj] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)
    hinted: list[str] = field(default_factory=list)
    """Address types whose endpoints have zones allotted (`topology_hints`)."""
    refused: dict[str, str] = field(default_factory=dict)
    """Address type → why its endpoints have none."""


def endpoint(service: Obj, pod: Obj, address: str, zones: Mapping[str, str]) -> Obj:
    """One endpoint; `zones` is by node name."""
    serving, terminating = is_ready(pod), meta.deleting(pod)
    published = addresses.publishes_not_ready(service)
    node = meta.get(pod, "spec", "nodeName")
    made: Obj = {
        "addresses": [address],
        "conditions": {
            "ready": published or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": addresses.target_ref(pod),
    }
    if node:
        made["nodeName"] = node
        if zones.get(node):
            made["zone"] = zones[node]
    name = addresses.hostname(service, pod)
    if name:
        made["hostname"] = name
    close = service["spec"].get("trafficDistribution") in ("PreferClose", "PreferSameZone")
    if close and not topology_hints.wanted(service) and made.get("zone") and made["conditions"]["ready"]:
        made["hints"] = {"forZones": [{"name": made["zone"]}]}
    return made


def labels(service: Obj) -> dict[str, str]:
    """The Service's own labels and those that say whose the slice is."""
    reserved = (SERVICE_NAME, MANAGED_BY, addresses.HEADLESS)
    result = {k: v for k, v in meta.labels(service).items() if k not in reserved}
    if addresses.is_headless(service):
        result[addresses.HEADLESS] = ""
    return result | {SERVICE_NAME: meta.name(service), MANAGED_BY: MANAGER}


def plan(
    service: Obj,
    pods: Sequence[Obj],
    slices: Sequence[Obj],
    zones: Mapping[str, str],
    trigger_time: str | None = None,
    ratios: Mapping[str, float] | None = None,
) -> Changes:
    """What to write so that the slices say what the pods are. `slices` are those that we manage for this Service.

    `ratios`: the zones' parts of all CPUs, for Services that want topology aware routing."""
    changes = Changes()
    wanted = addresses.families(service)
    changes.delete.extend(s for s in slices if s.get("addressType") not in wanted)
    for family in wanted:
        mine = [s for s in slices if s.get("addressType") == family]
        _plan_family(service, pods, mine, zones, ratios or {}, family, changes)
    for one in (*changes.create, *changes.update):
        if trigger_time:
            meta.set_annotation(one, addresses.TRIGGER_TIME, trigger_time)
    return changes


def _plan_family(
    service: Obj,
    pods: Iterable[Obj],
    slices: list[Obj],
    zones: Mapping[str, str],
    ratios: Mapping[str, float],
    family: str,
    changes: Changes,
) -> None:
    groups: dict[str, tuple[list[Obj], dict[str, Obj]]] = {}
    for pod in pods:
        address = addresses.pod_address(pod, family)
        if address is None or not addresses.eligible(pod, terminating=True):
            continue
        ports = addresses.ports_of(service, pod)
        _, members = groups.setdefault(_port_key(ports), (ports, {}))
        members[meta.uid(pod)] = endpoint(service, pod, address, zones)
    if topology_hints.wanted(service):
        _allot(
            {uid: one for _, members in groups.values() for uid, one in members.items()},
            slices,
            ratios,
            family,
            changes,
        )
    by_ports: dict[str, list[Obj]] = {}
    for one in slices:
        by_ports.setdefault(_port_key(one.get("ports") or []), []).append(one)
    made: list[Obj] = []
    emptied: list[Obj] = [s for key, group in by_ports.items() if key not in groups for s in group]
    for key, (ports, members) in groups.items():
        _plan_ports(service, ports, members, by_ports.get(key, []), family, changes, made, emptied)
    if not groups and not made:
        _keep_placeholder(service, emptied, family, changes)
    else:
        changes.delete.extend(emptied)
    changes.create.extend(made)


def _allot(
    endpoints: Mapping[str, Obj], slices: Iterable[Obj], ratios: Mapping[str, float], family: str, changes: Changes
) -> None:
    """Give each ready endpoint its zone, the one it has where that can be."""
    present = {
        (old.get("targetRef") or {}).get("uid", ""): old["hints"]["forZones"][0]["name"]
        for one in slices
        for old in one.get("endpoints") or ()
        if (old.get("hints") or {}).get("forZones")
    }
    try:
        found = topology_hints.zones(endpoints, present, ratios)
    except topology_hints.Refused as problem:
        changes.refused[family] = str(problem)
        return
    changes.hinted.append(family)
    for uid, zone in found.items():
        endpoints[uid]["hints"] = {"forZones": [{"name": zone}]}


def _keep_placeholder(service: Obj, emptied: list[Obj], family: str, changes: Changes) -> None:
    """A Service without endpoints keeps one empty slice, so that its readers know it was looked at."""
    for one in emptied[1:]:
        changes.delete.append(one)
    if not emptied:
        changes.create.append(_new(service, [], [], family))
        return
    if emptied[0].get("endpoints") or emptied[0].get("ports") or _labels_differ(service, emptied[0]):
        changes.update.append(_changed(service, {**emptied[0], "ports": None}, []))


def _plan_ports(
    service: Obj,
    ports: list[Obj],
    members: dict[str, Obj],
    slices: list[Obj],
    family: str,
    changes: Changes,
    made: list[Obj],
    emptied: list[Obj],
) -> None:
    """Keep endpoints where they are, fill what must be written anyway, then the fullest that has room, then new."""
    left = dict(members)
    kept: dict[str, list[Obj]] = {}
    touched: list[Obj] = []
    for one in slices:
        stay, differs = [], _labels_differ(service, one)
        for old in one.get("endpoints") or ():
            fresh = left.pop((old.get("targetRef") or {}).get("uid", ""), None)
            if fresh is None:
                differs = True
                continue
            differs = differs or fresh != old
            stay.append(fresh)
        kept[meta.name(one)] = stay
        if not stay and one.get("endpoints"):
            emptied.append(one)
        elif differs:
            touched.append(one)
    rest = list(left.values())
    if rest and not touched and emptied and emptied[-1] in slices:
        touched.append(emptied.pop())  # one that just became empty is as good as a new one
    for one in touched:
        room = MAX_ENDPOINTS - len(kept[meta.name(one)])
        kept[meta.name(one)] += rest[:room]
        rest = rest[room:]
    rest = rest[_whole(rest) :] if _spill(service, ports, rest, family, made) else rest
    if rest:
        open_ = [s for s in slices if s not in touched and s not in emptied]
        fits = [s for s in open_ if len(kept[meta.name(s)]) + len(rest) <= MAX_ENDPOINTS]
        best = max(fits, key=lambda s: len(kept[meta.name(s)]), default=None)
        if best is not None:
            kept[meta.name(best)] += rest
            touched.append(best)
        else:
            made.append(_new(service, ports, rest, family))
    changes.update.extend(_changed(service, one, kept[meta.name(one)]) for one in touched)


def _whole(rest: Sequence[Obj]) -> int:
    """How many endpoints fill whole slices."""
    return len(rest) // MAX_ENDPOINTS * MAX_ENDPOINTS


def _spill(service: Obj, ports: list[Obj], rest: list[Obj], family: str, made: list[Obj]) -> bool:
    """Make full slices of what there is too much of."""
    starts = range(0, _whole(rest), MAX_ENDPOINTS)
    made.extend(_new(service, ports, list(rest[start : start + MAX_ENDPOINTS]), family) for start in starts)
    return _whole(rest) > 0


def _labels_differ(service: Obj, one: Obj) -> bool:
    return meta.labels(one) != labels(service)


def _port_key(ports: Sequence[Obj]) -> str:
    return repr(
        sorted((p.get("name") or "", p.get("protocol"), p.get("port"), p.get("appProtocol") or "") for p in ports)
    )


def _new(service: Obj, ports: list[Obj], endpoints: list[Obj], family: str) -> Obj:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{meta.name(service)}-",
            "namespace": meta.namespace(service),
            "labels": labels(service),
            "ownerReferences": [meta.owner_reference(service)],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports or None,
    }


def _changed(service: Obj, one: Obj, endpoints: list[Obj]) -> Obj:
    return {**one, "metadata": {**one["metadata"], "labels": labels(service)}, "endpoints": endpoints}
