"""A lab with one user id only (no newuidmap, no /etc/subuid), also when root starts it in a user namespace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_pods import AGNHOST, ended, pod, text
from sandbox_lab import Box, running

from netlab.runtime.contract import StartError
from netlab.sandbox import idmap, removal


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setattr(idmap, "subordinate_ranges", lambda: None)
    with running(user_namespace=True) as box:
        assert box.launched.user_namespace
        assert not box.launched.subordinate_ids
        yield box


def test_pods_run_with_a_single_id(box: Box) -> None:
    assert os.readlink(f"/proc/{box.launched.pid}/ns/user") != os.readlink("/proc/self/ns/user")
    box.call(pods)


async def pods() -> None:
    async with pod() as web:
        output = await web.output("sh", "-c", "id -u; echo x > /etc/x && cat /etc/x; grep CapEff /proc/self/status")
        assert output.split()[:2] == ["0", "x"]
        assert "00000000a80425fb" in output
        with pytest.raises(StartError, match=r"not mapped into this lab: .*klab doctor"):
            await web.run("true", run_as_user=1000)
        with pytest.raises(StartError, match="supplemental groups need subordinate ids"):
            await web.run("true", run_as_group=0, supplemental_groups=(5,), run_as_user=1000)
        id_ = await web.run(image=AGNHOST, args=("netexec",))
        assert (await web.runtime.exec_sync(id_, ["hostname"])).stdout == b"web\n"
        assert text(await ended(web.runtime, await web.run("sh", "-c", "hostname", image="busybox"))) == "web\n"


def test_what_pods_left_is_deleted_by_root_of_a_namespace(tmp_path: Path) -> None:
    """As `klab down --purge` does where the user may not: what other ids wrote."""
    left = tmp_path / "left" / "deep"
    left.mkdir(parents=True)
    (left / "file").write_text("x")
    assert removal._as_root_of_a_namespace(tmp_path / "left")
    removal.remove(tmp_path / "left")
    assert list(tmp_path.iterdir()) == []
