"""What the service proxy needs of a node's kernel, and no more: a narrow protocol, and the real thing behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from netlab.dataplane.nftables.table import TABLE, nft_family
from netlab.dataplane.services import Family
from netlab.dataplane.services.stale import Flow

if TYPE_CHECKING:
    from netlab.dataplane.nftables import Operation
    from netlab.kernel.netns import NetNs
    from netlab.node.proxy_ipvs_kernel import IpvsKernel, NodeIpvs

log = logging.getLogger(__name__)

UDP = 17
ROUTE_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")
CONNTRACK_TIMEOUTS = {"tcp_timeout_established": 86400, "tcp_timeout_close_wait": 3600}
"""Seconds, as upstream's KubeProxyConntrackConfiguration has them. (The table's size is the whole machine's.)"""


class ProxyKernel(Protocol):
    """One node's netfilter, in one family. `restore` raises where a line is refused, and has then changed nothing of
    that table."""

    @property
    def family(self) -> Family: ...

    async def restore(self, text: str) -> None: ...

    async def save(self, table: str = "") -> str: ...

    async def nft(self, operations: Sequence[Operation]) -> None:
        """One transaction; where it is too long for the kernel's socket, several."""
        ...

    async def nft_holds(self) -> bool:
        """Whether there is a table of kube-proxy's with anything in it: costs nothing, unlike listing it."""
        ...

    async def nft_list(self) -> str:
        """kube-proxy's tables as `nft list` prints them, "" where there are none."""
        ...

    async def enable_localhost_node_ports(self) -> bool:
        """Lets 127.0.0.1 be routed, so that it can be a NodePort's address; False where that is not allowed. IPv6 has
        nothing like it."""
        ...

    async def set_conntrack_timeouts(self) -> None:
        """How long half-closed and idle connections are tracked; left as they are where that is not allowed."""
        ...

    def ipvs(self, family: Family) -> IpvsKernel:
        """The virtual servers of that family; the same object each time. Nothing is opened by asking."""
        ...

    async def delete_udp_flows(self, stale: Callable[[Flow], bool]) -> int:
        """Deletes the tracked UDP flows for which `stale` holds; how many."""
        ...


class NodeKernel:
    """The netfilter of a node's namespace, through netlab.kernel."""

    def __init__(self, ns: NetNs, family: Family = "IPv4") -> None:
        self._ns = ns
        self.family: Family = family
        self._ipvs: dict[Family, NodeIpvs] = {}

    def ipvs(self, family: Family) -> NodeIpvs:
        if family not in self._ipvs:
            from netlab.dataplane.ipvs.sets import ip_sets
            from netlab.node.proxy_ipvs_kernel import NodeIpvs

            self._ipvs[family] = NodeIpvs(self._ns, ip_sets(family))
        return self._ipvs[family]

    async def restore(self, text: str) -> None:
        from netlab.kernel import iptables

        await iptables.restore_async(self._ns, text, noflush=True, ipv6=self.family == "IPv6")

    async def save(self, table: str = "") -> str:
        from netlab.kernel import iptables

        return await iptables.save_async(self._ns, table=table, ipv6=self.family == "IPv6")

    async def nft(self, operations: Sequence[Operation]) -> None:
        from netlab.kernel import nftables

        await nftables.run_async(self._ns, operations)

    async def nft_holds(self) -> bool:
        from netlab.kernel import nftables

        return await asyncio.to_thread(nftables.holds, self._ns, nft_family(self.family), TABLE)

    async def nft_list(self) -> str:
        return await asyncio.to_thread(self._nft_list)

    def _nft_list(self) -> str:
        from netlab.kernel import nft, nftables
        from netlab.kernel.errors import CommandFailed

        ip = nft_family(self.family)
        if not nftables.holds(self._ns, ip, TABLE):
            return ""
        try:
            return nft.ruleset(self._ns, table=f"{ip} {TABLE}")
        except CommandFailed as problem:
            if "No such file" in problem.stderr:
                return ""
            raise

    async def enable_localhost_node_ports(self) -> bool:
        if self.family == "IPv6":
            return True
        try:
            self._ns.run(lambda: ROUTE_LOCALNET.write_text("1"))
        except OSError:
            return False
        return True

    async def set_conntrack_timeouts(self) -> None:
        self._ns.run(_set_conntrack_timeouts)

    async def delete_udp_flows(self, stale: Callable[[Flow], bool]) -> int:
        return await asyncio.to_thread(self._delete_udp_flows, stale)

    def _delete_udp_flows(self, stale: Callable[[Flow], bool]) -> int:
        from netlab.kernel import conntrack

        deleted = 0
        for entry in conntrack.entries(self._ns, ipv6=self.family == "IPv6"):
            flow = Flow(entry.original.dst, entry.original.dport, entry.reply.src, entry.reply.sport)
            if entry.proto == UDP and stale(flow):
                deleted += conntrack.delete(self._ns, entry)
        return deleted


def _set_conntrack_timeouts() -> None:
    for name, seconds in CONNTRACK_TIMEOUTS.items():
        try:
            Path(f"/proc/sys/net/netfilter/nf_conntrack_{name}").write_text(str(seconds))
        except OSError as problem:
            log.warning("nf_conntrack_%s stays as it is: %s", name, problem)
