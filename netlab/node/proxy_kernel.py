"""What the service proxy needs of a node's kernel, and no more: a narrow protocol, and the real thing behind it."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from netlab.dataplane.nftables.table import TABLE, nft_family, text
from netlab.dataplane.services import Family
from netlab.dataplane.services.stale import Flow

if TYPE_CHECKING:
    from netlab.kernel.netns import NetNs
    from netlab.node.proxy_ipvs_kernel import IpvsKernel, NodeIpvs

UDP = 17
NFT_SHARE = 0.95
"""Of the socket buffer, for one transaction: in a user namespace nft cannot make it larger than it is at first. What is
too long all the same is made smaller, once and for all. Every transaction makes nft read the table's chains again, so
fewer are better."""
NFT_WEIGHTS = {"add rule": (170.0, 1.35), "add element": (0.0, 1.5)}
NFT_OTHER = (0.0, 1.3)
"""Netlink bytes of a line, measured: so many, and so many for each character. Rules are many small expressions."""
ROUTE_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")


class ProxyKernel(Protocol):
    """One node's netfilter, in one family. `restore` raises where a line is refused, and has then changed nothing of
    that table."""

    @property
    def family(self) -> Family: ...

    async def restore(self, text: str) -> None: ...

    async def save(self, table: str = "") -> str: ...

    async def nft(self, lines: Sequence[str]) -> None:
        """One transaction, in nft's words; where it is too long for the kernel, several."""
        ...

    async def nft_list(self) -> str:
        """kube-proxy's tables as `nft list` prints them, "" where there are none."""
        ...

    async def enable_localhost_node_ports(self) -> bool:
        """Lets 127.0.0.1 be routed, so that it can be a NodePort's address; False where that is not allowed. IPv6 has
        nothing like it."""
        ...

    def ipvs(self, family: Family) -> IpvsKernel:
        """The virtual servers of that family; the same object each time. Nothing is opened by asking."""
        ...

    async def delete_udp_flows(self, stale: Callable[[Flow], bool]) -> int:
        """Deletes the tracked UDP flows for which `stale` holds; how many."""
        ...


def weight(line: str) -> float:
    """About how many bytes of netlink a line of nft becomes."""
    base, each = NFT_WEIGHTS.get(" ".join(line.split(" ", 2)[:2]), NFT_OTHER)
    return base + each * len(line)


def fitting(lines: Sequence[str], at: int, most: float) -> int:
    """How many lines from `at` on make one transaction of `most` bytes; one at least."""
    total = 0.0
    for number in range(at, len(lines)):
        total += weight(lines[number])
        if total > most:
            return max(1, number - at)
    return len(lines) - at


@cache
def socket_buffer() -> int:
    """Bytes that fit into one message of a new netlink socket: net.core.wmem_default, which nobody can read here."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


class NodeKernel:
    """The netfilter of a node's namespace, through netlab.kernel."""

    def __init__(self, ns: NetNs, family: Family = "IPv4") -> None:
        self._ns = ns
        self.family: Family = family
        self._most = 0.0
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

    async def nft(self, lines: Sequence[str]) -> None:
        from netlab.kernel import features, nft
        from netlab.kernel.errors import CommandFailed

        if not self._most:
            self._most = math.inf if features.is_first_user_namespace() else NFT_SHARE * socket_buffer()
        at = 0
        while at < len(lines):
            piece = lines[at : at + fitting(lines, at, self._most)]
            try:
                await nft.run_async(self._ns, text(piece))
            except CommandFailed as problem:
                if "essage too long" not in problem.stderr or len(piece) < 2:
                    raise
                self._most = min(self._most, sum(map(weight, piece))) * 0.75
                continue
            at += len(piece)

    async def nft_list(self) -> str:
        return await asyncio.to_thread(self._nft_list)

    def _nft_list(self) -> str:
        from netlab.kernel import nft
        from netlab.kernel.errors import CommandFailed

        try:
            return nft.ruleset(self._ns, table=f"{nft_family(self.family)} {TABLE}")
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
