"""Puts back what the kernel forgets while an interface is down, once it is up again, as a network daemon does.

`ip link set eth0 down` takes the routes through it, its permanent neighbours and its IPv6 addresses; `up` brings back
only what its IPv4 addresses say. Nothing else is looked at: a route that somebody deletes stays deleted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Iterator, Sequence

from netlab.dataplane.underlay import of_interface, underlay
from netlab.kernel import capture, links
from netlab.kernel import rtnl as rt
from netlab.kernel.bpf import INSTRUCTION, JEQ, LD_W, RET
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.kernel.nlsocket import NETLINK_ROUTE, NetlinkSocket
from netlab.substrate.network import configure, find
from netlab.topology.model import Topology

log = logging.getLogger(__name__)

RTMGRP_LINK = 1
INDEX_AT = 20
"""Where a link message has the interface's index: after nlmsghdr, in ifinfomsg."""


def only(indexes: Sequence[int]) -> bytes:
    """PURE. Classic BPF that lets the messages of these interfaces through: a node's pods come and go all the time.

    The kernel loads words as the network has them; the index is as the machine has it."""
    swapped = [struct.unpack(">I", struct.pack("=I", index))[0] for index in indexes]
    code = [(LD_W, 0, 0, INDEX_AT)]
    code += [(JEQ, len(swapped) - number, 0, value) for number, value in enumerate(swapped)]
    code += [(RET, 0, 0, 0), (RET, 0, 0, 0xFFFFFFFF)]
    return b"".join(INSTRUCTION.pack(*one) for one in code)


class Watched:
    """One machine's own interfaces."""

    def __init__(self, ns: NetNs, interfaces: Sequence[str]) -> None:
        self.ns = ns
        replies = [ns.netlink.get(links.get(name), f"interface {name} of {ns.name}") for name in interfaces]
        self._names = {links.index_of(reply): name for reply, name in zip(replies, interfaces, strict=True)}
        self._up = {links.index_of(reply): _is_up(reply.body) for reply in replies}
        sock = ns.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
        capture.attach_filter(sock, only(list(self._names)))
        sock.bind((0, RTMGRP_LINK))
        self.stream = NetlinkSocket(sock)

    def came_up(self) -> Iterator[str]:
        """The interfaces that were down and are up now, by what has arrived. Never waits."""
        for message in self.stream.events():
            index = rt.IFINFOMSG.unpack_from(message.body)[2]
            if message.type != rt.RTM_NEWLINK or index not in self._names:
                continue
            before, self._up[index] = self._up[index], _is_up(message.body)
            if self._up[index] and not before:
                yield self._names[index]


def _is_up(body: bytes) -> bool:
    return bool(rt.IFINFOMSG.unpack_from(body)[3] & rt.IFF_UP)


async def keep(topology: Topology) -> None:
    """Until cancelled, for every machine of a running lab. KernelError where a namespace is not there."""
    wanted = underlay(topology)
    interfaces: dict[str, list[str]] = {}
    for link in topology.links:
        for end in link.ends:
            interfaces.setdefault(end.node, []).append(end.interface)
    machines = find(topology).machines
    watched = {name: Watched(ns, interfaces[name]) for name, ns in machines.items() if name in interfaces}
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read(name: str) -> None:
        for interface in watched[name].came_up():
            heard.put_nowait((name, interface))

    for name, one in watched.items():
        loop.add_reader(one.stream.sock.fileno(), read, name)
    try:
        while True:
            name, interface = await heard.get()
            log.info("%s:%s is up again", name, interface)
            try:
                await asyncio.to_thread(configure, watched[name].ns, of_interface(wanted[name], interface))
            except KernelError as problem:
                log.warning("%s:%s is up again, but not as it was: %s", name, interface, problem)
    finally:
        for one in watched.values():
            loop.remove_reader(one.stream.sock.fileno())
            one.stream.close()
