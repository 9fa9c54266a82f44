"""Routes of the main table as netlink messages, and back."""

from __future__ import annotations

from netlab.dataplane.model import Hop, Op, Route
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt
from netlab.kernel.links import Index

_FLAGS = {"add": nl.NLM_F_CREATE | nl.NLM_F_EXCL, "change": nl.NLM_F_CREATE | nl.NLM_F_REPLACE, "del": 0}


def request(op: Op, route: Route, index: Index) -> bytes:
    """Add (EEXIST where there is one to the same destination), replace or delete a route."""
    raw, length = _destination(route.dst)
    reject = route.kind != "unicast"
    direct = not route.via and not route.hops and not reject
    scope = rt.RT_SCOPE_LINK if direct else rt.RT_SCOPE_UNIVERSE
    if op == "del":
        scope = rt.RT_SCOPE_NOWHERE
    kind = rt.ROUTE_TYPE_NUMBERS[route.kind] if op != "del" or reject else 0
    protocol = rt.PROTOCOL_NUMBERS[route.protocol] if op != "del" else 0
    flags = rt.RTNH_F_ONLINK if route.onlink and not route.hops else 0
    body = rt.RTMSG.pack(_family(route), length, 0, 0, rt.RT_TABLE_MAIN, protocol, scope, kind, flags)
    attributes = [nl.attr(rt.RTA_DST, raw)] if length else []
    if route.hops:
        hops = b"".join(_hop(hop, route.onlink, index) for hop in route.hops)
        attributes.append(nl.attr(rt.RTA_MULTIPATH, hops))
    else:
        attributes += [nl.attr(rt.RTA_GATEWAY, nl.ip_bytes(route.via))] if route.via else []
        attributes += [nl.u32(rt.RTA_OIF, index(route.dev))] if route.dev else []
    attributes += [nl.attr(rt.RTA_PREFSRC, nl.ip_bytes(route.src))] if route.src and op != "del" else []
    attributes += [nl.u32(rt.RTA_PRIORITY, route.metric)] if route.metric else []
    return nl.message(rt.RTM_DELROUTE if op == "del" else rt.RTM_NEWROUTE, _FLAGS[op], body, *attributes)


def _hop(hop: Hop, onlink: bool, index: Index) -> bytes:
    gateway = nl.attr(rt.RTA_GATEWAY, nl.ip_bytes(hop.via)) if hop.via else b""
    flags = rt.RTNH_F_ONLINK if onlink else 0
    return rt.RTNEXTHOP.pack(rt.RTNEXTHOP.size + len(gateway), flags, hop.weight - 1, index(hop.dev)) + gateway


def _destination(dst: str) -> tuple[bytes, int]:
    if dst == "default":
        return b"", 0
    ip, _, length = dst.partition("/")
    raw = nl.ip_bytes(ip)
    return raw, int(length or 8 * len(raw))


def _family(route: Route) -> int:
    return rt.family_of(route.dst if route.dst != "default" else route.via or "")


GET_ALL = nl.message(rt.RTM_GETROUTE, 0, rt.RTMSG.pack(rt.AF_INET, 0, 0, 0, rt.RT_TABLE_MAIN, 0, 0, 0, 0))
GET_ALL6 = nl.message(rt.RTM_GETROUTE, 0, rt.RTMSG.pack(rt.AF_INET6, 0, 0, 0, rt.RT_TABLE_MAIN, 0, 0, 0, 0))


def decode(reply: nl.Message, names: dict[int, str]) -> Route | None:
    """The route in an RTM_NEWROUTE message; None where it is of another table or kind than the model knows."""
    family, length, _, _, table, protocol, scope, kind, flags = rt.RTMSG.unpack_from(reply.body)
    if table != rt.RT_TABLE_MAIN or kind not in rt.ROUTE_TYPES:
        return None
    found = nl.attributes(reply.body, rt.RTMSG.size)
    hops = _decode_hops(found.get(rt.RTA_MULTIPATH, b""), names)
    v6 = family == rt.AF_INET6
    anywhere = "::/0" if v6 else "default"
    dst = f"{nl.ip_text(found[rt.RTA_DST])}/{length}" if rt.RTA_DST in found else anywhere
    metric = nl.U32.unpack(found[rt.RTA_PRIORITY])[0] if rt.RTA_PRIORITY in found else 0
    return Route(
        dst=dst,
        dev=names.get(nl.U32.unpack(found[rt.RTA_OIF])[0], "") if rt.RTA_OIF in found else "",
        via=nl.ip_text(found[rt.RTA_GATEWAY]) if rt.RTA_GATEWAY in found else None,
        onlink=bool(flags & rt.RTNH_F_ONLINK),
        src=nl.ip_text(found[rt.RTA_PREFSRC]) if rt.RTA_PREFSRC in found else None,
        scope=rt.SCOPES.get(scope, str(scope)) if scope != rt.RT_SCOPE_UNIVERSE else None,
        metric=0 if v6 and metric == rt.IP6_RT_PRIO_USER else metric,  # what IPv6 gives a route that asks for none
        hops=hops,
        protocol=rt.PROTOCOLS.get(protocol, str(protocol)),
        kind=rt.ROUTE_TYPES[kind],  # type: ignore[arg-type]
    )


def _decode_hops(data: bytes, names: dict[int, str]) -> tuple[Hop, ...]:
    hops = []
    offset = 0
    while offset + rt.RTNEXTHOP.size <= len(data):
        length, _, weight, index = rt.RTNEXTHOP.unpack_from(data, offset)
        found = nl.attributes(data[: offset + length], offset + rt.RTNEXTHOP.size)
        via = nl.ip_text(found[rt.RTA_GATEWAY]) if rt.RTA_GATEWAY in found else None
        hops.append(Hop(via, names.get(index, f"if{index}"), weight + 1))
        offset += (length + 3) & ~3
    return tuple(hops)
