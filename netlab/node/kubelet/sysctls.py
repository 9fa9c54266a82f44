"""Which kernel parameters a pod may set for itself. Pure; follows upstream pkg/kubelet/sysctl."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.node.kubelet.podspec import host_network

SAFE = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)
"""Namespaced, and without effect on other pods: allowed unless a kubelet is told otherwise."""


def dotted(name: str) -> str:
    """`net/ipv4/conf.0/x` and `net.ipv4.conf/0.x` are the same parameter; this is the second form."""
    first = next((char for char in name if char in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def wanted(spec: Obj) -> tuple[tuple[str, str], ...]:
    """(name, value) of the pod's parameters."""
    context = spec.get("securityContext") or {}
    return tuple((dotted(one["name"]), str(one.get("value") or "")) for one in context.get("sysctls") or ())


def forbidden(spec: Obj) -> str | None:
    """Why the node does not take the pod; None where it does."""
    for name, _ in wanted(spec):
        if name not in SAFE:
            return f'forbidden sysctl: "{name}" not allowlisted'
        if name.startswith("net.") and host_network(spec):
            return f'forbidden sysctl: "{name}" not allowed with host net enabled'
    return None
