"""The server's sockets on loopback: UDP, TCP, truncation, EDNS0, forwarding, aliases, side doors, nonsense."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest

from netlab.client.client import Client
from netlab.client.fake import FakeApi
from netlab.dns.corefile import Corefile, CorefileError, read
from netlab.dns.server import DnsServer
from netlab.dns.zone import Zone
from tests.unit.test_dns_answers import HTTP, endpoint, endpoint_slice, service

COREFILE = """
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf 192.0.2.1:5353 {
       max_concurrent 1000
    }
    cache 30
}
"""


def zone(endpoints: int = 2) -> Zone:
    result = Zone()
    result.put_namespace({"metadata": {"name": "default"}})
    result.put_service(service("web", "10.96.7.1", ports=[HTTP]))
    result.put_service(service("db", ports=[HTTP]))
    result.put_service(service("out", external="www.example.com"))
    result.put_service(service("alias", external="web.default.svc.cluster.local"))
    pods = [endpoint(f"10.244.{i // 250}.{i % 250 + 1}") for i in range(endpoints)]
    result.put_slice(endpoint_slice("db", "db-1", *pods, ports=[HTTP]))
    return result


@asynccontextmanager
async def serving(server: DnsServer) -> AsyncIterator[int]:
    try:
        yield await server.start("127.0.0.1", 0)
    finally:
        await server.close()
        await asyncio.sleep(0)  # transports close on the loop's next turn


async def ask(port: int, name: str, kind: str = "A", *, tcp: bool = False, payload: int = 0) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=0 if payload else False, payload=payload or 1232)
    function = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await function(query, "127.0.0.1", 5, port)


def texts(message: dns.message.Message) -> list[str]:
    return sorted(item.to_text() for rrset in message.answer for item in rrset)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_a_service_answers(tcp: bool) -> None:
    async with serving(DnsServer(Corefile(), zone())) as port:
        reply = await ask(port, "web.default.svc.cluster.local", tcp=tcp)
    assert reply.rcode() == dns.rcode.NOERROR
    assert texts(reply) == ["10.96.7.1"]
    assert reply.flags & dns.flags.AA


@pytest.mark.parametrize(("payload", "cut"), [(0, True), (1232, True), (4096, False)])
async def test_a_long_answer_is_cut_to_what_the_asker_can_take(payload: int, cut: bool) -> None:
    async with serving(DnsServer(Corefile(), zone(endpoints=200))) as port:
        reply = await ask(port, "db.default.svc.cluster.local", payload=payload)
        whole = await ask(port, "db.default.svc.cluster.local", tcp=True)
    assert bool(reply.flags & dns.flags.TC) is cut
    assert len(texts(whole)) == 200


async def test_an_alias_into_the_cluster_is_followed() -> None:
    async with serving(DnsServer(Corefile(), zone())) as port:
        reply = await ask(port, "alias.default.svc.cluster.local")
    assert texts(reply) == ["10.96.7.1", "web.default.svc.cluster.local."]


async def test_without_a_way_out_nothing_exists_outside() -> None:
    async with serving(DnsServer(Corefile(), zone())) as port:
        assert (await ask(port, "example.com")).rcode() == dns.rcode.NXDOMAIN
        assert texts(await ask(port, "out.default.svc.cluster.local")) == ["www.example.com."]


async def test_other_names_are_asked_of_the_outside_resolver() -> None:
    outside = Zone()
    outside.put_namespace({"metadata": {"name": "example"}})
    outside.put_service({**service("www", "192.0.2.7", namespace="example", ports=[HTTP])})
    async with serving(DnsServer(Corefile(domain="com"), outside)) as upstream:
        server = DnsServer(Corefile(forward=()), zone())
        server._servers = [("127.0.0.1", upstream)]
        async with serving(server) as port:
            assert texts(await ask(port, "www.example.svc.com")) == ["192.0.2.7"]
            assert texts(await ask(port, "www.example.svc.com", tcp=True)) == ["192.0.2.7"]


async def test_a_dead_resolver_is_a_server_failure() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        dead = closed.getsockname()[1]
    server = DnsServer(Corefile(), zone())
    server._servers = [("127.0.0.1", dead)]
    async with serving(server) as port:
        assert (await ask(port, "example.com")).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07exam", dns.rcode.FORMERR),
        (b"\x12\x34\x28\x00\x00\x00\x00\x00\x00\x00\x00\x00", dns.rcode.NOTIMP),
        (b"\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", dns.rcode.FORMERR),
        (b"\x12\x34\x81\x00\x00\x00\x00\x00\x00\x00\x00\x00", None),
        (b"\x12", None),
    ],
    ids=["cut short", "not a query", "no question", "a response", "one byte"],
)
async def test_nonsense_gets_its_code_or_silence(data: bytes, code: int | None) -> None:
    server = DnsServer(Corefile(), zone())
    server.synced.set()
    reply = server.quick(data, 0)
    assert (reply[3] & 0x0F if isinstance(reply, bytes) else None) == code


async def test_two_questions_on_one_connection() -> None:
    query = dns.message.make_query("web.default.svc.cluster.local", "A").to_wire()
    async with serving(DnsServer(Corefile(), zone())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(struct.pack("!H", len(query)) + query)
        for _ in range(2):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            assert texts(dns.message.from_wire(await reader.readexactly(length))) == ["10.96.7.1"]
        writer.close()


async def test_it_follows_the_api() -> None:
    api = FakeApi()
    client = Client(api)
    await client.create(("v1", "namespaces"), {"metadata": {"name": "default"}})
    server = DnsServer(Corefile(), client=client)
    async with serving(server) as port:
        assert (await ask(port, "web.default.svc.cluster.local")).rcode() in (dns.rcode.SERVFAIL, dns.rcode.NXDOMAIN)
        await asyncio.wait_for(server.synced.wait(), 5)
        await client.create(("v1", "services"), service("web", "10.96.7.1", ports=[HTTP]), "default")
        for _ in range(200):
            if found := texts(await ask(port, "web.default.svc.cluster.local")):
                break
        assert found == ["10.96.7.1"]


def test_a_corefile_as_kubeadm_writes_it() -> None:
    config = read(COREFILE)
    assert (config.domain, config.ttl, config.pods, config.lameduck) == ("cluster.local", 30, "insecure", 5.0)
    assert config.forward == ("/etc/resolv.conf", "192.0.2.1:5353")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no server block"),
        (".:53 {\n  errors\n", "Corefile:1: the brace opened here is never closed"),
        (".:53 {\n  nonsense\n}\n", "Corefile:2: Unknown directive 'nonsense'"),
        (".:53 {\n  kubernetes a.b {\n    pods maybe\n  }\n}", "Corefile:3: pods: expected disabled"),
        (".:dns {\n errors\n}", "expected a port number"),
        ("}\n", "Corefile:1: a closing brace"),
        (".:53 {\n forward .\n}", "Corefile:2: forward: expected FROM"),
    ],
)
def test_a_wrong_corefile_names_the_place(text: str, message: str) -> None:
    with pytest.raises(CorefileError, match=message.replace(".", r"\.")):
        read(text)
