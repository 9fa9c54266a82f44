"""Images of the user's own run: a root file system, one static program over the host, a docker archive."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox_lab import Box, running

from netlab.runtime.images import views
from netlab.runtime.images.store import image_store


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    home = tmp_path_factory.mktemp("images")
    home.parent.chmod(0o755)
    saved = os.environ.get("XDG_DATA_HOME")
    os.environ["XDG_DATA_HOME"] = str(home)
    try:
        make_images(home)
        with running() as box:
            yield box
    finally:
        if saved is None:
            del os.environ["XDG_DATA_HOME"]
        else:
            os.environ["XDG_DATA_HOME"] = saved


def make_images(place: Path) -> None:
    store = image_store()
    program = views.busybox()
    assert program is not None
    root = place / "root"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    shutil.copy(program, root / "bin/sh")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nmine:x:0:0::/:/bin/sh\n")
    store.add("rootfs:1", rootfs=root, entrypoint=["/bin/sh", "-c"], cmd=["echo from its own root; ls /"], user="mine")
    store.add(
        "single:1",
        files=[(Path(program), "/usr/local/bin/busybox-tool"), (root / "etc/passwd", "/etc/deep/er")],
        entrypoint=["busybox-tool"],
    )
    archive = place / "saved.tar"
    with tarfile.open(archive, "w") as tar:
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as inner:
            inner.add(program, "bin/busybox")
        config = {
            "config": {
                "Entrypoint": ["/bin/busybox"],
                "Cmd": ["env"],
                "Env": ["LAYERED=yes", "PATH=/bin"],
                "WorkingDir": "/work",
            }
        }
        put(tar, "layer.tar", layer.getvalue())
        put(tar, "config.json", json.dumps(config).encode())
        entry = {"Config": "config.json", "RepoTags": ["saved:1"], "Layers": ["layer.tar"]}
        put(tar, "manifest.json", json.dumps([entry]).encode())
    store.load(archive)


def put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


CASES: dict[str, dict[str, Any]] = {
    "own root": {"image": "rootfs:1"},
    "single file over the host": {"image": "single:1", "args": ("sh", "-c", "cat /etc/deep/er | wc -l; which ls")},
    "docker archive": {"image": "saved:1"},
    "docker archive's shell": {"image": "saved:1", "args": ("sh", "-c", "pwd; echo x > /new && /bin/busybox cat /new")},
}
EXPECTED = {
    "own root": "from its own root\n",
    "single file over the host": "2\n",
    "docker archive": "LAYERED=yes\n",
    "docker archive's shell": "/work\nx\n",
}


@pytest.mark.parametrize("case", CASES)
def test_runs(box: Box, case: str) -> None:
    output = box.call(run, CASES[case])
    assert EXPECTED[case] in output, output


async def run(options: dict[str, Any]) -> str:
    from runtime_pods import pod

    async with pod("img") as web:
        return await web.output(**options)
