"""URLs, addresses and networks. Sources followed: apiserver `pkg/cel/library/urls.go`, `ip.go`, `cidr.go`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

from netlab.api.cel.errors import CelError
from netlab.api.cel.library import costs
from netlab.api.cel.types import Overload, overload

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute URL or an absolute path, taken apart."""

    cel_type: ClassVar[str] = "kubernetes.URL"
    scheme: str
    host: str
    path: str
    query: str


@dataclass(frozen=True, slots=True)
class Ip:
    cel_type: ClassVar[str] = "net.IP"
    value: Address


@dataclass(frozen=True, slots=True)
class Cidr:
    """`value` keeps the host's bits."""

    cel_type: ClassVar[str] = "net.CIDR"
    value: ipaddress.IPv4Interface | ipaddress.IPv6Interface


def parse_url(text: str) -> Url:
    """Raises CelError."""
    try:
        if re.search(r"[\x00-\x20\x7f]", text) or re.search(r"%(?![0-9a-fA-F]{2})", text):
            raise ValueError(text)
        parts = urlsplit(text)
        _ = parts.port
        if not parts.scheme and not text.startswith("/"):
            raise ValueError(text)
        if parts.scheme and not parts.netloc and not parts.path.startswith("/"):
            raise ValueError(text)
    except ValueError:
        raise CelError(
            f'URL parse error during conversion from string: parse "{text}": invalid URI for request'
        ) from None
    host = parts.netloc.rpartition("@")[2]
    return Url(parts.scheme, host, parts.path, parts.query)


def _hostname(url: Url) -> str:
    if url.host.startswith("["):
        return url.host[1:].partition("]")[0]
    return url.host.partition(":")[0]


def _port(url: Url) -> str:
    match = re.search(r":(\d*)$", url.host)
    return match[1] if match else ""


def _query(url: Url) -> dict[str, list[str]]:
    return parse_qs(url.query, keep_blank_values=True)


def _escaped_path(url: Url) -> str:
    return quote(unquote(url.path), safe="/$&+,;=:@!'()*~-._")


def parse_ip(text: str) -> Ip:
    """Raises CelError with upstream's reasons."""
    if "%" in text:
        raise CelError(f'IP address "{text}" with zone value is not allowed')
    try:
        value = ipaddress.ip_address(text)
    except ValueError:
        raise CelError(
            f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): unable to parse IP'
        ) from None
    if isinstance(value, ipaddress.IPv6Address) and value.ipv4_mapped is not None:
        raise CelError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return Ip(value)


def parse_cidr(text: str) -> Cidr:
    """Raises CelError with upstream's reasons."""
    try:
        if not re.fullmatch(r"[^/%]+/\d{1,3}", text) or re.search(r"/0\d", text):
            raise ValueError(text)
        value = ipaddress.ip_interface(text)
    except ValueError:
        why = (
            f"netip.ParsePrefix(\"{text}\"): no '/'"
            if "/" not in text
            else f'netip.ParsePrefix("{text}"): unable to parse'
        )
        raise CelError(f"network address parse error during conversion from string: {why}") from None
    if isinstance(value, ipaddress.IPv6Interface) and value.ip.ipv4_mapped is not None:
        raise CelError("IPv4-mapped IPv6 address is not allowed")
    return Cidr(value)


def _parses(parse: Any) -> Any:
    def test(text: str) -> bool:
        try:
            parse(text)
        except CelError:
            return False
        return True

    return test


def _canonical(text: str) -> bool:
    return str(parse_ip(text).value) == text


def _holds(network: Cidr, inner: Address | Network) -> bool:
    outer = network.value.network
    if isinstance(inner, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return inner in outer
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def overloads() -> list[Overload]:
    text = costs.first
    rows: list[tuple[str, Any]] = [
        ("url(string) -> kubernetes.URL", parse_url),
        ("isURL(string) -> bool", _parses(parse_url)),
        ("ip(string) -> net.IP", parse_ip),
        ("isIP(string) -> bool", _parses(parse_ip)),
        ("!ip.isCanonical(string) -> bool", _canonical),
        ("cidr(string) -> net.CIDR", parse_cidr),
        ("isCIDR(string) -> bool", _parses(parse_cidr)),
    ]
    found = [overload(signature, call, text) for signature, call in rows]
    plain: list[tuple[str, Any]] = [
        ("getScheme() -> string", lambda a: a.scheme),
        ("getHost() -> string", lambda a: a.host),
        ("getHostname() -> string", _hostname),
        ("getPort() -> string", _port),
        ("getEscapedPath() -> string", _escaped_path),
        ("getQuery() -> map(string, list(string))", _query),
    ]
    found += [member("kubernetes.URL", signature, call) for signature, call in plain]
    of_ip: list[tuple[str, Any]] = [
        ("family() -> int", lambda a: a.value.version),
        ("isUnspecified() -> bool", lambda a: a.value.is_unspecified),
        ("isLoopback() -> bool", lambda a: a.value.is_loopback),
        (
            "isLinkLocalMulticast() -> bool",
            lambda a: a.value in ipaddress.ip_network("224.0.0.0/24" if a.value.version == 4 else "ff02::/16"),
        ),
        ("isLinkLocalUnicast() -> bool", lambda a: a.value.is_link_local),
        ("isGlobalUnicast() -> bool", _global_unicast),
    ]
    found += [member("net.IP", signature, call) for signature, call in of_ip]
    of_cidr: list[tuple[str, Any]] = [
        ("containsIP(net.IP) -> bool", lambda a, b: _holds(a, b.value)),
        ("containsIP(string) -> bool", lambda a, b: _holds(a, parse_ip(b).value)),
        ("containsCIDR(net.CIDR) -> bool", lambda a, b: _holds(a, b.value.network)),
        ("containsCIDR(string) -> bool", lambda a, b: _holds(a, parse_cidr(b).value.network)),
        ("ip() -> net.IP", lambda a: Ip(a.value.ip)),
        ("prefixLength() -> int", lambda a: a.value.network.prefixlen),
        ("masked() -> net.CIDR", lambda a: Cidr(ipaddress.ip_interface(str(a.value.network)))),
    ]
    found += [member("net.CIDR", signature, call) for signature, call in of_cidr]
    found.append(overload("string(net.IP) -> string", lambda a: str(a.value)))
    found.append(overload("string(net.CIDR) -> string", lambda a: str(a.value)))
    return found


def member(target: str, signature: str, call: Any) -> Overload:
    """A member of a type whose name has dots."""
    made = overload(f"X.{signature}", call)
    kind = overload(f"f({target}) -> bool", call).params[0]
    return Overload(made.function, (kind, *made.params[1:]), made.result, True, call)


def _global_unicast(ip: Ip) -> bool:
    """As Go: neither unspecified, loopback, multicast, link-local nor the broadcast address."""
    value = ip.value
    special = value.is_unspecified or value.is_loopback or value.is_multicast or value.is_link_local
    return not special and str(value) != "255.255.255.255"
