"""IP addresses and CIDRs as upstream takes them (the legacy, sloppy form: leading zeros of IPv4 are allowed)."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from netlab.api.validation.field import FieldError, invalid

_MESSAGE = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_MESSAGE = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(maxsize=4096)
def parse_ip(text: str) -> Address | None:
    """The address, None where the text is none."""
    if ":" not in text:
        text = re.sub(r"(^|\.)0+(?=\d)", r"\1", text)
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found if not (isinstance(found, ipaddress.IPv6Address) and found.scope_id) else None


def family(text: str) -> str:
    """`IPv6` for an IPv6 address, else `IPv4`."""
    return "IPv6" if isinstance(parse_ip(text), ipaddress.IPv6Address) else "IPv4"


def valid_ip(text: str, field: str) -> list[FieldError]:
    """`IsValidIPForLegacyField`."""
    return [] if parse_ip(text) is not None else [invalid(field, text, _MESSAGE)]


def valid_cidr(text: str, field: str) -> list[FieldError]:
    """`IsValidCIDRForLegacyField`."""
    address, slash, length = text.partition("/")
    found = parse_ip(address)
    if found is None or not slash or not re.fullmatch(r"\d{1,3}", length) or int(length) > found.max_prefixlen:
        return [invalid(field, text, _CIDR_MESSAGE)]
    return []


def dual_stack(texts: list[str]) -> bool:
    """Whether there is at least one address of each family."""
    return {family(one) for one in texts} == {"IPv4", "IPv6"}


def not_special(text: str, field: str) -> list[FieldError]:
    """`ValidateNonSpecialIP`: no unspecified, loopback or link-local addresses."""
    address = parse_ip(text)
    if address is None:
        return [invalid(field, text, "must be a valid IP address")]
    found = []
    if address.is_unspecified:
        found.append(invalid(field, text, f"may not be unspecified ({text})"))
    if address.is_loopback:
        found.append(invalid(field, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if address.is_link_local:
        found.append(invalid(field, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if any(address in one for one in _LINK_LOCAL_MULTICAST if one.version == address.version):
        detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        found.append(invalid(field, text, detail))
    return found
