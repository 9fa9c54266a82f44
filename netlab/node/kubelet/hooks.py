"""Lifecycle hooks: postStart and preStop, by exec, HTTP or sleep. Upstream pkg/kubelet/lifecycle/handlers.go."""

from __future__ import annotations

import asyncio

from netlab.api.types import Obj
from netlab.node.kubelet.ports import NodeContext
from netlab.node.kubelet.probeactions import HOOK_AGENT, run_http
from netlab.node.kubelet.probes import port_number
from netlab.runtime.contract import ContainerError

HOOK_TIMEOUT = 30.0


class HookError(Exception):
    """A hook failed; the text is upstream's."""


async def run_hook(context: NodeContext, hook: Obj, container: Obj, container_id: str, pod_ip: str) -> None:
    """Run one hook to its end. Raises HookError."""
    if action := hook.get("exec"):
        await _exec(context, action.get("command") or [], container_id)
    elif action := hook.get("httpGet"):
        try:
            port = port_number(action["port"], container)
        except ValueError as problem:
            raise HookError(str(problem)) from problem
        host = action.get("host") or pod_ip
        result = await run_http(context.sockets, action, host, port, HOOK_TIMEOUT, HOOK_AGENT)
        if not result.success:
            raise HookError(result.output)
    elif action := hook.get("sleep"):
        await asyncio.sleep(float(action.get("seconds") or 0))
    else:
        raise HookError("invalid handler: <nil>")


async def _exec(context: NodeContext, command: list[str], container_id: str) -> None:
    try:
        done = await context.runtime.exec_sync(container_id, command)
    except ContainerError as problem:
        raise HookError(str(problem)) from problem
    if done.exit_code:
        output = (done.stdout + done.stderr).decode("utf-8", "replace")
        words = " ".join(command)
        raise HookError(f"command '{words}' exited with {done.exit_code}: {output}, message: {output!r}")
