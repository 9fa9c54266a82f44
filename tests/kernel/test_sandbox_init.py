# ruff: noqa: ASYNC240
"""PID 1 keeps, restarts and reports processes; it survives its clients, bad orders and the fork server's death."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sandbox_lab import Box, running

from netlab.sandbox.client import InitClient, SyncInitClient, inherited_fds
from netlab.sandbox.paths import INIT_SOCKET
from netlab.sandbox.spec import AlreadyExists, ExitEvent, ProcessInfo, ProcessSpec, SandboxError

SHELL_ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with running(zygote=["decimal"]) as box:
        yield box


def shell(name: str, script: str, **options: object) -> ProcessSpec:
    return ProcessSpec(name, argv=("/bin/sh", "-c", script), env=SHELL_ENV, **options)  # type: ignore[arg-type]


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


async def info(client: InitClient, name: str) -> ProcessInfo:
    return next(p for p in await client.list(name) if p.id == name)


async def ended(client: InitClient, name: str, seconds: float = 10) -> ProcessInfo:
    end = time.monotonic() + seconds
    while (found := await info(client, name)).exit is None:
        assert time.monotonic() < end, f"{name} did not end"
        await asyncio.sleep(0.01)
    return found


# -- ends -------------------------------------------------------------------------------------------------------------


def test_exits_are_kept_until_forgotten(box: Box) -> None:
    box.call(exits)


async def exits() -> None:
    client = await InitClient.connect()
    queue = await client.subscribe("exits/")
    await client.spawn(shell("exits/code", "exit 3", meta="about it"))
    await client.spawn(shell("exits/signal", "kill -9 $$"))
    events = [await asyncio.wait_for(queue.get(), 10) for _ in range(2)]
    assert all(isinstance(event, ExitEvent) for event in events)
    statuses = {event.id: (event.exit.status, event.meta) for event in events if event}
    assert statuses == {"exits/code": (3, "about it"), "exits/signal": (137, "")}
    second = await InitClient.connect()
    assert [p.exit.status for p in await second.list("exits/") if p.exit] == [3, 137]
    with pytest.raises(AlreadyExists):
        await second.spawn(shell("exits/code", "true"))
    for name in ("exits/code", "exits/signal", "exits/never"):
        await second.forget(name)
    assert await client.list("exits/") == []


def test_a_closed_pipe_ends_programs_but_not_our_own_processes(box: Box) -> None:
    box.call(closed_pipes)


async def closed_pipes() -> None:
    client = await InitClient.connect()
    await client.spawn(ProcessSpec("pipes/ours", target="signal:getsignal", args=(int(signal.SIGPIPE),)))
    await client.spawn(shell("pipes/program", "kill -PIPE $$"))
    assert (await ended(client, "pipes/ours")).exit.status == signal.SIG_IGN  # type: ignore[union-attr]
    assert (await ended(client, "pipes/program")).exit.status == 128 + signal.SIGPIPE  # type: ignore[union-attr]
    for name in ("pipes/ours", "pipes/program"):
        await client.forget(name)


def test_a_running_process_cannot_be_forgotten(box: Box) -> None:
    box.call(forget_running)


async def forget_running() -> None:
    client = await InitClient.connect()
    await client.spawn(shell("running", "sleep 100"))
    with pytest.raises(SandboxError, match="still runs"):
        await client.forget("running")
    await client.kill("running", signal.SIGKILL)
    await ended(client, "running")
    await client.forget("running")


# -- components -------------------------------------------------------------------------------------------------------


def test_components_are_restarted_until_told_otherwise(box: Box) -> None:
    box.call(restarts, str(box.paths.logs / "again.log"))


async def restarts(log: str) -> None:
    client = await InitClient.connect()
    await client.spawn(shell("again", "echo started; exit 1", restart=True, stdio=("null", "log", "log"), log=log))
    await until(lambda: Path(log).read_text().count("started") >= 3)
    await client.kill("again", signal.SIGKILL, stop=True)
    await asyncio.sleep(0.05)
    await ended(client, "again")
    count = Path(log).read_text().count("started")
    await client.forget("again")
    await asyncio.sleep(0.8)
    assert Path(log).read_text().count("started") == count


def test_a_component_killed_comes_back_with_a_new_pid(box: Box) -> None:
    box.call(comes_back)


async def comes_back() -> None:
    client = await InitClient.connect()
    first = await client.spawn(shell("steady", "sleep 100", restart=True))
    os.kill(first, signal.SIGKILL)
    end = time.monotonic() + 10
    while (found := await info(client, "steady")).pid == first or found.exit is not None:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    assert found.starts == 2
    await client.kill("steady", signal.SIGKILL, stop=True)


# -- the fork server --------------------------------------------------------------------------------------------------


def test_forks_of_the_fork_server_are_children_of_pid_1(box: Box) -> None:
    box.call(forks)


async def forks() -> None:
    client = await InitClient.connect()
    reader, writer = os.pipe()
    script = "import os, sys; os.write(3, str((os.getppid(), os.getpid(), 'decimal' in sys.modules)).encode())"
    await client.spawn(
        ProcessSpec("forked", target="builtins:exec", args=(script,), via="zygote", pass_fds=(0,)), [writer]
    )
    os.close(writer)
    parent, own, heavy = eval(os.read(reader, 100).decode())
    assert heavy
    assert own > 1
    assert parent in (0, 1) or parent > 1
    found = await ended(client, "forked")
    assert found.pid == own
    assert found.exit is not None
    assert found.exit.status == 0


def test_new_pid_namespaces_both_ways(box: Box) -> None:
    assert box.call(first_of_its_own) == {"init": (1, 0), "zygote": (1, 0), "outside": True}


async def first_of_its_own() -> dict[str, object]:
    client = await InitClient.connect()
    found: dict[str, object] = {}
    for via in ("init", "zygote"):
        reader, writer = os.pipe()
        script = "import os; os.write(3, ('%d %d' % (os.getpid(), os.getppid())).encode())"
        await client.spawn(
            ProcessSpec(
                f"first-{via}", target="builtins:exec", args=(script,), via=via, new=frozenset({"pid"}), pass_fds=(0,)
            ),
            [writer],
        )
        pid, parent = map(int, os.read(reader, 100).split())
        found[via] = (pid, parent)
    pid = await client.spawn(shell("after", "sleep 100"))
    found["outside"] = os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/1/ns/pid")
    return found


def test_the_fork_server_is_replaced(box: Box) -> None:
    box.call(kill_the_fork_server)


async def kill_the_fork_server() -> None:
    client = await InitClient.connect()
    for round_ in range(3):
        zygote = await info(client, "zygote")
        if zygote.pid and zygote.exit is None:
            os.kill(zygote.pid, signal.SIGKILL)
        # Orders given while it is away wait for the next one.
        names = [f"round-{round_}-{number}" for number in range(3)]
        specs = [ProcessSpec(name, target="time:sleep", args=(100,), via="zygote") for name in names]
        pids = await asyncio.wait_for(asyncio.gather(*(client.spawn(spec) for spec in specs)), 20)
        assert len(set(pids)) == 3
        for name, pid in zip(names, pids, strict=True):
            os.kill(pid, 0)
            await client.kill(name, signal.SIGKILL)
            await ended(client, name)


# -- descriptors ------------------------------------------------------------------------------------------------------


def test_held_descriptors_outlive_whoever_gave_them(box: Box) -> None:
    box.call(hold)


async def hold() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    client = await InitClient.connect()
    await client.hold("api", [listener.fileno()])
    listener.close()
    await client.close()
    second = await InitClient.connect()
    [fd] = await second.held("api")
    again = socket.socket(fileno=fd)
    with socket.create_connection(("127.0.0.1", port)):
        again.accept()[0].close()
    reader, writer = os.pipe()
    await second.spawn(
        ProcessSpec(
            "holder",
            argv=("/bin/sh", "-c", "echo $NETLAB_FDS >&3; readlink /proc/self/fd/4 >&3"),
            env=SHELL_ENV,
            hold=("api",),
            pass_fds=(0,),
        ),
        [writer],
    )
    os.close(writer)
    text = b""
    while part := os.read(reader, 100):
        text += part
    assert text.startswith(b"api=4\nsocket:")
    os.environ["NETLAB_FDS"] = "api=4 other=5 api=6"
    assert inherited_fds("api") == [4, 6]
    await second.hold("api", [])
    assert await second.held("api") == []


def test_stdio_is_kept_when_its_reader_dies(box: Box) -> None:
    box.call(stdio)


async def stdio() -> None:
    client = await InitClient.connect()
    await client.spawn(shell("talker", "read line; echo got $line", stdio=("pipe", "pipe", "null")))
    first = await client.stdio("talker")
    first.close()
    again = await client.stdio("talker")
    assert again.stdin is not None
    assert again.stdout is not None
    os.write(again.stdin, b"word\n")
    await ended(client, "talker")
    assert os.read(again.stdout, 100) == b"got word\n"
    again.close()


# -- the protocol -----------------------------------------------------------------------------------------------------


def test_large_orders_and_large_answers(box: Box) -> None:
    box.call(large)


async def large() -> None:
    client = await InitClient.connect()
    env = {**SHELL_ENV, **{f"SERVICE_{number}_HOST": "10.96.0.1" * 10 for number in range(5000)}}
    reader, writer = os.pipe()
    spec = ProcessSpec(
        "large", argv=("/bin/sh", "-c", "echo $SERVICE_4999_HOST >&3"), env=env, pass_fds=(0,), meta="m" * 300_000
    )
    await client.spawn(spec, [writer])
    assert os.read(reader, 1000).decode() == "10.96.0.1" * 10 + "\n"
    assert (await info(client, "large")).meta == "m" * 300_000
    await ended(client, "large")
    await client.forget("large")


def test_nonsense_does_not_disturb(box: Box) -> None:
    box.call(nonsense)


def nonsense() -> None:
    for data in (
        b"not json",
        b"[]",
        b"{}",
        b'{"op": 5}',
        b'{"op": "spawn"}',
        b'{"op": "spawn", "n": 1, "spec": {}}',
        b"\xff",
    ):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(INIT_SOCKET))
        sock.send(data)
        sock.close()
    with SyncInitClient() as client:
        client.spawn(ProcessSpec("fine", argv=("/bin/true",)))


def test_a_client_that_does_not_read_is_not_waited_for(box: Box) -> None:
    box.call(deaf)


async def deaf() -> None:
    idle = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    idle.connect(str(INIT_SOCKET))
    idle.send(b'{"n": 1, "op": "exits", "prefix": ""}')
    for _ in range(300):
        idle.send(b'{"n": 2, "op": "list"}')
    client = await InitClient.connect()
    for number in range(20):
        await asyncio.wait_for(client.spawn(shell(f"quick-{number}", "exit 0")), 10)
    idle.close()


def test_many_at_once(box: Box) -> None:
    box.call(many)


async def many() -> None:
    client = await InitClient.connect()
    queue = await client.subscribe("many/")
    specs = [ProcessSpec(f"many/{n}", argv=("/bin/true",), new=frozenset({"pid"})) for n in range(100)]
    await asyncio.gather(*(client.spawn(spec) for spec in specs))
    seen = {event.id for event in [await asyncio.wait_for(queue.get(), 20) for _ in specs] if event}
    assert seen == {spec.id for spec in specs}


def test_orphans_are_reaped(box: Box) -> None:
    assert box.call(orphans) == []


async def orphans() -> list[str]:
    client = await InitClient.connect()
    await client.spawn(shell("parent", "for i in 1 2 3 4 5; do (sleep 0.05 &) ; done; exit 0"))
    await ended(client, "parent")
    await asyncio.sleep(0.3)
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and fields[1] == "1":
            found.append(pid)
    return found
