"""A runtime without processes, for tests of what is above it: holds state and enforces the real one's rules.

It "runs" a few programs: true, false, sleep N, echo …, cat (copies stdin), sh -c "exit N", pause; a trailing "; trap"
is not understood, so SIGTERM ends all but those named in `deaf`. Anything else is not found, as in the real one.
`behave` may decide otherwise: argv → exit code, None (runs on) or a StartError's text.
"""

import asyncio
import itertools
import shlex
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from netlab.runtime import records
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
from netlab.runtime.crilog import LineSplitter
from netlab.runtime.images import catalog
from netlab.runtime.images.model import Image, ImageNotFound
from netlab.runtime.images.reference import parse

Behaviour = Callable[[Sequence[str]], int | str | None]


class FakeImages:
    """The catalog without looking at the machine, plus `names`."""

    def __init__(self, *names: str) -> None:
        self._images = [catalog.image(row) for row in catalog.ROWS]
        self._images += [Image(f"sha256:{name}", (str(parse(name)),), "loaded", cmd=("pause",)) for name in names]

    def resolve(self, ref: str) -> Image:
        wanted = parse(ref)
        for image in self._images:
            for name in map(parse, image.names):
                if name.repository == wanted.repository and (image.any_tag or name.tag == wanted.tag):
                    return image
        raise ImageNotFound(ref, [parse(image.names[0]).familiar for image in self._images])

    def list(self) -> Sequence[Image]:
        return self._images

    def add(self, name: str, **_: object) -> Image:
        image = Image(f"sha256:{name}", (str(parse(name)),), "loaded", cmd=("pause",))
        self._images.append(image)
        return image

    def load(self, archive: Path, *, name: str | None = None) -> Sequence[Image]:
        return [self.add(name or archive.stem)]

    def remove(self, ref: str) -> None:
        self._images.remove(self.resolve(ref))


class _Program:
    """What a fake process does."""

    def __init__(self, argv: Sequence[str], behave: Behaviour | None) -> None:
        self.argv = list(argv)
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.stdout: asyncio.Queue[bytes] = asyncio.Queue()
        self.deaf = False
        self.timer: asyncio.TimerHandle | None = None
        verdict = behave(argv) if behave is not None else self._run()
        if isinstance(verdict, str):
            raise StartError(verdict)
        if verdict is not None:
            self.end(verdict)

    def _run(self) -> int | None:
        name, *rest = self.argv
        name = name.rpartition("/")[2]
        if name in ("true", "false"):
            return int(name == "false")
        if name == "echo":
            self.stdout.put_nowait(" ".join(rest).encode() + b"\n")
            return 0
        if name == "sh" and rest[:1] == ["-c"]:
            return self._script(rest[1])
        if name == "sleep":
            self.deaf = True  # as number 1 of a PID namespace it has no default action for SIGTERM
            if rest[0] != "infinity":
                self.timer = asyncio.get_running_loop().call_later(float(rest[0]), self.end, 0)
            return None
        if name in ("cat", "pause", "sh", "agnhost", "nginx", "coredns"):
            return None
        raise StartError(f'exec: "{self.argv[0]}": executable file not found in $PATH')

    def _script(self, text: str) -> int | None:
        for command in text.split(";"):
            words = shlex.split(command)
            if words[:1] == ["echo"]:
                self.stdout.put_nowait(" ".join(words[1:]).encode() + b"\n")
            elif words[:1] == ["exit"]:
                return int(words[1])
            elif words[:1] == ["sleep"]:
                self.deaf = True
                return None
        return 0

    def end(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)
            self.stdout.put_nowait(b"")
        if self.timer is not None:
            self.timer.cancel()


class _FakeSession:
    def __init__(self, program: _Program, *, kill: bool) -> None:
        self._program, self._kill = program, kill
        self.size: tuple[int, int] | None = None

    async def read(self, stream: str) -> bytes:
        if stream == "stderr" or (self._program.ended.done() and self._program.stdout.empty()):
            return b""
        return await self._program.stdout.get()

    async def write(self, data: bytes) -> None:
        if self._program.argv[0] == "cat":
            self._program.stdout.put_nowait(data)

    async def close_stdin(self) -> None:
        if self._program.argv[0] == "cat":
            self._program.end(0)

    def resize(self, width: int, height: int) -> None:
        self.size = (width, height)

    async def wait(self) -> int:
        return await asyncio.shield(self._program.ended)

    async def close(self) -> None:
        if self._kill:
            self._program.end(137)


class FakeRuntime:
    """See contract.Runtime."""

    def __init__(self, images: FakeImages | None = None, behave: Behaviour | None = None) -> None:
        self._images = images or FakeImages()
        self.behave = behave
        self.exec_behave: Behaviour | None = None
        self.configs: dict[str, ContainerConfig] = {}
        self._serial = itertools.count(1)
        self._sandboxes: dict[str, SandboxStatus] = {}
        self._containers: dict[str, ContainerStatus] = {}
        self._programs: dict[str, _Program] = {}
        self._listeners: list[tuple[str | None, asyncio.Queue[ContainerEvent]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def images(self) -> FakeImages:
        return self._images

    def _publish(self, event: ContainerEvent) -> None:
        for node, queue in self._listeners:
            if node in (None, event.node):
                queue.put_nowait(event)

    # -- pods -------------------------------------------------------------------------------------------------------

    async def run_sandbox(self, config: SandboxConfig) -> str:
        id_ = f"{next(self._serial):064x}"
        self._sandboxes[id_] = SandboxStatus(id_, config, "ready", time.time(), next(self._serial))
        self._publish(ContainerEvent("started", config.node, id_))
        return id_

    async def stop_sandbox(self, sandbox_id: str) -> None:
        status = self._sandboxes.get(sandbox_id)
        for container in list(self._containers.values()):
            if container.sandbox_id == sandbox_id:
                await self.stop_container(container.id, 0)
        if status is not None and status.state == "ready":
            self._sandboxes[sandbox_id] = replace(status, state="notready")
            self._publish(ContainerEvent("sandbox_exited", status.config.node, sandbox_id))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        for container in list(self._containers.values()):
            if container.sandbox_id == sandbox_id:
                await self.remove_container(container.id)
        status = self._sandboxes.pop(sandbox_id, None)
        if status is not None:
            self._publish(ContainerEvent("removed", status.config.node, sandbox_id))

    async def list_sandboxes(self, node: str | None = None) -> list[SandboxStatus]:
        return [s for s in self._sandboxes.values() if node in (None, s.config.node)]

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        if sandbox_id not in self._sandboxes:
            raise NotFound(sandbox_id)
        return self._sandboxes[sandbox_id]

    # -- containers -------------------------------------------------------------------------------------------------

    async def start_container(self, config: ContainerConfig) -> str:
        sandbox = self._sandboxes.get(config.sandbox_id)
        if sandbox is None or sandbox.state != "ready":
            raise NotFound(config.sandbox_id)
        image = self._images.resolve(config.image)
        id_ = f"{next(self._serial):064x}"
        self.configs[id_] = config
        now = time.time()
        path = str(Path(sandbox.config.log_directory) / config.log_path) if config.log_path else ""
        status = ContainerStatus(
            id=id_,
            sandbox_id=config.sandbox_id,
            node=sandbox.config.node,
            name=config.name,
            attempt=config.attempt,
            image=config.image,
            image_id=image.id,
            state="running",
            created_at=now,
            started_at=now,
            pid=next(self._serial),
            log_path=path,
            labels=config.labels,
            annotations=config.annotations,
        )
        self._containers[id_] = status
        argv = [*config.command, *config.args] if config.command else [*image.entrypoint, *(config.args or image.cmd)]
        try:
            program = _Program(argv, self.behave)
        except StartError as error:
            message = records.start_message(str(error))
            self._end(id_, 128, "StartError", message)
            raise StartError(message, container_id=id_) from None
        self._programs[id_] = program
        self._publish(ContainerEvent("started", status.node, status.sandbox_id, id_))
        self._log(path, program)
        task = asyncio.create_task(self._follow(id_, program))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(0)
        return id_

    def _log(self, path: str, program: _Program) -> None:
        if not path or program.argv[0] == "cat":
            return
        splitter = LineSplitter("stdout")
        text = b""
        for data in list(program.stdout._queue):  # type: ignore[attr-defined]
            text += splitter.feed(data, time.time_ns())
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("ab") as file:
            file.write(text)

    async def _follow(self, id_: str, program: _Program) -> None:
        code = await program.ended
        self._end(id_, code, "Completed" if code == 0 else "Error", "")

    def _end(self, id_: str, code: int, reason: str, message: str) -> None:
        status = self._containers.get(id_)
        if status is None or status.state == "exited":
            return
        self._containers[id_] = replace(
            status,
            state="exited",
            started_at=0.0 if reason == "StartError" else status.started_at,
            exit_code=code,
            signal=code - 128 if code > 128 else 0,
            finished_at=time.time(),
            reason=reason,
            message=message,
            pid=0,
        )
        self._publish(ContainerEvent("exited", status.node, status.sandbox_id, id_))

    def exit(self, container_id: str, code: int) -> None:
        """For tests: this container's process ends now."""
        self._programs[container_id].end(code)

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        program = self._programs.get(container_id)
        if program is None or program.ended.done():
            return
        if grace_seconds > 0 and program.deaf:
            await asyncio.wait([program.ended], timeout=grace_seconds)
        program.end(143 if grace_seconds > 0 and not program.deaf else 137)
        await asyncio.sleep(0)

    async def remove_container(self, container_id: str) -> None:
        await self.stop_container(container_id, 0)
        await asyncio.sleep(0)
        status = self._containers.pop(container_id, None)
        self._programs.pop(container_id, None)
        if status is not None:
            self._publish(ContainerEvent("removed", status.node, status.sandbox_id, container_id))

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

    # -- exec and attach --------------------------------------------------------------------------------------------

    def _running(self, container_id: str) -> _Program:
        if container_id not in self._containers:
            raise NotFound(container_id)
        program = self._programs.get(container_id)
        if program is None or program.ended.done():
            raise NotRunning(container_id)
        return program

    async def exec(self, container_id: str, argv: Sequence[str], *, tty: bool = False, stdin: bool = False) -> Session:
        self._running(container_id)
        try:
            return _FakeSession(_Program(argv, self.exec_behave), kill=True)
        except StartError as error:
            raise StartError(records.exec_message(str(error)), exit_code=127) from None

    async def exec_sync(self, container_id: str, argv: Sequence[str], timeout: float = 0.0) -> ExecResult:
        session = await self.exec(container_id, argv)
        try:
            async with asyncio.timeout(timeout or None):
                code = await session.wait()
                out = b""
                while data := await session.read("stdout"):
                    out += data
                return ExecResult(code, out, b"")
        finally:
            await session.close()

    async def attach(self, container_id: str, *, stdin: bool = False) -> Session:
        return _FakeSession(self._running(container_id), kill=False)

    async def reopen_log(self, container_id: str) -> None:
        self._running(container_id)

    async def stats(self, node: str | None = None) -> list[ContainerStats]:
        running = [c for c in await self.list_containers(node) if c.state == "running"]
        return [ContainerStats(c.id, 0.0, 0, 1) for c in running]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
