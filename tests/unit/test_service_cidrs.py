"""ServiceCIDRs: ready when they are there, kept while addresses need them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_client import comes, controllers
from apiserver_harness import Harness, harness

from netlab.apiserver.allocation.records import keep_records
from netlab.controllers import service_cidrs
from netlab.controllers.service_cidrs import FINALIZER, contains, needed

Obj = dict[str, Any]
URL, ADDRESSES = (f"/apis/networking.k8s.io/v1/{kind}" for kind in ("servicecidrs", "ipaddresses"))


def cidr(name: str, *ranges: str) -> Obj:
    return {"metadata": {"name": name}, "spec": {"cidrs": list(ranges)}}


def test_which_addresses_need_a_range() -> None:
    assert contains(["10.0.0.0/24", "fd00::/112"], "fd00::1") and not contains(["10.0.0.0/24"], "fd00::1")
    own = cidr("own", "10.0.0.0/24")
    assert needed(own, [], ["10.0.0.1"])
    assert not needed(own, [], ["10.0.1.1"])
    assert not needed(own, [cidr("wide", "10.0.0.0/16")], ["10.0.0.1"])
    going = cidr("wide", "10.0.0.0/16")
    going["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert needed(own, [going], ["10.0.0.1"])


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    monkeypatch.setattr(service_cidrs, "GRACE", 0.0)
    async with harness(tmp_path) as made, controllers(made, "service-cidr"):
        yield made


async def condition(server: Harness, name: str, status: str) -> Obj:
    async def look() -> Obj | None:
        found = await server.ok("GET", f"{URL}/{name}")
        rows = (found.get("status") or {}).get("conditions") or [{}]
        return (
            found if rows[0].get("status") == status and FINALIZER in found["metadata"].get("finalizers", ()) else None
        )

    found: Obj = await comes(look, f"{name}: Ready is {status}")
    return dict(found["status"]["conditions"][0])


async def test_from_creation_to_deletion(server: Harness) -> None:
    await condition(server, "kubernetes", "True")
    await server.ok("POST", URL, cidr("more", "10.200.0.0/24"))
    ready = await condition(server, "more", "True")
    assert (ready["reason"], ready["message"]) == ("", "Kubernetes Service CIDR is ready")
    parent = {"resource": "services", "namespace": "default", "name": "s"}
    await server.ok("POST", ADDRESSES, {"metadata": {"name": "10.200.0.9"}, "spec": {"parentRef": parent}})
    await server.ok("DELETE", f"{URL}/more")
    kept = await condition(server, "more", "False")
    assert kept["reason"] == "Terminating" and kept["message"].startswith("There are still IPAddresses referencing")
    await server.ok("DELETE", f"{ADDRESSES}/10.200.0.9")

    async def gone() -> bool:
        return (await server.call("GET", f"{URL}/more"))[0] == 404

    await comes(gone, "the end of the ServiceCIDR")


SERVICES = "/api/v1/namespaces/default/services"
NO_RANGE = "the provided network does not match the current range"


def service(name: str, address: str) -> Obj:
    return {"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}}


async def test_addresses_come_from_every_range_that_is_ready(server: Harness) -> None:
    assert NO_RANGE in (await server.refused("POST", SERVICES, service("a", "203.0.113.10")))[2]
    await server.ok("POST", URL, cidr("more", "203.0.113.0/24", "2001:db8::/112"))
    await condition(server, "more", "True")
    await server.ok("POST", SERVICES, service("a", "203.0.113.10"))
    taken = (await server.refused("POST", SERVICES, service("b", "203.0.113.10")))[2]
    assert taken.endswith("provided IP is already allocated")
    edge = (await server.refused("POST", SERVICES, service("b", "203.0.113.255")))[2]
    assert edge.endswith("is not in the valid range. The range of valid IPs is 203.0.113.0/24")
    await server.ok("POST", URL, cidr("again", "203.0.113.0/28"))
    await condition(server, "again", "True")
    await server.ok("DELETE", f"{URL}/more")
    assert NO_RANGE in (await server.refused("POST", SERVICES, service("b", "203.0.113.20")))[2]
    await server.ok("POST", SERVICES, service("b", "203.0.113.9"))


async def test_what_somebody_keeps_by_hand_is_not_given(server: Harness) -> None:
    parent = {"resource": "things", "name": "mine"}
    await server.ok("POST", ADDRESSES, {"metadata": {"name": "10.96.0.77"}, "spec": {"parentRef": parent}})
    assert "already allocated" in (await server.refused("POST", SERVICES, service("a", "10.96.0.77")))[2]
    await server.ok("DELETE", f"{ADDRESSES}/10.96.0.77")
    await server.ok("POST", SERVICES, service("a", "10.96.0.77"))


async def test_a_record_that_was_deleted_or_bent_comes_back(server: Harness) -> None:
    server.tasks.append(asyncio.create_task(keep_records(server.api)))
    await server.ok("POST", SERVICES, service("a", "10.96.0.80"))
    address = f"{ADDRESSES}/10.96.0.80"

    async def there() -> bool:
        code, found = await server.call("GET", address)
        return code == 200 and found["spec"]["parentRef"]["name"] == "a"

    await comes(there, "the record")
    await server.ok("DELETE", address)
    await comes(there, "the record again")
    await server.ok("DELETE", f"{SERVICES}/a")

    async def gone() -> bool:
        return (await server.call("GET", address))[0] == 404

    await comes(gone, "the record's end")
