"""The host ports of one node's pods, kept in its nat table: the only memory, where a new agent finds them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netlab.dataplane import hostports
from netlab.dataplane.hostports import PortMapping

if TYPE_CHECKING:
    from netlab.kernel.netns import NetNs

ROUTE_LOCALNET = "/proc/sys/net/ipv4/conf/{}/route_localnet"


class HostPorts:
    """Opens and closes. Most pods have none, and cost nothing."""

    def __init__(self, ns: NetNs) -> None:
        self._ns = ns
        self._lock = asyncio.Lock()
        self._open: set[str] = set()
        self._unknown: set[str] = set()
        """Pods of an earlier agent, of which the kernel knows whether they have any."""

    def adopt(self, uid: str) -> None:
        self._unknown.add(uid)

    async def open(self, uid: str, pod_nets: Sequence[str], mappings: Sequence[PortMapping], bridge: str) -> None:
        """Leads the node's ports to the pod (addresses with their prefix). Raises CommandFailed."""
        async with self._lock:
            for pod_net in pod_nets:
                found = [mapping for mapping in mappings if mapping.applies_to(pod_net)]
                if not found:
                    continue
                ipv6 = ":" in pod_net
                present = await self._present(ipv6)
                await self._restore(hostports.open_text(uid, pod_net, found, present), ipv6)
                self._open.add(uid)
                await asyncio.to_thread(self._prepare, found, bridge, ipv6)

    async def close(self, uid: str) -> None:
        """Takes them away; a pod without any is none of its business."""
        if uid not in self._open and uid not in self._unknown:
            return
        async with self._lock:
            for ipv6 in (False, True):
                if text := hostports.close_text(uid, await self._present(ipv6)):
                    await self._restore(text, ipv6)
            self._open.discard(uid)
            self._unknown.discard(uid)

    async def _present(self, ipv6: bool) -> list[str]:
        from netlab.kernel import iptables

        return (await iptables.save_async(self._ns, table="nat", ipv6=ipv6)).splitlines()

    async def _restore(self, text: str, ipv6: bool) -> None:
        from netlab.kernel import iptables

        await iptables.restore_async(self._ns, text, noflush=True, ipv6=ipv6)

    def _prepare(self, mappings: Sequence[PortMapping], bridge: str, ipv6: bool) -> None:
        """127.0.0.1 may be led to the bridge; UDP flows of who had the port before are forgotten."""
        from netlab.kernel import conntrack

        if not ipv6:
            path = Path(ROUTE_LOCALNET.format(bridge))
            self._ns.run(lambda: path.write_text("1") if path.exists() else 0)
        ports = {mapping.host_port for mapping in mappings if mapping.protocol == "udp"}
        for entry in conntrack.entries(self._ns, ipv6=ipv6) if ports else ():
            if entry.proto == socket.IPPROTO_UDP and entry.original.dport in ports:
                conntrack.delete(self._ns, entry)
