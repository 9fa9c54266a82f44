"""Names and places, specs as JSON, packets, id maps, what the doctor says."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from netlab.sandbox import cgroups, doctor, idmap, wire
from netlab.sandbox.data import spec_data
from netlab.sandbox.locate import process_start, running_pid
from netlab.sandbox.orders import signal_number
from netlab.sandbox.paths import BadLabName, LabPaths, known_labs
from netlab.sandbox.spec import ExitInfo, MountSpec, ProcessSpec, RootFs
from netlab.sandbox.syscalls import CAPABILITIES, cap_mask


@pytest.mark.parametrize("name", ["a", "course", "lab-2", "0", "a" * 40])
def test_lab_names(name: str) -> None:
    assert LabPaths.of(name).name == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a/b", "..", "a" * 41, "a\n"])
def test_what_is_no_lab_name(name: str) -> None:
    with pytest.raises(BadLabName, match="is not a lab name"):
        LabPaths.of(name)


def test_places_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    lab = LabPaths.of("x")
    assert lab.logs == tmp_path / "state/netlab/x/logs"
    assert lab.control_socket == tmp_path / "netlab/x/control.sock"
    assert known_labs() == []
    lab.create()
    assert lab.runtime.stat().st_mode & 0o777 == 0o700
    assert known_labs() == ["x"]
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LabPaths.of("x").state == tmp_path / ".local/state/netlab/x"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    assert LabPaths.of("x").runtime == Path(f"/tmp/netlab-{os.getuid()}/x")


def test_a_reused_pid_is_not_the_lab(tmp_path: Path) -> None:
    lab = LabPaths("x", tmp_path / "s", tmp_path / "r")
    lab.create()
    assert running_pid(lab) is None
    own = os.getpid()
    lab.pid.write_text(f"{own} {process_start(own)}\n")
    assert running_pid(lab) == own
    lab.pid.write_text(f"{own} 1\n")
    assert running_pid(lab) is None
    lab.pid.write_text("nonsense")
    assert running_pid(lab) is None


def test_specs_leave_defaults_out() -> None:
    assert spec_data(ProcessSpec("x", argv=("true",))) == {
        "id": "x",
        "argv": ("true",),
        "cwd": "/",
        "via": "init",
        "stdio": ("null", "null", "null"),
    }
    spec = ProcessSpec(
        "x",
        target="a:b",
        args=(1,),
        new=frozenset({"pid", "net"}),
        rootfs=RootFs(("/l",), "/layer", (MountSpec("proc", "/proc"),)),
        capabilities=frozenset(),
        user=(1, 2),
        join={"uts": 0},
    )
    data = spec_data(spec)
    assert data["new"] == ["net", "pid"]
    assert data["capabilities"] == [], "none at all is not all of them"
    assert data["rootfs"]["mounts"][0]["kind"] == "proc"
    assert data["join"] == {"uts": 0}


def test_exit_status() -> None:
    assert ExitInfo(3, 0, 0.0).status == 3
    assert ExitInfo(0, 15, 0.0).status == 143


@pytest.mark.parametrize("size", [10, wire.INLINE, wire.INLINE + 1, 3_000_000])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_packets_of_every_size(size: int, count: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
        wire.send(ours, wire.encode({"text": "x" * size}), fds)
        wire.close_all(fds)
        received = wire.receive(theirs)
        assert received is not None
        assert received[0] == {"text": "x" * size}
        assert len(received[1]) == count
        assert all(not os.get_inheritable(fd) for fd in received[1])
        wire.close_all(received[1])
        ours.close()
        assert wire.receive(theirs) is None


def test_subordinate_ranges(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("root:1:2\nuser:100000:65536\n1001:300000:70000\nbroken\nuser:x:y\n")
    assert idmap.subordinate_range(str(file), "user", 1000) == (100000, 65536)
    assert idmap.subordinate_range(str(file), "user", 1001) == (300000, 70000)
    assert idmap.subordinate_range(str(file), "other", 5) is None
    assert idmap.subordinate_range(str(tmp_path / "none"), "user", 5) is None


def test_signals_and_capabilities_by_name() -> None:
    assert [signal_number(name) for name in ("SIGTERM", "TERM", 9)] == [15, 15, 9]
    assert cap_mask(["CHOWN", "NET_ADMIN"]) == 1 | 1 << 12
    assert CAPABILITIES.index("CHECKPOINT_RESTORE") == 40


# -- the doctor -------------------------------------------------------------------------------------------------------


def test_every_failed_check_has_a_remedy() -> None:
    found = doctor.checks()
    assert len({check.name for check in found}) == len(found)
    for check in found:
        assert check.found
        assert check.needed_for
        assert check.ok or check.remedy, check


@pytest.mark.parametrize(
    ("sysctl", "value", "remedy"),
    [
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (None, "", "--privileged"),
    ],
)
def test_refused_user_namespaces_name_the_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sysctl: str | None, value: str, remedy: str
) -> None:
    if sysctl is not None:
        (tmp_path / sysctl).parent.mkdir(parents=True)
        (tmp_path / sysctl).write_text(value + "\n")
    monkeypatch.setattr(doctor, "SYSCTL", tmp_path)
    monkeypatch.setattr(doctor, "privileged", lambda: False)
    monkeypatch.setattr(doctor, "try_namespaces", lambda: OSError(errno.EPERM, "Operation not permitted"))
    check = next(check for check in doctor.required() if check.name == "user namespaces")
    assert (check.ok, check.level) == (False, "required")
    assert remedy in check.remedy


def test_missing_programs_name_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_kwargs: None)
    monkeypatch.setattr(doctor, "bundled_program", lambda _name: None)
    for row in doctor.PROGRAMS:
        check = doctor._program(row)
        assert not check.ok
        assert check.remedy == f"install the package {row[3]}"


def test_trying_namespaces_leaves_nothing() -> None:
    before = Path("/proc/self/mountinfo").read_text(), os.readlink("/proc/self/ns/user")
    doctor.try_namespaces()
    assert (Path("/proc/self/mountinfo").read_text(), os.readlink("/proc/self/ns/user")) == before


def test_looking_for_a_cgroup_changes_nothing() -> None:
    cgroups.delegated()
    group = cgroups.lab_group(LabPaths("none", Path("/s"), Path("/r")))
    assert group is None or not group.exists()
    cgroups.remove_lab_group(group)
