"""The service proxy of a node: watches Services and EndpointSlices, keeps the node's rules as kube-proxy would.

Crash-only: a new proxier starts with a full sync, which adopts what is there and removes what is stale. After that only
changes are written, many at once when they come fast; a refused write is followed by a full sync. Nothing flows through
this process: kill it, and packets go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.informer import Informer
from netlab.dataplane.services import (
    SELECTOR,
    Family,
    NodeView,
    ServicePortName,
    ServiceState,
    ServiceTable,
    family_of,
)
from netlab.dataplane.services.stale import served
from netlab.node import proxy_backend
from netlab.node.proxy_backend import IpvsOptions
from netlab.node.proxy_health import (
    HEALTHZ_PORT,
    Answer,
    HealthServers,
    ProxyHealth,
    SocketFactory,
    service_healths,
)
from netlab.node.proxy_kernel import NodeKernel, ProxyKernel
from netlab.node.proxy_metrics import METRICS_PORT, Measured, ProxyMetrics, exposition

if TYPE_CHECKING:
    from netlab.kernel.netns import NetNs
    from netlab.node.config import AgentConfig, NodeConfig

log = logging.getLogger(__name__)

ZONE_LABEL = "topology.kubernetes.io/zone"
SERVICES = ("v1", "services")
SLICES = ("discovery.k8s.io/v1", "endpointslices")
NODES = ("v1", "nodes")
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"

Changes = Mapping[str, tuple[dict[ServicePortName, ServiceState], dict[ServicePortName, ServiceState]]]


@dataclass(frozen=True, slots=True)
class SyncTiming:
    """Seconds. `settle` is how long to wait for more after a first change, `min_period` the least time between two
    syncs (upstream: 1 s), `canary` how often to look whether someone flushed the rules, `full` how often to write all.
    """

    settle: float = 0.002
    min_period: float = 0.05
    retry: float = 0.2
    retry_max: float = 5.0
    canary: float = 30.0
    full: float = 3600.0
    others: float = 1.0
    """How long after the first sync the rules of other modes are looked for: not while the lab is starting."""


class _Turns:
    """Shared by the proxies of one process, which have one machine where upstream's have one each.

    A large Service that changes for seconds on end (a thousand pods becoming ready) would have each of them write as
    fast as it can, and nobody else would get to do anything. A few write at a time, so that the time a write takes says
    what it costs, and the more all of them together cost, the longer each waits for more: up to two seconds.
    Long rests end for all at the same moments: proxies that see the same change compute it once (see `service_rules`).
    """

    AT_ONCE = 2
    LONGEST, ALIGNED_FROM = 2.0, 1 / 16
    PER_ENDPOINT = 60e-6
    """iptables-restore takes 12 µs for each endpoint in the table, changed or not: so all together use a fifth of one
    processor."""

    def __init__(self) -> None:
        self.members = 0
        self._slots: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}

    def slot(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if loop not in self._slots:
            self._slots = {loop: asyncio.Semaphore(self.AT_ONCE)}
        return self._slots[loop]

    def rest(self, spent: float, endpoints: int, now: float) -> float:
        """Seconds to wait at `now`, after a sync of so many endpoints that took `spent`."""
        others = self.members - 1  # who is alone has the machine to itself
        due = others * max(spent, endpoints * self.PER_ENDPOINT)
        if due < self.ALIGNED_FROM:
            return due
        period = self.ALIGNED_FROM  # halves of each other: the ends of long rests are also ends of short ones
        while period < min(due, self.LONGEST):
            period *= 2
        return period - now % period


_turns = _Turns()


class Proxier:
    """The proxy of one node. `run` returns only by being cancelled."""

    def __init__(
        self,
        node_name: str,
        ns: NetNs | None,
        *,
        cluster_cidr: str,
        service_cidr: str = "",
        mode: str = "iptables",
        kernel: ProxyKernel | None = None,
        timing: SyncTiming | None = None,
        family: Family = "IPv4",
        ipvs: IpvsOptions | None = None,
        switching: bool = False,
    ) -> None:
        """`switching`: another mode's rules are there, and go as soon as this one's are written.

        A proxier is of one family, which both CIDRs are of; a dual-stack node has two (see `run_all`). `ns` is the
        node's namespace: its netfilter is programmed and its health-check ports are opened there. `kernel` takes the
        place of the netfilter, for tests. ValueError for a mode that does not exist here."""
        if kernel is None:
            if ns is None:
                raise ValueError("a proxier needs a namespace or a kernel")
            kernel = NodeKernel(ns, family)
        self.node_name = node_name
        self.health = ProxyHealth()
        self._kernel = kernel
        self._timing = timing or SyncTiming()
        self._table = ServiceTable(NodeView(node_name), family)
        self._node_ip = ""
        self._backend = proxy_backend.make(mode, kernel, cluster_cidr, service_cidr, ipvs or IpvsOptions())
        self._servers = HealthServers(listener(ns, family)) if ns is not None else None
        self._metrics_server = HealthServers(listener(ns, family, loopback=True)) if ns is not None else None
        self.mode = mode
        self.metrics = ProxyMetrics(family)
        self.peers: tuple[Proxier, ...] = (self,)
        """The node's proxiers, of which the first serves the metrics of all."""
        self._answers: Counter[tuple[str, int]] = Counter()
        self._began = time.time()
        self._look_at = 0.0
        self._wake = asyncio.Event()
        self._switching = switching
        self.synced = asyncio.Event()
        """Everything has been written once."""
        self.settled = asyncio.Event()
        """And nothing of another mode is left."""
        self._full_wanted = True
        self._begun = False
        self.syncs = 0
        self.full_syncs = 0

    @property
    def table(self) -> ServiceTable:
        """The Services as this node sees them."""
        return self._table

    @property
    def backend(self) -> proxy_backend.Backend:
        """The mode, with the rules that should be in the kernel."""
        return self._backend

    async def run(self, client: Client) -> None:
        """Watches and syncs until cancelled."""
        await run_all((self,), client)

    def watch(self, services: Informer, slices: Informer, node: Informer) -> None:
        """Hears of every change from these."""
        services.add_handler(self._service, lambda _, new: self._service(new), self._service_gone)
        slices.add_handler(self._slice, lambda _, new: self._slice(new), self._slice_gone)
        node.add_handler(self._node, lambda _, new: self._node(new))

    async def follow(self, services: Informer, slices: Informer) -> None:
        """Syncs until cancelled, once the informers that it was told to watch have said what there is."""
        _turns.members += 1
        try:
            await self._prepare()
            await services.wait_synced()
            await slices.wait_synced()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._loop())
                group.create_task(self._remove_others())
        finally:
            _turns.members -= 1
            for servers in (self._servers, self._metrics_server):
                if servers is not None:
                    await servers.keep_only(())

    async def _prepare(self) -> None:
        await self._backend.prepare()
        if self.peers[0] is self:
            await self._kernel.set_conntrack_timeouts()
        if self._servers is not None:
            await self._servers.want(HEALTHZ_PORT, self._healthz)
        if self._metrics_server is not None and self.peers[0] is self:
            await self._metrics_server.want(METRICS_PORT, self._monitored)

    def _healthz(self, path: str) -> Answer:
        answer = self.health.answer(path, time.time())
        self._answers[path, answer[0]] += 1
        return answer

    def _monitored(self, path: str) -> Answer:
        """Port 10249, on loopback only: /metrics, /proxyMode and /healthz."""
        if path == "/metrics":
            measured = [
                Measured(one.metrics, list(one.table.states()), one.backend.rule_counts()) for one in self.peers
            ]
            return 200, exposition(measured, self.mode, dict(self._answers)), {}
        if path in ("/proxyMode", "/healthz"):
            return 200, self.mode if path == "/proxyMode" else "ok", {}
        return 404, {}, {}

    # What informers say. These only note what changed.

    def _service(self, obj: Obj) -> None:
        self._table.set_service(_key(obj), obj)
        self._service_changed()

    def _service_gone(self, obj: Obj) -> None:
        self._table.set_service(_key(obj), None)
        self._service_changed()

    def _service_changed(self) -> None:
        self.metrics.service_changes += 1
        self.metrics.service_pending += 1
        self._changed()

    def _slice(self, obj: Obj) -> None:
        self._table.set_slice(_key(obj), obj)
        when = _trigger_time((obj["metadata"].get("annotations") or {}).get(TRIGGER_TIME, ""))
        if when > self._began:  # what was before is not this proxy's delay
            self.metrics.triggers.setdefault(_key(obj), []).append(when)
        self._endpoints_changed()

    def _slice_gone(self, obj: Obj) -> None:
        self._table.set_slice(_key(obj), None)
        self._endpoints_changed()

    def _endpoints_changed(self) -> None:
        self.metrics.endpoint_changes += 1
        self.metrics.endpoint_pending += 1
        self._changed()

    def _node(self, obj: Obj) -> None:
        zone = (obj["metadata"].get("labels") or {}).get(ZONE_LABEL, "")
        self._table.set_view(replace(self._table.view, zone=zone))
        addresses = (obj.get("status") or {}).get("addresses") or ()
        found = (entry["address"] for entry in addresses if entry.get("type") == "InternalIP")
        ip = next((ip for ip in found if family_of(ip) == self._table.family), "")
        if ip != self._node_ip:
            self._node_ip = ip
            self._wake.set()
        taints = (obj.get("spec") or {}).get("taints") or ()
        # As upstream: a node about to be removed tells load balancers to go elsewhere.
        self.health.eligible = "deletionTimestamp" not in obj["metadata"] and not any(
            taint.get("key") == "ToBeDeletedByClusterAutoscaler" for taint in taints
        )
        self._changed()

    def _changed(self) -> None:
        if self._table.pending:
            self.metrics.last_queued = time.time()
            self.health.queued(self.metrics.last_queued)
            self._wake.set()

    # The sync loop.

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        retry = self._timing.retry
        last_full = loop.time()
        while True:
            try:
                async with _turns.slot():
                    started = loop.time()
                    await self.sync()
                    spent = loop.time() - started
                retry = self._timing.retry
            except Exception as error:
                # Whatever it was: the kernel's state is not known, so everything is written again.
                log.exception("%s: sync failed, trying again in %.1f s: %s", self.node_name, retry, error)
                self.restore_all()
                await asyncio.sleep(retry)
                retry = min(retry * 2, self._timing.retry_max)
                continue
            rest = _turns.rest(spent, self._table.endpoint_count(), loop.time())
            await asyncio.sleep(max(self._timing.min_period - spent, rest, self._timing.settle))
            if await self._woken():
                await asyncio.sleep(self._timing.settle)
            elif not self._full_wanted:
                self._full_wanted = loop.time() - last_full > self._timing.full or await self._was_flushed()
                if self._full_wanted:
                    last_full = loop.time()

    async def _woken(self) -> bool:
        """Waits for a change; False when it is time to look whether the rules are still there, or all must be written
        again for a reason of the mode's own. That time comes however many changes there are."""
        loop = asyncio.get_running_loop()
        end = self._look_at = self._look_at or loop.time() + self._timing.canary
        while loop.time() < end:
            try:
                async with asyncio.timeout(min(self._backend.attention, end - loop.time())):
                    await self._wake.wait()
                return True
            except TimeoutError:
                if loop.time() < end and await self._attend():
                    self._full_wanted = True
                    return False
        self._look_at = 0.0
        return False

    async def _attend(self) -> bool:
        try:
            return await self._backend.attend()
        except Exception:
            log.exception("%s: cannot look after the rules", self.node_name)
            return True

    async def _remove_others(self) -> None:
        await self.synced.wait()
        if not self._switching:
            await asyncio.sleep(self._timing.others)
        delay = self._timing.retry
        while True:
            try:
                await self._backend.remove_others()
                break
            except Exception:
                log.exception("%s: cannot remove the rules of other proxy modes", self.node_name)
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._timing.canary)
        self.settled.set()

    async def _was_flushed(self) -> bool:
        """Someone who flushes tables (a firewall service) takes our rules away."""
        try:
            return await self._backend.flushed()
        except Exception:
            log.exception("%s: cannot look at the rules", self.node_name)
            return True

    def restore_all(self) -> None:
        """Makes the next sync a full one: what the kernel holds is not known."""
        self._full_wanted = True

    async def sync(self) -> None:
        """Brings the kernel up to date: whole where needed, else what changed."""
        self._wake.clear()
        self.metrics.begin()
        changes = self._table.take_changes()
        if not self._begun:  # before anything is computed: else all would be, twice
            self._begun = True
            self._backend.configure((), self._node_ip, self._table.endpoint_count())
        for before, after in changes.values():
            for name in dict.fromkeys((*before, *after)):
                self._backend.update(name, after.get(name))
        if self._backend.configure(self._table.states(), self._node_ip, self._table.endpoint_count()):
            self._full_wanted = True
        full, began = self._full_wanted, time.monotonic()
        try:
            await self._backend.sync(full)
        except Exception:
            self.metrics.failures[full] += 1
            raise
        self.metrics.synced(full, time.monotonic() - began, time.time())
        if full or _touches_udp(changes):
            await self._clean_flows()
        self._full_wanted = False
        self.syncs += 1
        self.full_syncs += full
        self.synced.set()
        if not self._table.pending:
            self.health.updated(time.time())
        await self._serve_health_checks()

    async def _clean_flows(self) -> None:
        began = time.monotonic()
        try:
            deleted = await self._kernel.delete_udp_flows(served(self._table.udp_states()).is_stale)
        except (OSError, NotImplementedError) as error:
            log.warning("%s: stale UDP flows are kept: %s", self.node_name, error)
            return
        self.metrics.conntrack.observe(time.monotonic() - began)
        self.metrics.conntrack_deleted += deleted
        if deleted:
            log.info("%s: deleted %d stale UDP flows", self.node_name, deleted)

    async def _serve_health_checks(self) -> None:
        if self._servers is None:
            return
        wanted = service_healths(self._table.health_checked_states())
        await self._servers.keep_only((HEALTHZ_PORT, *wanted))
        for port in wanted:
            await self._servers.want(port, lambda _, port=port: self._service_health(port))  # type: ignore[misc]

    def _service_health(self, port: int) -> Answer:
        found = service_healths(self._table.health_checked_states()).get(port)
        return found.answer(self.health.healthy(time.time())) if found else (404, {}, {})


def _key(obj: Obj) -> str:
    return f"{obj['metadata'].get('namespace') or 'default'}/{obj['metadata']['name']}"


def _trigger_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time, 0 for none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _touches_udp(changes: Changes) -> bool:
    return any(name.protocol == "UDP" for before, after in changes.values() for name in (*before, *after))


async def run_all(proxiers: Sequence[Proxier], client: Client) -> None:
    """Runs one node's proxiers of different families on one set of watches, until cancelled (upstream's meta proxier).

    The node is healthy while all of them are."""
    services = Informer(client, SERVICES, label_selector=SELECTOR)
    slices = Informer(client, SLICES, label_selector=SELECTOR)
    node = Informer(client, NODES, field_selector=f"metadata.name={proxiers[0].node_name}")
    for proxier in proxiers:
        proxier.health.others = tuple(other.health for other in proxiers if other is not proxier)
        proxier.peers = tuple(proxiers)
        proxier.watch(services, slices, node)
    informers = (services, slices, node)
    try:
        for informer in informers:
            informer.start()
        async with asyncio.TaskGroup() as group:
            for proxier in proxiers:
                group.create_task(proxier.follow(services, slices))
    finally:
        for informer in informers:
            await informer.stop()


def listener(ns: NetNs, family: Family = "IPv4", *, loopback: bool = False) -> SocketFactory:
    """Opens listening TCP sockets in a namespace, for connections of that family only, or only from the node itself."""
    where = ("::1" if family == "IPv6" else "127.0.0.1") if loopback else ""

    def listen(port: int) -> socket.socket:
        sock = ns.socket(socket.AF_INET6 if family == "IPv6" else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == "IPv6":
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((where, port))
            sock.listen(64)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        return sock

    return listen


async def start_proxy(
    node: NodeConfig,
    agent: AgentConfig,
    client: Client,
    *,
    ipvs: IpvsOptions | None = None,
    switching: bool = False,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Runs the proxy of one node in the mode that its agent's configuration says, until cancelled.

    Modes "external" and "none" leave the node's rules to someone else. `switching`: the node had another mode until
    now. `ready` is called when everything is written and, after a switch, nothing of the other mode is left.
    """
    from netlab.kernel import netns

    with contextlib.ExitStack() as spaces:
        cidrs = list(zip(agent.cluster_cidr.split(","), agent.service_cidr.split(","), strict=True))
        if agent.proxy_mode in ("external", "none"):
            if switching:
                for cluster, _ in cidrs:
                    await proxy_backend.remove_all(
                        NodeKernel(spaces.enter_context(netns.open(node.netns)), family_of(cluster))
                    )
            ready()
            await asyncio.Event().wait()
        proxiers = [
            Proxier(
                node.name,
                spaces.enter_context(netns.open(node.netns)),  # each its own: netlink sockets are not for two threads
                cluster_cidr=cluster,
                service_cidr=service,
                mode=agent.proxy_mode,
                family=family_of(cluster),
                ipvs=ipvs,
                switching=switching,
            )
            for cluster, service in cidrs
        ]
        async with asyncio.TaskGroup() as group:
            group.create_task(_tell(proxiers, ready, switching=switching))
            group.create_task(run_all(proxiers, client))


async def _tell(proxiers: Sequence[Proxier], ready: Callable[[], None], *, switching: bool) -> None:
    for proxier in proxiers:
        await (proxier.settled if switching else proxier.synced).wait()
    ready()
