"""Names of kube-proxy's chains, fixed and hashed (upstream: `pkg/proxy/iptables/proxier.go`, portProtoHash)."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from netlab.dataplane.services.model import ServicePortName

SERVICES = "KUBE-SERVICES"
EXTERNAL_SERVICES = "KUBE-EXTERNAL-SERVICES"
NODEPORTS = "KUBE-NODEPORTS"
POSTROUTING = "KUBE-POSTROUTING"
MARK_MASQ = "KUBE-MARK-MASQ"
FORWARD = "KUBE-FORWARD"
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"
KUBELET_FIREWALL = "KUBE-FIREWALL"
CANARY = "KUBE-PROXY-CANARY"

HASHED = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-")


def _hash(text: str) -> str:
    """The first 16 letters of the base32 SHA-256: chain names may have 28 characters."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode()


@lru_cache(maxsize=32768)
def service_hash(name: ServicePortName) -> str:
    return _hash(f"{name}{name.protocol.lower()}")


def cluster_chain(name: ServicePortName) -> str:
    """Endpoints under policy Cluster."""
    return f"KUBE-SVC-{service_hash(name)}"


def local_chain(name: ServicePortName) -> str:
    """Endpoints under policy Local."""
    return f"KUBE-SVL-{service_hash(name)}"


def external_chain(name: ServicePortName) -> str:
    """Traffic to external addresses."""
    return f"KUBE-EXT-{service_hash(name)}"


def firewall_chain(name: ServicePortName) -> str:
    """Traffic to a load balancer's address that loadBalancerSourceRanges must let in."""
    return f"KUBE-FW-{service_hash(name)}"


@lru_cache(maxsize=32768)
def endpoint_chain(name: ServicePortName, endpoint: str) -> str:
    """One endpoint, as "address:port"."""
    return f"KUBE-SEP-{_hash(f'{name}{name.protocol.lower()}{endpoint}')}"


def is_hashed(chain: str) -> bool:
    """Whether the chain belongs to one service port: such chains are ours to remove."""
    return chain.startswith(HASHED)
