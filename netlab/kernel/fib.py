"""All routing tables and policy rules of a namespace, as a packet meets them: what `ip rule` and `ip route show table
all` print. `routes` knows the main table, which is all that netlab writes; the trace must know what others wrote."""

from __future__ import annotations

from collections.abc import Mapping

from netlab.dataplane.fib import FibRoute, PolicyRule
from netlab.kernel import netlink as nl
from netlab.kernel import routes
from netlab.kernel import rtnl as rt
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs

RTM_GETRULE = 34
RTA_METRICS, RTAX_MTU = 8, 2
KINDS = {1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable",
         8: "prohibit", 9: "throw"}  # fmt: skip
ACTIONS = {1: "table", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}


def dumps(family: int) -> tuple[bytes, bytes]:
    """The requests for routes and for rules."""
    return (
        nl.message(rt.RTM_GETROUTE, 0, rt.RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)),
        nl.message(RTM_GETRULE, 0, rt.RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)),
    )


def decode_route(reply: nl.Message, names: Mapping[int, str]) -> FibRoute | None:
    """None for a cached or cloned entry."""
    family, length, _, _, table, protocol, scope, kind, flags = rt.RTMSG.unpack_from(reply.body)
    if flags & 0x200:
        return None
    found = nl.attributes(reply.body, rt.RTMSG.size)

    def ip(which: int) -> str:
        return nl.ip_text(found[which]) if which in found else ""

    def number(which: int) -> int:
        return int(nl.U32.unpack(found[which])[0]) if which in found else 0

    anywhere = "::" if family == rt.AF_INET6 else "0.0.0.0"
    return FibRoute(
        table=number(rt.RTA_TABLE) or table,
        dst=f"{ip(rt.RTA_DST) or anywhere}/{length}",
        kind=KINDS.get(kind, str(kind)),
        dev=names.get(number(rt.RTA_OIF), ""),
        via=ip(rt.RTA_GATEWAY),
        src=ip(rt.RTA_PREFSRC),
        metric=number(rt.RTA_PRIORITY),
        onlink=bool(flags & rt.RTNH_F_ONLINK),
        scope=scope,
        protocol=protocol,
        hops=routes._decode_hops(found.get(rt.RTA_MULTIPATH, b""), dict(names)),
        dead=bool(flags & 0x1),
    )


def path_mtu(ns: NetNs, dst: str) -> int:
    """The path MTU that a router's ICMP error has told this namespace for `dst`; 0 for none, or without a route."""
    packed = nl.ip_bytes(dst)
    family = rt.AF_INET6 if len(packed) == 16 else rt.AF_INET
    body = rt.RTMSG.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    try:
        reply = ns.netlink.get(nl.message(rt.RTM_GETROUTE, 0, body, nl.attr(rt.RTA_DST, packed)), f"the route to {dst}")
    except KernelError:
        return 0
    found = nl.attributes(reply.body, rt.RTMSG.size)
    metrics = nl.attributes(found.get(RTA_METRICS, b""), 0)
    return int(nl.U32.unpack(metrics[RTAX_MTU])[0]) if RTAX_MTU in metrics else 0


def decode_rule(reply: nl.Message) -> PolicyRule:
    _, dst_len, src_len, tos, table, _, _, action, flags = rt.RTMSG.unpack_from(reply.body)
    found = nl.attributes(reply.body, rt.RTMSG.size)

    def number(which: int) -> int:
        return int(nl.U32.unpack(found[which])[0]) if which in found else 0

    known = {1, 2, 3, 6, 10, 13, 14, 15, 16, 17, 19, 21}
    strange = sorted(set(found) - known) + (["tos"] if tos else [])
    return PolicyRule(
        priority=number(6),
        action=ACTIONS.get(action, str(action)),
        table=number(15) or table,
        dst=f"{nl.ip_text(found[1])}/{dst_len}" if 1 in found else "",
        src=f"{nl.ip_text(found[2])}/{src_len}" if 2 in found else "",
        iif=nl.cstring(found.get(3, b"")),
        oif=nl.cstring(found.get(17, b"")),
        mark=number(10),
        mask=number(16),
        invert=bool(flags & 2),
        unknown=f"attributes {strange}" if strange else "",
    )
