"""The cluster's names: a table of questions against what the specification and CoreDNS answer."""

from __future__ import annotations

from typing import Any

import pytest

from netlab.dns.answers import resolve
from netlab.dns.config import Fallthrough, Kubernetes
from netlab.dns.message import NOERROR, NXDOMAIN, Query, Reply
from netlab.dns.zone import Zone

ZONES = ("cluster.local.", "in-addr.arpa.", "ip6.arpa.")
CONFIG = Kubernetes(ZONES, ttl=30, pods="insecure", fallthrough=Fallthrough(("in-addr.arpa.", "ip6.arpa.")))
OWN = ("10.244.0.2",)


def ask(zone: Zone, name: str, kind: str, config: Kubernetes = CONFIG, own: tuple[str, ...] = OWN) -> Reply | None:
    """The reply; None where the question is passed on."""
    answer = resolve(zone, config, Query(name, kind), own)
    return answer.reply if answer is not None else None


def service(name: str, *ips: str, namespace: str = "default", ports: Any = (), external: str = "") -> dict[str, Any]:
    addresses = list(ips) or ["None"]
    spec: dict[str, Any] = {"clusterIP": addresses[0], "clusterIPs": addresses, "ports": list(ports)}
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
    zone.put_service(service("both", "10.96.7.3", "fd00::3", ports=[HTTP]))
    zone.put_service(service("inner", external="web.default.svc.cluster.local"))
    zone.put_service(service("nowhere", external="nope.default.svc.cluster.local"))
    zone.put_service(service("circle", external="circle.default.svc.cluster.local"))
    zone.put_service(service("numeric", external="192.0.2.9"))
    zone.put_service(service("kube-dns", "10.96.0.10", namespace="kube-system", ports=[UNNAMED]))
    zone.put_slice(
        {
            **endpoint_slice("kube-dns", "kube-dns-1", endpoint("10.244.0.2"), ports=[UNNAMED]),
            "metadata": {
                "name": "kube-dns-1",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
        }
    )
    named = {**endpoint("10.244.2.2"), "targetRef": {"kind": "Pod", "name": "db-pod-1"}}
    pods = (endpoint("10.244.1.2", "db-0"), named, endpoint("10.244.2.3", "db-2", ready=False))
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
    # two families
    (f"both.{S}", "A", NOERROR, ["10.96.7.3"]),
    (f"both.{S}", "AAAA", NOERROR, ["fd00::3"]),
    (f"_http._tcp.both.{S}", "SRV", NOERROR, [f"0 50 80 both.{S}"]),
    # ExternalName
    (f"inner.{S}", "A", NOERROR, [f"web.{S}", "10.96.7.1"]),
    (f"inner.{S}", "AAAA", NOERROR, []),
    (f"nowhere.{S}", "A", NOERROR, []),
    (f"circle.{S}", "A", NOERROR, []),
    (f"numeric.{S}", "A", NXDOMAIN, []),
    (f"out.{S}", "SRV", NOERROR, []),
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
    ("cluster.local.", "NS", NOERROR, ["kube-dns.kube-system.svc.cluster.local."]),
    ("ns.dns.cluster.local.", "AAAA", NOERROR, []),
    (f"web.{S}", "MX", NOERROR, []),
    (f"nope.{S}", "MX", NXDOMAIN, []),
    (f"nope.{S}", "TXT", NOERROR, []),  # as CoreDNS: it does not look whether the name exists
    ("ns.dns.cluster.local.", "A", NOERROR, ["10.96.0.10"]),
    ("dns-version.cluster.local.", "TXT", NOERROR, ['"1.1.0"']),
    ("dns-version.cluster.local.", "A", NXDOMAIN, []),
    # reverse
    ("1.7.96.10.in-addr.arpa.", "PTR", NOERROR, [f"web.{S}"]),
    ("2.1.244.10.in-addr.arpa.", "PTR", NOERROR, [f"db-0.db.{S}"]),
    ("2.2.244.10.in-addr.arpa.", "PTR", NOERROR, [f"10-244-2-2.db.{S}"]),
    ("9.1.244.10.in-addr.arpa.", "PTR", NOERROR, [f"10-244-1-9.web.{S}"]),
    (f"{'3.' + '0.' * 29}d.f.ip6.arpa.", "PTR", NOERROR, [f"both.{S}"]),
]


@pytest.mark.parametrize(("name", "kind", "rcode", "data"), TABLE, ids=[f"{row[1]} {row[0]}" for row in TABLE])
def test_question(zone: Zone, name: str, kind: str, rcode: int, data: list[str]) -> None:
    reply = ask(zone, name, kind)
    assert reply is not None
    assert reply.rcode == rcode and reply.aa and not reply.ra
    assert sorted(record.data for record in reply.answer) == sorted(data)
    ttl = 28800 if kind == "TXT" else 30
    assert all(record.ttl == ttl for record in reply.answer)
    assert not reply.answer or reply.answer[0].name == name
    if not data:
        assert [record.type for record in reply.authority] == ["SOA"]
        assert reply.authority[0].name == "cluster.local." and reply.authority[0].ttl == 30


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("example.com.", "A"),
        ("cluster.local.example.com.", "A"),
        ("mycluster.local.", "A"),
        ("9.9.9.9.in-addr.arpa.", "PTR"),
        ("9.10.in-addr.arpa.", "PTR"),
        ("1.7.96.10.in-addr.arpa.", "A"),
    ],
)
def test_passed_on(zone: Zone, name: str, kind: str) -> None:
    assert ask(zone, name, kind) is None


def test_reverse_names_that_do_not_fall_through_do_not_exist(zone: Zone) -> None:
    reply = ask(zone, "9.9.9.9.in-addr.arpa.", "PTR", Kubernetes(ZONES))
    assert reply is not None and reply.rcode == NXDOMAIN
    assert reply.authority[0].name == "in-addr.arpa."


def test_an_alias_says_where_to_ask_next(zone: Zone) -> None:
    answer = resolve(zone, CONFIG, Query(f"out.{S}", "A"))
    assert answer is not None and answer.cname == "www.example.com."


def test_srv_brings_the_addresses_of_its_targets(zone: Zone) -> None:
    reply = ask(zone, f"_http._tcp.db.{S}", "SRV")
    assert reply is not None
    assert {(record.name, record.data) for record in reply.additional} == {
        (f"db-0.db.{S}", "10.244.1.2"),
        (f"10-244-2-2.db.{S}", "10.244.2.2"),
    }


def test_without_a_service_of_its_own_the_server_is_its_own_name_server(zone: Zone) -> None:
    reply = ask(zone, "cluster.local.", "NS", own=("10.9.9.9",))
    assert reply is not None
    assert [one.data for one in reply.answer] == ["ns.dns.cluster.local."]
    assert [(one.name, one.data) for one in reply.additional] == [("ns.dns.cluster.local.", "10.9.9.9")]


@pytest.mark.parametrize(
    ("options", "name", "kind", "expected"),
    [
        ({"pods": "disabled"}, "10-244-1-2.default.pod.cluster.local.", "A", NXDOMAIN),
        ({"pods": "verified"}, "10-244-1-2.default.pod.cluster.local.", "A", ["10.244.1.2"]),
        ({"pods": "verified"}, "10-244-9-9.default.pod.cluster.local.", "A", NXDOMAIN),
        ({"pods": "verified"}, "10-244-1-2.kube-system.pod.cluster.local.", "A", NXDOMAIN),
        ({"namespaces": frozenset({"empty"})}, f"web.{S}", "A", NXDOMAIN),
        ({"namespaces": frozenset({"default"})}, f"web.{S}", "A", ["10.96.7.1"]),
        ({"namespaces": frozenset({"empty"})}, "1.7.96.10.in-addr.arpa.", "PTR", NXDOMAIN),
        ({"endpoint_pod_names": True}, f"db-pod-1.db.{S}", "A", ["10.244.2.2"]),
        ({"endpoint_pod_names": True}, f"10-244-2-2.db.{S}", "A", NXDOMAIN),
        ({"endpoint_pod_names": True}, "2.2.244.10.in-addr.arpa.", "PTR", [f"db-pod-1.db.{S}"]),
        ({"endpoint_pod_names": True}, f"db-0.db.{S}", "A", ["10.244.1.2"]),
        ({"ignore_empty": True}, f"dns.{S}", "A", NXDOMAIN),
        ({"ignore_empty": True}, f"web.{S}", "A", ["10.96.7.1"]),
        ({"fallthrough": Fallthrough()}, f"nope.{S}", "A", None),
        ({"fallthrough": Fallthrough()}, f"web.{S}", "AAAA", []),
        ({"zones": ("corp.", "cluster.local.")}, "web.default.svc.corp.", "A", ["10.96.7.1"]),
        ({"ttl": 0}, f"web.{S}", "A", ["10.96.7.1"]),
    ],
)
def test_options(zone: Zone, options: dict[str, Any], name: str, kind: str, expected: Any) -> None:
    zone.put_pod({"metadata": {"name": "p", "namespace": "default"}, "status": {"podIP": "10.244.1.2"}})
    reply = ask(zone, name, kind, Kubernetes(**{"zones": ZONES, **options}))
    if expected is None:
        assert reply is None
    elif isinstance(expected, int):
        assert reply is not None and reply.rcode == expected
    else:
        assert reply is not None and [one.data for one in reply.answer] == expected
        assert all(one.ttl == options.get("ttl", 5) for one in reply.answer)


def test_what_goes_is_gone(zone: Zone) -> None:
    before = zone.serial
    zone.drop_service(service("web", "10.96.7.1", ports=[HTTP]))
    zone.drop_slice(endpoint_slice("db", "db-1"))
    assert zone.serial > before
    for name, kind in ((f"web.{S}", "A"), (f"db.{S}", "A")):
        reply = ask(zone, name, kind)
        assert reply is not None and reply.rcode == NXDOMAIN
    assert ask(zone, "2.1.244.10.in-addr.arpa.", "PTR") is None


def test_a_heartbeat_of_an_object_changes_nothing(zone: Zone) -> None:
    before = zone.serial
    zone.put_service({**service("web", "10.96.7.1", ports=[HTTP, METRICS])})
    zone.put_slice(endpoint_slice("web", "web-1", endpoint("10.244.1.9"), ports=[{**HTTP, "port": 8080}]))
    assert zone.serial == before
