"""How fast the sandbox and the runtime are, and how big: python tests/bench/bench_runtime.py [PODS]

A table of one run on one machine. The peer for starting is what a shell script would do: util-linux's `unshare` making
the same namespaces around a sleep, one process each; read the ratios.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "kernel"))
from runtime_pods import AGNHOST, netns
from sandbox_lab import running

from netlab.runtime.contract import ContainerConfig, SandboxConfig
from netlab.runtime.real import SandboxRuntime
from netlab.sandbox.client import InitClient
from netlab.sandbox.spec import ProcessSpec

PEERS = 50


def proportional(pids: list[int]) -> float:
    """Mean PSS in kB."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / max(1, len(pids))


def timed(count: int, call: Callable[[], Any]) -> float:
    """Things per second."""
    started = time.perf_counter()
    call()
    return count / (time.perf_counter() - started)


async def inside(pods: int, directory: str) -> dict[str, float]:
    found: dict[str, float] = {}
    client = await InitClient.connect()
    plain = [ProcessSpec(f"plain/{n}", target="time:sleep", args=(1000,)) for n in range(pods)]
    started = time.perf_counter()
    await asyncio.gather(*(client.spawn(spec) for spec in plain))
    found["forks of PID 1 per second"] = pods / (time.perf_counter() - started)
    for spec in plain:
        await client.kill(spec.id, 9)
    runtime = await SandboxRuntime.connect()
    path = netns("bench")

    async def pod(number: int, image: str, command: tuple[str, ...], args: tuple[str, ...]) -> None:
        name = f"p{number}"
        config = SandboxConfig("n1", "ns", name, name, path, hostname=name, log_directory=f"{directory}/{name}")
        sandbox = await runtime.run_sandbox(config)
        await runtime.start_container(ContainerConfig(sandbox, "c", image, 0, command, args, log_path="c.log"))

    for title, image, command, args in (
        ("builtin", AGNHOST, (), ("pause",)),
        ("builtin server", AGNHOST, (), ("serve-hostname", "--http=false")),
        ("busybox", "busybox", ("sleep", "1000"), ()),
    ):
        await pod(9999, image, command, args)
        started = time.perf_counter()
        await asyncio.gather(*(pod(number, image, command, args) for number in range(pods)))
        found[f"{title} pods per second"] = pods / (time.perf_counter() - started)
        pauses = [s.pid for s in await runtime.list_sandboxes()]
        containers = [c.pid for c in await runtime.list_containers() if c.pid]
        found[f"{title} pod, kB PSS"] = proportional(pauses) + proportional(containers)
        started = time.perf_counter()
        await asyncio.gather(*(runtime.remove_sandbox(s.id) for s in await runtime.list_sandboxes()))
        found[f"{title} pods removed per second"] = pods / (time.perf_counter() - started)
    found["PID 1, kB PSS"] = proportional([1])
    return found


def peers(box: Any) -> float:
    def start() -> None:
        command = ["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "sleep", "1000"]
        running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(PEERS)]
        for process in running:
            process.kill()
            process.wait()

    return float(box.call(timed, PEERS, start))


def main() -> None:
    pods = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    started = time.perf_counter()
    with running() as box:
        launched = time.perf_counter() - started
        found = box.call(inside, pods, str(box.paths.pods))
        peer = peers(box)
    rows = [
        ("launch: namespaces and PID 1, ms", launched * 1000),
        *found.items(),
        ("peer: unshare … sleep per second", peer),
    ]
    rows.append(("builtin pods (2 processes) / peer (1 process)", found["builtin pods per second"] / peer))
    print(f"{pods} pods, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for title, value in rows:
        print(f"  {title:50} {value:10.1f}")


if __name__ == "__main__":
    main()
