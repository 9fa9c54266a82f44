"""The `forward` plugin: questions passed on to other resolvers, over sockets that are kept.

A lab has no way out. Where the Corefile names no resolver that exists in the lab, nothing exists outside it either, and
the answer is NXDOMAIN with the root's SOA: true in there, and quick.

Follows CoreDNS 1.12 plugin/forward and plugin/pkg/proxy: an upstream that fails is checked every half second until it
answers again, and passed over after `max_fails`; with all of them down one is tried at random.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path

from netlab.dns.config import Forward, longest
from netlab.dns.counting import Metrics
from netlab.dns.directives import host_and_port
from netlab.dns.message import NXDOMAIN, REFUSED, SERVFAIL, Query, Record, Reply, rcode_text
from netlab.dns.wire import decode_reply, encode_query

log = logging.getLogger("coredns")

READ_TIMEOUT = 2.0
TOTAL_TIMEOUT = 5.0
IDLE = 10.0
NOTHING_OUTSIDE = Reply(
    NXDOMAIN,
    authority=(Record(".", "SOA", 30, "a.root. hostmaster.root. 1 7200 1800 86400 30"),),
    aa=False,
    ra=True,
    plugin="forward",
)

Address = tuple[str, int]


def upstreams(targets: tuple[str, ...], own: frozenset[str] = frozenset()) -> list[Address]:
    """Addresses of the `forward` directive's targets; a path is read as a resolv.conf. `own` addresses would loop."""
    found: list[Address] = []
    for target in targets:
        if target.startswith("/"):
            found.extend((address, 53) for address in nameservers(Path(target)) if not address.startswith("127."))
        else:
            found.append(host_and_port(target))
    return [address for address in dict.fromkeys(found) if address[0] not in own]


def nameservers(file: Path) -> list[str]:
    """What a resolv.conf names; nothing where there is no such file."""
    with contextlib.suppress(OSError):
        lines = [line.split() for line in file.read_text().splitlines()]
        return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return []


class _Datagrams(asyncio.DatagramProtocol):
    """Hands every datagram to whoever waits for its message id."""

    def __init__(self, waiting: dict[int, asyncio.Future[bytes]], failed: Callable[[Exception | None], None]) -> None:
        self._waiting, self._failed = waiting, failed

    def datagram_received(self, data: bytes, addr: object) -> None:
        _arrived(self._waiting, data)

    def error_received(self, exc: Exception) -> None:
        self._failed(exc)


def _arrived(waiting: dict[int, asyncio.Future[bytes]], data: bytes) -> None:
    if len(data) >= 12:
        future = waiting.get(int.from_bytes(data[:2], "big"))
        if future is not None and not future.done():
            future.set_result(data)


class Upstream:
    """One resolver: a connected UDP socket and a TCP connection, both kept while they are used."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.fails = 0
        self.checking: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._tcp_waiting: dict[int, asyncio.Future[bytes]] = {}
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.StreamWriter | None = None
        self._reader: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._closed = False
        self._used = 0.0

    @property
    def label(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def ask(self, query: Query, *, tcp: bool) -> bytes:
        """The response. OSError or TimeoutError where none comes."""
        waiting = self._tcp_waiting if tcp else self._waiting
        ident = random.randrange(65536)
        while ident in waiting:
            ident = random.randrange(65536)
        data = encode_query(query, ident)
        future = waiting[ident] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                if tcp:
                    writer = await self._connected()
                    writer.write(struct.pack("!H", len(data)) + data)
                    await writer.drain()
                else:
                    (await self._datagrams()).sendto(data)
                response: bytes = await future
                return response
        finally:
            del waiting[ident]

    async def _datagrams(self) -> asyncio.DatagramTransport:
        async with self._lock:
            if self._closed:
                raise ConnectionAbortedError(0, "closed")
            if self._udp is None or self._udp.is_closing():
                loop = asyncio.get_running_loop()
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self._waiting, self._udp_failed), remote_addr=self.address
                )
            return self._udp

    def _udp_failed(self, error: Exception | None) -> None:
        """An ICMP error: whoever waits has waited enough. The socket stays good."""
        self._fail(self._waiting, error)

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._lock:
            now = time.monotonic()
            stale = not self._tcp_waiting or now - self._used > IDLE
            if self._tcp is None or self._tcp.is_closing() or (stale and now - self._used > IDLE):
                self._close_tcp()
                reader, self._tcp = await asyncio.open_connection(*self.address)
                self._reader = asyncio.create_task(self._read(reader, self._tcp))
            self._used = now
            return self._tcp

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        error: Exception | None = None
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                _arrived(self._tcp_waiting, await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as problem:
            error = problem
        finally:
            writer.close()
            if self._tcp is writer:
                self._tcp = None
                self._fail(self._tcp_waiting, error)

    def _fail(self, waiting: dict[int, asyncio.Future[bytes]], error: Exception | None) -> None:
        problem = error if isinstance(error, OSError) else ConnectionResetError("EOF")
        for future in waiting.values():
            if not future.done():
                future.set_exception(problem)

    def _close_tcp(self) -> None:
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def close(self) -> None:
        self._closed = True
        self._close_tcp()
        if self._udp is not None:
            self._udp.close()
        if self.checking is not None:
            self.checking.cancel()


class Forwarder:
    """One `forward` directive."""

    def __init__(self, config: Forward, metrics: Metrics, own: frozenset[str] = frozenset()) -> None:
        self.config, self._metrics = config, metrics
        self.upstreams = [Upstream(address) for address in upstreams(config.to, own)]
        self._turn = itertools.count()
        self._running = 0

    def serves(self, query: Query) -> bool:
        name = query.lower
        return longest((self.config.zone,), name) is not None and longest(self.config.excepted, name) is None

    async def ask(self, query: Query) -> tuple[Reply, str]:
        """(the answer, what went wrong or "")."""
        if not self.upstreams:
            return NOTHING_OUTSIDE, ""
        if self.config.max_concurrent and self._running >= self.config.max_concurrent:
            self._metrics.add("coredns_forward_max_concurrent_rejects_total")
            text = f"concurrent queries exceeded maximum {self.config.max_concurrent}"
            return Reply(REFUSED, aa=False, plugin="forward"), text
        self._running += 1
        try:
            return await self._ask(query)
        finally:
            self._running -= 1

    async def _ask(self, query: Query) -> tuple[Reply, str]:
        problem, last, end = "no upstream answered", None, time.monotonic() + TOTAL_TIMEOUT
        for upstream in self._order():
            if time.monotonic() > end:
                break
            began = time.perf_counter()
            try:
                data = await self._exchange(upstream, query)
            except (OSError, TimeoutError) as error:
                kind = "i/o timeout" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
                problem = f"read udp {upstream.label}: {kind}"
                self._failed(upstream)
                continue
            reply = decode_reply(data, "forward")
            if reply is None:
                problem = f"{upstream.label} sent a response that cannot be read"
                continue
            upstream.fails = 0
            code = rcode_text(reply.rcode)
            labels = ("forward", upstream.label, code)
            self._metrics.histogram("coredns_proxy_request_duration_seconds", labels).observe(
                time.perf_counter() - began
            )
            last = reply
            if code not in self.config.failover:
                break
        return (last, "") if last is not None else (Reply(SERVFAIL, aa=False, plugin="forward"), problem)

    async def _exchange(self, upstream: Upstream, query: Query) -> bytes:
        tcp = self.config.force_tcp or (query.proto == "tcp" and not self.config.prefer_udp)
        data = await upstream.ask(query, tcp=tcp)
        if not tcp and data[2] & 0x02:  # the asker is told of a cut by us, if the whole is too long for it
            return await upstream.ask(query, tcp=True)
        return data

    def _order(self) -> list[Upstream]:
        """Those to try, one after the other, twice round as long as there is time."""
        listed = list(self.upstreams)
        match self.config.policy:
            case "random":
                random.shuffle(listed)
            case "round_robin":
                turn = next(self._turn) % len(listed)
                listed = listed[turn:] + listed[:turn]
        limit = self.config.max_fails
        healthy = [one for one in listed if not limit or one.fails < limit]
        if healthy:
            return healthy + healthy
        self._metrics.add("coredns_forward_healthcheck_broken_total")
        return [] if self.config.fail_fast else [random.choice(listed)]

    def _failed(self, upstream: Upstream) -> None:
        upstream.fails += 1
        if self.config.max_fails and (upstream.checking is None or upstream.checking.done()):
            upstream.checking = asyncio.create_task(self._check(upstream))

    async def _check(self, upstream: Upstream) -> None:
        """Until it answers, whatever it answers."""
        probe = Query(".", "NS", rd=True)
        while True:
            try:
                await upstream.ask(probe, tcp=self.config.force_tcp)
            except (OSError, TimeoutError):
                upstream.fails += 1
                self._metrics.add("coredns_proxy_healthcheck_failures_total", ("forward", upstream.label))
                await asyncio.sleep(self.config.health_check)
                continue
            upstream.fails = 0
            return

    def close(self) -> None:
        for upstream in self.upstreams:
            upstream.close()
