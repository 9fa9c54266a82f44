# ruff: noqa: ASYNC110
"""Bodies' helpers for tests of the real runtime: run inside a lab."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from netlab.runtime.contract import ContainerConfig, ContainerStatus, DnsConfig, SandboxConfig, Session
from netlab.runtime.real import SandboxRuntime

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.40"
LOGS = "/run/netlab/test-logs"


def netns(name: str) -> str:
    """A pod's network namespace with lo up."""
    if not Path(f"/run/netns/{name}").exists():
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    return f"/run/netns/{name}"


class Pod:
    """One pod; `run` starts a container in it, `output` runs one to its end and returns its text."""

    def __init__(self, runtime: SandboxRuntime, id_: str) -> None:
        self.runtime, self.id = runtime, id_
        self._number = 0

    async def run(self, *argv: str, **changes: Any) -> str:
        self._number += 1
        name = f"c{self._number}"
        config = {"name": name, "image": "netlab/host", "command": argv, "log_path": f"{name}.log", **changes}
        return await self.runtime.start_container(ContainerConfig(sandbox_id=self.id, **config))

    async def output(self, *argv: str, **changes: Any) -> str:
        id_ = await self.run(*argv, **changes)
        status = await ended(self.runtime, id_)
        return text(status)


def text(status: ContainerStatus, stream: str = "") -> str:
    """What a container wrote, its lines put together again."""
    out = ""
    for line in Path(status.log_path).read_text().splitlines():
        _stamp, name, tag, rest = line.split(" ", 3)
        if not stream or name == stream:
            out += rest + ("\n" if tag == "F" else "")
    return out


async def ended(runtime: SandboxRuntime, id_: str, seconds: float = 15) -> ContainerStatus:
    async with asyncio.timeout(seconds):
        while (status := await runtime.container_status(id_)).state != "exited":
            await asyncio.sleep(0.01)
    return status


async def read_until(session: Session, mark: bytes, seconds: float = 15) -> bytes:
    data = b""
    async with asyncio.timeout(seconds):
        while mark not in data:
            part = await session.read("stdout")
            if not part:
                break
            data += part
    return data


@contextlib.asynccontextmanager
async def pod(name: str = "web", **changes: Any) -> AsyncIterator[Pod]:
    runtime = await SandboxRuntime.connect()
    config = SandboxConfig(
        **{
            "node": "node1",
            "namespace": "default",
            "name": name,
            "uid": f"uid-{name}",
            "hostname": name,
            "netns": netns(f"cni-{name}"),
            "ips": ("10.244.1.5",),
            "dns": DnsConfig(("10.96.0.10",), ("default.svc.cluster.local", "cluster.local"), ("ndots:5",)),
            "log_directory": f"{LOGS}/{time.time_ns()}",
            **changes,
        }
    )
    id_ = await runtime.run_sandbox(config)
    try:
        yield Pod(runtime, id_)
    finally:
        await runtime.remove_sandbox(id_)
        await runtime.close()
