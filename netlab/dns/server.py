"""The DNS server that runs in the `coredns` pods: sockets, informers, and CoreDNS' side doors.

`main` is the target of the builtin image: `-conf FILE` as CoreDNS takes it. It learns of the cluster only through the
API, with the pod's service-account token, over the cluster's own network.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from netlab.api.types import Obj
from netlab.dns import answers
from netlab.dns.answers import Answer, ZoneConfig
from netlab.dns.corefile import Corefile, CorefileError, read
from netlab.dns.forward import Address, forward, upstreams
from netlab.dns.wire import Question, decode, encode, failure, truncated
from netlab.dns.zone import Zone

if TYPE_CHECKING:
    from netlab.client.client import Client
    from netlab.client.informer import Informer

log = logging.getLogger("coredns")

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TCP_IDLE = 10.0
READY_WAIT = 0.9
"""How long /ready holds a question that it would have to deny: a probe that comes just before the first list is in
should not cost its whole period."""


class DnsServer:
    """Answers over UDP and TCP. `client` None serves a zone that somebody else fills (the tests)."""

    def __init__(self, corefile: Corefile, zone: Zone | None = None, client: Client | None = None) -> None:
        self.corefile = corefile
        self.zone = zone or Zone()
        self.client = client
        self.counts: Counter[tuple[str, str]] = Counter()
        self.synced = asyncio.Event()
        self._config = ZoneConfig(corefile.domain, corefile.ttl, corefile.pods)
        self._servers: list[Address] = upstreams(corefile.forward)
        self._tasks: set[asyncio.Task[None]] = set()
        self._informers: list[Informer] = []
        self._sockets: list[asyncio.Server | asyncio.DatagramTransport] = []

    async def start(self, hosts: str | Sequence[str] = "0.0.0.0", port: int | None = None) -> int:
        """Open the sockets and start to follow the API. The port that was bound (for port 0)."""
        loop = asyncio.get_running_loop()
        bound = self.corefile.port if port is None else port
        for host in (hosts,) if isinstance(hosts, str) else hosts:
            tcp = await asyncio.start_server(self._tcp, host, bound)
            bound = int(tcp.sockets[0].getsockname()[1])
            udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), sock=_udp_socket(host, bound))
            self._sockets += [tcp, udp]
        if self.client is None:
            self.synced.set()
        else:
            self._follow(self.client)
        return bound

    async def close(self) -> None:
        """Close the sockets and stop following."""
        for opened in self._sockets:
            opened.close()
        for informer in self._informers:
            await informer.stop()
        for task in list(self._tasks):
            task.cancel()

    def _follow(self, client: Client) -> None:
        from netlab.client.informer import Informer

        watched: tuple[tuple[tuple[str, str], Callable[[Obj], None], Callable[[Obj], None]], ...] = (
            (("v1", "namespaces"), self.zone.put_namespace, self.zone.drop_namespace),
            (("v1", "services"), self._put_service, self.zone.drop_service),
            (("discovery.k8s.io/v1", "endpointslices"), self.zone.put_slice, self.zone.drop_slice),
        )
        for resource, put, drop in watched:
            informer = Informer(client, resource)
            informer.add_handler(put, partial(_second, put), drop)
            informer.start()
            self._informers.append(informer)
        self._keep(self._wait_synced())

    async def _wait_synced(self) -> None:
        for informer in self._informers:
            await informer.wait_synced()
        self.synced.set()
        log.info("plugin/kubernetes: synced: %d services", len(self.zone.services))

    def _put_service(self, obj: Obj) -> None:
        self.zone.put_service(obj)
        if (obj["metadata"]["namespace"], obj["metadata"]["name"]) == ("kube-system", "kube-dns"):
            addresses = self.zone.services[("kube-system", "kube-dns")].addresses
            self._config = ZoneConfig(self._config.domain, self._config.ttl, self._config.pods, addresses)

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # questions

    def quick(self, data: bytes, limit: int | None) -> bytes | Question | None:
        """The whole answer where the zone has it; the Question where others must be asked; None to stay silent."""
        question = decode(data)
        if not isinstance(question, Question):
            return question
        if not self.synced.is_set():
            return failure(question, answers.SERVFAIL)
        answer = answers.resolve(self.zone, self._config, question.name, question.type)
        if answer is None or answer.cname:
            return question
        self._count(question, answer.rcode)
        return encode(question, _shuffled(answer), question.udp_size if limit is not None else None)

    async def slow(self, question: Question, data: bytes, limit: int | None) -> bytes:
        """An answer for which others must be asked: outside names, and where an ExternalName leads."""
        answer = answers.resolve(self.zone, self._config, question.name, question.type)
        if answer is not None and answer.cname:
            wire = await self._chase(question, answer)
        else:
            wire = await forward(question, data, self._servers)
        self._count(question, wire[3] & 0x0F)
        return truncated(question, wire, question.udp_size) if limit is not None else wire

    async def _chase(self, question: Question, answer: Answer) -> bytes:
        """Follow a CNAME, inside the cluster or out; the alias alone where nothing is found, as CoreDNS."""
        records, name = list(answer.answer), answer.cname
        for _ in range(8):
            inner = answers.resolve(self.zone, self._config, name, question.type)
            if inner is None:
                records.extend(await self._outside(name, question.type))
                break
            records.extend(inner.answer)
            name = inner.cname
            if not name:
                break
        return encode(question, Answer(answer=tuple(records)), None)

    async def _outside(self, name: str, kind: str) -> list[answers.Record]:
        import dns.message
        import dns.rdatatype

        if not self._servers:
            return []
        query = dns.message.make_query(name, kind)
        data = query.to_wire()
        asked = decode(data)
        assert isinstance(asked, Question)  # noqa: S101
        reply = dns.message.from_wire(await forward(asked, data, self._servers))
        return [
            answers.Record(rrset.name.to_text(), dns.rdatatype.to_text(rrset.rdtype), rrset.ttl, item.to_text())
            for rrset in reply.answer
            for item in rrset
        ]

    def _count(self, question: Question, rcode: int) -> None:
        self.counts[(question.type, _RCODES.get(rcode, str(rcode)))] += 1

    async def _tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                reply = self.quick(data, None)
                if isinstance(reply, Question):
                    reply = await self.slow(reply, data, None)
                if reply is None:
                    return
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    # side doors

    async def serve_doors(self, hosts: Sequence[str] = ("0.0.0.0",)) -> None:
        """/health, /ready and /metrics on their ports."""
        doors = {
            self.corefile.health_port: ("/health", self._health),
            self.corefile.ready_port: ("/ready", self._ready),
            self.corefile.metrics_port: ("/metrics", self._metrics),
        }
        for port, (path, answer) in doors.items():
            self._sockets.append(await asyncio.start_server(_door(path, answer), hosts, port))

    async def _health(self) -> tuple[int, str]:
        return 200, "OK"

    async def _ready(self) -> tuple[int, str]:
        try:
            await asyncio.wait_for(self.synced.wait(), READY_WAIT)
        except TimeoutError:
            return 503, "kubernetes"
        return 200, "OK"

    async def _metrics(self) -> tuple[int, str]:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.metrics_core import CounterMetricFamily
        from prometheus_client.registry import Collector

        family = CounterMetricFamily(
            "coredns_dns_responses_total", "Counter of response status codes.", labels=["server", "type", "rcode"]
        )
        for (kind, rcode), count in self.counts.items():
            family.add_metric([f"dns://:{self.corefile.port}", kind, rcode], count)

        class _Once(Collector):
            def collect(self) -> list[CounterMetricFamily]:
                return [family]

        registry = CollectorRegistry()
        registry.register(_Once())
        return 200, generate_latest(registry).decode()


def _second(put: Callable[[Obj], None], _: Obj, new: Obj) -> None:
    put(new)


_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self.server = server
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # not every loop's class says so

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None  # noqa: S101
        reply = self.server.quick(data, 0)
        if isinstance(reply, bytes):
            self.transport.sendto(reply, addr)
        elif reply is not None:
            self.server._keep(self._later(reply, data, addr))

    async def _later(self, question: Question, data: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None  # noqa: S101
        self.transport.sendto(await self.server.slow(question, data, 0), addr)


def _shuffled(answer: Answer) -> Answer:
    """Addresses in random order, as the `loadbalance` plugin's round robin spreads clients."""
    if len(answer.answer) < 2 or answer.answer[0].type not in ("A", "AAAA"):
        return answer
    records = random.sample(answer.answer, len(answer.answer))
    return Answer(answer.rcode, tuple(records), answer.authority, answer.additional, answer.cname)


def _door(
    path: str, answer: Callable[[], Awaitable[tuple[int, str]]]
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                head = await reader.readuntil(b"\r\n\r\n")
            asked = head.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
            status, text = await answer() if asked == path else (404, "404 page not found\n")
            body = text.encode()
            reason = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}[status]
            kind = "text/plain; charset=utf-8"
            writer.write(
                f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError):
            return
        finally:
            writer.close()

    return serve


def _udp_socket(host: str, port: int) -> socket.socket:
    """Of that host's family only: an IPv6 socket that took IPv4 as well would be in the way of the other."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if ":" in host:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def in_cluster_client(directory: Path = SERVICE_ACCOUNT) -> Client:
    """A client with the pod's own service account, as client-go's rest.InClusterConfig."""
    import ssl

    from netlab.client.client import Client
    from netlab.client.in_cluster import api_url
    from netlab.client.transport import HttpTransport

    url = api_url()
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    token = (directory / "token").read_text().strip()
    return Client(HttpTransport(url, context, token))


async def run(corefile: Corefile, client: Client) -> None:
    """Serve until SIGTERM, then stay for the lameduck time so that no question is lost while endpoints are removed."""
    from netlab.client.in_cluster import any_address

    server, hosts = DnsServer(corefile, client=client), any_address()
    await server.serve_doors(hosts)
    port = await server.start(hosts)
    log.info(".:%d", port)
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    await done.wait()
    log.info("[INFO] SIGTERM: Shutting down servers then terminating")
    await asyncio.sleep(corefile.lameduck)
    await server.close()


def main(*arguments: str) -> None:
    """`coredns -conf FILE`."""
    import uvloop

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="[%(levelname)s] %(message)s")
    words = list(arguments)
    file = Path(words[words.index("-conf") + 1]) if "-conf" in words[:-1] else Path("Corefile")
    try:
        corefile = read(file.read_text())
    except (OSError, CorefileError) as error:
        raise SystemExit(f"{file}: {error}") from None

    async def start() -> None:
        await run(corefile, in_cluster_client())

    uvloop.run(start())
