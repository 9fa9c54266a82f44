"""IPVS mode: turns service states into virtual servers, sets and a few rules, and writes what differs.

A full sync reads the kernel; after that what was written is remembered, and only what a change touches is compared.
Real servers that must go are looked up in the kernel each time, because what they still carry decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from netlab.dataplane.ipvs.chains import restore_text
from netlab.dataplane.ipvs.model import Frontend, Scheduler
from netlab.dataplane.ipvs.program import IpvsProgram, Touched, restricted
from netlab.dataplane.ipvs.service import IpvsConfig
from netlab.dataplane.ipvs.state import IpvsState, Real, Step, diff
from netlab.dataplane.ipvs.termination import CHECK_INTERVAL
from netlab.dataplane.leftovers import kept_by_ipvs, leftovers
from netlab.dataplane.model import Sysctl
from netlab.dataplane.nftables import nft_family, remove
from netlab.dataplane.services import Family, ServicePortName, ServiceState
from netlab.node.proxy_ipvs_kernel import IpvsKernel
from netlab.node.proxy_kernel import ProxyKernel

ATTENTION = 2.0
"""Seconds between two looks at the node's addresses (docker0 comes after the proxy) and at real servers that drain."""


def sysctls(strict_arp: bool) -> tuple[Sysctl, ...]:
    """What upstream's NewProxier sets; conn_reuse_mode it leaves alone since Linux 5.9, where 1 is right again."""
    wanted = [
        Sysctl("net.ipv4.vs.conntrack", "1"),
        Sysctl("net.ipv4.vs.expire_nodest_conn", "1"),
        Sysctl("net.ipv4.vs.expire_quiescent_template", "1"),
        Sysctl("net.ipv4.ip_forward", "1"),
    ]
    if strict_arp:
        wanted += [Sysctl("net.ipv4.conf.all.arp_ignore", "1"), Sysctl("net.ipv4.conf.all.arp_announce", "2")]
    return tuple(wanted)


class IpvsBackend:
    """IPVS mode of one family."""

    attention = ATTENTION

    def __init__(
        self,
        kernel: ProxyKernel,
        ipvs: IpvsKernel,
        cluster_cidr: str,
        *,
        family: Family = "IPv4",
        scheduler: Scheduler = "rr",
        strict_arp: bool = False,
        check_interval: float = CHECK_INTERVAL,
    ) -> None:
        self._kernel, self._ipvs = kernel, ipvs
        config = IpvsConfig("", cluster_cidr, family=family, scheduler=scheduler, strict_arp=strict_arp)
        self.program = IpvsProgram(config)
        self._written = IpvsState()
        self._rules = ""
        self._draining: set[Frontend] = set()
        self._checks = max(1, round(check_interval / ATTENTION))
        self._looks = 0
        self._removing = asyncio.Lock()

    async def prepare(self) -> None:
        await self._ipvs.set(sysctls(self.program.config.strict_arp))
        self.program.configure(node_addresses=await self._ipvs.node_addresses())

    def configure(self, states: Iterable[ServiceState], node_ip: str, endpoint_count: int) -> bool:
        return self.program.configure(node_ip=node_ip)

    def update(self, name: ServicePortName, state: ServiceState | None) -> None:
        self.program.update(name, state)

    async def sync(self, full: bool) -> None:
        touched = self.program.take_touched()
        if full:
            await self._full()
        elif touched:
            await self._partial(touched)
        await self._write_rules(full)

    async def _full(self) -> None:
        observed = await self._ipvs.observe()
        wanted = self.program.state()
        steps = diff(observed.state, wanted, self.program.sets, observed.connections)
        await self._ipvs.apply(steps)
        self._written = wanted
        self._draining = _draining(observed.state, wanted, steps)

    async def _partial(self, touched: Touched) -> None:
        before, after = restricted(self._written, touched), self.program.part(touched)
        losing = {
            frontend
            for frontend, reals in before.reals.items()
            if frontend in after.servers and reals.keys() - after.reals.get(frontend, {}).keys()
        }
        losing |= self._draining & touched.frontends & after.servers.keys()
        found = await self._ipvs.reals(losing)
        before.reals.update(found.state.reals)
        steps = diff(before, after, self.program.sets, found.connections)
        await self._ipvs.apply(steps)
        _remember(self._written, touched, after)
        self._draining -= touched.frontends
        self._draining |= _draining(before, after, steps)

    async def _write_rules(self, full: bool) -> None:
        tables = self.program.rules()
        text = "".join(map(str, (rule for rules in tables.values() for rule in rules)))
        if full or text != self._rules:
            from netlab.dataplane import iptables

            present = iptables.scan(await self._kernel.save())
            await self._kernel.restore(restore_text(tables, present))
            self._rules = text

    async def attend(self) -> bool:
        """Every `attention` seconds: True where a full sync is due, because the node's addresses changed."""
        self._looks += 1
        if self._draining and self._looks % self._checks == 0:
            await self.check_draining()
        return self.program.configure(node_addresses=await self._ipvs.node_addresses())

    async def check_draining(self) -> None:
        """Removes the real servers that carry nothing any more."""
        touched = Touched(frontends=set(self._draining))
        self._draining.clear()
        before, after = restricted(self._written, touched), self.program.part(touched)
        found = await self._ipvs.reals(after.servers)
        before.reals = found.state.reals
        steps = diff(before, after, self.program.sets, found.connections)
        await self._ipvs.apply(steps)
        self._draining |= _draining(before, after, steps)

    @property
    def draining(self) -> frozenset[Frontend]:
        """Virtual servers that have a real server which only waits for its connections to end."""
        return frozenset(self._draining)

    def rule_counts(self) -> dict[str, int]:
        return {table: len(rules) for table, rules in self.program.rules().items()}

    async def flushed(self) -> bool:
        save = await self._kernel.save("nat")
        return ":KUBE-LOAD-BALANCER " not in save or "-j KUBE-SERVICES" not in save

    async def remove_others(self) -> None:
        from netlab.dataplane import iptables

        async with self._removing:
            if await self._kernel.nft_holds():
                await self._kernel.nft([remove(nft_family(self._kernel.family))])
            if text := leftovers(iptables.scan(await self._kernel.save()), kept_by_ipvs()):
                await self._kernel.restore(text)


def _draining(before: IpvsState, after: IpvsState, steps: Iterable[Step]) -> set[Frontend]:
    """The virtual servers of which a real server stays behind, only to finish its connections."""
    gone = {
        (step.thing.frontend, step.thing.server.key)
        for step in steps
        if isinstance(step.thing, Real) and step.op == "del"
    }
    return {
        frontend
        for frontend, reals in before.reals.items()
        if frontend in after.servers
        and any(key not in after.reals.get(frontend, {}) and (frontend, key) not in gone for key in reals)
    }


def _remember(written: IpvsState, touched: Touched, after: IpvsState) -> None:
    for frontend in touched.frontends:
        written.servers.pop(frontend, None)
        written.reals.pop(frontend, None)
    written.servers.update(after.servers)
    written.reals.update(after.reals)
    written.addresses -= touched.addresses
    written.addresses |= after.addresses
    for name, entry in touched.members:
        into = written.members.setdefault(name, set())
        if entry in after.members.get(name, ()):
            into.add(entry)
        else:
            into.discard(entry)
