"""The cluster's names: a table of questions against what the specification and CoreDNS answer."""

from __future__ import annotations

from typing import Any

import pytest

from netlab.dns.answers import NOERROR, NXDOMAIN, ZoneConfig, resolve
from netlab.dns.zone import Zone

CONFIG = ZoneConfig("cluster.local", 30, "insecure", ("10.96.0.10",))


def service(
    name: str, ip: str = "", *, namespace: str = "default", ports: Any = (), external: str = ""
) -> dict[str, Any]:
    spec: dict[str, Any] = {"clusterIP": ip or "None", "clusterIPs": [ip or "None"], "ports": list(ports)}
    if external:
        spec = {"type": "ExternalName", "externalName": external}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def endpoint_slice(service_name: str, name: str, *endpoints: dict[str, Any], ports: Any = ()) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service_name}},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": list(ports),
    }


def endpoint(address: str, hostname: str | None = None, ready: bool = True) -> dict[str, Any]:
    entry: dict[str, Any] = {"addresses": [address], "conditions": {"ready": ready}}
    return {**entry, "hostname": hostname} if hostname else entry


HTTP = {"name": "http", "protocol": "TCP", "port": 80}
METRICS = {"name": "metrics", "protocol": "TCP", "port": 9153}
UNNAMED = {"protocol": "UDP", "port": 53}


@pytest.fixture
def zone() -> Zone:
    zone = Zone()
    for name in ("default", "kube-system", "empty"):
        zone.put_namespace({"metadata": {"name": name}})
    zone.put_service(service("web", "10.96.7.1", ports=[HTTP, METRICS]))
    zone.put_service(service("dns", "10.96.7.2", ports=[UNNAMED]))
    zone.put_service(service("db", ports=[HTTP]))
    zone.put_service(service("lonely", ports=[HTTP]))
    zone.put_service(service("portless"))
    zone.put_service(service("out", external="www.example.com"))
    zone.put_service(service("six", "fd00::1", ports=[HTTP]))
    pods = (endpoint("10.244.1.2", "db-0"), endpoint("10.244.2.2"), endpoint("10.244.2.3", "db-2", ready=False))
    zone.put_slice(endpoint_slice("db", "db-1", *pods, ports=[{**HTTP, "port": 8080}]))
    zone.put_slice(endpoint_slice("web", "web-1", endpoint("10.244.1.9"), ports=[{**HTTP, "port": 8080}]))
    zone.put_slice(endpoint_slice("portless", "portless-1", endpoint("10.244.1.7"), ports=[]))
    return zone


S = "default.svc.cluster.local."
TABLE: list[tuple[str, str, int, list[str]]] = [
    # a Service with a cluster IP
    (f"web.{S}", "A", NOERROR, ["10.96.7.1"]),
    (f"WEB.{S}", "A", NOERROR, ["10.96.7.1"]),
    (f"web.{S}", "AAAA", NOERROR, []),
    (f"web.{S}", "TXT", NOERROR, []),
    (f"six.{S}", "AAAA", NOERROR, ["fd00::1"]),
    (f"web.{S}", "SRV", NOERROR, [f"0 50 80 web.{S}", f"0 50 9153 web.{S}"]),
    (f"_http._tcp.web.{S}", "SRV", NOERROR, [f"0 100 80 web.{S}"]),
    (f"_http._udp.web.{S}", "SRV", NXDOMAIN, []),
    (f"_nope._tcp.web.{S}", "SRV", NXDOMAIN, []),
    (f"_http._tcp.dns.{S}", "SRV", NXDOMAIN, []),
    # headless: ready endpoints by address and by name, the one that is not ready not at all
    (f"db.{S}", "A", NOERROR, ["10.244.1.2", "10.244.2.2"]),
    (f"db-0.db.{S}", "A", NOERROR, ["10.244.1.2"]),
    (f"10-244-2-2.db.{S}", "A", NOERROR, ["10.244.2.2"]),
    (f"db-2.db.{S}", "A", NXDOMAIN, []),
    (f"_http._tcp.db.{S}", "SRV", NOERROR, [f"0 50 8080 db-0.db.{S}", f"0 50 8080 10-244-2-2.db.{S}"]),
    (f"lonely.{S}", "A", NXDOMAIN, []),
    (f"portless.{S}", "A", NOERROR, ["10.244.1.7"]),
    (f"portless.{S}", "SRV", NOERROR, []),
    # ExternalName
    (f"out.{S}", "A", NOERROR, ["www.example.com."]),
    (f"out.{S}", "CNAME", NOERROR, ["www.example.com."]),
    (f"x.out.{S}", "A", NXDOMAIN, []),
    # pods
    ("10-244-1-2.default.pod.cluster.local.", "A", NOERROR, ["10.244.1.2"]),
    ("10-244-1-2.nowhere.pod.cluster.local.", "A", NXDOMAIN, []),
    ("10-244-1.default.pod.cluster.local.", "A", NXDOMAIN, []),
    ("fd00--1.default.pod.cluster.local.", "AAAA", NOERROR, ["fd00::1"]),
    # names in between exist, without data
    ("svc.cluster.local.", "A", NOERROR, []),
    ("default.svc.cluster.local.", "A", NOERROR, []),
    ("empty.svc.cluster.local.", "A", NOERROR, []),
    ("default.pod.cluster.local.", "A", NOERROR, []),
    ("cluster.local.", "A", NOERROR, []),
    # names that do not exist
    (f"nope.{S}", "A", NXDOMAIN, []),
    (f"*.{S}", "A", NXDOMAIN, []),
    (f"any.{S}", "A", NXDOMAIN, []),
    (f"a.b.web.{S}", "A", NXDOMAIN, []),
    (f"a.b.c.web.{S}", "A", NXDOMAIN, []),
    ("web.nowhere.svc.cluster.local.", "A", NXDOMAIN, []),
    ("nowhere.svc.cluster.local.", "A", NXDOMAIN, []),
    ("web.default.cluster.local.", "A", NXDOMAIN, []),
    # the zone itself
    ("cluster.local.", "NS", NOERROR, ["ns.dns.cluster.local."]),
    ("ns.dns.cluster.local.", "A", NOERROR, ["10.96.0.10"]),
    ("dns-version.cluster.local.", "TXT", NOERROR, ['"1.1.0"']),
    ("dns-version.cluster.local.", "A", NOERROR, []),
    # reverse
    ("1.7.96.10.in-addr.arpa.", "PTR", NOERROR, [f"web.{S}"]),
    ("2.1.244.10.in-addr.arpa.", "PTR", NOERROR, [f"db-0.db.{S}"]),
    ("2.2.244.10.in-addr.arpa.", "PTR", NOERROR, [f"10-244-2-2.db.{S}"]),
    ("1.7.96.10.in-addr.arpa.", "A", NOERROR, []),
]


@pytest.mark.parametrize(("name", "kind", "rcode", "data"), TABLE, ids=[f"{row[1]} {row[0]}" for row in TABLE])
def test_question(zone: Zone, name: str, kind: str, rcode: int, data: list[str]) -> None:
    answer = resolve(zone, CONFIG, name, kind)
    assert answer is not None
    assert answer.rcode == rcode
    assert sorted(record.data for record in answer.answer) == sorted(data)
    assert all(record.name == name and record.ttl == 30 for record in answer.answer)
    if not data:
        assert [record.type for record in answer.authority] == ["SOA"]


@pytest.mark.parametrize(
    "name", ["example.com.", "cluster.local.example.com.", "9.9.9.9.in-addr.arpa.", "9.10.in-addr.arpa."]
)
def test_not_ours(zone: Zone, name: str) -> None:
    assert resolve(zone, CONFIG, name, "A") is None


def test_an_alias_says_where_to_ask_next(zone: Zone) -> None:
    answer = resolve(zone, CONFIG, f"out.{S}", "A")
    assert answer is not None
    assert answer.cname == "www.example.com."


def test_srv_brings_the_addresses_of_its_targets(zone: Zone) -> None:
    answer = resolve(zone, CONFIG, f"_http._tcp.db.{S}", "SRV")
    assert answer is not None
    assert {(record.name, record.data) for record in answer.additional} == {
        (f"db-0.db.{S}", "10.244.1.2"),
        (f"10-244-2-2.db.{S}", "10.244.2.2"),
    }


def test_what_goes_is_gone(zone: Zone) -> None:
    zone.drop_service(service("web", "10.96.7.1", ports=[HTTP]))
    zone.drop_slice(endpoint_slice("db", "db-1"))
    for name, kind in ((f"web.{S}", "A"), (f"db.{S}", "A")):
        answer = resolve(zone, CONFIG, name, kind)
        assert answer is not None
        assert answer.rcode == NXDOMAIN
    assert resolve(zone, CONFIG, "1.7.96.10.in-addr.arpa.", "PTR") is None
    assert resolve(zone, CONFIG, "2.1.244.10.in-addr.arpa.", "PTR") is None
