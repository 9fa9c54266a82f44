"""Links as netlink messages, and back. Indexes come from the caller; nothing here talks to the kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netlab.dataplane.model import Link, Vxlan
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt

Index = Callable[[str], int]
"""Name to interface index; 0 where the name is empty."""

NO_IPV6 = nl.nested(
    rt.IFLA_AF_SPEC,
    nl.nested(rt.AF_INET6, nl.u8(rt.IFLA_INET6_ADDR_GEN_MODE, rt.IN6_ADDR_GEN_MODE_NONE)),
)
"""No link-local address, hence no duplicate address detection and no router solicitations on this link."""

_KINDS = {"bridge": "bridge", "veth": "veth", "vxlan": "vxlan", "dummy": "dummy"}


def header(index: int = 0, flags: int = 0, change: int = 0, family: int = rt.AF_UNSPEC) -> bytes:
    """struct ifinfomsg."""
    return rt.IFINFOMSG.pack(family, 0, index, flags, change)


def add(link: Link, index: Index, *, peer_fd: int = -1) -> list[bytes]:
    """The requests that create `link`. `peer_fd`: the namespace of a veth's peer, -1 for the same one.

    Bridge port modes and a bridge's lasting MTU need requests of their own: not heeded in the one that creates.
    """
    up = rt.IFF_UP if link.up else 0
    attributes = [nl.text(rt.IFLA_IFNAME, link.name)]
    if link.mac:
        attributes.append(nl.attr(rt.IFLA_ADDRESS, nl.mac_bytes(link.mac)))
    if link.mtu:
        attributes.append(nl.u32(rt.IFLA_MTU, link.mtu))
    if link.master:
        attributes.append(nl.u32(rt.IFLA_MASTER, index(link.master)))
    attributes.append(_info(link, index, peer_fd))
    flags = nl.NLM_F_CREATE | nl.NLM_F_EXCL
    requests = [nl.message(rt.RTM_NEWLINK, flags, header(0, up, rt.IFF_UP), *attributes)]
    if link.kind == "bridge" and link.mtu:  # given at creation it lasts until the first port comes or goes
        wanted = (attributes[0], nl.u32(rt.IFLA_MTU, link.mtu))
        requests.append(nl.message(rt.RTM_NEWLINK, 0, header(), *wanted))
    if link.hairpin:
        requests.append(port_mode(link.name, hairpin=True))
    return requests


def _info(link: Link, index: Index, peer_fd: int) -> bytes:
    kind = nl.text(rt.IFLA_INFO_KIND, _KINDS[link.kind])
    if link.kind == "bridge":
        return nl.nested(rt.IFLA_LINKINFO, kind, nl.nested(rt.IFLA_INFO_DATA, nl.u32(rt.IFLA_BR_STP_STATE, link.stp)))
    if link.kind == "vxlan" and link.vxlan is not None:
        return nl.nested(rt.IFLA_LINKINFO, kind, nl.nested(rt.IFLA_INFO_DATA, *_vxlan(link.vxlan, index)))
    if link.kind == "veth" and link.peer is not None:
        peer = [header(), nl.text(rt.IFLA_IFNAME, link.peer[1])]
        peer += [nl.u32(rt.IFLA_MTU, link.mtu)] if link.mtu else []
        peer += [nl.u32(rt.IFLA_NET_NS_FD, peer_fd)] if peer_fd >= 0 else []
        return nl.nested(rt.IFLA_LINKINFO, kind, nl.nested(rt.IFLA_INFO_DATA, nl.nested(rt.VETH_INFO_PEER, *peer)))
    return nl.nested(rt.IFLA_LINKINFO, kind)


def _vxlan(vxlan: Vxlan, index: Index) -> Sequence[bytes]:
    return (
        nl.u32(rt.IFLA_VXLAN_ID, vxlan.vni),
        nl.u32(rt.IFLA_VXLAN_LINK, index(vxlan.dev)),
        nl.attr(rt.IFLA_VXLAN_LOCAL6 if ":" in vxlan.local else rt.IFLA_VXLAN_LOCAL, nl.ip_bytes(vxlan.local)),
        nl.u8(rt.IFLA_VXLAN_LEARNING, vxlan.learning),
        nl.attr(rt.IFLA_VXLAN_PORT, nl.BE16.pack(vxlan.port)),
    )


def change(link: Link, old: Link, index: Index) -> list[bytes]:
    """The requests that turn `old` (which exists) into `link`: only what differs is sent.

    An address is changed before the link goes up: some drivers refuse it afterwards.
    """
    attributes = [nl.text(rt.IFLA_IFNAME, link.name)]
    if link.mac and link.mac != old.mac:
        attributes.append(nl.attr(rt.IFLA_ADDRESS, nl.mac_bytes(link.mac)))
    if link.mtu and link.mtu != old.mtu:
        attributes.append(nl.u32(rt.IFLA_MTU, link.mtu))
    if link.master != old.master:
        attributes.append(nl.u32(rt.IFLA_MASTER, index(link.master) if link.master else 0))
    requests = []
    if len(attributes) > 1:
        requests.append(nl.message(rt.RTM_NEWLINK, 0, header(), *attributes))
    if link.kind == "bridge" and link.stp != old.stp:
        requests.append(nl.message(rt.RTM_NEWLINK, 0, header(), attributes[0], _info(link, index, -1)))
    if link.up != old.up:
        requests.append(set_up(link.name, link.up))
    if link.hairpin != old.hairpin:
        requests.append(port_mode(link.name, hairpin=link.hairpin))
    return requests


def delete(name: str) -> bytes:
    """RTM_DELLINK by name."""
    return nl.message(rt.RTM_DELLINK, 0, header(), nl.text(rt.IFLA_IFNAME, name))


GROUP = 0x6E65746C
"""The device group in which links are gathered to be deleted at once ("netl")."""


def delete_group(names: Sequence[str]) -> list[bytes]:
    """Gather links in a group, then delete the group: the kernel waits once for all of them."""
    gather = [
        nl.message(rt.RTM_NEWLINK, 0, header(), nl.text(rt.IFLA_IFNAME, name), nl.u32(rt.IFLA_GROUP, GROUP))
        for name in names
    ]
    return [*gather, nl.message(rt.RTM_DELLINK, 0, header(), nl.u32(rt.IFLA_GROUP, GROUP))]


def set_up(name: str, up: bool) -> bytes:
    """Set a link up or down, by name."""
    return nl.message(rt.RTM_NEWLINK, 0, header(0, rt.IFF_UP if up else 0, rt.IFF_UP), nl.text(rt.IFLA_IFNAME, name))


def no_ipv6(name: str) -> bytes:
    """Keep a link from giving itself an IPv6 link-local address. To be sent before it goes up."""
    return nl.message(rt.RTM_NEWLINK, 0, header(), nl.text(rt.IFLA_IFNAME, name), NO_IPV6)


def alias(name: str, words: str) -> bytes:
    """Write a note on a link, which `ip link` shows; empty words take it away."""
    note = nl.attr(rt.IFLA_IFALIAS, words.encode())
    return nl.message(rt.RTM_NEWLINK, 0, header(), nl.text(rt.IFLA_IFNAME, name), note)


def alias_of(reply: nl.Message) -> str:
    """The note on the link of a link message."""
    return nl.cstring(nl.attributes(reply.body, 16).get(rt.IFLA_IFALIAS, b""))


def port_mode(name: str, *, hairpin: bool) -> bytes:
    """A bridge port's hairpin mode, as `ip link set … type bridge_slave hairpin on` sends it."""
    data = nl.nested(rt.IFLA_INFO_SLAVE_DATA, nl.u8(rt.IFLA_BRPORT_MODE, hairpin))
    info = nl.nested(rt.IFLA_LINKINFO, nl.text(rt.IFLA_INFO_SLAVE_KIND, "bridge"), data)
    return nl.message(rt.RTM_NEWLINK, 0, header(), nl.text(rt.IFLA_IFNAME, name), info)


def get(name: str) -> bytes:
    """RTM_GETLINK of one link."""
    return nl.message(rt.RTM_GETLINK, 0, header(), nl.text(rt.IFLA_IFNAME, name))


GET_ALL = nl.message(rt.RTM_GETLINK, 0, header())


def index_of(reply: nl.Message) -> int:
    """The interface index in a link message."""
    found: int = rt.IFINFOMSG.unpack_from(reply.body)[2]
    return found


def name_of(reply: nl.Message) -> str:
    """The interface name in a link message."""
    return nl.cstring(nl.attributes(reply.body, 16)[rt.IFLA_IFNAME])


def decode(reply: nl.Message, names: dict[int, str]) -> Link:
    """The link in an RTM_NEWLINK message. `names` resolves masters and underlay devices."""
    _, _, _, flags, _ = rt.IFINFOMSG.unpack_from(reply.body)
    found = nl.attributes(reply.body, 16)
    info = nl.attributes(found.get(rt.IFLA_LINKINFO, b""))
    kind = nl.cstring(info.get(rt.IFLA_INFO_KIND, b""))
    data = nl.attributes(info.get(rt.IFLA_INFO_DATA, b""))
    port = nl.attributes(info.get(rt.IFLA_INFO_SLAVE_DATA, b""))
    master = found.get(rt.IFLA_MASTER)
    return Link(
        name=nl.cstring(found[rt.IFLA_IFNAME]),
        kind="loopback" if flags & rt.IFF_LOOPBACK else kind if kind in _KINDS else "device",  # type: ignore[arg-type]
        mac=nl.mac_text(found[rt.IFLA_ADDRESS]) if rt.IFLA_ADDRESS in found else None,
        mtu=nl.U32.unpack(found[rt.IFLA_MTU])[0],
        master=names.get(nl.U32.unpack(master)[0]) if master else None,
        up=bool(flags & rt.IFF_UP),
        vxlan=_decode_vxlan(data, names) if kind == "vxlan" else None,
        stp=kind == "bridge" and any(data.get(rt.IFLA_BR_STP_STATE, b"")),
        hairpin=any(port.get(rt.IFLA_BRPORT_MODE, b"")),
    )


def _decode_vxlan(data: dict[int, bytes], names: dict[int, str]) -> Vxlan:
    index = nl.U32.unpack(data.get(rt.IFLA_VXLAN_LINK, b"\0\0\0\0"))[0]
    local = data.get(rt.IFLA_VXLAN_LOCAL) or data.get(rt.IFLA_VXLAN_LOCAL6)
    return Vxlan(
        vni=nl.U32.unpack(data[rt.IFLA_VXLAN_ID])[0],
        local=nl.ip_text(local) if local else "",
        dev=names.get(index, ""),
        port=nl.BE16.unpack(data[rt.IFLA_VXLAN_PORT])[0],
        learning=any(data.get(rt.IFLA_VXLAN_LEARNING, b"")),
    )
