"""The PKI of a lab and everybody's kubeconfig. Idempotent: what is there and still right stays.

Written by the API server's process before it serves; the others are started once it answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from netlab.apiserver import pki
from netlab.lab.components import api_url, component_kubeconfig, node_kubeconfig
from netlab.lab.record import LabError, load_record, write_atomically
from netlab.sandbox.paths import LabPaths
from netlab.topology import load
from netlab.topology.model import Topology

ADDONS = ("netlab:addons", ("system:masters",))
KUBE_PROXY: tuple[str, tuple[str, ...]] = ("system:kube-proxy", ())
FLANNEL = (
    "system:serviceaccount:kube-flannel:flannel",
    ("system:serviceaccounts", "system:serviceaccounts:kube-flannel"),
)
KUBE_NETWORK_POLICIES = (
    "system:serviceaccount:kube-system:kube-network-policies",
    ("system:serviceaccounts", "system:serviceaccounts:kube-system"),
)
"""As upstream, proxy and overlay do not act with the node's own identity, which may see only its own node."""


def inside_url(paths: LabPaths) -> str:
    """Where the lab's own machines find the API."""
    return api_url(load(paths.topology))


def write_credentials(paths: LabPaths, topology: Topology, server_names: Sequence[str]) -> None:
    """CA and serving certificates, one kubeconfig for each component and node, and the user's own."""
    record = load_record(paths)
    if record is None:
        raise LabError(f"{paths.lab_json}: missing; 'klab up' writes it")
    authority = pki.ensure_pki(paths.pki, server_names)
    inside = api_url(topology)
    identities = {
        "controller-manager": pki.CONTROLLER_MANAGER,
        "scheduler": pki.SCHEDULER,
        "addons": ADDONS,
        "kube-proxy": KUBE_PROXY,
        "flannel": FLANNEL,
        "kube-network-policies": KUBE_NETWORK_POLICIES,
    }
    for name, (user, groups) in identities.items():
        _kubeconfig(component_kubeconfig(paths, name), inside, authority, name, user, groups)
    for node in topology.nodes:
        user, groups = pki.node_identity(node.name)
        _kubeconfig(node_kubeconfig(paths, node.name), inside, authority, f"kubelet-{node.name}", user, groups)
        addresses = [ip for end in topology.attachments(node.name) for ip in (end.ip, end.ip6) if ip]
        pki.ensure_server(
            authority, f"kubelet-{node.name}-serving", f"system:node:{node.name}", [node.name, *addresses]
        )
    pair = pki.ensure_client(authority, "admin", *pki.ADMIN)
    config = pki.kubeconfig(record.api_url, authority.ca.cert, pair, cluster=paths.name, user=f"{paths.name}-admin")
    write_atomically(paths.kubeconfig, yaml.safe_dump(config, sort_keys=False))


def kubeconfig_for(paths: LabPaths, server: str, user: str, groups: Sequence[str]) -> str:
    """A kubeconfig with a certificate for any user, signed now by the lab's authority; kept nowhere."""
    authority = pki.ensure_pki(paths.pki)
    pair = pki.client_cert(authority, user, groups)
    config = pki.kubeconfig(server, authority.ca.cert, pair, cluster=paths.name, user=user)
    return yaml.safe_dump(config, sort_keys=False)


def _kubeconfig(path: Path, server: str, authority: pki.Pki, name: str, user: str, groups: Sequence[str]) -> None:
    """JSON is YAML too, and ten times quicker to write and read."""
    pair = pki.ensure_client(authority, name, user, groups)
    text = json.dumps(pki.kubeconfig(server, authority.ca.cert, pair, user=user))
    if not path.exists() or path.read_text() != text:
        write_atomically(path, text)
