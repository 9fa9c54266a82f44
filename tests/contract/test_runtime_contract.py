# ruff: noqa: ASYNC110, ASYNC221, ASYNC240
"""What the kubelet may rely on, on the fake and on the real runtime (in a lab of its own)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "kernel"))
from sandbox_lab import Box, running

from netlab.runtime.contract import (
    ContainerConfig,
    ContainerEvent,
    ContainerStatus,
    NotFound,
    NotRunning,
    Runtime,
    SandboxConfig,
    StartError,
)
from netlab.runtime.fake import FakeRuntime
from netlab.runtime.images.model import ImageNotFound, InvalidImageName

Body = Callable[[Runtime, SandboxConfig], Coroutine[Any, Any, None]]
Run = Callable[[Body], None]


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with running() as box:
        yield box


@pytest.fixture(params=["fake", "real"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return on_fake
    box = request.getfixturevalue("box")
    return lambda body: box.call(on_real, body, str(box.paths.pods))


def on_fake(body: Body) -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        with tempfile.TemporaryDirectory() as logs:
            await body(runtime, pod(netns="", log_directory=logs))
        await runtime.close()

    asyncio.run(main())


async def on_real(body: Body, logs: str) -> None:
    from netlab.runtime.real import SandboxRuntime

    subprocess.run("ip netns list | grep -q pod || ip netns add pod", shell=True, check=True)
    runtime = await SandboxRuntime.connect()
    for sandbox in await runtime.list_sandboxes():
        await runtime.remove_sandbox(sandbox.id)
    await body(runtime, pod(netns="/run/netns/pod", log_directory=logs))
    await runtime.close()


def pod(**changes: Any) -> SandboxConfig:
    return SandboxConfig(
        **{"node": "node1", "namespace": "default", "name": "web", "uid": "u-1", "hostname": "web", **changes}
    )


def container(sandbox: str, *argv: str, **changes: Any) -> ContainerConfig:
    return ContainerConfig(**{"sandbox_id": sandbox, "name": "main", "image": "busybox", "command": argv, **changes})


async def exited(runtime: Runtime, container_id: str, seconds: float = 10) -> ContainerStatus:
    async with asyncio.timeout(seconds):
        while (status := await runtime.container_status(container_id)).state != "exited":
            await asyncio.sleep(0.01)
    return status


# -- sentences --------------------------------------------------------------------------------------------------------


async def a_sandbox_is_ready_until_stopped(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    status = await runtime.sandbox_status(sandbox)
    assert (status.state, status.config) == ("ready", config)
    assert [s.id for s in await runtime.list_sandboxes()] == [sandbox]
    assert [s.id for s in await runtime.list_sandboxes("node2")] == []
    await runtime.stop_sandbox(sandbox)
    await runtime.stop_sandbox(sandbox)
    assert (await runtime.sandbox_status(sandbox)).state == "notready"
    await runtime.remove_sandbox(sandbox)
    await runtime.remove_sandbox(sandbox)
    with pytest.raises(NotFound):
        await runtime.sandbox_status(sandbox)


async def a_container_runs_and_its_end_is_kept(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    labels = {"io.kubernetes.container.name": "main"}
    id_ = await runtime.start_container(container(sandbox, "sleep", "0.1", labels=labels, attempt=3))
    status = await runtime.container_status(id_)
    assert (status.state, status.name, status.attempt, status.node) == ("running", "main", 3, "node1")
    assert status.labels == labels
    assert status.pid > 0
    assert status.image_id.startswith("sha256:")
    ended = await exited(runtime, id_)
    assert (ended.exit_code, ended.reason, ended.signal) == (0, "Completed", 0)
    assert ended.finished_at >= ended.started_at >= ended.created_at > 0
    assert [c.id for c in await runtime.list_containers("node1")] == [id_]
    await runtime.remove_container(id_)
    await runtime.remove_container(id_)
    assert await runtime.list_containers() == []


async def a_failure_has_its_code_and_reason(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    id_ = await runtime.start_container(container(sandbox, "sh", "-c", "exit 3"))
    ended = await exited(runtime, id_)
    assert (ended.exit_code, ended.reason) == (3, "Error")


async def an_unknown_image_names_those_there_are(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    with pytest.raises(ImageNotFound) as caught:
        await runtime.start_container(container(sandbox, "true", image="example.com/nothing:1"))
    assert "busybox:1.35" in caught.value.known
    with pytest.raises(InvalidImageName):
        await runtime.start_container(container(sandbox, "true", image="Not An Image"))
    assert await runtime.list_containers() == []


async def an_unknown_command_is_a_start_error_with_a_record(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    with pytest.raises(StartError, match='exec: "nonsense": executable file not found in \\$PATH') as caught:
        await runtime.start_container(container(sandbox, "nonsense"))
    status = await runtime.container_status(caught.value.container_id)
    assert (status.state, status.exit_code, status.reason) == ("exited", 128, "StartError")
    assert "runc create failed" in status.message


async def a_container_needs_a_sandbox(runtime: Runtime, config: SandboxConfig) -> None:
    with pytest.raises(NotFound):
        await runtime.start_container(container("0" * 64, "true"))
    with pytest.raises(NotFound):
        await runtime.container_status("0" * 64)


async def stopping_waits_the_grace_and_then_kills(runtime: Runtime, config: SandboxConfig) -> None:
    """sleep, as number 1 of its PID namespace, ignores SIGTERM, as users of real clusters know."""
    sandbox = await runtime.run_sandbox(config)
    id_ = await runtime.start_container(container(sandbox, "sleep", "1000"))
    await runtime.stop_container(id_, 0.2)
    ended = await exited(runtime, id_)
    assert (ended.exit_code, ended.signal, ended.reason) == (137, 9, "Error")
    await runtime.stop_container(id_, 0.2)


async def stopping_the_sandbox_ends_its_containers(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    ids = [await runtime.start_container(container(sandbox, "sleep", "1000", name=f"c{n}")) for n in range(3)]
    await runtime.stop_sandbox(sandbox)
    for id_ in ids:
        assert (await exited(runtime, id_)).exit_code == 137
    await runtime.remove_sandbox(sandbox)
    assert await runtime.list_containers() == []


async def events_tell_what_changed(runtime: Runtime, config: SandboxConfig) -> None:
    events: AsyncIterator[ContainerEvent] = runtime.events("node1")
    others = runtime.events("node2")
    sandbox = await runtime.run_sandbox(config)
    id_ = await runtime.start_container(container(sandbox, "true"))
    await exited(runtime, id_)
    await runtime.remove_container(id_)
    await runtime.remove_sandbox(sandbox)
    seen = []
    async with asyncio.timeout(10):
        while not seen or seen[-1] != ("removed", ""):
            event = await anext(events)
            seen.append((event.kind, event.container_id))
    assert seen[0] == ("started", "")
    assert set(seen[1:3]) == {("started", id_), ("exited", id_)}
    assert seen[3:] == [("removed", id_), ("sandbox_exited", ""), ("removed", "")]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(others), 0.05)


async def the_log_is_cri(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    id_ = await runtime.start_container(container(sandbox, "sh", "-c", "echo one; echo two", log_path="main/0.log"))
    status = await exited(runtime, id_)
    lines = Path(status.log_path).read_text().splitlines()
    assert [line.split(" ", 3)[1:] for line in lines] == [["stdout", "F", "one"], ["stdout", "F", "two"]]
    assert all(line.split(" ")[0].endswith("Z") and "T" in line for line in lines)
    Path(status.log_path).unlink()


async def exec_runs_beside_the_container(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    id_ = await runtime.start_container(container(sandbox, "sleep", "1000"))
    result = await runtime.exec_sync(id_, ["echo", "hello"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, b"hello\n", b"")
    assert (await runtime.exec_sync(id_, ["sh", "-c", "exit 9"])).exit_code == 9
    with pytest.raises(StartError) as caught:
        await runtime.exec_sync(id_, ["nonsense"])
    assert caught.value.exit_code == 127
    assert str(caught.value).startswith("OCI runtime exec failed: exec failed: unable to start container process: ")
    with pytest.raises(TimeoutError):
        await runtime.exec_sync(id_, ["sleep", "1000"], timeout=0.1)
    assert (await runtime.container_status(id_)).state == "running"


async def exec_has_stdin(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    id_ = await runtime.start_container(container(sandbox, "sleep", "1000"))
    session = await runtime.exec(id_, ["cat"], stdin=True)
    await session.write(b"ping")
    assert await session.read("stdout") == b"ping"
    await session.close_stdin()
    assert await asyncio.wait_for(session.wait(), 10) == 0
    assert await session.read("stdout") == b""
    assert await session.read("stderr") == b""
    await session.close()


async def an_ended_container_has_no_exec(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    id_ = await runtime.start_container(container(sandbox, "true"))
    await exited(runtime, id_)
    for call in (runtime.exec_sync(id_, ["true"]), runtime.attach(id_)):
        with pytest.raises(NotRunning):
            await call


async def builtin_images_run_their_servers(runtime: Runtime, config: SandboxConfig) -> None:
    sandbox = await runtime.run_sandbox(config)
    image = "registry.k8s.io/e2e-test-images/agnhost:2.40"
    id_ = await runtime.start_container(ContainerConfig(sandbox, "main", image, args=("netexec",)))
    assert (await runtime.container_status(id_)).state == "running"
    assert [stat.container_id for stat in await runtime.stats()] == [id_]
    await runtime.stop_container(id_, 10)
    assert (await exited(runtime, id_)).exit_code in (0, 143)  # netexec ends in order


SENTENCES: tuple[Body, ...] = (
    a_sandbox_is_ready_until_stopped,
    a_container_runs_and_its_end_is_kept,
    a_failure_has_its_code_and_reason,
    an_unknown_image_names_those_there_are,
    an_unknown_command_is_a_start_error_with_a_record,
    a_container_needs_a_sandbox,
    stopping_waits_the_grace_and_then_kills,
    stopping_the_sandbox_ends_its_containers,
    events_tell_what_changed,
    the_log_is_cri,
    exec_runs_beside_the_container,
    exec_has_stdin,
    an_ended_container_has_no_exec,
    builtin_images_run_their_servers,
)


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda body: body.__name__)
def test_runtime(run: Run, sentence: Body) -> None:
    run(sentence)


def test_every_sentence_is_in_the_table() -> None:
    own = {
        name
        for name, value in globals().items()
        if asyncio.iscoroutinefunction(value) and value.__module__ == __name__ and name not in ("on_real", "exited")
    }
    assert own == {body.__name__ for body in SENTENCES}
