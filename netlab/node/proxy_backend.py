"""The modes of the service proxy: each turns service states into its own rules and writes them.

A back end collects changes by `update` and writes them by `sync`. It knows nothing of the API or of time.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from netlab.dataplane import iptables, nftables
from netlab.dataplane.iptables.names import CANARY
from netlab.dataplane.iptables.service import ServiceRules
from netlab.dataplane.nftables.program import Change
from netlab.dataplane.services import ServicePortName, ServiceState
from netlab.node.proxy_kernel import ProxyKernel

if TYPE_CHECKING:
    from netlab.dataplane.ipvs.model import Scheduler
    from netlab.dataplane.leftovers import Kept

log = logging.getLogger(__name__)


class Backend(Protocol):
    @property
    def attention(self) -> float:
        """Seconds between two calls of `attend`; infinite for a mode that needs none."""
        ...

    async def attend(self) -> bool:
        """Looks after what changes without a Service's change; True where a full sync is due."""
        ...

    def rule_counts(self) -> dict[str, int]:
        """iptables rules of ours, by table; empty for a mode that has none."""
        ...

    async def prepare(self) -> None:
        """Once, before the first sync."""
        ...

    def configure(self, states: Iterable[ServiceState], node_ip: str, endpoint_count: int) -> bool:
        """Takes what changed about the node; True where a full sync is due."""
        ...

    def update(self, name: ServicePortName, state: ServiceState | None) -> None:
        """A service port's state changed; None where it is gone."""
        ...

    async def sync(self, full: bool) -> None:
        """Writes what changed, or all. After an error the kernel's state is not known: the next must be full."""
        ...

    async def flushed(self) -> bool:
        """Whether someone has taken the rules away."""
        ...

    async def remove_others(self) -> None:
        """Removes the rules of the other modes, which a former life of this node may have left."""
        ...


class _Inattentive:
    """All that matters to the mode comes as a change."""

    attention = math.inf

    async def attend(self) -> bool:
        return False

    def rule_counts(self) -> dict[str, int]:
        return {}


class IptablesBackend(_Inattentive):
    """iptables mode."""

    def __init__(self, kernel: ProxyKernel, cluster_cidr: str) -> None:
        self._kernel = kernel
        self.program = iptables.IptablesProgram(iptables.IptablesConfig("", cluster_cidr, kernel.family))
        self._changes: list[tuple[ServiceRules | None, ServiceRules | None]] = []
        self._removing = asyncio.Lock()

    async def prepare(self) -> None:
        if not await self._kernel.enable_localhost_node_ports():
            log.warning("NodePorts on 127.0.0.1 are off: route_localnet cannot be set")
            self.program.configure((), localhost_node_ports=False)

    def configure(self, states: Iterable[ServiceState], node_ip: str, endpoint_count: int) -> bool:
        large = endpoint_count > iptables.LARGE_CLUSTER_ENDPOINTS
        return self.program.configure(states, large_cluster=large, node_ip=node_ip)

    def update(self, name: ServicePortName, state: ServiceState | None) -> None:
        self._changes.append(self.program.update(name, state))

    async def sync(self, full: bool) -> None:
        changes, self._changes = self._changes, []
        if full:
            present = iptables.scan(await self._kernel.save())
            await self._kernel.restore(self.program.full(present))
        elif text := iptables.partial(changes):
            await self._kernel.restore(text)

    def rule_counts(self) -> dict[str, int]:
        return {table: len(rules) for table, rules in self.program.rules().items()}

    async def flushed(self) -> bool:
        return f":{CANARY} " not in await self._kernel.save("mangle")

    async def remove_others(self) -> None:
        from netlab.dataplane.leftovers import kept_by_iptables

        async with self._removing:
            await remove_nftables(self._kernel)
            await _remove_iptables(self._kernel, kept_by_iptables(self.program.config))


class NftablesBackend(_Inattentive):
    """nftables mode."""

    def __init__(self, kernel: ProxyKernel, cluster_cidr: str, service_cidr: str = "") -> None:
        self._kernel = kernel
        self.program = nftables.NftablesProgram(
            nftables.NftablesConfig("", cluster_cidr, service_cidr, family=kernel.family)
        )
        self._changes: list[Change] = []
        self._removing = asyncio.Lock()

    async def prepare(self) -> None:
        """Nothing: NodePorts are not served on 127.0.0.1 in this mode."""

    def configure(self, states: Iterable[ServiceState], node_ip: str, endpoint_count: int) -> bool:
        return self.program.configure(states, node_ip=node_ip, node_port_ips=(node_ip,) if node_ip else ())

    def update(self, name: ServicePortName, state: ServiceState | None) -> None:
        self._changes.append(self.program.update(name, state))

    async def sync(self, full: bool) -> None:
        changes, self._changes = self._changes, []
        transaction = self.program.partial(changes) if not full else None
        if transaction is None:
            observed = nftables.parse(await self._kernel.nft_list(), self.program.config.ip)
            transaction = self.program.full(observed)
        for operations in (transaction.apply, transaction.cleanup):
            if operations:
                await self._kernel.nft(operations)

    async def flushed(self) -> bool:
        return not await self._kernel.nft_holds()

    async def remove_others(self) -> None:
        async with self._removing:
            await _remove_iptables(self._kernel)


async def remove_nftables(kernel: ProxyKernel) -> None:
    """The table of nftables mode."""
    if await kernel.nft_holds():
        await kernel.nft([nftables.remove(nftables.nft_family(kernel.family))])


async def _remove_iptables(kernel: ProxyKernel, kept: Kept | None = None) -> None:
    """Chains of the iptables-based modes that are not `kept`, and all of IPVS."""
    from netlab.dataplane.leftovers import NOTHING, leftovers

    await kernel.ipvs(kernel.family).clear_servers()
    if text := leftovers(iptables.scan(await kernel.save()), kept or NOTHING):
        await kernel.restore(text)
    await kernel.ipvs(kernel.family).clear_sets()


async def remove_all(kernel: ProxyKernel) -> None:
    """Leaves nothing of any mode: for someone else's proxy, as `kube-proxy --cleanup` does."""
    await remove_nftables(kernel)
    await _remove_iptables(kernel)


@dataclass(frozen=True, slots=True)
class IpvsOptions:
    """kube-proxy's --ipvs-scheduler and --ipvs-strict-arp."""

    scheduler: str = "rr"
    strict_arp: bool = False


def _ipvs(kernel: ProxyKernel, cluster_cidr: str, _: str, options: IpvsOptions) -> Backend:
    from netlab.node.proxy_ipvs import IpvsBackend

    return IpvsBackend(
        kernel,
        kernel.ipvs(kernel.family),
        cluster_cidr,
        family=kernel.family,
        scheduler=cast("Scheduler", options.scheduler),
        strict_arp=options.strict_arp,
    )


MODES: dict[str, Callable[[ProxyKernel, str, str, IpvsOptions], Backend]] = {
    "iptables": lambda kernel, cluster_cidr, *_: IptablesBackend(kernel, cluster_cidr),
    "ipvs": _ipvs,
    "nftables": lambda kernel, cluster_cidr, service_cidr, _: NftablesBackend(kernel, cluster_cidr, service_cidr),
}


def make(mode: str, kernel: ProxyKernel, cluster_cidr: str, service_cidr: str, ipvs: IpvsOptions) -> Backend:
    """ValueError for a mode that does not exist here, with those that do."""
    if mode not in MODES:
        raise ValueError(f"no proxy mode {mode!r}, use {', '.join(MODES)}")
    return MODES[mode](kernel, cluster_cidr, service_cidr, ipvs)
