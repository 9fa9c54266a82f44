"""The scheduler as an ordinary process outside of any lab: `python -m netlab.scheduler --kubeconfig FILE`.

It needs nothing but the kubeconfig, as a real kube-scheduler does; the flags are kube-scheduler's.
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
from netlab.scheduler import SchedulerConfig, run_scheduler


def main() -> None:
    """Until SIGTERM or SIGINT. Exit status 1 and one sentence where the kubeconfig cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m netlab.scheduler", description="Schedules pods of a cluster.")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="identity: system:kube-scheduler")
    parser.add_argument(
        "--leader-elect", type=_truth, default=True, help="wait for the Lease kube-system/kube-scheduler"
    )
    parser.add_argument("--scheduler-name", default="default-scheduler", help="which pods it schedules")
    parser.add_argument("--upstream-timing", action="store_true", help="Kubernetes' own periods, not a lab's")
    parser.add_argument("--secure-port", type=int, default=0, help="health and metrics over HTTPS; 0: nowhere")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        url, context, token = load(options.kubeconfig)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{options.kubeconfig}: {error}") from None
    config = SchedulerConfig(
        scheduler_name=options.scheduler_name,
        identity=f"{socket.gethostname()}_{new_uid()}",
        elect=options.leader_elect,
        secure_port=options.secure_port,
        timing=timing(options.upstream_timing),
    )
    asyncio.run(_run(Client(HttpTransport(url, context, token, user_agent=user_agent("kube-scheduler"))), config))


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("true or false")
    return text.lower() == "true"


async def _run(client: Client, config: SchedulerConfig) -> None:
    task = asyncio.ensure_future(run_scheduler(client, config))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger("netlab.scheduler").info("process %d ends", os.getpid())
    finally:
        await client.close()


if __name__ == "__main__":
    main()
