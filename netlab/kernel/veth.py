"""A veth pair whose ends are born where they belong, configured in the message that creates them.

Creating a pair and then moving one end costs thirty times more: each move waits for the kernel to forget the device
in its first namespace.
"""

from __future__ import annotations

from dataclasses import dataclass

from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt
from netlab.kernel.links import header


@dataclass(frozen=True, slots=True)
class End:
    """One end: its name, and what is set at birth. `mac` is six bytes, or empty for a random one; 0 for mtu, master and
    fd means the default MTU, no bridge, and the namespace of the socket (fd -1)."""

    name: str
    mac: bytes = b""
    mtu: int = 0
    master: int = 0
    fd: int = -1
    up: bool = False


def create(end: End, peer: End) -> bytes:
    """The request, for the namespace in which `end` is to be; only the peer may have an `fd`, only `end` a master."""
    data = nl.nested(rt.IFLA_INFO_DATA, nl.nested(rt.VETH_INFO_PEER, *_parts(peer)))
    info = nl.nested(rt.IFLA_LINKINFO, nl.text(rt.IFLA_INFO_KIND, "veth"), data)
    body, *attributes = _parts(end)
    return nl.message(rt.RTM_NEWLINK, nl.NLM_F_CREATE | nl.NLM_F_EXCL, body, *attributes, info)


def _parts(end: End) -> list[bytes]:
    parts = [header(0, rt.IFF_UP if end.up else 0, rt.IFF_UP if end.up else 0), nl.text(rt.IFLA_IFNAME, end.name)]
    if end.mac:
        parts.append(nl.attr(rt.IFLA_ADDRESS, end.mac))
    if end.mtu:
        parts.append(nl.u32(rt.IFLA_MTU, end.mtu))
    if end.master:
        parts.append(nl.u32(rt.IFLA_MASTER, end.master))
    if end.fd >= 0:
        parts.append(nl.u32(rt.IFLA_NET_NS_FD, end.fd))
    parts += [nl.u32(rt.IFLA_NUM_TX_QUEUES, 1), nl.u32(rt.IFLA_NUM_RX_QUEUES, 1)]
    return parts
