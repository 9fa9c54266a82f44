"""Image names, the catalog, and images of the user's own: directories, single files, archives."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from netlab.runtime.images import catalog
from netlab.runtime.images.model import BadImage, ImageNotFound, InvalidImageName
from netlab.runtime.images.reference import parse
from netlab.runtime.images.store import DirectoryStore


@pytest.mark.parametrize(
    ("ref", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.28", "docker.io/library/busybox:1.28", "busybox:1.28"),
        ("nicolaka/netshoot", "docker.io/nicolaka/netshoot:latest", "nicolaka/netshoot:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1", "nginx:1"),
        ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x:t", "localhost:5000/x:t", "localhost:5000/x:t"),
        ("a@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64, "a@sha256:" + "0" * 64),
        ("a:t@sha256:" + "0" * 64, "docker.io/library/a:t@sha256:" + "0" * 64, "a:t@sha256:" + "0" * 64),
        ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest", "a__b/c-d.e:latest"),
    ],
)
def test_references(ref: str, full: str, familiar: str) -> None:
    assert (str(parse(ref)), parse(ref).familiar) == (full, familiar)


@pytest.mark.parametrize(
    "ref", ["", "A", "a:", "a b", "a//b", "-a", "a:t:t", "http://a", "a@sha256:12", "a/B", "a:" + "t" * 129]
)
def test_what_is_no_reference(ref: str) -> None:
    with pytest.raises(InvalidImageName, match="invalid reference format"):
        parse(ref)


def test_the_catalogs_rows_are_whole() -> None:
    seen: set[str] = set()
    for row in catalog.ROWS:
        image = catalog.image(row)
        assert not seen & set(image.names), "one meaning for one name"
        seen.update(image.names)
        assert image.entrypoint or image.cmd
        assert set(image.programs) <= set(catalog.TARGETS)
        assert bool(row.needs) == bool(row.package)


def test_any_tag_of_a_catalog_image(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "none")
    for ref in ("registry.k8s.io/e2e-test-images/agnhost:2.40", "registry.k8s.io/e2e-test-images/agnhost"):
        assert store.resolve(ref).programs == ("agnhost", "coredns")
    assert store.resolve("registry.k8s.io/pause@sha256:" + "1" * 64).entrypoint == ("/pause",)


@pytest.mark.parametrize(
    ("ref", "means"),
    [
        ("gcr.io/google_containers/pause", "registry.k8s.io/pause"),
        ("gcr.io/google-containers/pause-amd64:3.1", "registry.k8s.io/pause"),
        ("k8s.gcr.io/e2e-test-images/agnhost:2.40", "registry.k8s.io/e2e-test-images/agnhost"),
        ("us.gcr.io/k8s-artifacts-prod/e2e-test-images/agnhost:2.20", "registry.k8s.io/e2e-test-images/agnhost"),
        ("gcr.io/kubernetes-e2e-test-images/dnsutils:1.3", "registry.k8s.io/e2e-test-images/jessie-dnsutils"),
        ("mirror.gcr.io/library/python:3.12-slim", "docker.io/library/python"),
        ("public.ecr.aws/docker/library/httpd:2.4", "docker.io/library/httpd"),
        ("ubuntu:24.04@sha256:" + "2" * 64, "docker.io/library/ubuntu"),
        ("docker.io/debian:12", "docker.io/library/ubuntu"),
    ],
)
def test_images_under_their_other_names(tmp_path: Path, ref: str, means: str) -> None:
    assert parse(DirectoryStore(tmp_path / "none").resolve(ref).names[0]).repository == means


def test_a_mirror_of_what_the_machine_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_which", lambda program: None)
    with pytest.raises(ImageNotFound, match="install the package redis-server"):
        DirectoryStore(tmp_path).resolve("mirror.gcr.io/library/redis:7")


def test_not_found_names_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_which", lambda program: None)
    store = DirectoryStore(tmp_path)
    with pytest.raises(ImageNotFound) as caught:
        store.resolve("example.com/x")
    assert "registry.k8s.io/pause:3.10" in caught.value.known
    with pytest.raises(ImageNotFound, match="install the package nginx-light"):
        store.resolve("nginx:1.27")


# -- images of one's own ----------------------------------------------------------------------------------------------


def test_files_over_a_base(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    store = DirectoryStore(tmp_path / "images")
    made = store.add("tool:1", files=[(program, "/srv/server")], entrypoint=["/srv/server"], env=[("A", "1")])
    found = DirectoryStore(tmp_path / "images").resolve("docker.io/library/tool:1")
    assert found == made
    assert (found.kind, found.view, found.entrypoint) == ("loaded", "host", ("/srv/server",))
    assert dict(found.env) == {"A": "1", "PATH": catalog.PATH}
    assert (Path(found.lower[0]) / "srv/server").stat().st_mode & 0o777 == 0o755
    with pytest.raises(ImageNotFound):
        store.resolve("tool:2")


def test_a_name_moves_to_the_newer_image(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    store = DirectoryStore(tmp_path / "images")
    first = store.add("tool", rootfs=root, entrypoint=["/a"])
    second = store.add("tool", rootfs=root, entrypoint=["/b"])
    assert first.id != second.id
    assert store.resolve("tool").entrypoint == ("/b",)
    assert len([image for image in store.list() if image.kind == "loaded"]) == 1
    store.remove("tool")
    assert [path.name for path in (tmp_path / "images").iterdir()] == []
    with pytest.raises(ImageNotFound):
        store.remove("tool")
    with pytest.raises(BadImage, match="cannot be removed"):
        store.remove("registry.k8s.io/pause:3.10")


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "images")
    with pytest.raises(BadImage, match="not a directory"):
        store.add("x", rootfs=tmp_path / "none")
    with pytest.raises(BadImage, match="no such file"):
        store.add("x", files=[(tmp_path / "none", "/x")])
    with pytest.raises(BadImage, match="no base 'debian'"):
        store.add("x", files=[(tmp_path / "x", "/x")], base="debian")
    with pytest.raises(InvalidImageName):
        store.add("X Y", rootfs=tmp_path)
    empty = tmp_path / "empty.tar"
    empty.write_bytes(b"this is no archive" * 100)
    with pytest.raises(BadImage, match="not a tar archive"):
        store.load(empty)
    tarfile.open(tmp_path / "nothing.tar", "w").close()
    with pytest.raises(BadImage, match="neither an OCI layout"):
        store.load(tmp_path / "nothing.tar")
    assert not list((tmp_path / "images").iterdir()), "nothing half made is left"


# -- archives ---------------------------------------------------------------------------------------------------------

Entry = tuple[str, str, bytes]  # name, kind ("file", "dir", "link", "hard"), content or target


def layer(*entries: Entry, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if compressed else "w") as tar:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if kind == "file":
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
                continue
            info.type = {"dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}[kind]
            info.linkname = content.decode()
            tar.addfile(info)
    return buffer.getvalue()


BASE = layer(
    ("etc", "dir", b""),
    ("etc/keep", "file", b"keep"),
    ("etc/gone", "file", b"gone"),
    ("old", "dir", b""),
    ("old/a", "file", b"a"),
    ("bin", "dir", b""),
    ("bin/tool", "file", b"tool"),
    ("bin/same", "hard", b"bin/tool"),
    ("usr", "link", b"bin"),
)
TOP = layer(("etc/.wh.gone", "file", b""), ("old/.wh..wh..opq", "file", b""), ("old/b", "file", b"b"), compressed=True)
CONFIG = {
    "config": {
        "Entrypoint": ["/bin/tool"],
        "Cmd": ["x"],
        "Env": ["A=1=2", "B="],
        "WorkingDir": "/w",
        "User": "7:8",
        "StopSignal": "SIGQUIT",
    }
}


def put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def docker_archive(path: Path, *layers: bytes, tags: list[str] | None = None) -> Path:
    with tarfile.open(path, "w") as tar:
        for number, data in enumerate(layers):
            put(tar, f"{number}/layer.tar", data)
        put(tar, "config.json", json.dumps(CONFIG).encode())
        entry = {"Config": "config.json", "RepoTags": tags, "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}
        put(tar, "manifest.json", json.dumps([entry]).encode())
    return path


def oci_layout(path: Path, *layers: bytes, index: bool = False) -> Path:
    def blob(data: bytes) -> dict[str, Any]:
        value = hashlib.sha256(data).hexdigest()
        (path / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (path / "blobs/sha256" / value).write_bytes(data)
        return {"digest": f"sha256:{value}", "size": len(data)}

    manifest = {"config": blob(json.dumps(CONFIG).encode()), "layers": [blob(data) for data in layers]}
    entry = blob(json.dumps(manifest).encode())
    if index:
        import os

        from netlab.runtime.images.archive import MACHINES

        here = {"architecture": MACHINES[os.uname().machine]}
        others = [{"digest": "sha256:" + "0" * 64, "platform": {"architecture": "s390x"}}, {**entry, "platform": here}]
        entry = blob(json.dumps({"manifests": others}).encode())
        entry["mediaType"] = "application/vnd.oci.image.index.v1+json"
    entry["annotations"] = {"org.opencontainers.image.ref.name": "example.com/app:2"}
    (path / "index.json").write_text(json.dumps({"manifests": [entry]}))
    return path


@pytest.mark.parametrize("form", ["docker", "oci", "oci index"])
def test_load(tmp_path: Path, form: str) -> None:
    store = DirectoryStore(tmp_path / "images")
    if form == "docker":
        archive = docker_archive(tmp_path / "a.tar", BASE, TOP, tags=["example.com/app:2"])
    else:
        archive = oci_layout(tmp_path / "layout", BASE, TOP, index=form == "oci index")
    [image] = store.load(archive)
    assert image.names == ("example.com/app:2",)
    assert (image.entrypoint, image.cmd, image.working_dir) == (("/bin/tool",), ("x",), "/w")
    assert (dict(image.env), image.user, image.stop_signal) == ({"A": "1=2", "B": ""}, "7:8", "SIGQUIT")
    root = Path(image.lower[0])
    files = sorted(str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir() or p.is_symlink())
    assert files == ["bin/same", "bin/tool", "etc/keep", "old/b", "usr"]
    assert (root / "bin/same").read_bytes() == b"tool"
    assert store.resolve("example.com/app:2").id == image.id


def test_load_needs_a_name(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "images")
    archive = docker_archive(tmp_path / "a.tar", BASE)
    with pytest.raises(BadImage, match="--name"):
        store.load(archive)
    [image] = store.load(archive, name="mine:1")
    assert image.names == ("docker.io/library/mine:1",)


HOSTILE = (
    (("../evil", "file", b"x"),),
    (("a", "link", b"/tmp"), ("a/evil", "file", b"x")),
    (("a", "link", b"../../.."), ("a/evil", "file", b"x")),
    (("evil", "hard", b"../../../etc/passwd"),),
)


@pytest.mark.parametrize("entries", HOSTILE)
def test_a_hostile_layer_stays_inside(tmp_path: Path, entries: tuple[Entry, ...]) -> None:
    store = DirectoryStore(tmp_path / "images")
    with pytest.raises(BadImage):
        store.load(docker_archive(tmp_path / "a.tar", layer(*entries), tags=["evil"]))
    assert not list(tmp_path.rglob("evil"))
    assert not (tmp_path.parent / "evil").exists()
