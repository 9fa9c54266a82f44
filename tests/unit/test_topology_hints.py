"""Topology aware routing: zones' shares, allocations, and who is for whom, against upstream's rules."""

from __future__ import annotations

from typing import Any

import pytest

from netlab.controllers.endpointslice_plan import plan
from netlab.controllers.topology_hints import Refused, allocations, shares, zones

Obj = dict[str, Any]
AUTO = {"service.kubernetes.io/topology-mode": "Auto"}


def node(name: str, zone: str | None, cpu: str = "4", ready: str = "True", **labels: str) -> Obj:
    found = {**labels, **({"topology.kubernetes.io/zone": zone} if zone else {})}
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": {"name": name, "labels": found},
        "status": {"conditions": conditions, "allocatable": {"cpu": cpu} if cpu else {}},
    }


MASTER = {"node-role.kubernetes.io/control-plane": ""}


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([node("a", "z1"), node("b", "z2")], {"z1": 0.5, "z2": 0.5}),
        ([node("a", "z1", "1500m"), node("b", "z2", "3"), node("c", "z2", "1500m")], {"z1": 0.25, "z2": 0.75}),
        ([node("a", "z1"), node("b", "z2"), node("m", None, **MASTER)], {"z1": 0.5, "z2": 0.5}),
        ([node("a", "z1"), node("b", "z2"), node("c", None, ready="False")], {"z1": 0.5, "z2": 0.5}),
        ([node("a", "z1"), node("b", None)], {}),
        ([node("a", "z1"), node("b", "z2", "")], {}),
        ([node("a", "z1"), node("b", "z1")], {}),
        ([], {}),
    ],
)
def test_shares(nodes: list[Obj], found: dict[str, float]) -> None:
    assert shares(nodes) == found


@pytest.mark.parametrize(
    ("ratios", "endpoints", "why"),
    [
        ({}, 5, "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"),
        ({"a": 0.5, "b": 0.5}, 1, "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        (
            {"a": 0.2, "b": 0.2, "c": 0.6},
            3,
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
            " (3 endpoints, 3 zones)",
        ),
    ],
)
def test_refusals(ratios: dict[str, float], endpoints: int, why: str) -> None:
    with pytest.raises(Refused) as refused:
        allocations(ratios, endpoints)
    assert str(refused.value) == why


def endpoints(*places: str) -> dict[str, Obj]:
    return {f"u{i}": {"conditions": {"ready": True}, "zone": zone} for i, zone in enumerate(places)}


@pytest.mark.parametrize(
    ("places", "ratios", "counts"),
    [
        ("ab", {"a": 0.5, "b": 0.5}, {"a": 1, "b": 1}),
        ("aaaa", {"a": 0.5, "b": 0.5}, {"a": 2, "b": 2}),
        ("aaaaabb", {"a": 0.5, "b": 0.5}, {"a": 4, "b": 3}),
        ("aaabbb", {"a": 0.33, "b": 0.67}, {"a": 2, "b": 4}),
        ("aacc", {"a": 0.5, "b": 0.5}, {"a": 2, "b": 2}),
    ],
)
def test_who_is_for_whom(places: str, ratios: dict[str, float], counts: dict[str, int]) -> None:
    found = zones(endpoints(*places), {}, ratios)
    assert {zone: list(found.values()).count(zone) for zone in set(found.values())} == counts
    assert zones(endpoints(*places), found, ratios) == found, "and it stays so"


def test_an_endpoint_without_a_zone() -> None:
    with pytest.raises(Refused, match=r"^One or more endpoints do not have a zone specified$"):
        zones(endpoints("a", ""), {}, {"a": 0.5, "b": 0.5})


def test_slices_say_it() -> None:
    spec = {
        "selector": {"a": "b"},
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "ipFamilies": ["IPv4"],
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "n", "uid": "s", "annotations": AUTO},
        "spec": spec,
    }
    pods = [
        {
            "metadata": {"name": f"p{i}", "namespace": "n", "uid": f"p{i}"},
            "spec": {"nodeName": f"n{i}", "containers": [{"name": "c"}]},
            "status": {
                "phase": "Running", "podIP": f"10.0.0.{i}", "podIPs": [{"ip": f"10.0.0.{i}"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        for i in (1, 2)
    ]  # fmt: skip
    places = {"n1": "z1", "n2": "z2"}
    made = plan(service, pods, [], places, ratios={"z1": 0.5, "z2": 0.5})
    (one,) = made.create
    assert [(end["zone"], end["hints"]) for end in one["endpoints"]] == [
        (zone, {"forZones": [{"name": zone}]}) for zone in ("z1", "z2")
    ]
    assert made.hinted == ["IPv4"]
    one["metadata"]["name"] = "s-1"
    assert not plan(service, pods, [one], places, ratios={"z1": 0.5, "z2": 0.5}).update
    refused = plan(service, pods, [one], places)
    assert list(refused.refused) == ["IPv4"]
    assert not any("hints" in end for end in refused.update[0]["endpoints"])
