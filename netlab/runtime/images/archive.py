"""Reading images from files: OCI image layouts (image-spec v1) and `docker save` archives, as directories or tars."""

import contextlib
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from netlab.runtime.images.model import BadImage, Image

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
LIST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64", "ppc64le": "ppc64le"}


@dataclass(frozen=True, slots=True)
class Found:
    """An image in an archive: its configuration as an Image, its names, its layers' files, bottom first."""

    image: Image
    names: tuple[str, ...]
    layers: tuple[Path, ...]


@contextlib.contextmanager
def opened(archive: Path) -> Iterator[Path]:
    """The archive as a directory. Raises BadImage."""
    if archive.is_dir():
        yield archive
        return
    with tempfile.TemporaryDirectory(prefix="netlab-image-") as name:
        place = Path(name)
        try:
            source: IO[bytes] = sys.stdin.buffer if str(archive) == "-" else archive.open("rb")
            with source, tarfile.open(fileobj=source, mode="r|*") as tar:
                _extract_plain(tar, place)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
            raise BadImage(f"{archive}: not a tar archive ({error})") from None
        except OSError as error:
            raise BadImage(f"{archive}: {error.strerror or error}") from None
        yield place


def _extract_plain(tar: tarfile.TarFile, place: Path) -> None:
    """Regular files and links of an outer archive, nothing outside `place`."""
    for member in tar:
        target = _inside(place, member.name)
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
        elif member.isfile():
            target.parent.mkdir(parents=True, exist_ok=True)
            with cast(IO[bytes], tar.extractfile(member)) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        elif member.issym() or member.islnk():  # docker save links equal layers
            base = target.parent if member.issym() else place
            target.parent.mkdir(parents=True, exist_ok=True)
            origin = Path(os.path.normpath(base / member.linkname))
            if not origin.is_relative_to(place):
                raise BadImage(f"the archive links outside itself: {member.name} -> {member.linkname}")
            target.symlink_to(origin)


def _inside(root: Path, name: str) -> Path:
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".")]
    if ".." in parts:
        raise BadImage(f"the archive names a file outside itself: {name}")
    return root.joinpath(*parts)


def manifests(layout: Path) -> list[Found]:
    """Raises BadImage when it is neither an OCI layout nor a `docker save` archive."""
    # `docker save` writes both since 25.0; manifest.json has the names in full.
    if (layout / "manifest.json").exists():
        entries = _json(layout / "manifest.json")
        return [
            Found(
                _configured(_json(_inside(layout, entry["Config"]))),
                tuple(entry.get("RepoTags") or ()),
                tuple(_inside(layout, layer) for layer in entry["Layers"]),
            )
            for entry in entries
        ]
    if (layout / "index.json").exists():
        return [_oci(layout, entry) for entry in _json(layout / "index.json").get("manifests", [])]
    raise BadImage("neither an OCI layout (no index.json) nor a docker save archive (no manifest.json)")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise BadImage(f"the archive lacks {path.name}") from None
    except ValueError as error:
        raise BadImage(f"{path.name} in the archive is not JSON: {error}") from None


def _blob(layout: Path, descriptor: Any) -> Path:
    algorithm, _, value = str(descriptor["digest"]).partition(":")
    return _inside(layout, f"blobs/{algorithm}/{value}")


def _oci(layout: Path, entry: Any) -> Found:
    annotations = entry.get("annotations") or {}
    name = annotations.get(FULL_NAME) or annotations.get(REF_NAME)
    manifest = _json(_blob(layout, entry))
    if entry.get("mediaType") in LIST_TYPES or "manifests" in manifest:
        wanted = MACHINES.get(os.uname().machine, os.uname().machine)
        matching = [m for m in manifest["manifests"] if (m.get("platform") or {}).get("architecture") in (wanted, None)]
        if not matching:
            raise BadImage(f"the image has nothing for this machine ({wanted})")
        manifest = _json(_blob(layout, matching[0]))
    layers = tuple(_blob(layout, layer) for layer in manifest["layers"])
    return Found(_configured(_json(_blob(layout, manifest["config"]))), (name,) if name else (), layers)


def _configured(config: Any) -> Image:
    """An Image from an image configuration (image-spec, config.md)."""
    inner = config.get("config") or {}
    pairs = [str(entry).partition("=") for entry in inner.get("Env") or ()]
    return Image(
        id="",
        names=(),
        kind="loaded",
        entrypoint=tuple(inner.get("Entrypoint") or ()),
        cmd=tuple(inner.get("Cmd") or ()),
        env=tuple((key, value) for key, _, value in pairs),
        working_dir=inner.get("WorkingDir") or "",
        user=inner.get("User") or "",
        stop_signal=inner.get("StopSignal") or "SIGTERM",
        view="empty",
        volumes=tuple(inner.get("Volumes") or ()),
        exposed_ports=tuple(inner.get("ExposedPorts") or ()),
        labels=tuple((inner.get("Labels") or {}).items()),
    )


# -- layers -----------------------------------------------------------------------------------------------------------


def apply_layer(layer: Path, root: Path) -> None:
    """Apply a layer (image-spec, layer.md): entries in order, whiteouts remove, opaque directories empty.

    Owners are dropped: every file is the user's, which is root inside. Devices are left out. Raises BadImage.
    """
    try:
        with _decompressed(layer) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                _apply(tar, member, root)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise BadImage(f"layer {layer.name}: {error}") from None
    except FileNotFoundError as error:
        raise BadImage(f"the archive lacks the layer {error.filename}") from None


def _decompressed(layer: Path) -> IO[bytes]:
    stream = layer.open("rb")
    magic = stream.read(4)
    stream.seek(0)
    if magic[:2] == b"\x1f\x8b":
        stream.close()
        return cast(IO[bytes], gzip.open(layer))
    if magic == b"\x28\xb5\x2f\xfd":
        return _zstd(stream)
    return stream


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    import subprocess

    program = shutil.which("zstd")
    if program is None:
        raise BadImage("a layer is compressed with zstd: install the program zstd")
    with stream:
        done = subprocess.run([program, "-dc"], stdin=stream, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise BadImage("a layer's zstd stream is damaged")
    return io.BytesIO(done.stdout)


def _apply(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    target = _inside(root, member.name)
    if target == root:
        return
    _real_parents(root, target)
    if target.name == OPAQUE:
        for child in target.parent.iterdir():
            _remove(child)
        return
    if target.name.startswith(WHITEOUT):
        _remove(target.with_name(target.name.removeprefix(WHITEOUT)))
        return
    if not (member.isdir() and target.is_dir() and not target.is_symlink()):
        _remove(target)
    if member.isdir():
        target.mkdir(exist_ok=True)
        target.chmod(member.mode & 0o7777 | 0o700)
    elif member.isfile():
        with cast(IO[bytes], tar.extractfile(member)) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        target.chmod(member.mode & 0o7777 | 0o400)
        os.utime(target, (member.mtime, member.mtime))
    elif member.issym():
        target.symlink_to(member.linkname)
    elif member.islnk():
        origin = _inside(root, member.linkname)
        _real_parents(root, origin)
        target.hardlink_to(origin)
    elif member.isfifo():
        os.mkfifo(target, member.mode & 0o777)


def _real_parents(root: Path, target: Path) -> None:
    """Make the parents; a link among them (a hostile layer could lead outside by one) becomes an error."""
    path = root
    for part in target.relative_to(root).parts[:-1]:
        path = path / part
        if path.is_symlink():
            real = path.resolve()
            if not real.is_relative_to(root.resolve()) or path.readlink().is_absolute():
                raise BadImage(f"a layer writes through a link that leads out of the image: {path.relative_to(root)}")
        elif not path.is_dir():
            _remove(path)
            path.mkdir()


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
