# ruff: noqa: ASYNC222, ASYNC240
"""Logs, terminals, attachments, and what happens to them when the process that hosts the runtime dies."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_pods import LOGS, ended, netns, pod, read_until, text
from sandbox_lab import Box, running

from netlab.runtime.contract import ContainerConfig, SandboxConfig
from netlab.runtime.real import SandboxRuntime
from netlab.sandbox.client import SyncInitClient


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with running() as box:
        yield box


async def until(condition: object, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


# -- logs -------------------------------------------------------------------------------------------------------------


def test_streams_partial_and_long_lines(box: Box) -> None:
    box.call(lines)


async def lines() -> None:
    async with pod() as web:
        script = "echo out; echo err >&2; printf unfinished; head -c 40000 /dev/zero | tr '\\0' x"
        status = await ended(web.runtime, await web.run("sh", "-c", script))
        records = [line.split(" ", 3) for line in Path(status.log_path).read_text().splitlines()]
        assert [r[1:] for r in records if r[1] == "stderr"] == [["stderr", "F", "err"]]
        out = [r for r in records if r[1] == "stdout"]
        assert out[0][2:] == ["F", "out"]
        assert [r[2] for r in out[1:]] == ["P", "P", "P"]
        assert [len(r[3]) for r in out[1:3]] == [16384, 16384]
        assert "".join(r[3] for r in out[1:]) == "unfinished" + "x" * 40000


def test_rotation(box: Box) -> None:
    box.call(rotation)


async def rotation() -> None:
    async with pod() as web:
        id_ = await web.run("sh", "-c", "while :; do echo line; sleep 0.01; done")
        path = Path((await web.runtime.container_status(id_)).log_path)
        await until(lambda: path.exists() and path.stat().st_size)
        path.rename(path.with_suffix(".1"))
        await web.runtime.reopen_log(id_)
        await until(lambda: path.exists() and path.stat().st_size)


def test_much_output_from_many(box: Box) -> None:
    box.call(much)


async def much() -> None:
    async with pod() as web:
        script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
        ids = [await web.run("sh", "-c", script) for _ in range(8)]
        for id_ in ids:
            status = await ended(web.runtime, id_, 60)
            assert text(status) == "".join(f"line {n}\n" for n in range(3000))


# -- terminals --------------------------------------------------------------------------------------------------------


def test_exec_with_a_terminal(box: Box) -> None:
    box.call(terminal)


async def terminal() -> None:
    async with pod() as web:
        id_ = await web.run("sleep", "1000")
        session = await web.runtime.exec(id_, ["sh"], tty=True, stdin=True)
        session.resize(91, 17)
        await session.write(b"tty; stty size; echo $TERM\n")
        output = await read_until(session, b"xterm\r\n")
        assert b"/dev/pts/0\r\n17 91\r\n" in output
        await session.write(b"sleep 1000\n")
        await asyncio.sleep(0.2)
        await session.write(b"\x03")
        await session.write(b"exit 6\n")
        assert await asyncio.wait_for(session.wait(), 10) == 6
        await session.close()


def test_closing_an_exec_ends_it(box: Box) -> None:
    assert box.call(closing) == []


async def closing() -> list[str]:
    async with pod() as web:
        id_ = await web.run("sleep", "1000")
        session = await web.runtime.exec(id_, ["sleep", "777"])
        await session.close()
        assert await session.wait() == 137
        with SyncInitClient() as client:
            return [p.id for p in client.list("exec/")]


def test_a_container_with_a_terminal(box: Box) -> None:
    box.call(tty_container)


async def tty_container() -> None:
    async with pod() as web:
        id_ = await web.run("sh", stdin=True, tty=True)
        session = await web.runtime.attach(id_, stdin=True)
        session.resize(100, 40)
        await session.write(b"stty size; tty; exit 3\n")
        assert b"40 100\r\n/dev/pts/0" in await read_until(session, b"/dev/pts/0")
        assert await asyncio.wait_for(session.wait(), 10) == 3
        await session.close()
        assert "40 100" in text(await web.runtime.container_status(id_))


# -- attach -----------------------------------------------------------------------------------------------------------


def test_attach_and_stdin_once(box: Box) -> None:
    box.call(attach)


async def attach() -> None:
    async with pod() as web:
        id_ = await web.run("sh", "-c", "cat; echo end", stdin=True, stdin_once=True)
        watcher = await web.runtime.attach(id_)
        session = await web.runtime.attach(id_, stdin=True)
        await session.write(b"hello\n")
        assert await read_until(session, b"\n") == b"hello\n"
        await session.close_stdin()
        assert await read_until(session, b"end\n") == b"end\n"
        assert await read_until(watcher, b"end\n") == b"hello\nend\n"
        assert await asyncio.wait_for(session.wait(), 10) == 0
        assert await session.read("stdout") == b""
        await session.close()
        await watcher.close()


def test_without_stdin_once_the_input_stays_open(box: Box) -> None:
    box.call(keep_open)


async def keep_open() -> None:
    async with pod() as web:
        id_ = await web.run("cat", stdin=True)
        first = await web.runtime.attach(id_, stdin=True)
        await first.write(b"one\n")
        await first.close()
        second = await web.runtime.attach(id_, stdin=True)
        await second.write(b"two\n")
        assert await read_until(second, b"two\n")
        await second.close()
        assert (await web.runtime.container_status(id_)).state == "running"


# -- the runtime's own death ------------------------------------------------------------------------------------------


def test_a_killed_runtime_is_succeeded(box: Box) -> None:
    box.call(succession)


async def host(ready: int, directory: str) -> None:
    """The process that is killed: a pod whose container counts, with an exec left open."""
    runtime = await SandboxRuntime.connect()
    path = netns("cni-succession")
    sandbox = await runtime.run_sandbox(
        SandboxConfig("node9", "default", "counter", "uid-9", path, hostname="counter", log_directory=directory)
    )
    script = "i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 8"
    config = ContainerConfig(sandbox, "main", "netlab/host", command=("sh", "-c", script), log_path="main.log")
    container = await runtime.start_container(config)
    await runtime.exec(container, ["sleep", "1000"])
    os.write(ready, container.encode())
    await asyncio.sleep(1000)


async def succession() -> None:
    directory = f"{LOGS}/{time.time_ns()}"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            asyncio.set_event_loop_policy(None)
            asyncio.events._set_running_loop(None)
            asyncio.run(host(writer, directory))
        finally:
            os._exit(1)
    container = os.read(reader, 100).decode()
    log = Path(directory) / "main.log"
    await until(lambda: log.exists() and log.read_text().count("\n") > 10)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    await asyncio.sleep(0.3)
    runtime = await SandboxRuntime.connect(nodes=["node9"])
    with SyncInitClient() as client:
        assert not client.list("exec/node9/"), "an exec whose caller is gone is ended"
    other = await SandboxRuntime.connect(nodes=["node1"])
    assert await other.list_sandboxes() == []
    [sandbox] = await runtime.list_sandboxes()
    assert sandbox.config.name == "counter"
    status = await ended(runtime, container)
    assert (status.exit_code, status.name) == (8, "main")
    numbers = [int(line) for line in text(status).split()]
    assert numbers == sorted(set(numbers))
    assert len(numbers) >= 195, "what was read but not yet written may be lost, no more"
    await runtime.remove_sandbox(sandbox.id)
    await runtime.close()
    await other.close()


def test_nothing_is_left_of_a_removed_pod(box: Box) -> None:
    box.call(leftovers)


async def leftovers() -> None:
    async with pod("gone") as web:
        for _ in range(20):
            await web.output("true")
        await web.run("sh", "-c", "sleep 1000 & sleep 1000")
    with SyncInitClient() as client:
        assert [p.id for p in client.list("") if p.id.startswith(("pod/", "ctr/", "exec/"))] == []
    assert os.listdir("/run/netlab/shm") == []
    assert len(os.listdir("/run/netlab/layers")) == 0
