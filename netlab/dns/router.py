"""From a message's bytes to its answer's bytes: picks the server block, counts, logs, and keeps answers ready.

Most questions are asked again and again. An answer is kept under the question's bytes (without its id) for as long as
it would be the same: until the zone changes, or a TTL that counts down changes its second. Such a question costs a look
in a dictionary; addresses in it are turned round as `loadbalance` does.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Awaitable, Sequence
from dataclasses import replace

from netlab.dns import querylog
from netlab.dns.chain import Chain
from netlab.dns.config import longest
from netlab.dns.counting import KNOWN_TYPES, Histogram, Metrics
from netlab.dns.message import REFUSED, SERVFAIL, Query, Reply, rcode_text
from netlab.dns.wire import MOST, decode, encode, udp_limit

log = logging.getLogger("coredns")

KEPT_MOST = 8192


class Kept:
    """An answer ready to be sent again; `hits` are counted when somebody asks for metrics."""

    __slots__ = ("addresses", "chain", "duration", "hits", "query", "reply", "tail", "until")

    def __init__(
        self,
        tail: bytes,
        addresses: tuple[int, int, int],
        until: float,
        chain: Chain,
        query: Query,
        reply: Reply,
        duration: Histogram,
    ) -> None:
        self.tail, self.addresses, self.until = tail, addresses, until
        self.chain, self.query, self.reply, self.duration = chain, query, reply, duration
        self.hits = 0


class Router:
    """The blocks of one port and address."""

    def __init__(self, chains: Sequence[Chain], metrics: Metrics, local: str = "127.0.0.1") -> None:
        self.chains, self.metrics, self.local = list(chains), metrics, local
        self._by_zone = {zone: chain for chain in chains for zone in chain.block.zones}
        self._zones = tuple(self._by_zone)
        self._watched = list({id(chain.zone): chain.zone for chain in chains}.values())
        self._ready: dict[bytes, Kept] = {}
        """Answers over UDP, by the question's bytes without its id."""
        self._serial = -1
        self._logging = any(chain.block.log for chain in chains)

    def chain_of(self, query: Query) -> Chain | None:
        """The block whose zone the name is in, the most special one."""
        zone = longest(self._zones, query.lower)
        return self._by_zone[zone] if zone is not None else None

    def ready(self, data: bytes, client: tuple[str, int]) -> bytes | None:
        """The answer to a question over UDP that was asked before; None where it has to be worked out."""
        kept = self._ready.get(data[2:])
        if kept is None:
            return None
        began = time.perf_counter()
        serial = 0
        for zone in self._watched:
            serial += zone.serial
        if serial != self._serial:
            self.forget(serial)
            return None
        if began > kept.until:
            self._flush(kept)
            del self._ready[data[2:]]
            return None
        kept.hits += 1
        start, count, size = kept.addresses
        if count:
            tail, end = kept.tail, start + count * size
            parts = [tail[at : at + size] for at in range(start, end, size)]
            random.shuffle(parts)
            response = data[:2] + tail[:start] + b"".join(parts) + tail[end:]
        else:
            response = data[:2] + kept.tail
        kept.duration.observe(time.perf_counter() - began)
        if self._logging and kept.chain.block.log:
            ident = int.from_bytes(data[:2], "big")
            query = _asked_by(kept.query, ident, client)
            self._log(kept.chain, query, kept.reply, response, time.perf_counter() - began)
        return response

    def forget(self, serial: int = -1) -> None:
        """Keep nothing: names have changed."""
        for kept in self._ready.values():
            self._flush(kept)
        self._ready.clear()
        self._serial = serial

    def handle(self, data: bytes, proto: str, client: tuple[str, int]) -> bytes | Awaitable[bytes] | None:
        """The answer, or one that has to be waited for, or None to stay silent."""
        began = time.perf_counter()
        query = decode(data, proto, client)
        if not isinstance(query, Query):
            return query
        chain = self.chain_of(query)
        if chain is None:
            return encode(query, Reply(REFUSED, aa=False), None).data
        try:
            handled = chain.answer(query)
        except Exception:
            return self._panic(chain, query, began)
        if isinstance(handled, Reply):
            return self._finish(chain, query, handled, data, began)
        return self._awaited(chain, query, handled, data, began)

    async def _awaited(self, chain: Chain, query: Query, handled: Awaitable[Reply], data: bytes, began: float) -> bytes:
        try:
            reply = await handled
        except Exception:
            return self._panic(chain, query, began)
        return self._finish(chain, query, reply, data, began)

    def _panic(self, chain: Chain, query: Query, began: float) -> bytes:
        """Whatever went wrong with one question, the next one is answered."""
        log.exception("plugin/errors: %d %s %s: internal error", SERVFAIL, query.lower, query.type)
        self.metrics.add("coredns_panics_total")
        return self._finish(chain, query, Reply(SERVFAIL, aa=False), b"", began)

    def _finish(self, chain: Chain, query: Query, reply: Reply, data: bytes, began: float) -> bytes:
        udp = query.proto == "udp"
        limit = min(udp_limit(query), chain.block.bufsize or MOST) if udp else None
        encoded = encode(query, reply, limit)
        took = time.perf_counter() - began
        self._count(chain, query, reply, len(encoded.data), 1)
        duration = self.metrics.histogram("coredns_dns_request_duration_seconds", (chain.server, chain.zones, ""))
        duration.observe(took)
        if chain.block.log:
            self._log(chain, query, reply, encoded.data, took)
        if reply.keep > 0 and udp and data:
            self._keep(chain, query, reply, data, encoded.data[2:], encoded.addresses, duration)
        return encoded.data

    def _keep(
        self,
        chain: Chain,
        query: Query,
        reply: Reply,
        data: bytes,
        tail: bytes,
        addresses: tuple[int, int, int],
        duration: Histogram,
    ) -> None:
        serial = sum(zone.serial for zone in self._watched)
        if serial != self._serial or len(self._ready) >= KEPT_MOST:
            self.forget(serial)
        start, count, size = addresses
        turned = (start - 2, count, size) if count and chain.block.loadbalance else (0, 0, 0)
        until = math.inf if reply.keep == math.inf else time.perf_counter() + reply.keep
        self._ready[data[2:]] = Kept(tail, turned, until, chain, query, reply, duration)

    def _count(self, chain: Chain, query: Query, reply: Reply, size: int, times: int) -> None:
        """The counters of so many equal questions."""
        metrics, where = self.metrics, (chain.server, chain.zones, "")
        family = "2" if ":" in query.client[0] and not query.client[0].startswith("::ffff:") else "1"
        kind = query.type if query.type in KNOWN_TYPES else "other"
        metrics.add("coredns_dns_requests_total", (*where, query.proto, family, kind), times)
        metrics.add("coredns_dns_responses_total", (*where, rcode_text(reply.rcode), reply.plugin), times)
        if query.do:
            metrics.add("coredns_dns_do_requests_total", where, times)
        asked = query.size
        metrics.histogram("coredns_dns_request_size_bytes", (*where, query.proto)).observe(asked, times)
        metrics.histogram("coredns_dns_response_size_bytes", (*where, query.proto)).observe(size, times)
        for text in reply.counted:
            metrics.add("coredns_cache_requests_total", where, times) if text != "stale" else None
            if text == "miss":
                metrics.add("coredns_cache_misses_total", where, times)
            elif text == "stale":
                metrics.add("coredns_cache_served_stale_total", where, times)
            else:
                metrics.add("coredns_cache_hits_total", (chain.server, text.partition(" ")[2], *where[1:]), times)

    def _flush(self, kept: Kept) -> None:
        if kept.hits:
            self._count(kept.chain, kept.query, kept.reply, len(kept.tail) + 2, kept.hits)
            kept.hits = 0

    def settle(self) -> None:
        """Before metrics are read: bring the counters up to date."""
        for kept in self._ready.values():
            self._flush(kept)
        for chain in self.chains:
            if chain.cache is not None:
                for kind, store in chain.cache.stores.items():
                    labels = (chain.server, kind, chain.zones, "")
                    self.metrics.set("coredns_cache_entries", labels, len(store))
                    self.metrics.set("coredns_cache_evictions_total", labels, chain.cache.evictions[kind])
            if chain.hosts is not None:
                self.metrics.set("coredns_hosts_entries", (), chain.hosts.entries)

    def _log(self, chain: Chain, query: Query, reply: Reply, data: bytes, took: float) -> None:
        for line in querylog.lines(chain.block.log, query, reply, data, took, self.local):
            log.info("%s", line)


def _asked_by(query: Query, ident: int, client: tuple[str, int]) -> Query:
    return replace(query, id=ident, client=client)
