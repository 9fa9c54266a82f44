"""From `klab up` to a pod's first answer by DNS name, by phase: `python -m tests.bench.bench_start [RUNS]`.

Every run is a lab of its own (the three nodes of `course`) that never ran before: PKI, store and all. The clock starts
with the process `klab up` and stops when a pod, created once `klab up` has returned, has connected to the Service
`kubernetes` by name, through the cluster's DNS.
"""

from __future__ import annotations

import asyncio
import sys
import time

from netlab.client.client import Client
from netlab.client.kubeconfig import load
from netlab.client.transport import HttpTransport
from tests.bench.labs import BenchLab, busy_machine, lab, median
from tests.bench.peers import table

RUNS = 5
TARGET = 2.0
PODS = ("v1", "pods")
CALLER = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "caller", "namespace": "default"},
    "spec": {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "caller",
                "image": "registry.k8s.io/e2e-test-images/agnhost:2.47",
                "args": ["connect", "kubernetes.default:443", "--timeout=10s"],
            }
        ],
    },
}


async def call_by_name(bench: BenchLab) -> float:
    """Seconds until the pod has had its answer. RuntimeError when it fails."""
    began = time.monotonic()
    url, context, token = load(bench.kubeconfig)
    client = Client(HttpTransport(url, context, token))
    try:
        await client.create(PODS, CALLER, "default")
        listed = await client.list(PODS, "default", field_selector="metadata.name=caller")
        async for _, pod in client.watch(PODS, "default", resource_version=listed["metadata"]["resourceVersion"]):
            phase = pod.get("status", {}).get("phase")
            if phase == "Succeeded":
                return time.monotonic() - began
            if phase == "Failed":
                raise RuntimeError(f"the caller failed: {bench.kubectl('logs', 'caller')}")
    finally:
        await client.close()
    raise RuntimeError("the watch ended")


def one_run(number: int) -> tuple[dict[str, float], float, float]:
    """Phase → seconds it added; CPU seconds of the lab; share of the machine that others took."""
    busy, total = busy_machine()
    with lab(f"start{number}", "course") as bench:
        caller = asyncio.run(asyncio.wait_for(call_by_name(bench), 60))
        busy_after, total_after = busy_machine()
        cpu = sum(bench.cpu().values())
    phases: dict[str, float] = {}
    before = 0.0
    for phase in bench.phases:
        phases[phase["name"]] = phase["seconds"] - before
        before = phase["seconds"]
    phases["klab itself"] = bench.seconds - before
    phases["first answer by name"] = caller
    return phases, cpu, max(0.0, busy_after - busy - cpu) / (total_after - total)


def main() -> None:
    runs = [one_run(number) for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)]
    names = list(runs[0][0])
    rows = [[name, *(median([run[0][name] for run in runs]), min(run[0][name] for run in runs))] for name in names]
    totals = [sum(run[0].values()) for run in runs]
    rows.append(["klab up to the first answer", median(totals), min(totals)])
    rows.append(["CPU seconds of the lab", median([run[1] for run in runs]), min(run[1] for run in runs)])
    table(f"Start of a lab of three nodes, seconds, {len(runs)} runs (target {TARGET:g})", ["", "median", "best"], rows)
    others = median([run[2] for run in runs])
    print(f"other work on this machine meanwhile: {others:.0%} of its processors")


if __name__ == "__main__":
    main()
