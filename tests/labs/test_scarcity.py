"""What the machine can lack: space on the disk, user namespaces. One clear sentence each, and nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.labs.tools import User, one_sentence, until

pytestmark = pytest.mark.timeout(300)

DISK = 12 << 20
"""Bytes of the disk that holds a lab's state: some 2 MB of it are in use when the lab is up."""


@pytest.fixture
def small_disk(anyone: User) -> Iterator[User]:
    """The same user with the state directory on a small disk of its own, in a private mount namespace."""
    rootless = anyone.prefix != () or os.geteuid() != 0
    state = anyone.home / "state"
    script = f"mount -t tmpfs -o size={DISK},mode=700 tmpfs {state} && echo mounted && exec sleep 1000"
    unshare = ("unshare", "--mount", "--propagation", "slave", *(("--user", "--map-root-user") if rootless else ()))
    with subprocess.Popen([*anyone.prefix, *unshare, "sh", "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "mounted\n"
            kinds = ("--user", "--preserve-credentials", "--mount") if rootless else ("--mount",)
            user = replace(anyone, prefix=(*anyone.prefix, "nsenter", f"--target={holder.pid}", *kinds))
            yield user
            down = user.klab("down", "--all", "--purge")
            assert down.returncode == 0, down.stderr
        finally:
            holder.kill()


def fill(user: User, name: str = "filler") -> None:
    """Take all space that there is."""
    filler = user.home / "state" / name
    done = user.run("dd", "if=/dev/zero", f"of={filler}", "bs=4k")
    assert "No space left" in done.stderr, done.stderr


def free(user: User, name: str = "filler") -> None:
    assert user.run("rm", str(user.home / "state" / name)).returncode == 0


def create(user: User, number: int) -> subprocess.CompletedProcess[str]:
    """A ConfigMap of 100 kB: a few of them are more than what a file has left to grow in its last block."""
    return user.klab("kubectl", "create", "configmap", f"c-{number}", f"--from-literal=data={'x' * 100_000}")


def names(user: User) -> set[str]:
    listed = user.klab("kubectl", "get", "configmaps", "-o", "json")
    assert listed.returncode == 0, listed.stderr
    return {item["metadata"]["name"] for item in json.loads(listed.stdout)["items"]}


def test_a_full_disk_under_the_store(small_disk: User) -> None:
    user = small_disk
    up = user.klab("up", "single")
    assert up.returncode == 0, up.stderr
    acknowledged = {f"c-{number}" for number in range(3) if create(user, number).returncode == 0}
    assert len(acknowledged) == 3

    fill(user)
    refused = None
    for number in range(10, 60):  # the log's file may still have room that it has already
        made = create(user, number)
        if made.returncode != 0:
            refused = made
            break
        acknowledged.add(f"c-{number}")
    assert refused is not None, "50 objects were stored on a full disk"
    assert "no space left on the disk that holds" in refused.stderr
    one_sentence(refused.stderr)
    assert names(user) >= acknowledged, "reading goes on"

    free(user)
    until("writes work again", lambda: create(user, 99).returncode == 0, 30)
    acknowledged.add("c-99")
    until("nodes are Ready", lambda: nodes_ready(user))

    # and all of it is on the disk
    assert user.klab("down").returncode == 0
    again = user.klab("up", "--name", "single")
    assert again.returncode == 0, again.stderr
    assert names(user) >= acknowledged


def nodes_ready(user: User) -> bool:
    nodes = json.loads(user.klab("kubectl", "get", "nodes", "-o", "json").stdout)["items"]
    conditions = [c for node in nodes for c in node["status"]["conditions"] if c["type"] == "Ready"]
    return bool(conditions) and all(c["status"] == "True" for c in conditions)


@pytest.mark.parametrize("anyone", ["caller"], indirect=True)
@pytest.mark.parametrize("room", [0, 16, 200], ids=lambda room: f"{room} kB free")
def test_up_on_a_full_disk(small_disk: User, room: int) -> None:
    user = small_disk
    user.run("dd", "if=/dev/zero", f"of={user.home}/state/reserve", "bs=1k", f"count={room}")
    fill(user)
    free(user, "reserve")
    up = user.klab("up", "single")
    assert up.returncode == 1, up.stdout
    reason = [line for line in up.stderr.splitlines() if not line.startswith("ok ")]
    one_sentence("\n".join(reason))
    assert "No space left on device" in up.stderr or "no space left on the disk" in up.stderr, up.stderr
    free(user)
    assert user.klab("up", "single").returncode == 0


WITHOUT = """
echo 0 > /proc/sys/user/max_user_namespaces
exec setpriv --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
"""


def test_without_user_namespaces(anyone: User, tmp_path: Path) -> None:
    """As where an administrator has forbidden them: a namespace whose limit is 0, without capabilities in it."""
    forbidden = ("unshare", "--user", "--map-root-user", "sh", "-c", WITHOUT, "sh")
    user = replace(anyone, prefix=(*anyone.prefix, *forbidden))
    up = user.klab("up", "single")
    assert up.returncode == 1, up.stdout
    one_sentence(up.stderr)
    assert "user.max_user_namespaces is 0" in up.stderr
    assert "sudo sysctl -w user.max_user_namespaces=15000" in up.stderr
    doctor = json.loads(user.klab("doctor", "-o", "json").stdout)
    assert [check["name"] for check in doctor if check["level"] == "required" and not check["ok"]] == [
        "user namespaces"
    ]
    assert [lab["state"] for lab in json.loads(anyone.klab("ls", "-o", "json").stdout)] in ([], ["stopped"])
