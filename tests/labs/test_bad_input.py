"""What a user can get wrong, or find in the way: one clear sentence, the right exit status, nothing left running."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.labs.tools import User, one_sentence

GOOD = """
nodes:
  master: {role: control-plane}
  node1: {}
switches: {s1: {}}
links:
  - ends: [master, s1]
  - ends: [node1, s1]
"""

FILES = {
    "not YAML": ("nodes: [", "2:1"),
    "an unknown key": (GOOD + "nodez: {}\n", "nodes"),
    "a link to nothing": (GOOD + "  - ends: [node7, s1]\n", "node7"),
    "CIDRs that overlap": (GOOD + "cluster: {podCIDR: 10.96.0.0/16}\n", "overlap"),
    "a CIDR too small": (GOOD + "cluster: {podCIDR: 10.244.0.0/24}\n", "10.244.0.0/24"),
    "a name twice": (GOOD + "hosts: {node1: {}}\n", "node1"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_topology(caller: User, case: str) -> None:
    text, mentioned = FILES[case]
    file = caller.home / "wrong.yaml"
    file.write_text(text)
    result = caller.klab("up", str(file))
    assert result.returncode == 2, result.stderr
    one_sentence(result.stderr)
    assert str(file) in result.stderr
    assert mentioned in result.stderr
    assert json.loads(caller.klab("ls", "-o", "json").stdout) == []


def test_no_such_topology(caller: User) -> None:
    result = caller.klab("up", "corse")
    assert result.returncode == 2
    one_sentence(result.stderr)
    assert "course" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "mentioned"),
    [
        (("status",), 1, "no lab runs"),
        (("--lab", "nope", "kubectl", "get", "nodes"), 1, "'nope'"),
        (("upp",), 2, "did you mean 'up'"),
        (("up", "single", "--name", "Not_A_Name"), 2, "Not_A_Name"),
        (("up", "single", "--api-port", "99999"), 2, "99999"),
        (("image", "load", "/nonexistent.tar"), 1, "/nonexistent.tar"),
        (("image", "rm", "nonesuch"), 1, "nonesuch"),
        (("logs",), 1, "no lab runs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_call(caller: User, arguments: tuple[str, ...], status: int, mentioned: str) -> None:
    result = caller.klab(*arguments)
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    assert mentioned in result.stderr


def test_a_taken_port(caller: User) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = caller.klab("up", "single", "--api-port", str(port))
    assert result.returncode == 1
    one_sentence(result.stderr)
    assert f"port {port}" in result.stderr


def test_up_twice(caller: User) -> None:
    assert caller.klab("up", "single").returncode == 0
    again = caller.klab("up", "single")
    assert again.returncode == 1
    one_sentence(again.stderr)
    assert "already runs" in again.stderr


def programs_but(without: str, directory: Path) -> str:
    """A PATH with every program of the caller's but one."""
    for place in os.environ["PATH"].split(":"):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = directory / program.name
            if program.name != without and not link.exists():
                link.symlink_to(program)
    return str(directory)


def test_without_mnexec(caller: User, tmp_path: Path) -> None:
    """Stock Mininet cannot start without it; here it is not needed, not even for `cmd()`."""
    path = programs_but("mnexec", tmp_path)
    assert caller.klab("up", "single", path=path).returncode == 0
    said = caller.klab("mininet", "-c", "node echo hello", path=path)
    assert "hello" in (said.stdout + said.stderr).splitlines(), said.stderr


def test_the_doctor_names_what_is_missing(caller: User, tmp_path: Path) -> None:
    """`klab doctor` names what is missing and says what to install."""
    result = caller.klab("doctor", "-o", "json", path=programs_but("kubectl", tmp_path))
    missing = {check["name"]: check for check in json.loads(result.stdout) if not check["ok"]}
    assert "kubectl" in missing
    assert missing["kubectl"]["remedy"]


def test_an_unusable_state_directory(caller: User) -> None:
    (caller.home / "state" / "netlab").write_text("a file where a directory should be")
    result = caller.klab("up", "single")
    assert result.returncode == 1
    one_sentence(result.stderr)
    (caller.home / "state" / "netlab").unlink()
