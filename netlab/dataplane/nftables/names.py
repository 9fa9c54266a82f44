"""Names of kube-proxy's nftables objects (upstream: `pkg/proxy/nftables/proxier.go`)."""

from __future__ import annotations

import hashlib
from itertools import product

from netlab.dataplane.services.model import Endpoint, ServicePortName

CLUSTER_IPS = "cluster-ips"
NODEPORT_IPS = "nodeport-ips"
SERVICE_IPS = "service-ips"
SERVICE_NODEPORTS = "service-nodeports"
NO_ENDPOINT_SERVICES = "no-endpoint-services"
NO_ENDPOINT_NODEPORTS = "no-endpoint-nodeports"
FIREWALL_IPS = "firewall-ips"
MARK_FOR_MASQUERADE = "mark-for-masquerade"
REJECT_CHAIN = "reject-chain"

BASE_LENGTH = 256 - 16
"""What nftables allows for a name, less the longest prefix."""

HASHED = ("service-", "local-", "external-", "firewall-", "endpoint-", "affinity-")


def base(name: ServicePortName) -> str:
    """HASH-namespace/service/protocol/port"""
    return _hashed(f"{name.namespace}/{name.name}/{name.protocol.lower()}/{name.port}")


def endpoint_base(name: ServicePortName, endpoint: Endpoint) -> str:
    """HASH-namespace/service/protocol/port__address/port; an IPv6 address with dots for colons."""
    address = endpoint.ip.replace(":", ".")
    return _hashed(f"{name.namespace}/{name.name}/{name.protocol.lower()}/{name.port}__{address}/{endpoint.port}")


_PAIRS = tuple(map("".join, product("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", repeat=2)))
"""What ten bits are in base 32."""


def _hashed(text: str) -> str:
    bits = int.from_bytes(hashlib.sha256(text.encode()).digest()[:5], "big")
    digest = _PAIRS[bits >> 30] + _PAIRS[bits >> 20 & 1023] + _PAIRS[bits >> 10 & 1023] + _PAIRS[bits & 1023]
    name = f"{digest}-{text}"
    return name if len(name) <= BASE_LENGTH else f"{name[: BASE_LENGTH - 3]}..."


def is_hashed(name: str) -> bool:
    """Whether it belongs to one service port."""
    return name.startswith(HASHED) and name not in (SERVICE_IPS, SERVICE_NODEPORTS) and "/" in name
