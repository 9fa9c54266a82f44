"""A runtime that holds state and enforces the contract's rules, and a node around it: for tests of the kubelet."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netlab.api.timing import LAB
from netlab.client.client import Client
from netlab.client.fake import FakeApi, Target
from netlab.client.informer import Informer
from netlab.client.kinds import NODES, PODS
from netlab.node.config import AgentConfig, NodeConfig
from netlab.node.kubelet.kubelet import Kubelet
from netlab.node.kubelet.ports import NodeContext
from netlab.runtime.contract import (
    ContainerConfig,
    ContainerEvent,
    ContainerStatus,
    ExecResult,
    NotFound,
    SandboxConfig,
    SandboxStatus,
    StartError,
)
from netlab.runtime.images.model import Image, ImageNotFound

Obj = dict[str, Any]


class TokenApi(FakeApi):
    """FakeApi with TokenRequest; counts requests by method and last path element."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0
        self.calls: dict[str, int] = {}

    async def request(self, method: str, path: str, **options: Any) -> Any:
        kind = "status" if path.endswith("/status") else path.split("/")[3 if path.startswith("/api/v1/nodes") else -1]
        self.calls[f"{method} {kind}"] = self.calls.get(f"{method} {kind}", 0) + 1
        return await super().request(method, path, **options)

    def _subresource(self, method: str, target: Target, body: Obj | None) -> tuple[int, Obj]:
        if target.subresource == "token":
            self.tokens += 1
            return 201, {"status": {"token": f"token-{self.tokens}", "expirationTimestamp": "2099-01-01T00:00:00Z"}}
        return super()._subresource(method, target, body)


class FakeImages:
    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def resolve(self, ref: str) -> Image:
        if ref not in self.names:
            raise ImageNotFound(ref, sorted(self.names))
        return Image("sha256:" + ref, (ref,), "host")

    def list(self) -> Sequence[Image]:
        return [self.resolve(name) for name in sorted(self.names)]


@dataclass
class FakeRuntime:
    """`behave(config)` decides what a started container does: None (runs on), or its exit code at once."""

    behave: Callable[[ContainerConfig], int | None] = lambda _: None
    images: FakeImages = field(default_factory=lambda: FakeImages("busybox", "nginx"))
    configs: dict[str, ContainerConfig] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    exec_results: dict[str, ExecResult] = field(default_factory=dict)
    start_error: str = ""
    ignores_term: bool = False

    def __post_init__(self) -> None:
        self._serial = itertools.count(1)
        self._sandboxes: dict[str, SandboxStatus] = {}
        self._containers: dict[str, ContainerStatus] = {}
        self._listeners: list[tuple[str | None, asyncio.Queue[ContainerEvent]]] = []

    def _emit(self, event: ContainerEvent) -> None:
        for node, queue in self._listeners:
            if node in (None, event.node):
                queue.put_nowait(event)

    async def run_sandbox(self, config: SandboxConfig) -> str:
        sid = f"s{next(self._serial)}"
        self._sandboxes[sid] = SandboxStatus(sid, config, "ready", time.time(), 1)
        self.log.append(f"sandbox {config.name}")
        return sid

    async def stop_sandbox(self, sandbox_id: str) -> None:
        found = self._sandboxes.get(sandbox_id)
        if found is not None and found.state == "ready":
            self._sandboxes[sandbox_id] = replace(found, state="notready")
            for status in list(self._containers.values()):
                if status.sandbox_id == sandbox_id and status.state == "running":
                    self.exit(status.id, 137)
            self._emit(ContainerEvent("sandbox_exited", found.config.node, sandbox_id))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        self._sandboxes.pop(sandbox_id, None)
        for cid in [c.id for c in self._containers.values() if c.sandbox_id == sandbox_id]:
            del self._containers[cid]

    async def start_container(self, config: ContainerConfig) -> str:
        sandbox = self._sandboxes.get(config.sandbox_id)
        if sandbox is None or sandbox.state != "ready":
            raise NotFound(config.sandbox_id)
        cid = f"c{next(self._serial)}"
        self.configs[cid] = config
        now = time.time()
        image = self.images.resolve(config.image).id
        status = ContainerStatus(
            cid, config.sandbox_id, sandbox.config.node, config.name, config.attempt, config.image, image, "running",
            now, now, labels=config.labels, annotations=config.annotations, log_path=config.log_path,
        )  # fmt: skip
        self._containers[cid] = status
        self.log.append(f"start {config.name}")
        if self.start_error:
            self._containers[cid] = replace(status, state="exited", exit_code=128, reason="StartError")
            raise StartError(self.start_error, container_id=cid)
        code = self.behave(config)
        if code is not None:
            self.exit(cid, code)
        return cid

    def exit(self, container_id: str, code: int) -> None:
        status = self._containers[container_id]
        if status.state == "exited":
            return
        self.log.append(f"exit {status.name}")
        self._containers[container_id] = replace(
            status,
            state="exited",
            exit_code=code,
            finished_at=time.time(),
            reason="Completed" if code == 0 else "Error",
        )
        self._emit(ContainerEvent("exited", status.node, status.sandbox_id, container_id))

    def running(self, name: str) -> str:
        return next(c.id for c in self._containers.values() if c.name == name and c.state == "running")

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        if self.ignores_term:
            await asyncio.sleep(grace_seconds)
        if container_id in self._containers:
            self.exit(container_id, 137 if self.ignores_term else 143)

    async def remove_container(self, container_id: str) -> None:
        self._containers.pop(container_id, None)

    async def list_sandboxes(self, node: str | None = None) -> list[SandboxStatus]:
        return [s for s in self._sandboxes.values() if node in (None, s.config.node)]

    async def list_containers(self, node: str | None = None) -> list[ContainerStatus]:
        return [c for c in self._containers.values() if node in (None, c.node)]

    async def container_status(self, container_id: str) -> ContainerStatus:
        if container_id not in self._containers:
            raise NotFound(container_id)
        return self._containers[container_id]

    def events(self, node: str | None = None) -> AsyncIterator[ContainerEvent]:
        queue: asyncio.Queue[ContainerEvent] = asyncio.Queue()
        self._listeners.append((node, queue))

        async def follow() -> AsyncIterator[ContainerEvent]:
            while True:
                yield await queue.get()

        return follow()

    async def exec_sync(self, container_id: str, argv: Sequence[str], timeout: float = 0.0) -> ExecResult:
        self.log.append("exec " + " ".join(argv))
        return self.exec_results.get(" ".join(argv), ExecResult(0, b"", b""))


@dataclass
class FakeRecorder:
    events: list[tuple[str, str, str]] = field(default_factory=list)

    def event(self, obj: Obj, type_: str, reason: str, message: str, *, field_path: str = "", action: str = "") -> None:
        self.events.append((type_, reason, message))

    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.events]


class FakeWiring:
    def __init__(self) -> None:
        self.attached: dict[str, str] = {}

    async def attach(self, uid: str, ips: Sequence[str]) -> str:
        self.attached[uid] = ips[0]
        return self.netns_path(uid)

    async def detach(self, uid: str) -> None:
        self.attached.pop(uid, None)

    def netns_path(self, uid: str) -> str:
        return f"/run/netns/cni-{uid[:12]}"

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        return socket.socket(family, kind, proto)


@dataclass
class NodeUnderTest:
    api: TokenApi
    runtime: FakeRuntime
    recorder: FakeRecorder
    wiring: FakeWiring
    kubelet: Kubelet
    nodes: Informer
    client: Client

    def pod(self, name: str = "p", namespace: str = "default") -> Obj:
        return self.api.find(PODS, f"{namespace}/{name}")

    def exists(self, name: str = "p", namespace: str = "default") -> bool:
        return any(o["metadata"]["name"] == name for o in self.api.objects(PODS, namespace))

    async def close(self) -> None:
        await self.kubelet.close()
        await self.nodes.stop()


def pod(name: str = "p", *containers: Obj, **spec: Any) -> Obj:
    """A pod bound to node n1, defaulted as far as the kubelet relies on it."""
    meta = spec.pop("metadata", {})
    filled = [
        {"terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent", "image": "busybox", **c}
        for c in containers or ({"name": "c"},)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **meta},
        "spec": {
            "nodeName": "n1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "containers": filled,
            **spec,
        },
    }


async def start_node(
    tmp_path: Path, api: TokenApi | None = None, runtime: FakeRuntime | None = None, **config: Any
) -> NodeUnderTest:
    """A kubelet named n1 on 10.244.1.0/24 with everything around it faked."""
    api, runtime = api or TokenApi(), runtime or FakeRuntime()
    node = NodeConfig("n1", "192.168.0.2", "n1", "", "", "", "", **config)
    agent = AgentConfig((node,), str(tmp_path / "pods"), memory_dir=str(tmp_path / "memory"))
    client, recorder, wiring = Client(api), FakeRecorder(), FakeWiring()
    context = NodeContext(
        node, agent, LAB, client, recorder, runtime, wiring, wiring, lambda _: wiring  # type: ignore[arg-type]
    )  # fmt: skip
    nodes = Informer(client, NODES)
    kubelet = Kubelet(context, nodes)
    nodes.start()
    await kubelet.start()
    await kubelet.pods.wait_synced(5)
    kubelet.network_ready(["10.244.1.0/24"])
    return NodeUnderTest(api, runtime, recorder, wiring, kubelet, nodes, client)
