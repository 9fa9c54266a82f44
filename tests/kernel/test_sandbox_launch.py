"""A lab is made, entered and ended; the machine around it does not change; nothing is left."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_lab import Box, descendants, new_paths, running

from netlab.sandbox.client import SyncInitClient
from netlab.sandbox.launch import LabNotRunning, LabRunning, destroy, enter, launch, running_pid
from netlab.sandbox.spec import NoSuchProcess, ProcessSpec, SpawnError

PYTHON = sys.executable


@pytest.fixture
def box() -> Iterator[Box]:
    with running() as box:
        yield box


def machine() -> dict[str, object]:
    """What a lab may not touch, as this user sees it."""

    def output(*command: str) -> str:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout.decode()

    return {
        "addresses": output("ip", "-o", "addr"),
        "links": [line.split()[:2] for line in output("ip", "-o", "link").splitlines()],
        "rules": output("ip", "rule"),
        "routes": output("ip", "route", "show", "table", "all"),
        "nft": output("nft", "list", "ruleset"),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "netns": sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else None,
        "hostname": socket.gethostname(),
    }


def test_the_machine_is_the_same_before_during_and_after() -> None:
    before = machine()
    with running() as box:
        box.call(busy)
        assert machine() == before
    assert machine() == before


def busy() -> None:
    for command in (
        "ip netns add node1",
        "ip link add veth0 type veth peer name veth1 netns node1",
        "ip addr add 10.9.9.1/24 dev veth0",
        "ip link set veth0 up",
        "nft add table inet lab",
        "hostname changed",
        "mount -t tmpfs none /mnt",
    ):
        subprocess.run(command.split(), check=True)


def test_inside_is_private(box: Box) -> None:
    facts = box.call(look_around)
    assert facts["hostname"] == "box"
    assert facts["uid"] == 0
    assert facts["links"] == ["lo"]
    assert facts["lo"], "lo is up"
    assert facts["first"].startswith("netlab-init")
    assert set(facts["run"]) == {"lock", "netlab", "netns"} or "netlab" in facts["run"]
    assert facts["files"][0] == facts["files"][1], "the soft limit is the hard one"


def look_around() -> dict[str, object]:
    import resource

    links = subprocess.run(["ip", "-o", "link"], stdout=subprocess.PIPE, check=True).stdout.decode()
    with SyncInitClient() as client:
        client.spawn(ProcessSpec("limits", argv=("/bin/sleep", "10")))
        pid = client.list("limits")[0].pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        client.kill("limits", signal.SIGKILL)
    return {
        "hostname": socket.gethostname(),
        "uid": os.getuid(),
        "links": [line.split(": ")[1] for line in links.splitlines()],
        "lo": "UP" in links,
        "first": Path("/proc/1/comm").read_text(),
        "run": os.listdir("/run"),
        "files": (soft, hard),
    }


def test_a_second_lab_of_the_same_name_is_refused(box: Box) -> None:
    with pytest.raises(LabRunning):
        launch(box.paths)
    assert running_pid(box.paths) == box.launched.pid


def test_two_labs_do_not_see_each_other() -> None:
    with running("one") as one, running("two") as two:
        for box in (one, two):
            box.call(busy)
        assert one.call(socket.gethostname) == two.call(socket.gethostname) == "changed"
        assert not descendants(one.launched.pid) & descendants(two.launched.pid)


def test_destroy_takes_everything_and_may_be_repeated(box: Box) -> None:
    box.call(spawn_family)
    inside = descendants(box.launched.pid)
    assert len(inside) >= 4
    assert destroy(box.paths) is True
    assert not [pid for pid in inside if alive(pid)]
    assert destroy(box.paths) is False
    with pytest.raises(LabNotRunning):
        enter(box.paths, ["true"])


def spawn_family() -> None:
    with SyncInitClient() as client:
        client.spawn(ProcessSpec("a", argv=("/bin/sh", "-c", "sleep 1000 & sleep 1000")))
        client.spawn(ProcessSpec("b", argv=("/bin/sleep", "1000"), new=frozenset({"pid", "net", "mnt", "uts", "ipc"})))


def test_sigkill_of_pid_1_takes_everything(box: Box) -> None:
    box.call(spawn_family)
    inside = descendants(box.launched.pid)
    handle = os.pidfd_open(box.launched.pid)
    os.kill(box.launched.pid, signal.SIGKILL)
    select.select([handle], [], [], 10)
    os.close(handle)
    assert not [pid for pid in inside if alive(pid)]
    assert running_pid(box.paths) is None
    relaunched = launch(box.paths)
    assert relaunched.pid != box.launched.pid


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_orderly_stop_lets_components_finish() -> None:
    with running() as box:
        log = box.paths.logs / "flush.log"
        box.call(start_component, "trap 'echo flushed; exit 0' TERM; while :; do sleep 0.02; done", str(log))
        time.sleep(0.1)  # the shell sets its trap
        assert destroy(box.paths, grace=5)
        assert log.read_text() == "flushed\n"


def start_component(script: str, log: str) -> None:
    spec = ProcessSpec(
        "component",
        argv=("/bin/sh", "-c", script),
        env={"PATH": "/usr/bin:/bin"},
        stdio=("null", "log", "log"),
        log=log,
        restart=True,
    )
    with SyncInitClient() as client:
        client.spawn(spec)


def wait_for(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_an_interrupted_start_leaves_nothing() -> None:
    """The caller is killed at various moments: either a whole lab runs, which can be destroyed, or nothing does."""
    for delay in (0.0, 0.01, 0.03, 0.06, 0.1):
        paths = new_paths()
        caller = os.fork()
        if caller == 0:
            launch(paths)
            os._exit(0)
        time.sleep(delay)
        os.kill(caller, signal.SIGKILL)
        os.waitpid(caller, 0)
        wait_for(lambda paths=paths: running_pid(paths) is not None or not lab_processes(paths))
        destroy(paths)
        wait_for(lambda paths=paths: not lab_processes(paths))
        shutil.rmtree(paths.state.parent)


def lab_processes(paths: object) -> list[str]:
    """Processes that hold this lab's log file open: every process of it that is not a container does."""
    mark = str(paths.state)  # type: ignore[attr-defined]
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in ("1", "2")]
        except OSError:
            continue
        if any(link.startswith(mark) for link in links):
            found.append(pid)
    return found


# -- enter ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["no-such-command"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_enter_returns_the_status(box: Box, argv: list[str], status: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert enter(box.paths, argv) == status


def test_enter_a_node(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    box.call(busy)
    script = "hostname; cat /proc/sys/kernel/hostname; ls /sys/class/net | sort | tr '\\n' ' '; echo $MARK"
    assert (
        enter(
            box.paths,
            ["sh", "-c", script],
            netns="node1",
            hostname="node1",
            env={"MARK": "m", "PATH": os.environ["PATH"]},
        )
        == 0
    )
    assert capfd.readouterr().out.split() == ["node1", "node1", "lo", "veth1", "m"]
    assert box.call(socket.gethostname) == "changed"


def test_enter_gives_a_shell_its_terminal(box: Box) -> None:
    """Job control works: the shell is in the terminal's foreground group, Ctrl-C reaches the command alone."""
    child, master = pty.fork()
    if child == 0:
        os._exit(enter(box.paths, ["bash", "--norc", "-i"], hostname="node1"))
    received = read_until(master, b"# ")
    assert b"no job control" not in received
    os.write(master, b"sleep 100\n")
    time.sleep(0.2)
    os.write(master, b"\x03")
    read_until(master, b"# ")
    os.write(master, b"echo status=$?; exit 5\n")
    read_until(master, b"status=130")
    assert os.waitpid(child, 0)[1] >> 8 == 5
    os.close(master)


def read_until(fd: int, text: bytes) -> bytes:
    data = b""
    end = time.monotonic() + 10
    while text not in data:
        assert time.monotonic() < end, data
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data += os.read(fd, 4096)
            except OSError:
                break
    return data


def test_no_such_process_and_spawn_errors(box: Box) -> None:
    box.call(mistakes)


def mistakes() -> None:
    with SyncInitClient() as client:
        with pytest.raises(NoSuchProcess):
            client.kill("nothing", 9)
        client.forget("nothing")
        with pytest.raises(SpawnError) as caught:
            client.spawn(ProcessSpec("bad", argv=("/no/such",)))
        assert (caught.value.stage, caught.value.errno) == ("exec", 2)
        assert client.list("bad")[0].exit is not None
        client.forget("bad")
        with pytest.raises(SpawnError) as caught:
            client.spawn(ProcessSpec("bad", argv=("/bin/true",), join={"net": "/run/netns/none"}))
        assert caught.value.stage == "join"
        with pytest.raises(Exception, match="no such order"):
            client.order("nonsense")
