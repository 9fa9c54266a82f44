"""What the kubelet needs of the world around it, as narrow protocols, and the bundle that carries them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from netlab.api.timing import Timing
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.dataplane.hostports import PortMapping
from netlab.node.config import AgentConfig, NodeConfig
from netlab.runtime.contract import Runtime

PARALLEL_REQUESTS = 4
"""Requests for pods that one node has under way at once. Each needs a connection, and a TLS handshake costs as much as
ten requests; the server gains nothing from a longer queue."""


class Recorder(Protocol):
    """Events about objects; never blocks, never raises."""

    def event(
        self, obj: Obj, type_: str, reason: str, message: str, *, field_path: str = "", action: str = ""
    ) -> None: ...


class PodWiring(Protocol):
    """The pods' network namespaces of one node."""

    async def attach(self, uid: str, ips: Sequence[str]) -> str:
        """Make the pod's namespace and join it to the node's bridge; the namespace's path. Raises OSError."""
        ...

    async def open_ports(self, uid: str, mappings: Sequence[PortMapping]) -> None:
        """Lead the node's ports to a pod that is attached, until it is detached. Raises OSError, CommandFailed."""
        ...

    async def detach(self, uid: str) -> None:
        """Take it away again; nothing there is no error."""
        ...

    def netns_path(self, uid: str) -> str:
        """Where the pod's namespace is pinned."""
        ...


class Sockets(Protocol):
    """Opens sockets inside one network namespace."""

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket: ...


@dataclass(slots=True)
class NodeContext:
    """One node, as everything in its kubelet sees it. Shared by all its pod workers.

    `requests` bounds the pods' own requests to the API server; `clock` is wall time."""

    config: NodeConfig
    agent: AgentConfig
    timing: Timing
    client: Client
    recorder: Recorder
    runtime: Runtime
    wiring: PodWiring
    sockets: Sockets
    pod_sockets: Callable[[str], Sockets]
    requests: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL_REQUESTS))
    clock: Callable[[], float] = time.time

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def host_ips(self) -> tuple[str, ...]:
        return self.config.ips

    @property
    def netns_path(self) -> str:
        return f"/run/netns/{self.config.netns}"

    def pod_dir(self, uid: str) -> Path:
        """What one pod has on disk: `<volume>/`."""
        return self.agent.pods_path / "data" / uid

    def memory_dir(self, uid: str) -> Path:
        """What it has on the lab's tmpfs: secrets, tokens, emptyDirs of medium Memory as `<volume>/`, and
        `<container>.<attempt>` for termination messages."""
        return Path(self.agent.memory_dir) / uid

    def log_dir(self, namespace: str, name: str, uid: str) -> Path:
        """`<pods>/log/<ns>_<pod>_<uid>`; below it `<container>/<attempt>.log`."""
        return self.agent.pods_path / "log" / f"{namespace}_{name}_{uid}"
