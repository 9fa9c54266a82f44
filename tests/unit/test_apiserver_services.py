"""Cluster addresses and node ports: allocation, refusal, repair."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from apiserver_harness import SERVICES, Harness, harness, service

from netlab.apiserver.allocation.pool import Pool, ip_band, port_band

MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        yield made


@pytest.mark.parametrize("size, band", [(8, 0), (16, 16), (256, 16), (4096, 256), (1 << 20, 256)])
def test_static_bands_of_addresses(size: int, band: int) -> None:
    assert ip_band(size) == band


@pytest.mark.parametrize("size, band", [(8, 0), (100, 16), (2768, 86), (100_000, 128)])
def test_static_bands_of_ports(size: int, band: int) -> None:
    assert port_band(size) == band


def test_a_pool_hands_out_its_upper_band_first_then_the_lower_one_then_nothing() -> None:
    pool = Pool(1, 10, 4)
    upper = {pool.take_any() for _ in range(6)}
    assert upper == {5, 6, 7, 8, 9, 10}
    assert {pool.take_any() for _ in range(4)} == {1, 2, 3, 4}
    assert pool.take_any() is None
    pool.give_back(7)
    assert pool.take_any() == 7


async def test_a_service_gets_an_address_of_the_upper_band_and_keeps_it(server: Harness) -> None:
    made = await server.ok("POST", SERVICES, service("a"))
    address = made["spec"]["clusterIP"]
    assert made["spec"]["clusterIPs"] == [address]
    assert address.startswith("10.")
    assert address.split(".")[:3] != ["10", "96", "0"]
    body = {**made, "spec": {"ports": [{"port": 81}]}}
    changed = await server.ok("PUT", f"{SERVICES}/a", body)
    assert changed["spec"]["clusterIP"] == address


async def test_the_dns_address_can_be_had_once(server: Harness) -> None:
    made = await server.ok("POST", SERVICES, service("dns", clusterIP="10.96.0.10"))
    assert made["spec"]["clusterIPs"] == ["10.96.0.10"]
    code, reason, message = await server.refused("POST", SERVICES, service("b", clusterIP="10.96.0.10"))
    assert (code, reason) == (422, "Invalid")
    assert message == (
        'Service "b" is invalid: spec.clusterIPs: Invalid value: []string{"10.96.0.10"}: '
        "failed to allocate IP 10.96.0.10: provided IP is already allocated"
    )
    await server.ok("DELETE", f"{SERVICES}/dns")
    await server.ok("POST", SERVICES, service("b", clusterIP="10.96.0.10"))


async def test_addresses_outside_and_the_servers_own_are_refused(server: Harness) -> None:
    message = (await server.refused("POST", SERVICES, service("a", clusterIP="192.168.1.1")))[2]
    assert message.endswith("failed to allocate IP 192.168.1.1: the provided network does not match the current range")
    message = (await server.refused("POST", f"{SERVICES}?dryRun=All", service("a", clusterIP="192.168.1.1")))[2]
    assert "is not in the valid range. The range of valid IPs is 10.96.0.0/12" in message
    assert (await server.refused("POST", SERVICES, service("a", clusterIP="10.96.0.1")))[0] == 422


async def test_headless_and_external_services_take_no_address(server: Harness) -> None:
    headless = await server.ok("POST", SERVICES, service("h", clusterIP="None"))
    assert headless["spec"]["clusterIPs"] == ["None"]
    body = {"metadata": {"name": "x"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}
    assert "clusterIP" not in (await server.ok("POST", SERVICES, body))["spec"]


async def test_node_ports_are_given_asked_for_refused_and_given_back(server: Harness) -> None:
    made = await server.ok("POST", SERVICES, service("a", type="NodePort"))
    port = made["spec"]["ports"][0]["nodePort"]
    assert 30086 <= port <= 32767
    asked = await server.ok("POST", SERVICES, service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30001}]))
    assert asked["spec"]["ports"][0]["nodePort"] == 30001
    taken = service("c", type="NodePort", ports=[{"port": 80, "nodePort": 30001}])
    assert (await server.refused("POST", SERVICES, taken))[2] == (
        'Service "c" is invalid: spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated'
    )
    outside = service("c", type="NodePort", ports=[{"port": 80, "nodePort": 80}])
    assert (await server.refused("POST", SERVICES, outside))[2] == (
        'Service "c" is invalid: spec.ports[0].nodePort: Invalid value: 80: '
        "provided port is not in the valid range. The range of valid ports is 30000-32767"
    )
    await server.ok("DELETE", f"{SERVICES}/b")
    await server.ok("POST", SERVICES, taken)


async def test_one_port_for_two_protocols_shares_its_number(server: Harness) -> None:
    ports = [{"name": "u", "port": 53, "protocol": "UDP"}, {"name": "t", "port": 53, "protocol": "TCP"}]
    made = await server.ok("POST", SERVICES, service("dns", type="NodePort", ports=ports))
    numbers = {port["nodePort"] for port in made["spec"]["ports"]}
    assert len(numbers) == 1


async def test_a_refused_service_takes_nothing(server: Harness) -> None:
    bad = service("Not_A_Name", clusterIP="10.96.0.50", type="NodePort", ports=[{"port": 80, "nodePort": 30050}])
    assert (await server.refused("POST", SERVICES, bad))[0] == 422
    good = service("good", clusterIP="10.96.0.50", type="NodePort", ports=[{"port": 80, "nodePort": 30050}])
    await server.ok("POST", f"{SERVICES}?dryRun=All", good)
    await server.ok("POST", SERVICES, good)


async def test_a_full_range_is_said_so(tmp_path: Path) -> None:
    async with harness(tmp_path, service_cidr="10.0.0.0/29", node_port_range=(30000, 30001)) as server:
        for number in range(5):
            await server.ok("POST", SERVICES, service(f"s{number}"))
        assert (await server.refused("POST", SERVICES, service("more")))[2].endswith("range is full")


async def test_what_is_taken_is_known_again_after_a_restart(tmp_path: Path) -> None:
    async with harness(tmp_path) as server:
        body = service("a", type="NodePort", clusterIP="10.96.0.10", ports=[{"port": 80, "nodePort": 30001}])
        await server.ok("POST", SERVICES, body)
    async with harness(tmp_path) as server:
        assert (await server.refused("POST", SERVICES, service("b", clusterIP="10.96.0.10")))[0] == 422
        taken = service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30001}])
        assert (await server.refused("POST", SERVICES, taken))[0] == 422
        assert (await server.ok("GET", f"{SERVICES}/a"))["spec"]["clusterIP"] == "10.96.0.10"


async def test_the_servers_own_service_leads_to_the_server(server: Harness) -> None:
    own = await server.ok("GET", f"{SERVICES}/kubernetes")
    assert own["spec"]["clusterIP"] == "10.96.0.1"
    endpoints = await server.ok("GET", "/api/v1/namespaces/default/endpoints/kubernetes")
    assert endpoints["subsets"][0]["addresses"] == [{"ip": "10.0.0.1"}]
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
    assert (await server.ok("GET", path))["endpoints"][0]["addresses"] == ["10.0.0.1"]
