"""The controllers as an ordinary process outside of any lab: `python -m netlab.controllers --kubeconfig FILE`.

The flags are kube-controller-manager's, those that it has here.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from netlab.api.meta import new_uid
from netlab.api.timing import timing
from netlab.api.version import user_agent
from netlab.client.client import Client
from netlab.client.kubeconfig import load
from netlab.client.transport import HttpTransport
from netlab.controllers import ControllersConfig, run_controllers


def main() -> None:
    """Until SIGTERM or SIGINT. Exit status 1 and one sentence where a file cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m netlab.controllers", description="Runs a cluster's controllers.")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="identity: system:kube-controller-manager")
    parser.add_argument("--controllers", default="*", help="names, separated by commas; * is all")
    parser.add_argument("--leader-elect", choices=("true", "false"), default="true", help="wait for the Lease")
    parser.add_argument("--cluster-cidr", default="10.244.0.0/16")
    parser.add_argument("--service-cluster-ip-range", default="10.96.0.0/12")
    parser.add_argument("--node-cidr-mask-size", type=int, default=24)
    parser.add_argument("--cluster-name", default="netlab")
    parser.add_argument("--root-ca-file", type=Path, help="published in every namespace")
    parser.add_argument("--cluster-signing-key-file", type=Path, help="signs approved certificate requests")
    parser.add_argument("--service-account-private-key-file", type=Path, help="signs the tokens in Secrets")
    parser.add_argument("--upstream-timing", action="store_true", help="Kubernetes' own periods, not a lab's")
    parser.add_argument("--secure-port", type=int, default=0, help="health and metrics over HTTPS; 0: nowhere")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        url, context, token = load(options.kubeconfig)
        authority = options.root_ca_file.read_text() if options.root_ca_file else ""
        key = options.cluster_signing_key_file.read_text() if options.cluster_signing_key_file else ""
        accounts = options.service_account_private_key_file
        account_key = accounts.read_text() if accounts else ""
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    config = ControllersConfig(
        cluster_cidr=options.cluster_cidr,
        service_cidr=options.service_cluster_ip_range,
        node_mask=options.node_cidr_mask_size,
        root_ca=authority,
        signing_key=key,
        account_key=account_key,
        cluster_name=options.cluster_name,
        controllers=() if options.controllers == "*" else tuple(options.controllers.split(",")),
        identity=f"{socket.gethostname()}_{new_uid()}",
        elect=options.leader_elect == "true",
        secure_port=options.secure_port,
        timing=timing(options.upstream_timing),
    )
    asyncio.run(
        _run(Client(HttpTransport(url, context, token, user_agent=user_agent("kube-controller-manager"))), config)
    )


async def _run(client: Client, config: ControllersConfig) -> None:
    task = asyncio.ensure_future(run_controllers(client, config))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger("netlab.controllers").info("process %d ends", os.getpid())
    except ValueError as error:
        raise SystemExit(str(error)) from None
    finally:
        await client.close()


if __name__ == "__main__":
    main()
