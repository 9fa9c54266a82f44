"""A node's power: off at once, with all that runs on it, and on again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

from netlab.lab.faults import kernel, processes
from netlab.lab.faults.places import Pod
from netlab.lab.faults.processes import COMPONENT
from netlab.sandbox.client import InitClient
from netlab.sandbox.spec import ProcessSpec, SandboxError

DEATH_TIMEOUT, LOOK_AGAIN = 5.0, 0.02
Spawn = Callable[[InitClient, ProcessSpec], Awaitable[None]]


async def cut(init: InitClient, node: str, pods: Sequence[Pod], control_plane: Sequence[ProcessSpec]) -> None:
    """Kill everything that runs on the node, and have its kernel forget. Its agent has let go of it already."""
    for spec in control_plane:
        with contextlib.suppress(SandboxError):
            await init.kill(spec.id, signal.SIGKILL, stop=True)
    for process in processes.of_node(await init.list(), node):
        with contextlib.suppress(SandboxError):
            await init.kill(process.id, signal.SIGKILL)
    agents = [p.pid for p in await init.list(COMPONENT) if p.id not in {spec.id for spec in control_plane}]
    spaces = [pod.netns for pod in pods if pod.node == node and pod.own_network]
    for pid in processes.within([node, *spaces], agents):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for _ in range(int(DEATH_TIMEOUT / LOOK_AGAIN)):
        if not processes.of_node(await init.list(), node):
            break
        await asyncio.sleep(LOOK_AGAIN)
    await asyncio.to_thread(kernel.forget_all, node)
    await asyncio.to_thread(kernel.remove_namespaces, spaces)


async def restore(init: InitClient, control_plane: Sequence[ProcessSpec], spawn: Spawn) -> None:
    """The control plane's processes of the node run again."""
    for spec in control_plane:
        with contextlib.suppress(SandboxError):
            await init.forget(spec.id)
        await spawn(init, spec)
