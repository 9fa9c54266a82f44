"""The plugins of one server block in CoreDNS' order: loadbalance, cache, rewrite, hosts, kubernetes, loop, forward.

What can be answered from what is known is answered at once; what others must be asked for is awaited.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from netlab.dns import answers, caching, hosts, rewriting
from netlab.dns.config import ServerBlock
from netlab.dns.counting import Metrics
from netlab.dns.forward import Forwarder
from netlab.dns.message import NOERROR, REFUSED, SERVFAIL, Handled, Query, Record, Reply, rcode_text
from netlab.dns.wire import type_number
from netlab.dns.zone import Zone

log = logging.getLogger("coredns")

Lookup = Callable[[Query], Awaitable[Reply]]
LOOP_SEEN = 2
"""So often may a question of the `loop` plugin come by: once when it is asked, once more for the checks of others."""


class Chain:
    """One block's. `lookup` asks the whole server, as the plugins of CoreDNS do to follow an alias."""

    def __init__(
        self, block: ServerBlock, zone: Zone, metrics: Metrics, lookup: Lookup, own: tuple[str, ...] = ()
    ) -> None:
        self.block, self.zone, self.metrics, self._lookup, self._own = block, zone, metrics, lookup, own
        self.server = f"dns://:{block.port}" if not block.bind else f"dns://{block.bind[0]}:{block.port}"
        self.zones = ",".join(block.zones)
        self.synced = block.kubernetes is None
        """Whether the API has said all there is; before, nothing of the cluster is known to be absent."""
        self.forwarders = [Forwarder(one, metrics, frozenset(block.bind)) for one in block.forwards]
        self.cache = caching.AnswerCache(block.cache) if block.cache else None
        self.hosts = hosts.table(block.hosts, hosts.load(block.hosts)) if block.hosts else None
        self.loop_name = f"{random.getrandbits(63)}.{random.getrandbits(63)}.{block.zones[0].lstrip('.')}"
        self.loop_seen = 0
        self._refreshing: set[asyncio.Task[Reply | None]] = set()

    def answer(self, query: Query) -> Reply | Awaitable[Reply]:
        """What the block answers."""
        if query.cls not in ("IN", "ANY"):
            return Reply(REFUSED, aa=False)
        if self.cache is None or not self.cache.serves(query):
            handled = self._after_cache(query)
            if isinstance(handled, Reply):
                return self._balanced(handled)
            return self._nothing(query) if handled is None else self._finished(query, handled, ())
        return self._cached(self.cache, query)

    def _cached(self, cache: caching.AnswerCache, query: Query) -> Reply | Awaitable[Reply]:
        now = time.monotonic()
        found = cache.get(query, now)
        if found is not None:
            kind, reply = found
            return self._balanced(replace(reply, counted=(f"hit {kind}",)))
        if cache.config.stale and (old := cache.get(query, now, stale=True)) is not None:
            self._refresh(query)
            return self._balanced(replace(old[1], counted=(f"hit {old[0]}", "stale")))
        handled = self._after_cache(query)
        if handled is None:
            return self._nothing(query)
        if isinstance(handled, Reply):
            kept = cache.put(query, handled, now)
            return self._balanced(replace(kept, counted=("miss",)))
        return self._finished(query, handled, ("miss",))

    def _refresh(self, query: Query) -> None:
        handled = self._after_cache(query)
        if handled is not None and not isinstance(handled, Reply):
            task = asyncio.ensure_future(self._finished(query, handled, ()))
            self._refreshing.add(task)
            task.add_done_callback(self._refreshing.discard)

    async def _finished(self, query: Query, handled: Awaitable[Reply | None], counted: tuple[str, ...]) -> Reply:
        reply = await handled
        if reply is None:
            return self._nothing(query)
        if self.cache is not None and self.cache.serves(query):
            reply = self.cache.put(query, reply, time.monotonic())
        return self._balanced(replace(reply, counted=counted, keep=0.0))

    def _balanced(self, reply: Reply) -> Reply:
        """Addresses in random order, after the aliases that lead to them."""
        if not self.block.loadbalance or len(reply.answer) < 2:
            return reply
        addresses = [one for one in reply.answer if one.type in ("A", "AAAA", "MX")]
        if len(addresses) < 2:
            return reply
        random.shuffle(addresses)
        aliases = [one for one in reply.answer if one.type == "CNAME"]
        rest = [one for one in reply.answer if one.type not in ("A", "AAAA", "MX", "CNAME")]
        return replace(reply, answer=(*aliases, *rest, *addresses))

    def _nothing(self, query: Query) -> Reply:
        """No plugin answered."""
        self.error(query, SERVFAIL, "plugin/forward: no next plugin found")
        return Reply(SERVFAIL, aa=False)

    def _after_cache(self, query: Query) -> Handled:
        if not self.block.rewrites:
            return self._backends(query)
        asked, undo = rewriting.apply(self.block.rewrites, query)
        if undo is None:
            return self._backends(query)
        try:
            type_number(asked.type)
        except ValueError:
            return Reply(SERVFAIL, aa=False)
        handled = self._backends(asked)
        if handled is None or isinstance(handled, Reply):
            return undo.apply(handled) if handled is not None else None
        return _undone(handled, undo)

    def _backends(self, query: Query) -> Handled:
        block = self.block
        if self.hosts is not None and block.hosts is not None:
            reply = hosts.resolve(self.hosts, block.hosts, query)
            if reply is not None:
                return reply
        if block.kubernetes is not None:
            found = answers.resolve(self.zone, block.kubernetes, query, self._own)
            if found is not None and not self.synced and not found.reply.answer:
                return Reply(SERVFAIL, aa=False, plugin="kubernetes")
            if found is not None:
                return self._followed(query, found) if found.cname else found.reply
        if block.loop and query.type == "HINFO" and query.lower == self.loop_name:
            self.loop_seen += 1
            if self.loop_seen > LOOP_SEEN:
                return Reply(SERVFAIL, aa=False)
        able = [one for one in self.forwarders if one.serves(query)]
        return self._forwarded(query, able) if able else None

    async def _forwarded(self, query: Query, able: list[Forwarder]) -> Reply | None:
        reply: Reply | None = None
        for forwarder in able:
            reply, problem = await forwarder.ask(query)
            if problem:
                self.error(query, reply.rcode, problem)
            if rcode_text(reply.rcode) not in forwarder.config.next_on:
                break
        return reply

    async def _followed(self, query: Query, found: answers.Answer) -> Reply:
        """An alias that leads out of the cluster, with what is found there; alone where nothing is."""
        asked = replace(query, name=found.cname, lower=found.cname.lower(), client=("127.0.0.1", 0))
        reply = await self._lookup(asked)
        records: tuple[Record, ...] = reply.answer if reply.rcode == NOERROR else ()
        return replace(found.reply, answer=(*found.reply.answer, *records), keep=0.0)

    def error(self, query: Query, rcode: int, text: str) -> None:
        """What the `errors` plugin writes."""
        if self.block.errors:
            log.error("plugin/errors: %d %s %s: %s", rcode, query.lower, query.type, text)

    def reload_hosts(self) -> bool:
        """Read the hosts file again; True where it says something else."""
        if self.block.hosts is None:
            return False
        made = hosts.table(self.block.hosts, hosts.load(self.block.hosts))
        changed, self.hosts = made != self.hosts, made
        return changed

    def close(self) -> None:
        for forwarder in self.forwarders:
            forwarder.close()
        for task in self._refreshing:
            task.cancel()


async def _undone(handled: Awaitable[Reply | None], undo: rewriting.Undo) -> Reply | None:
    reply = await handled
    return undo.apply(reply) if reply is not None else None
