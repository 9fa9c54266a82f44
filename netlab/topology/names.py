"""What may be called what: Kubernetes names and labels (RFC 1123 as upstream reads it), and interface names."""

from __future__ import annotations

import re

_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]+")
_SWITCH = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_RANGE = re.compile(r"(.*?)(\d+)\.\.(\d+)")

INTERFACE_MAX = 15
"""IFNAMSIZ less the final zero byte."""

RESERVED_INTERFACES = frozenset(
    {"lo", "docker0", "cni0", "flannel.1", "kube-ipvs0", "kube-bridge", "kube-dummy-if", ".", ".."}
)


def is_node_name(text: str) -> bool:
    """Whether the API would accept it as the name of a Node (DNS-1123 subdomain; also used as a host name)."""
    return len(text) <= 63 and _SUBDOMAIN.fullmatch(text) is not None


def is_switch_name(text: str) -> bool:
    return len(text) <= INTERFACE_MAX and _SWITCH.fullmatch(text) is not None and text not in RESERVED_INTERFACES


def is_interface_name(text: str) -> bool:
    return len(text) <= INTERFACE_MAX and _INTERFACE.fullmatch(text) is not None and text not in RESERVED_INTERFACES


def is_label_key(text: str) -> bool:
    prefix, slash, name = text.rpartition("/")
    if slash and not (len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix)):
        return False
    return len(name) <= 63 and _LABEL_NAME.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    return not text or (len(text) <= 63 and _LABEL_NAME.fullmatch(text) is not None)


def is_dns_domain(text: str) -> bool:
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def expand(text: str) -> tuple[str, ...] | None:
    """`node1..4` to node1, node2, node3, node4; a plain name to itself; None where the range runs backwards."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return (text,)
    first, last = int(match[2]), int(match[3])
    if last < first or last - first >= 10_000:
        return None
    width = len(match[2]) if match[2].startswith("0") else 0
    return tuple(f"{match[1]}{number:0{width}d}" for number in range(first, last + 1))
