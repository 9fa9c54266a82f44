"""A small proxy of somebody else's, for tests: given a kubeconfig alone it keeps one DNAT rule for each Service port.

    python standin_proxy.py --kubeconfig FILE     in a node's namespace; prints "ready"

It ends, and its chain with it, when its standard input does.

It speaks the API by the public `kubernetes` client and netfilter by iptables, as a real kube-proxy does, and has
nothing of netlab's.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from kubernetes import client, config, watch

CHAIN = "STANDIN-SERVICES"
HOOKS = ("PREROUTING", "OUTPUT")


def iptables(*arguments: str) -> None:
    subprocess.run(["iptables", "-t", "nat", *arguments], check=True)


def rules(core: client.CoreV1Api, discovery: client.DiscoveryV1Api) -> Iterator[str]:
    """To the first ready endpoint."""
    slices = discovery.list_endpoint_slice_for_all_namespaces().items
    for service in core.list_service_for_all_namespaces().items:
        owner = (service.metadata.namespace, service.metadata.name)
        for port in service.spec.ports or ():
            ends = [
                f"{endpoint.addresses[0]}:{target.port}"
                for one in slices
                if (one.metadata.namespace, (one.metadata.labels or {}).get("kubernetes.io/service-name")) == owner
                for target in one.ports or ()
                if (target.name or "") == (port.name or "") and target.protocol == port.protocol
                for endpoint in one.endpoints or ()
                if endpoint.conditions.ready
            ]
            if ends and service.spec.cluster_ip not in (None, "", "None"):
                yield (
                    f"-A {CHAIN} -d {service.spec.cluster_ip}/32 -p {port.protocol.lower()} --dport {port.port}"
                    f" -j DNAT --to-destination {sorted(ends)[0]}"
                )


def write(lines: list[str]) -> None:
    text = "\n".join(["*nat", f":{CHAIN} - [0:0]", *lines, "COMMIT", ""])
    subprocess.run(["iptables-restore", "--noflush"], input=text, text=True, check=True)


def follow(listing: Callable[..., Any], changed: threading.Event) -> None:
    while True:
        with contextlib.suppress(Exception):  # the server was away: watch again
            for _event in watch.Watch().stream(listing, timeout_seconds=300):
                changed.set()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubeconfig", required=True)
    config.load_kube_config(parser.parse_args().kubeconfig)
    core, discovery = client.CoreV1Api(), client.DiscoveryV1Api()
    changed, ended = threading.Event(), threading.Event()
    for listing in (core.list_service_for_all_namespaces, discovery.list_endpoint_slice_for_all_namespaces):
        threading.Thread(target=follow, args=(listing, changed), daemon=True).start()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    written = list(rules(core, discovery))
    write(written)
    for hook in HOOKS:
        iptables("-A", hook, "-j", CHAIN)
    try:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not ended.is_set():
            changed.wait(0.5)
            changed.clear()
            wanted = list(rules(core, discovery))
            if wanted != written:
                write(wanted)
                written = wanted
    finally:
        for hook in HOOKS:
            iptables("-D", hook, "-j", CHAIN)
        iptables("-F", CHAIN)
        iptables("-X", CHAIN)


if __name__ == "__main__":
    main()
