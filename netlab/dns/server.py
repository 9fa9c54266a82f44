"""The DNS server that runs in the `coredns` pods: blocks, sockets, informers and side doors, put together from a
Corefile and put together anew when it changes.

It learns of the cluster only through the API, with the pod's service-account token, over the cluster's own network. A
reload changes what answers, not the sockets: no question is lost, and a Corefile that is wrong changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from netlab.dns.chain import Chain
from netlab.dns.config import Config, ServerBlock
from netlab.dns.counting import Metrics
from netlab.dns.doors import Answer, Doors
from netlab.dns.follow import Follower, Wanted, wanted
from netlab.dns.message import SERVFAIL, Query, Reply
from netlab.dns.router import Router
from netlab.dns.sockets import Listener
from netlab.dns.zone import Zone

if TYPE_CHECKING:
    from netlab.client.client import Client

log = logging.getLogger("coredns")

VERSION = "1.12.1"
READY_WAIT = 0.9
"""How long /ready holds a question that it would have to deny: a probe that comes just before the first list is in
should not cost its whole period."""
LOOKUPS = 8
"""So deep may aliases lead from block to block."""


class LoopFoundError(Exception):
    """The `loop` plugin has met its own question again; the text is CoreDNS'."""


class DnsServer:
    """Answers over UDP and TCP. Without `client` it serves `zone`, which somebody else fills (the tests)."""

    def __init__(
        self,
        config: Config,
        *,
        client: Client | None = None,
        zone: Zone | None = None,
        hosts: tuple[str, ...] = ("0.0.0.0",),
        own: tuple[str, ...] = (),
        port: int | None = None,
    ) -> None:
        self.config, self.metrics, self.doors = config, Metrics(), Doors()
        self._client, self._zone, self._hosts, self._own, self._port = client, zone, hosts, own, port
        self._followers: dict[Wanted, Follower] = {}
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._routers: list[Router] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._lookups = 0
        self.metrics.set("coredns_build_info", (VERSION, "netlab", "python"), 1)

    async def start(self) -> int:
        """Open everything; the first port that was bound. OSError where an address cannot be had."""
        await self._assume(self.config)
        return next(iter(self._listeners.values())).port

    async def reload(self, config: Config) -> None:
        """Serve by another configuration. OSError: it cannot be, and all is as before."""
        await self._assume(config)
        self.config = config

    async def _assume(self, config: Config) -> None:
        opened: dict[tuple[str, int], Listener] = {}
        try:
            for key in _addresses(config, self._hosts):
                if key not in self._listeners:
                    listener = opened[key] = Listener(key[0], key[1] if self._port is None else self._port)
                    await listener.open()
            await self.doors.want(self._wanted_doors(config))
        except OSError:
            for listener in opened.values():
                listener.close()
            raise
        followers = self._follow(config)
        before, self._listeners = self._listeners, {**self._listeners, **opened}
        self._serve(config)
        for key in set(before) - set(_addresses(config, self._hosts)):
            self._listeners.pop(key).close()
        for what in set(self._followers) - followers:
            await self._followers.pop(what).close()

    def _follow(self, config: Config) -> set[Wanted]:
        needed = {wanted(block.kubernetes) for block in config.blocks if block.kubernetes is not None}
        if self._client is not None:
            for key in needed - set(self._followers):
                self._followers[key] = Follower(self._client, key, self.metrics)
                self._followers[key].start()
        return needed

    def _serve(self, config: Config) -> None:
        old = [chain for router in self._routers for chain in router.chains]
        for task in list(self._tasks):
            task.cancel()
        self._routers, self._tasks = [], set()
        chains = [self._chain(block) for block in config.blocks]
        for key, listener in self._listeners.items():
            own = [chain for chain in chains if key in _binds(chain.block, self._hosts)]
            if own:
                listener.router = Router(own, self.metrics, key[0])
                self._routers.append(listener.router)
        self._plugins(chains)
        for chain in chains:
            self._spawn(self._look_at_hosts, chain)
        for chain in old:
            chain.close()

    def _chain(self, block: ServerBlock) -> Chain:
        zone = self._zone or Zone()
        follower = self._followers.get(wanted(block.kubernetes)) if block.kubernetes else None
        chain = Chain(block, follower.zone if follower else zone, self.metrics, self._lookup, self._own)
        chain.synced = follower is None or follower.synced.is_set()
        if follower is not None and not chain.synced:
            self._spawn(_sync, chain, follower)
        return chain

    def _spawn(self, function: Callable[..., object], *arguments: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(function(*arguments))  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _plugins(self, chains: list[Chain]) -> None:
        self.metrics.forget("coredns_plugin_enabled")
        for chain in chains:
            for name in chain.block.plugins:
                self.metrics.set("coredns_plugin_enabled", (chain.server, chain.zones, "", name), 1)

    async def _look_at_hosts(self, chain: Chain) -> None:
        period = chain.block.hosts.reload if chain.block.hosts is not None else 0
        while period:
            self.metrics.set("coredns_hosts_reload_timestamp_seconds", (), time.time())
            await asyncio.sleep(period)
            if chain.reload_hosts():
                for router in self._routers:
                    router.forget()

    async def close(self) -> None:
        """Close the sockets and stop following."""
        for listener in self._listeners.values():
            listener.close()
        self.doors.close()
        for router in self._routers:
            for chain in router.chains:
                chain.close()
        for follower in self._followers.values():
            await follower.close()
        for task in list(self._tasks):
            task.cancel()

    async def _lookup(self, query: Query) -> Reply:
        """A question of our own, to whichever block it belongs to: where an ExternalName leads."""
        if self._lookups >= LOOKUPS * 32 or not self._routers:
            return Reply(SERVFAIL)
        chain = self._routers[0].chain_of(query)
        if chain is None:
            return Reply(SERVFAIL)
        self._lookups += 1
        try:
            handled = chain.answer(query)
            return handled if isinstance(handled, Reply) else await handled
        finally:
            self._lookups -= 1

    async def check_loops(self) -> None:
        """What the `loop` plugin does once after a start: raises LoopFoundError where our questions come back to us."""
        for chain in [one for router in self._routers for one in router.chains if one.block.loop]:
            query = Query(chain.loop_name, "HINFO", client=("127.0.0.1", 0))
            with contextlib.suppress(OSError, TimeoutError):
                handled = chain.answer(query)
                if not isinstance(handled, Reply):
                    await handled
            if chain.loop_seen > 2:
                zone = chain.block.zones[0]
                raise LoopFoundError(
                    f"plugin/loop: Loop (127.0.0.1 -> {chain.server.removeprefix('dns://')}) detected for zone "
                    f'"{zone}", see https://coredns.io/plugins/loop#troubleshooting. Query: "HINFO {chain.loop_name}"'
                )

    # side doors

    def _wanted_doors(self, config: Config) -> dict[tuple[str, int], tuple[str, Answer]]:
        found: dict[tuple[str, int], tuple[str, Answer]] = {}
        for block in config.blocks:
            for where, path, answer in (
                (block.health, "/health", self._health),
                (block.ready, "/ready", self._ready),
                (block.prometheus, "/metrics", self._metrics),
            ):
                if where is not None:
                    found.setdefault(where, (path, answer))
        return found

    async def _health(self) -> tuple[int, str]:
        self.metrics.histogram("coredns_health_request_duration_seconds").observe(0.0)
        return 200, "OK"

    async def _ready(self) -> tuple[int, str]:
        try:
            async with asyncio.timeout(READY_WAIT):
                for follower in list(self._followers.values()):
                    await follower.synced.wait()
        except TimeoutError:
            return 503, "kubernetes"
        return 200, "OK"

    async def _metrics(self) -> tuple[int, str]:
        for router in self._routers:
            router.settle()
        self.metrics.forget("coredns_reload_version_info")
        if self.config.reload is not None and self.config.sha512:
            self.metrics.set("coredns_reload_version_info", ("sha512", self.config.sha512), 1)
        return 200, self.metrics.text()


async def _sync(chain: Chain, follower: Follower) -> None:
    await follower.synced.wait()
    chain.synced = True


def _binds(block: ServerBlock, hosts: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(host, block.port) for host in block.bind or hosts]


def _addresses(config: Config, hosts: tuple[str, ...]) -> list[tuple[str, int]]:
    return list(dict.fromkeys(key for block in config.blocks for key in _binds(block, hosts)))
