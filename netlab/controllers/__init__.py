"""The controllers of a cluster, one file each: a pure `plan` from a snapshot to changes, and a thin reconcile.

They read from informers and write only through the API. May not: talk to nodes, to the store, or to each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netlab.api.timing import LAB, Timing
from netlab.client.client import Client


@dataclass(frozen=True)
class ControllersConfig:
    """`root_ca` is the PEM published as kube-root-ca.crt; `controllers` names those to run, empty is all.

    `signing_key` is the PEM of the CA's key, which signs approved certificate requests; empty: nothing is signed.

    `account_key` is the PEM of the key that signs tokens of ServiceAccounts; empty: their Secrets stay as they are.

    `node_order` names the nodes that get the first pod ranges, one after the other, whoever registers first.

    `load_balancer_pool` are the ranges of addresses for LoadBalancer Services; none: those stay pending.

    `secure_port` is where health and metrics are served over HTTPS; 0: nowhere. Upstream's is 10257.

    `elect` False (one control plane) adopts the leader's Lease at once instead of waiting for it to expire.
    """

    cluster_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    node_mask6: int = 64
    node_mask: int = 24
    node_order: tuple[str, ...] = ()
    root_ca: str = ""
    signing_key: str = field(default="", repr=False)
    account_key: str = field(default="", repr=False)
    cluster_name: str = "netlab"
    load_balancer_pool: tuple[str, ...] = ()
    controllers: tuple[str, ...] = ()
    identity: str = "controller-manager"
    elect: bool = False
    secure_port: int = 0
    timing: Timing = LAB


async def run_controllers(client: Client, config: ControllersConfig) -> None:
    """Run all controllers until cancelled."""
    from netlab.controllers.manager import run

    await run(client, config)
