"""A trace of one flow: what it takes, first and when the lab's tracer is warm, by `klab`, by `netlab.Lab`, and inside.

The flow is a pod's to a Service with an endpoint on another node: some twelve interfaces, VXLAN, a hundred rules. The
processor's time stands beside the clock's: on a busy machine it is the better measure. `inside` is the trace alone:
tables read, way computed, packet sent and watched, both compared.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from netlab.lab import tracing
from netlab.lab.facade import Lab
from netlab.lab.finding import pick
from tests.bench.labs import BenchLab, lab
from tests.bench.peers import table
from tests.labs.tools import descendants

ROUNDS = 10
DEPLOYMENT = (
    "kubectl create deployment web --image=registry.k8s.io/e2e-test-images/agnhost:2.45 --replicas=2 --port=8080 "
)


def timed(bench: BenchLab, action: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median seconds of the clock, of the processor in this process and its ended children, and in the lab's tracer."""
    walls, used, inside = [], [], []
    for _ in range(rounds):
        began, before, there = time.perf_counter(), os.times(), tracer_time(bench)
        action()
        walls.append(time.perf_counter() - began)
        after = os.times()
        used.append(sum(after[:4]) - sum(before[:4]))
        inside.append(tracer_time(bench) - there)
    return statistics.median(walls), statistics.median(used), statistics.median(inside)


def tracer_time(bench: BenchLab) -> float:
    """Seconds of processor that the lab's process that traces has used so far."""
    total = 0.0
    for pid in descendants(bench.init_pid):
        with contextlib.suppress(OSError):
            if b"netlab.trace.session" in Path(f"/proc/{pid}/cmdline").read_bytes():
                for task in Path(f"/proc/{pid}/task").iterdir():
                    total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


def prepare(bench: BenchLab) -> None:
    def run(command: str) -> None:
        subprocess.run(
            command.split(), env={**bench.environment, "KUBECONFIG": str(bench.kubeconfig)}, check=True, stdout=-3
        )

    run(DEPLOYMENT + "-- /agnhost netexec --http-port=8080")
    run("kubectl expose deployment web --port=80 --target-port=8080")
    run("kubectl run client --image=busybox --restart=Never -- sleep 100000")
    run("kubectl wait pod --all --for=condition=Ready --timeout=60s")


def main() -> None:
    with lab("tracing", "course") as bench, mock.patch.dict(os.environ, bench.environment):
        prepare(bench)
        asked = tracing.Asked("default/client", "svc/web")
        paths = pick(bench.name)
        rows = []

        def whole() -> None:
            found = tracing.trace(paths, asked)
            assert found.observed is not None and found.difference is None, found.difference

        began = time.perf_counter()
        whole()
        rows.append(("first trace of a lab, netlab.Lab", time.perf_counter() - began, 0.0, tracer_time(bench)))
        request = tracing.request(tracing.Scene.of(paths), asked)
        rows.append(
            ("warm, klab trace", *timed(bench, lambda: bench.klab("trace", "default/client", "svc/web"), ROUNDS))
        )
        attached = Lab.attach(bench.name)
        rows.append(
            ("warm, netlab.Lab.trace", *timed(bench, lambda: attached.trace("default/client", "svc/web"), ROUNDS))
        )
        rows.append(("warm, inside the lab", *timed(bench, lambda: tracing.run(paths, request), ROUNDS)))
        table(
            "A trace of one flow, pod to Service over VXLAN",
            ("", "ms", "ms of processor: klab", "inside the lab", "waits"),
            [
                (name, *(1e3 * one for one in (wall, cpu, inside, wall - cpu - inside)))
                for name, wall, cpu, inside in rows
            ],
        )


if __name__ == "__main__":
    main()
