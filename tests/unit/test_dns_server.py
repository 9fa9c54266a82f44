"""The server's sockets on loopback: UDP, TCP, truncation, EDNS0, forwarding, cache, aliases, side doors, nonsense."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import dns.asyncquery
import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.dns.config import Config
from netlab.dns.directives import read
from netlab.dns.program import Program, load
from netlab.dns.router import Router
from netlab.dns.server import DnsServer, LoopFoundError
from netlab.dns.zone import Zone
from tests.unit.test_dns_answers import HTTP, endpoint, endpoint_slice, service

CLUSTER = ".:53 {\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n fallthrough in-addr.arpa ip6.arpa\n }\n"


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


def cluster(more: str = "") -> Config:
    return read(CLUSTER + more + "\n}\n")


@asynccontextmanager
async def serving(config: Config, of: Zone | None = None, client: Client | None = None) -> AsyncIterator[DnsServer]:
    server = DnsServer(config, zone=of, client=client, hosts=("127.0.0.1",), port=0)
    try:
        await server.start()
        yield server
    finally:
        await server.close()
        await asyncio.sleep(0)  # transports close on the loop's next turn


def port_of(server: DnsServer) -> int:
    return next(iter(server._listeners.values())).port


async def ask(
    server: DnsServer, name: str, kind: str = "A", *, tcp: bool = False, payload: int = 0
) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=0 if payload else False, payload=payload or 1232)
    return await send(server, query, tcp=tcp)


async def send(server: DnsServer, query: dns.message.Message, *, tcp: bool = False) -> dns.message.Message:
    function = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await function(query, "127.0.0.1", 10, port_of(server))


def texts(message: dns.message.Message) -> list[str]:
    return sorted(item.to_text() for rrset in message.answer for item in rrset)


WEB, DB = "web.default.svc.cluster.local", "db.default.svc.cluster.local"


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_a_service_answers_again_and_again(tcp: bool) -> None:
    async with serving(cluster(), zone()) as server:
        for _ in range(3):  # the second one is ready before it is asked for
            reply = await ask(server, WEB, tcp=tcp)
            assert reply.rcode() == dns.rcode.NOERROR and texts(reply) == ["10.96.7.1"]
            assert reply.flags & dns.flags.AA and not reply.flags & dns.flags.RA


async def test_what_was_ready_is_forgotten_when_the_zone_changes() -> None:
    names = zone()
    async with serving(cluster(), names) as server:
        assert texts(await ask(server, WEB)) == ["10.96.7.1"]
        names.put_service(service("web", "10.96.7.9", ports=[HTTP]))
        assert texts(await ask(server, WEB)) == ["10.96.7.9"]
        names.drop_service(service("web"))
        assert (await ask(server, WEB)).rcode() == dns.rcode.NXDOMAIN
        late = "late.default.svc.cluster.local."
        names.put_service(service("late", ports=[HTTP]))
        assert [texts(await ask(server, late)) for _ in range(3)] == [[], [], []]
        names.put_slice(endpoint_slice("late", "late-1", endpoint("10.244.9.9"), ports=[HTTP]))
        assert texts(await ask(server, late)) == ["10.244.9.9"], "its first endpoints count as a change"


@pytest.mark.parametrize(("payload", "cut"), [(0, True), (1232, True), (8000, False)])
async def test_a_long_answer_is_cut_to_what_the_asker_can_take(payload: int, cut: bool) -> None:
    async with serving(cluster(), zone(endpoints=200)) as server:
        reply = await ask(server, DB, payload=payload)
        whole = await ask(server, DB, tcp=True)
    assert bool(reply.flags & dns.flags.TC) is cut
    assert len(reply.to_wire()) <= max(payload, 512) and (len(texts(reply)) == 200) is not cut
    assert texts(reply), "as many as fit are told"
    assert len(texts(whole)) == 200 and not whole.flags & dns.flags.TC


async def test_edns_comes_back() -> None:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    async with serving(cluster(), zone()) as server:
        query = dns.message.make_query(WEB, "A", use_edns=0, payload=1400, want_dnssec=True, options=[cookie])
        reply = await send(server, query)
        assert (reply.edns, reply.payload, bool(reply.ednsflags & dns.flags.DO)) == (0, 1400, True)
        assert [option.otype for option in reply.options] == [dns.edns.OptionType.COOKIE]
        assert (await ask(server, WEB)).edns == -1
        wrong = dns.message.make_query(WEB, "A", use_edns=1)
        assert (await send(server, wrong)).rcode() == dns.rcode.BADVERS


def order(message: dns.message.Message) -> tuple[str, ...]:
    """As it was on the wire (to_wire would mix it)."""
    return tuple(item.to_text() for item in message.answer[0])


async def test_loadbalance_turns_addresses_round() -> None:
    async with serving(cluster("loadbalance"), zone(endpoints=4)) as server:
        orders = {order(await ask(server, DB)) for _ in range(40)}
    assert all(len(set(one)) == 4 for one in orders)
    assert len(orders) > 1, "forty times the same order of four"


async def test_without_loadbalance_the_order_stays() -> None:
    async with serving(cluster(), zone(endpoints=4)) as server:
        assert len({order(await ask(server, DB)) for _ in range(10)}) == 1


async def test_an_alias_into_the_cluster_is_followed() -> None:
    async with serving(cluster(), zone()) as server:
        reply = await ask(server, "alias.default.svc.cluster.local")
    assert texts(reply) == ["10.96.7.1", f"{WEB}."]


async def test_without_a_way_out_nothing_exists_outside(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("search example.org\n")
    async with serving(cluster(f"forward . {tmp_path}/resolv.conf"), zone()) as server:
        assert (await ask(server, "example.com")).rcode() == dns.rcode.NXDOMAIN
        assert texts(await ask(server, "out.default.svc.cluster.local")) == ["www.example.com."]


async def test_a_block_without_a_plugin_that_answers_is_a_server_failure() -> None:
    async with serving(cluster(), zone()) as server:
        assert (await ask(server, "example.com")).rcode() == dns.rcode.SERVFAIL


OUTSIDE = """.:53 {
  hosts /nonexistent {
    192.0.2.7 www.example.com
    2001:db8::7 www.example.com
    192.0.2.8 api.corp.example
    fallthrough
  }
  forward . /dev/null
}"""


async def test_other_names_are_asked_of_the_outside_resolver() -> None:
    async with serving(read(OUTSIDE)) as outside:
        text = f"forward . 127.0.0.1:{port_of(outside)}\n cache 30"
        async with serving(cluster(text), zone()) as server:
            for tcp in (False, True):
                assert texts(await ask(server, "www.example.com", tcp=tcp)) == ["192.0.2.7"]
            assert texts(await ask(server, "www.example.com", "AAAA")) == ["2001:db8::7"]
            assert (await ask(server, "nope.example.com")).rcode() == dns.rcode.NXDOMAIN
            reply = await ask(server, "out.default.svc.cluster.local")
            assert texts(reply) == ["192.0.2.7", "www.example.com."]
        await outside.close()


async def test_stub_domains_go_to_their_own_resolver_and_the_longest_zone_wins() -> None:
    async with serving(read(OUTSIDE)) as outside, serving(read(OUTSIDE.replace("192.0.2.8", "192.0.2.9"))) as stub:
        text = (
            f"corp.example {{\n forward . 127.0.0.1:{port_of(stub)}\n}}\n"
            f"{CLUSTER} forward . 127.0.0.1:{port_of(outside)}\n}}\n"
        )
        async with serving(read(text), zone()) as server:
            assert texts(await ask(server, "api.corp.example")) == ["192.0.2.9"]
            assert texts(await ask(server, "www.example.com")) == ["192.0.2.7"]
            assert texts(await ask(server, WEB)) == ["10.96.7.1"]


def _closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        return int(closed.getsockname()[1])


async def test_a_dead_resolver_is_a_server_failure_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(cluster(f"errors\nforward . 127.0.0.1:{_closed_port()}"), zone()) as server:
        with caplog.at_level(logging.ERROR, "coredns"):
            assert (await ask(server, "example.com")).rcode() == dns.rcode.SERVFAIL
    assert any(one.getMessage().startswith("plugin/errors: 2 example.com. A: read udp") for one in caplog.records)


async def test_of_two_resolvers_the_one_that_lives_answers() -> None:
    async with serving(read(OUTSIDE)) as outside:
        text = f"forward . 127.0.0.1:{_closed_port()} 127.0.0.1:{port_of(outside)} {{\n policy sequential\n}}"
        async with serving(cluster(text), zone()) as server:
            for _ in range(3):
                assert texts(await ask(server, "www.example.com")) == ["192.0.2.7"]


async def test_what_is_cached_is_not_asked_again() -> None:
    async with (
        serving(read(OUTSIDE)) as outside,
        serving(cluster(f"forward . 127.0.0.1:{port_of(outside)}\n cache 30"), zone()) as server,
    ):
        first = await ask(server, "www.example.com")
        await outside.close()
        again = [await ask(server, "WWW.example.com") for _ in range(3)]
        assert [texts(one) for one in again] == [["192.0.2.7"]] * 3
        assert first.answer[0].ttl == 30 >= again[0].answer[0].ttl
        assert (await ask(server, "api.corp.example")).rcode() == dns.rcode.SERVFAIL
        for router in server._routers:
            router.settle()
        counted = server.metrics.text()
    assert 'coredns_cache_hits_total{server="dns://:53",type="success",zones=".",view=""} 3' in counted
    assert 'coredns_cache_entries{server="dns://:53",type="success",zones=".",view=""} 1' in counted


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07exam", dns.rcode.FORMERR),
        (b"\x12\x34\x28\x00\x00\x00\x00\x00\x00\x00\x00\x00", dns.rcode.NOTIMP),
        (b"\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", dns.rcode.FORMERR),
        (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01", dns.rcode.FORMERR),
        (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x00\x00\x01\x00\x01\x00\x00\x29", dns.rcode.FORMERR),
        (b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x03", dns.rcode.REFUSED),
        (b"\x12\x34\x81\x00\x00\x00\x00\x00\x00\x00\x00\x00", None),
        (b"\x12", None),
    ],
    ids=["cut short", "not a query", "no question", "a pointer", "half an OPT", "chaos", "a response", "one byte"],
)
async def test_nonsense_gets_its_code_or_silence(data: bytes, code: int | None) -> None:
    async with serving(cluster(), zone()) as server:
        (router,) = server._routers
        reply = router.handle(data, "udp", ("127.0.0.1", 1))
        assert (reply[3] & 0x0F if isinstance(reply, bytes) else None) == code


async def test_any_bytes_are_survived() -> None:
    import random

    dice = random.Random(7)
    good = dns.message.make_query(WEB, "A", use_edns=0).to_wire()
    async with serving(cluster(), zone()) as server:
        (router,) = server._routers
        for _ in range(3000):
            data = bytearray(good)
            for _ in range(dice.randrange(1, 6)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            reply = router.handle(bytes(data[: dice.randrange(len(data) + 1)]), "udp", ("127.0.0.1", 1))
            if isinstance(reply, bytes) and len(reply) > 12:
                dns.message.from_wire(reply)
            elif reply is not None and not isinstance(reply, bytes):
                await reply
        assert "coredns_panics_total 0" in server.metrics.text()


async def test_two_questions_on_one_connection() -> None:
    query = dns.message.make_query(WEB, "A").to_wire()
    async with serving(cluster(), zone()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
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
    async with serving(cluster(), client=client) as server:
        assert (await ask(server, WEB)).rcode() in (dns.rcode.SERVFAIL, dns.rcode.NXDOMAIN)
        (follower,) = server._followers.values()
        await asyncio.wait_for(follower.synced.wait(), 5)
        await client.create(("v1", "services"), service("web", "10.96.7.1", ports=[HTTP]), "default")
        found: list[str] = []
        async with asyncio.timeout(20):
            while not found:
                found = texts(await ask(server, WEB))
        assert found == ["10.96.7.1"]


async def test_the_time_until_names_of_a_headless_service_are_known_is_measured() -> None:
    api = FakeApi()
    client = Client(api)
    await client.create(("v1", "namespaces"), {"metadata": {"name": "default"}})
    count = 'coredns_kubernetes_dns_programming_duration_seconds_count{service_kind="headless_with_selector"}'
    async with serving(cluster(), client=client) as server:
        (follower,) = server._followers.values()
        await asyncio.wait_for(follower.synced.wait(), 5)

        async def put(name: str, when: str, *addresses: str) -> None:
            await client.create(("v1", "services"), service(name, *addresses, ports=[HTTP]), "default")
            await eventually(lambda: ("default", name) in follower.zone.services, f"Service {name}", timeout=20)
            made = endpoint_slice(name, f"{name}-1", endpoint("10.244.1.1"), ports=[HTTP])
            made["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": when}
            await client.create(("discovery.k8s.io/v1", "endpointslices"), made, "default")
            await eventually(
                lambda: bool([*follower.zone.endpoints(("default", name))]), f"{name}'s endpoint", timeout=20
            )

        now = datetime.now(UTC).isoformat()
        await put("old", "2001-01-01T00:00:00Z")
        await put("one-address", now, "10.96.7.1")
        assert count not in (await server._metrics())[1], "only what changed since the start, of headless Services"
        await put("heads", now)
        await eventually(lambda: f"{count} 1" in server.metrics.text(), "the measured time", timeout=10)
        text = (await server._metrics())[1]
    assert f"{count} 1" in text
    assert 'service_kind="headless_with_selector",le="524.288"}' in text


async def test_endpoints_that_are_known_before_their_service_are_measured_when_it_comes() -> None:
    """Services and EndpointSlices come on two watches; times of changes have whole seconds, also the first one's."""
    client = Client(FakeApi())
    await client.create(("v1", "namespaces"), {"metadata": {"name": "default"}})
    count = 'coredns_kubernetes_dns_programming_duration_seconds_count{service_kind="headless_with_selector"}'
    async with serving(cluster(), client=client) as server:
        (follower,) = server._followers.values()
        await asyncio.wait_for(follower.synced.wait(), 5)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for name in ("heads", "one-address"):
            made = endpoint_slice(name, f"{name}-1", endpoint("10.244.1.1"), ports=[HTTP])
            made["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": now}
            await client.create(("discovery.k8s.io/v1", "endpointslices"), made, "default")
            await eventually(lambda name=name: bool([*follower.zone.endpoints(("default", name))]), name, timeout=20)  # type: ignore[misc]
        assert count not in server.metrics.text(), "there are no names yet"
        await client.create(("v1", "services"), service("one-address", "10.96.7.1", ports=[HTTP]), "default")
        await client.create(("v1", "services"), service("heads", ports=[HTTP]), "default")
        await eventually(lambda: f"{count} 1" in server.metrics.text(), "the measured time", timeout=10)


async def test_metrics_have_upstreams_names() -> None:
    async with serving(cluster(), zone()) as server:
        for _ in range(5):
            await ask(server, WEB)
        await ask(server, f"nope.{WEB}", tcp=True)
        status, text = await server._metrics()
    assert status == 200
    where = 'server="dns://:53",zone=".",view=""'
    assert f'coredns_dns_requests_total{{{where},proto="udp",family="1",type="A"}} 5' in text
    assert f'coredns_dns_responses_total{{{where},rcode="NOERROR",plugin="kubernetes"}} 5' in text
    assert f'coredns_dns_responses_total{{{where},rcode="NXDOMAIN",plugin="kubernetes"}} 1' in text
    assert f"coredns_dns_request_duration_seconds_count{{{where}}} 6" in text
    assert f'coredns_dns_response_size_bytes_count{{{where},proto="tcp"}} 1' in text
    assert f'coredns_plugin_enabled{{{where},name="kubernetes"}} 1' in text


async def test_the_log_has_upstreams_form(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(cluster("log"), zone()) as server:
        with caplog.at_level(logging.INFO, "coredns"):
            query = dns.message.make_query(WEB, "A", use_edns=0, payload=1232, id=4711)
            for _ in range(2):
                await send(server, query)
    lines = [record.getMessage() for record in caplog.records if " - 4711 " in record.getMessage()]
    assert len(lines) == 2
    for line in lines:
        remote, _, rest = line.partition(" - 4711 ")
        assert remote.startswith("127.0.0.1:")
        assert rest.startswith(f'"A IN {WEB}. udp 58 false 1232" NOERROR qr,aa,rd 74 0.') and rest.endswith("s")


async def test_doors(tmp_path: Path) -> None:
    text = "health 127.0.0.1:0\n"
    async with serving(cluster(text), zone()) as server:
        port = server.doors.port(("127.0.0.1", 0))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\nOK")
        writer.close()


async def test_a_changed_corefile_is_taken_over_and_a_wrong_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "Corefile"
    file.write_text(OUTSIDE)
    async with serving(load(file)) as server:
        program = Program(server, lambda: load(file))
        port = port_of(server)
        assert texts(await ask(server, "www.example.com")) == ["192.0.2.7"]
        with caplog.at_level(logging.INFO, "coredns"):
            file.write_text(OUTSIDE.replace("192.0.2.7", "192.0.2.70"))
            await program.look()
            assert texts(await ask(server, "www.example.com")) == ["192.0.2.70"]
            file.write_text(OUTSIDE.replace("hosts", "nonsense"))
            await program.look()
            await program.look()
        assert texts(await ask(server, "www.example.com")) == ["192.0.2.70"] and port_of(server) == port
        said = [record.getMessage() for record in caplog.records]
        assert "Reloading complete" in said
        wrong = f"{file}:2 - Error during parsing: Unknown directive 'nonsense'"
        assert said.count(f"plugin/reload: Corefile changed but reload failed: {wrong}") == 1
        assert "coredns_reload_failed_total 1" in server.metrics.text()


async def test_a_loop_is_found() -> None:
    async with serving(read(".:53 {\n loop\n forward . 127.0.0.1:1 {\n max_fails 0\n }\n}")) as server:
        await server.reload(read(f".:53 {{\n loop\n forward . 127.0.0.1:{port_of(server)}\n}}"))
        with pytest.raises(LoopFoundError, match=r"plugin/loop: Loop \(127.0.0.1 -> :53\) detected for zone \"\.\""):
            await server.check_loops()


def test_a_router_without_a_zone_for_it_refuses() -> None:
    from netlab.dns.counting import Metrics

    router = Router([], Metrics())
    reply = router.handle(dns.message.make_query(WEB, "A").to_wire(), "udp", ("127.0.0.1", 1))
    assert isinstance(reply, bytes) and reply[3] & 0xF == dns.rcode.REFUSED
