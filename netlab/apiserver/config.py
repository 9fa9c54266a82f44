"""Everything an API server is told at its start; no other source of settings."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class ApiServerConfig:
    """Addresses are textual IPs, times are seconds; CIDRs are one network, or one of each family with a comma between.

    `listen` are addresses to bind (in the network namespace of the calling process); `listen_fds` are sockets that
    somebody else bound, already listening or not. `advertise_address` is what the `kubernetes` Service leads to.
    """

    state_dir: Path
    listen: tuple[tuple[str, int], ...] = ()
    listen_fds: tuple[int, ...] = ()
    advertise_address: str = "127.0.0.1"
    advertise_port: int = 6443
    service_cidr: str = "10.96.0.0/12"
    pod_cidr: str = "10.244.0.0/16"
    dns_domain: str = "cluster.local"
    cluster_name: str = "netlab"
    node_port_range: tuple[int, int] = (30000, 32767)
    kubelet_port: int = 10250
    server_names: tuple[str, ...] = ()
    """Further names and addresses of the serving certificate (node addresses)."""
    authorization: Literal["RBAC", "AlwaysAllow"] = "RBAC"
    anonymous: bool = True
    min_request_timeout: float = 1800.0
    """A watch without timeoutSeconds lasts between this and twice this, as upstream's --min-request-timeout."""
    header_seconds: float = 32.0
    """How long a request's head may take to come, as upstream's ReadHeaderTimeout."""
    request_seconds: float = 60.0
    """How long its body may, as upstream's --request-timeout."""
    history_seconds: float = 300.0
    """How long deleted and superseded versions can be watched and listed, as etcd's compaction interval upstream."""
    bookmark_seconds: float = 60.0
    default_toleration_seconds: int = 300
    """How long pods tolerate a node that is not ready or unreachable, unless they say otherwise."""
    static_tokens: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Bearer token → (user, groups)."""
    token_file: Path | None = None
    """More of them, as upstream's --token-auth-file; it need not be there."""
    audit_policy: Path | None = None
    """An audit.k8s.io/v1 Policy; without the file there is no audit log."""
    audit_log: Path | None = None
    seats: int = 600
    """Requests that may be worked on at a time, shared out to the priority levels."""

    @property
    def store_path(self) -> Path:
        return self.state_dir / "store" / "api.db"

    @property
    def pki_dir(self) -> Path:
        return self.state_dir / "pki"
