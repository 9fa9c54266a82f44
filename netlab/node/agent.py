"""The agent process: hosts many nodes, each with its own client, kubelet, overlay and proxy, on one event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from netlab.client.client import Client
from netlab.node.config import AgentConfig, NodeConfig
from netlab.runtime.contract import Runtime


class StartProxy(Protocol):
    """The narrow hook by which the service proxy is started on a node: runs until cancelled."""

    def __call__(self, node: NodeConfig, agent: AgentConfig, client: Client) -> Awaitable[None]: ...


async def run_agent(
    config: AgentConfig,
    runtime: Runtime,
    *,
    ready: Callable[[], None] = lambda: None,
    start_proxy: StartProxy | None = None,
) -> None:
    """Host every node of `config` until cancelled; `ready` is called once all kubelet listeners are open.

    Idempotent: a new agent adopts the pods its runtime still lists, and the network it finds.
    """
    raise NotImplementedError
