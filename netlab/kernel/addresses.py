"""Addresses as netlink messages, and back."""

from __future__ import annotations

from netlab.dataplane.model import Address
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt
from netlab.kernel.links import Index


def _message(kind: int, flags: int, address: Address, index: Index) -> bytes:
    ip, _, length = address.cidr.partition("/")
    raw = nl.ip_bytes(ip)
    if len(raw) == 16:
        body = rt.IFADDRMSG.pack(rt.AF_INET6, int(length or 128), rt.IFA_F_NODAD, 0, index(address.dev))
        return nl.message(kind, flags, body, nl.attr(rt.IFA_LOCAL, raw), nl.attr(rt.IFA_ADDRESS, raw))
    prefix = int(length or 32)
    scope = rt.SCOPE_NUMBERS[address.scope]
    attributes = [nl.attr(rt.IFA_LOCAL, raw), nl.attr(rt.IFA_ADDRESS, raw)]
    if prefix < 31 and not ip.startswith("127."):
        number = int.from_bytes(raw, "big") | (0xFFFFFFFF >> prefix)
        attributes.append(nl.attr(rt.IFA_BROADCAST, number.to_bytes(4, "big")))
    body = rt.IFADDRMSG.pack(rt.AF_INET, prefix, 0, scope, index(address.dev))
    return nl.message(kind, flags, body, *attributes)


def add(address: Address, index: Index) -> bytes:
    """Add an address; one that is there already is no error."""
    return _message(rt.RTM_NEWADDR, nl.NLM_F_CREATE | nl.NLM_F_REPLACE, address, index)


def delete(address: Address, index: Index) -> bytes:
    """Delete an address."""
    return _message(rt.RTM_DELADDR, 0, address, index)


GET_ALL = nl.message(rt.RTM_GETADDR, 0, rt.IFADDRMSG.pack(rt.AF_INET, 0, 0, 0, 0))
GET_ALL6 = nl.message(rt.RTM_GETADDR, 0, rt.IFADDRMSG.pack(rt.AF_INET6, 0, 0, 0, 0))


def decode(reply: nl.Message, names: dict[int, str]) -> Address:
    """The address in an RTM_NEWADDR message."""
    _, prefix, _, scope, index = rt.IFADDRMSG.unpack_from(reply.body)
    found = nl.attributes(reply.body, 8)
    ip = nl.ip_text(found.get(rt.IFA_LOCAL) or found[rt.IFA_ADDRESS])
    return Address(names.get(index, f"if{index}"), f"{ip}/{prefix}", rt.SCOPES.get(scope, str(scope)))
