"""The cluster's certificates and keys, as kubeadm lays them out, on EC P-256.

`ensure_pki` is idempotent: it reads what is there and makes what is missing (or what no longer names the server).
Files in the directory: ca.crt/.key, apiserver.crt/.key, apiserver-kubelet-client.crt/.key, front-proxy-ca.crt/.key,
front-proxy-client.crt/.key, sa.key/.pub; certificates made by `ensure_client` and `ensure_server` beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netlab.api.types import Obj

ADMIN = ("kubernetes-admin", ("kubeadm:cluster-admins", "system:masters"))
CONTROLLER_MANAGER = ("system:kube-controller-manager", ())
SCHEDULER = ("system:kube-scheduler", ())


@dataclass(frozen=True)
class KeyPair:
    """PEM encoded."""

    cert: bytes
    key: bytes


@dataclass(frozen=True)
class Pki:
    directory: Path
    ca: KeyPair
    apiserver: KeyPair
    kubelet_client: KeyPair
    front_proxy_ca: KeyPair
    front_proxy_client: KeyPair
    sa_key: bytes
    sa_pub: bytes


def ensure_pki(directory: Path, sans: Sequence[str] = ()) -> Pki:
    """The whole PKI; `sans` are names or IPs of the API server besides the usual ones."""
    raise NotImplementedError


def node_identity(node: str) -> tuple[str, tuple[str, ...]]:
    """User and groups of a node's kubelet."""
    return f"system:node:{node}", ("system:nodes",)


def client_cert(pki: Pki, user: str, groups: Sequence[str] = ()) -> KeyPair:
    """A fresh client certificate (CN = user, O = groups), signed by the cluster's CA, valid for a year."""
    raise NotImplementedError


def server_cert(pki: Pki, common_name: str, sans: Sequence[str]) -> KeyPair:
    """A fresh serving certificate, as a kubelet presents on its port."""
    raise NotImplementedError


def ensure_client(pki: Pki, name: str, user: str, groups: Sequence[str] = ()) -> KeyPair:
    """As `client_cert`, kept as <name>.crt and <name>.key in the PKI's directory."""
    raise NotImplementedError


def ensure_server(pki: Pki, name: str, common_name: str, sans: Sequence[str]) -> KeyPair:
    """As `server_cert`, kept as <name>.crt and <name>.key; made anew when `sans` are not covered."""
    raise NotImplementedError


def kubeconfig(
    server: str, ca: bytes, pair: KeyPair, *, cluster: str = "netlab", user: str = "admin", namespace: str = ""
) -> Obj:
    """A kubeconfig object with everything embedded; `server` is the URL."""
    raise NotImplementedError
