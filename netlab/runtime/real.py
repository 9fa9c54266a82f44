"""The runtime over the sandbox's PID 1: pods and containers are processes that it keeps.

Crash-only: everything is in PID 1 (records.py); `connect` reads it all back, takes up the logs where they were left
and removes what a predecessor has left half done. One object serves any number of nodes.
"""

import asyncio
import contextlib
import itertools
import os
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator, Collection, Sequence

from netlab.runtime import containers, pausebinary, records
from netlab.runtime.contract import (
    ContainerConfig,
    ContainerEvent,
    ContainerStats,
    ContainerStatus,
    ExecResult,
    NotFound,
    NotRunning,
    SandboxConfig,
    SandboxStatus,
    Session,
    StartError,
)
from netlab.runtime.crilog import LogFile, Pump
from netlab.runtime.images import catalog, views
from netlab.runtime.images.model import ImageStore
from netlab.runtime.images.store import image_store
from netlab.runtime.sessions import AttachSession, ExecSession
from netlab.runtime.stats import Meter
from netlab.sandbox import cgroups
from netlab.sandbox.client import InitClient, StdioFds
from netlab.sandbox.orders import signal_number
from netlab.sandbox.spec import ExitEvent, ExitInfo, NoSuchProcess, ProcessInfo, ProcessSpec, SandboxError, SpawnError

KILL_TIMEOUT = 10.0


class _Entry:
    """A process that we follow: `ended` has its exit status when PID 1 has told it."""

    def __init__(self, info: ProcessInfo) -> None:
        self.info = info
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if info.exit is not None:
            self.ended.set_result(info.exit.status)

    def end(self, exit_info: ExitInfo) -> None:
        info = self.info
        self.info = ProcessInfo(info.id, info.pid, info.started_at, exit_info, "", info.starts)
        if not self.ended.done():
            self.ended.set_result(exit_info.status)


class _Pod(_Entry):
    def __init__(self, id: str, config: SandboxConfig, info: ProcessInfo) -> None:  # noqa: A002
        super().__init__(info)
        self.id, self.config = id, config


class _Container(_Entry):
    def __init__(self, id: str, record: records.ContainerRecord, info: ProcessInfo) -> None:  # noqa: A002
        super().__init__(info)
        self.id, self.record = id, record
        self.pump: Pump | None = None


class SandboxRuntime:
    """See contract.Runtime. `nodes`: those whose pods are this object's; None: all."""

    def __init__(self, init: InitClient, images: ImageStore, nodes: Collection[str] | None) -> None:
        self._init = init
        self._images = images
        self._nodes = None if nodes is None else frozenset(nodes)
        self._pods: dict[str, _Pod] = {}
        self._containers: dict[str, _Container] = {}
        self._execs: dict[str, _Entry] = {}
        self._exec_number = itertools.count(1)
        self._listeners: list[tuple[str | None, asyncio.Queue[ContainerEvent]]] = []
        self._follower: asyncio.Task[None] | None = None
        self._cgroup = ""
        self._meter = Meter()

    @classmethod
    async def connect(
        cls,
        *,
        nodes: Collection[str] | None = None,
        images: ImageStore | None = None,
        init: InitClient | None = None,
    ) -> "SandboxRuntime":
        """Inside the lab. Adopts what runs. Raises InitGone."""
        self = cls(init or await InitClient.connect(), images or image_store(), nodes)
        self._cgroup = (await self._init.info())["cgroup"]
        views.view("host")  # so that the first pod does not wait for it
        queue = await self._init.subscribe("")
        await self._adopt(await self._init.list())
        self._follower = asyncio.create_task(self._follow(queue))
        return self

    @property
    def images(self) -> ImageStore:
        return self._images

    async def close(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._follower
        for container in self._containers.values():
            if container.pump is not None:
                container.pump.close()
        await self._init.close()

    # -- what PID 1 knows -------------------------------------------------------------------------------------------

    def _mine(self, node: str) -> bool:
        return self._nodes is None or node in self._nodes

    async def _adopt(self, processes: Sequence[ProcessInfo]) -> None:
        for info in processes:
            kind, node, id_ = records.split_id(info.id)
            if not self._mine(node):
                continue
            if kind == records.SANDBOX:
                self._pods[id_] = _Pod(id_, records.sandbox_config(info.meta), info)
            elif kind == records.CONTAINER:
                container = _Container(id_, records.container_record(info.meta), info)
                self._containers[id_] = container
                await self._start_pump(container)
            elif kind == records.EXEC:
                await self._discard(info.id)  # its caller is gone

    async def _start_pump(self, container: _Container) -> None:
        stdio = await self._stdio(container.info.id)
        if stdio.stdin is not None:
            os.close(stdio.stdin)
        if stdio.tty is not None:
            streams = {"stdout": stdio.tty}
        else:
            streams = {name: fd for name, fd in (("stdout", stdio.stdout), ("stderr", stdio.stderr)) if fd is not None}
        container.pump = Pump(streams, LogFile(container.record.log_file))

    async def _stdio(self, process: str, *, take: bool = False) -> StdioFds:
        try:
            return await self._init.stdio(process, take=take)
        except NoSuchProcess:
            return StdioFds()

    async def _follow(self, queue: "asyncio.Queue[ExitEvent | None]") -> None:
        while (event := await queue.get()) is not None:
            kind, _node, id_ = records.split_id(event.id)
            if kind == records.CONTAINER and id_ in self._containers:
                self._container_ended(self._containers[id_], event.exit)
            elif kind == records.SANDBOX and id_ in self._pods:
                pod = self._pods[id_]
                pod.end(event.exit)
                self._publish(ContainerEvent("sandbox_exited", pod.config.node, id_))
            elif event.id in self._execs:
                self._execs[event.id].end(event.exit)

    def _container_ended(self, container: _Container, exit_info: ExitInfo) -> None:
        if container.pump is not None:
            container.pump.drain()  # so that whoever sees the end can read the whole log
        container.end(exit_info)
        record = container.record
        self._publish(ContainerEvent("exited", record.node, record.config.sandbox_id, container.id))

    def _publish(self, event: ContainerEvent) -> None:
        for node, queue in self._listeners:
            if node is None or node == event.node:
                queue.put_nowait(event)

    def events(self, node: str | None = None) -> AsyncIterator[ContainerEvent]:
        entry: tuple[str | None, asyncio.Queue[ContainerEvent]] = (node, asyncio.Queue())
        self._listeners.append(entry)

        async def follow() -> AsyncIterator[ContainerEvent]:
            try:
                while True:
                    yield await entry[1].get()
            finally:
                self._listeners.remove(entry)

        return follow()

    # -- pods -------------------------------------------------------------------------------------------------------

    async def run_sandbox(self, config: SandboxConfig) -> str:
        id_ = secrets.token_hex(32)
        shm = containers.SHM / id_
        shm.mkdir(mode=0o1777, parents=True)
        shm.chmod(0o1777)
        program = pausebinary.ensure()
        spec = ProcessSpec(
            id=records.process_id(records.SANDBOX, config.node, id_),
            argv=(program,) if program else (),
            target=None if program else catalog.TARGETS["pause"][0],
            hostname=config.hostname or None,
            join={"net": config.netns},
            new=frozenset({"uts", "ipc", "pid"} if config.share_pids else {"uts", "ipc"}),
            sysctls=config.sysctls,
            meta=records.sandbox_meta(config),
        )
        started = time.time()
        try:
            pid = await self._init.spawn(spec)
        except SpawnError as error:
            await self._init.forget(spec.id)
            shutil.rmtree(shm, ignore_errors=True)
            raise StartError(f"failed to create pod sandbox: {error.message}") from None
        self._pods[id_] = _Pod(id_, config, ProcessInfo(spec.id, pid, started, None))
        self._publish(ContainerEvent("started", config.node, id_))
        return id_

    async def stop_sandbox(self, sandbox_id: str) -> None:
        pod = self._pods.get(sandbox_id)
        inside = [c for c in self._containers.values() if c.record.config.sandbox_id == sandbox_id]
        await asyncio.gather(*(self._kill(c) for c in inside))
        if pod is not None:
            await self._kill(pod)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        inside = [c.id for c in self._containers.values() if c.record.config.sandbox_id == sandbox_id]
        await asyncio.gather(*(self.remove_container(id_) for id_ in inside))
        pod = self._pods.pop(sandbox_id, None)
        if pod is not None:
            await self._init.forget(pod.info.id)
            shutil.rmtree(containers.SHM / sandbox_id, ignore_errors=True)
            self._publish(ContainerEvent("removed", pod.config.node, sandbox_id))

    async def list_sandboxes(self, node: str | None = None) -> list[SandboxStatus]:
        found = (pod for pod in self._pods.values() if node is None or pod.config.node == node)
        return [records.sandbox_status(pod.id, pod.config, pod.info) for pod in found]

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        pod = self._pods.get(sandbox_id)
        if pod is None:
            raise NotFound(f"an error occurred when try to find sandbox: not found: {sandbox_id}")
        return records.sandbox_status(pod.id, pod.config, pod.info)

    # -- containers -------------------------------------------------------------------------------------------------

    async def start_container(self, config: ContainerConfig) -> str:
        pod = self._pods.get(config.sandbox_id)
        if pod is None:
            raise NotFound(f"failed to find sandbox id {config.sandbox_id!r}: not found")
        image = self._images.resolve(config.image)
        id_ = secrets.token_hex(32)
        try:
            cgroup = self._memory_group(id_, config.memory_limit)
            started = containers.container(id_, config, pod.config, image, time.time(), cgroup)
        except containers.BadConfig as error:
            raise StartError(f"failed to generate container {id_!r} spec: {error}") from None
        info = ProcessInfo(started.spec.id, 0, time.time(), None)
        container = _Container(id_, started.record, info)
        self._containers[id_] = container  # before the order: its end may be told before its start
        try:
            pid = await self._init.spawn(started.spec)
        except SpawnError as error:
            await self._failed(container, error)
        if container.info.exit is None:
            container.info = ProcessInfo(info.id, pid, info.started_at, None)
        await self._start_pump(container)
        if container.info.exit is not None and container.pump is not None:
            container.pump.drain()
        self._publish(ContainerEvent("started", pod.config.node, pod.id, id_))
        return id_

    def _memory_group(self, id_: str, limit: int | None) -> str | None:
        """A cgroup with the limit, where this lab may make one; else the limit is not enforced (doctor says so)."""
        if not limit or not self._cgroup:
            return None
        try:
            return cgroups.make_container_group(self._cgroup, id_, limit)
        except OSError:
            return None

    async def _failed(self, container: _Container, error: SpawnError) -> None:
        if container.info.exit is None:
            container.end(ExitInfo(128, 0, time.time(), error.message, error.errno))
        record = container.record
        self._publish(ContainerEvent("exited", record.node, record.config.sandbox_id, container.id))
        raise StartError(records.start_message(error.message), container_id=container.id) from None

    def _container(self, container_id: str) -> _Container:
        container = self._containers.get(container_id)
        if container is None:
            raise NotFound(f"an error occurred when try to find container {container_id!r}: not found")
        return container

    def _running(self, container_id: str) -> _Container:
        container = self._container(container_id)
        if container.info.exit is not None:
            raise NotRunning(f"container is in CONTAINER_EXITED state: {container_id}")
        return container

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        container = self._containers.get(container_id)
        if container is None or container.ended.done():
            return
        if grace_seconds > 0:
            await self._signal(container.info.id, signal_number(container.record.stop_signal))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(container.ended), grace_seconds)
        await self._kill(container)

    async def _kill(self, entry: _Entry) -> None:
        """SIGKILL and its end; a process that the kernel cannot end (uninterruptible) is not waited for for ever."""
        if entry.ended.done():
            return
        await self._signal(entry.info.id, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(entry.ended), KILL_TIMEOUT)

    async def _signal(self, process: str, number: int) -> None:
        with contextlib.suppress(NoSuchProcess):
            await self._init.kill(process, number)

    async def remove_container(self, container_id: str) -> None:
        container = self._containers.get(container_id)
        if container is None:
            return
        await self._kill(container)
        if container.pump is not None:
            container.pump.drain()
            container.pump.close()
        await self._init.forget(container.info.id)
        self._containers.pop(container_id, None)
        record = container.record
        self._publish(ContainerEvent("removed", record.node, record.config.sandbox_id, container_id))

    async def list_containers(self, node: str | None = None) -> list[ContainerStatus]:
        found = (c for c in self._containers.values() if node is None or c.record.node == node)
        return [records.container_status(c.id, c.record, c.info) for c in found]

    async def container_status(self, container_id: str) -> ContainerStatus:
        container = self._container(container_id)
        return records.container_status(container.id, container.record, container.info)

    async def reopen_log(self, container_id: str) -> None:
        pump = self._container(container_id).pump
        if pump is not None:
            pump.log.close()

    async def stats(self, node: str | None = None) -> list[ContainerStats]:
        running = [
            c
            for c in self._containers.values()
            if (node is None or c.record.node == node) and c.info.exit is None and c.info.pid
        ]
        return [ContainerStats(c.id, *self._meter.tree(c.info.pid)) for c in running]

    # -- exec and attach --------------------------------------------------------------------------------------------

    async def exec(self, container_id: str, argv: Sequence[str], *, tty: bool = False, stdin: bool = False) -> Session:
        container = self._running(container_id)
        spec = self._exec_spec(container, argv, tty=tty, stdin=stdin)
        entry = _Entry(ProcessInfo(spec.id, 0, time.time(), None))
        self._execs[spec.id] = entry
        try:
            await self._init.spawn(spec)
        except SpawnError as error:
            await self._discard(spec.id)
            if container.info.exit is not None:
                raise NotRunning(f"container is in CONTAINER_EXITED state: {container_id}") from None
            code = 127 if error.errno == 2 else 126
            raise StartError(records.exec_message(error.message), exit_code=code) from None
        stdio = await self._stdio(spec.id, take=True)

        async def stop() -> None:
            await self._discard(spec.id)

        return ExecSession(stdio, entry.ended, stop)

    def _exec_spec(self, container: _Container, argv: Sequence[str], *, tty: bool, stdin: bool) -> ProcessSpec:
        record = container.record
        number = f"{container.id}/{os.getpid()}-{next(self._exec_number)}"
        program = containers.target(argv[0], record.programs)
        env = {**record.env, "TERM": "xterm"} if tty else record.env
        forked = program is not None and program[1] == "init"
        return ProcessSpec(
            id=records.process_id(records.EXEC, record.node, number),
            target=program[0] if program and forked else None,
            args=tuple(argv[1:]) if forked else (),
            argv=tuple(argv),
            env=env,
            cwd=record.cwd,
            join=dict.fromkeys(("net", "uts", "ipc", "pid", "mnt"), container.info.id),
            stdio=("pty", "pty", "pty") if tty else ("pipe" if stdin else "null", "pipe", "pipe"),
            user=record.user,
            groups=record.groups,
            capabilities=None if record.capabilities is None else frozenset(record.capabilities),
            no_new_privs=record.config.no_new_privs,
        )

    async def _discard(self, process: str) -> None:
        """Kill it if it runs, wait, forget it."""
        entry = self._execs.pop(process, None)
        for _attempt in range(100):
            await self._signal(process, signal.SIGKILL)
            try:
                await self._init.forget(process)
                break
            except SandboxError:
                await asyncio.sleep(0.01)  # killed, but PID 1 has not reaped it yet
        if entry is not None and not entry.ended.done():
            entry.ended.set_result(128 + signal.SIGKILL)

    async def exec_sync(self, container_id: str, argv: Sequence[str], timeout: float = 0.0) -> ExecResult:
        session = await self.exec(container_id, argv)
        try:
            async with asyncio.timeout(timeout or None):
                out, err, code = await asyncio.gather(
                    _read_all(session, "stdout"), _read_all(session, "stderr"), session.wait()
                )
            return ExecResult(code, out, err)
        finally:
            await session.close()

    async def attach(self, container_id: str, *, stdin: bool = False) -> Session:
        container = self._running(container_id)
        stdio = await self._stdio(container.info.id)
        for fd in (stdio.stdout, stdio.stderr):
            if fd is not None:
                os.close(fd)
        source = stdio.stdin
        if stdio.tty is not None and stdin:
            source = os.dup(stdio.tty)
        elif source is not None and not stdin:
            os.close(source)
            source = None

        async def end_of_input() -> None:
            """stdinOnce: the first client's end of input is the container's, so PID 1 lets go of its end, too."""
            if container.record.config.stdin_once and stdin:
                (await self._take_stdin(container.info.id)).close()

        return AttachSession(container.pump, source, stdio.tty, container.ended, end_of_input)

    async def _take_stdin(self, process: str) -> StdioFds:
        try:
            return await self._init.stdio(process, take=True, only="stdin")
        except NoSuchProcess:
            return StdioFds()


async def _read_all(session: Session, stream: "str") -> bytes:
    parts = []
    while data := await session.read(stream):  # type: ignore[arg-type]
        parts.append(data)
    return b"".join(parts)
