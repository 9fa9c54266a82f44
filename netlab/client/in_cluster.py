"""What a server in a pod must know of its own network: where the API is, and on which addresses to listen."""

from __future__ import annotations

import os
from pathlib import Path

_GLOBAL = "00"
"""The scope of a global address in /proc/net/if_inet6."""


def api_url() -> str:
    """The API by the pod's environment, as client-go's rest.InClusterConfig; SystemExit with its message where that
    says nothing."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise SystemExit("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and _PORT must be defined")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def any_address() -> tuple[str, ...]:
    """The hosts to bind to for all of the pod's addresses: IPv6's too where it has one of its own."""
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        lines = []
    has_ipv6 = any(line.split()[3] == _GLOBAL for line in lines if len(line.split()) > 3)
    return ("0.0.0.0", "::") if has_ipv6 else ("0.0.0.0",)
