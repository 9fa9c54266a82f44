"""Addresses that are taken for old times' sake: leading zeros, IPv4 in IPv6's clothes, other spellings of IPv6. PURE.

Source followed: apimachinery `pkg/util/validation/ip.go`, `GetWarningsForIP` and `GetWarningsForCIDR`.
"""

from __future__ import annotations

import ipaddress

from netlab.api.validation.addresses import Address, parse_ip
from netlab.api.validation.gofmt import quote

_LATER = "will be considered invalid in a future Kubernetes release"


def of_ip(path: str, text: str) -> list[str]:
    address = parse_ip(text)
    if address is None:
        return []
    if not _standard(address, text):
        return [f"{path}: non-standard IP address {quote(text)} {_LATER}: use {quote(str(address))}"]
    if address.version == 6 and str(address) != text:
        return [f"{path}: IPv6 address {quote(text)} should be in RFC 5952 canonical format ({quote(str(address))})"]
    return []


def of_cidr(path: str, text: str) -> list[str]:
    word, _, length = text.partition("/")
    address = parse_ip(word)
    if address is None or not length.isdigit():
        return []
    bits = int(length) - (96 if address.version == 4 and ":" in word else 0)
    network = ipaddress.ip_network((address, min(max(bits, 0), address.max_prefixlen)), strict=False)
    found = []
    if network.network_address != address:
        alone = f"{address}/{address.max_prefixlen}"
        found.append(
            f"{path}: CIDR value {quote(text)} is ambiguous in this context "
            f"(should be {quote(str(network))} or {quote(alone)}?)"
        )
    if not _standard(address, word) or length != str(int(length)):
        found.append(f"{path}: non-standard CIDR value {quote(text)} {_LATER}: use {quote(str(network))}")
    if not found and address.version == 6 and str(network) != text:
        form = f"should be in RFC 5952 canonical format ({quote(str(network))})"
        found.append(f"{path}: IPv6 CIDR value {quote(text)} {form}")
    return found


def _standard(address: Address, text: str) -> bool:
    """Whether Go's netip reads it too, as the same family: no leading zeros of IPv4, no IPv4-mapped IPv6."""
    return address.version == 6 or str(address) == text
