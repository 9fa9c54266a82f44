"""Asks the cluster's DNS from every node, as its pods would: a lab is ready when the first lookup after it works.

That the DNS pods are Ready is not enough: each node's proxy hears of it on its own, some milliseconds later.
"""

from __future__ import annotations

import asyncio
import socket

from netlab.kernel import netns
from netlab.topology.model import Topology
from netlab.trace.dnsquery import question

ATTEMPT, BETWEEN = 0.2, 0.01
PATIENCE = 5.0
"""Seconds after which a lab is ready all the same: its DNS may have been broken by whoever it belongs to."""


async def dns_answers(topology: Topology) -> None:
    """Return once `kubernetes.default` was resolved from every node by the address of the DNS Service."""
    cluster = topology.cluster
    asked = question(f"kubernetes.default.svc.{cluster.dns_domain}", 1)
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(_asked(node.name, cluster.dns_ip, asked) for node in topology.nodes))
    except (TimeoutError, OSError):
        return


def says_no_error(answer: bytes) -> bool:
    """Whether it is a response without an error: in a cluster of IPv6 alone the name has no A, and that is right."""
    return len(answer) >= 12 and bool(answer[2] & 0x80) and answer[3] & 0x0F == 0


async def _asked(node: str, address: str, query: bytes) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.open(node) as space:
        while True:  # a new socket each time: what the kernel thinks of the old one's packets is settled
            with space.socket(family, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                if await _answered(sock, address, query):
                    return
            await asyncio.sleep(BETWEEN)


async def _answered(sock: socket.socket, address: str, query: bytes) -> bool:
    loop = asyncio.get_running_loop()
    try:
        sock.connect((address, 53))
        async with asyncio.timeout(ATTEMPT):
            await loop.sock_sendall(sock, query)
            return says_no_error(await loop.sock_recv(sock, 512))
    except OSError:  # TimeoutError is one
        return False
