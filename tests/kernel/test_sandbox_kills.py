"""SIGKILL of any process of a lab: the rest goes on and is told; of PID 1: nothing is left."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from runtime_pods import AGNHOST, netns
from sandbox_lab import Box, descendants, running

from netlab.runtime.contract import ContainerConfig, SandboxConfig
from netlab.runtime.real import SandboxRuntime
from netlab.sandbox.client import SyncInitClient
from netlab.sandbox.launch import destroy, running_pid
from netlab.sandbox.spec import ProcessSpec

PODS = 3


async def populate(logs: str) -> None:
    """Pods with a builtin, a host and a busybox container, a component, and a process of the fork server."""
    runtime = await SandboxRuntime.connect()
    for number in range(PODS):
        config = SandboxConfig("n1", "ns", f"p{number}", f"u{number}", netns(f"p{number}"), hostname=f"p{number}")
        sandbox = await runtime.run_sandbox(config)
        for image, command in (
            (AGNHOST, ()),
            ("netlab/host", ("sh", "-c", "sleep 1000 & wait")),
            ("busybox", ("sleep", "1000")),
        ):
            await runtime.start_container(ContainerConfig(sandbox, "c", image, command=command))
    with SyncInitClient() as client:
        log = ("null", "log", "log")
        client.spawn(ProcessSpec("comp", argv=("/bin/sleep", "1000"), restart=True, stdio=log, log=f"{logs}/comp.log"))  # type: ignore[arg-type]
        client.spawn(ProcessSpec("forked", target="time:sleep", args=(1000,), via="zygote"))
    await runtime.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait(condition: object, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def everything(box: Box) -> set[int]:
    """All processes of the lab, those in containers' PID namespaces too."""
    found = descendants(box.launched.pid)
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def test_any_process_but_the_first() -> None:
    with running(zygote=["decimal"]) as box:
        box.call(populate, str(box.paths.logs))
        victims = sorted(everything(box) - {box.launched.pid})
        assert len(victims) >= PODS * 4 + 3
        random.Random(7).shuffle(victims)
        for victim in victims:
            if alive(victim):
                os.kill(victim, signal.SIGKILL)
                wait(lambda victim=victim: not alive(victim))
            assert running_pid(box.paths) == box.launched.pid
        wait(lambda: box.call(recovered))
        box.call(aftermath)
        everyone = everything(box)
        destroy(box.paths)
        assert not [pid for pid in everyone if alive(pid)]


def recovered() -> bool:
    """The component and the fork server are there again."""
    with SyncInitClient() as client:
        found = {p.id: p for p in client.list() if p.id in ("comp", "zygote")}
        return all(found[name].exit is None and found[name].starts > 1 for name in ("comp", "zygote"))


async def aftermath() -> None:
    """Each end is recorded as SIGKILL's, and new pods can be made."""
    runtime = await SandboxRuntime.connect()
    assert [s.state for s in await runtime.list_sandboxes()] == ["notready"] * PODS
    for status in await runtime.list_containers():
        assert status.state == "exited", status
        assert status.exit_code in (137, 0), status
    for sandbox in await runtime.list_sandboxes():
        await runtime.remove_sandbox(sandbox.id)
    id_ = await runtime.run_sandbox(SandboxConfig("n1", "ns", "new", "u", netns("new"), hostname="new"))
    await runtime.start_container(ContainerConfig(id_, "c", AGNHOST))
    await runtime.remove_sandbox(id_)
    await runtime.close()


def test_the_first_at_random_moments() -> None:
    """While pods are being made: whatever exists at that moment goes."""
    for seed in range(4):
        with running(zygote=["decimal"]) as box:
            worker = os.fork()
            if worker == 0:
                try:
                    box.call(populate, str(box.paths.logs))
                finally:
                    os._exit(0)
            time.sleep(random.Random(seed).uniform(0, 0.12))
            everyone = everything(box) | {box.launched.pid}
            os.kill(box.launched.pid, signal.SIGKILL)
            wait(lambda everyone=everyone: not [pid for pid in everyone if alive(pid)])
            os.waitpid(worker, 0)
            assert running_pid(box.paths) is None
            assert destroy(box.paths) is False
