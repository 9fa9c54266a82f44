"""The images of one user: those of the catalog, and those in a directory: one sub-directory with image.json each.

Writers build beside and rename, so that a reader (any number of labs) sees an image whole or not at all.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from netlab.runtime.images import catalog
from netlab.runtime.images.model import BadImage, Image, ImageNotFound
from netlab.runtime.images.reference import Reference, home, parse
from netlab.sandbox.paths import images_dir

METADATA = "image.json"
ROOTFS = "rootfs"
BASES = ("host", "empty", "busybox")


class DirectoryStore:
    """See ImageStore. `directory` need not exist."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._catalog: list[Image] | None = None
        self._loaded: tuple[int, list[Image]] = (-1, [])

    # -- reading ----------------------------------------------------------------------------------------------------

    def list(self) -> Sequence[Image]:
        if self._catalog is None:
            self._catalog = catalog.images()
        return [*self._added(), *self._catalog]

    def _added(self) -> Sequence[Image]:
        """Read again when the directory has changed."""
        try:
            stamp = self._directory.stat().st_mtime_ns
        except OSError:
            return []
        if stamp != self._loaded[0]:
            found = [self._read(path) for path in sorted(self._directory.iterdir())]
            self._loaded = (stamp, [image for image in found if image is not None])
        return self._loaded[1]

    def _read(self, path: Path) -> Image | None:
        try:
            data: dict[str, Any] = json.loads((path / METADATA).read_text())
        except (OSError, ValueError):
            return None
        data = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        for key in ("env", "labels"):
            data[key] = tuple(map(tuple, data[key]))
        data["lower"] = (str(path / ROOTFS),)
        return Image(**data)

    def resolve(self, ref: str) -> Image:
        wanted = parse(ref)
        for image in self.list():
            if any(_means(image, parse(name), wanted) for name in image.names):
                return image
        known = sorted({parse(image.names[0]).familiar for image in self.list()})
        raise ImageNotFound(ref, known, catalog.hint(wanted.repository))

    # -- writing ----------------------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        *,
        rootfs: Path | None = None,
        files: Sequence[tuple[Path, str]] = (),
        base: str | None = None,
        entrypoint: Sequence[str] = (),
        cmd: Sequence[str] = (),
        env: Sequence[tuple[str, str]] = (),
        working_dir: str = "",
        user: str = "",
    ) -> Image:
        base = base or ("empty" if rootfs else "host")
        if base not in BASES:
            raise BadImage(f"no base {base!r}: there are {', '.join(BASES)}")
        reference = str(parse(name))
        variables = dict(env)
        variables.setdefault("PATH", catalog.PATH if base == "host" else catalog.REAL_PATH)
        with self.building() as place:
            root = place / ROOTFS
            if rootfs is not None:
                if not rootfs.is_dir():
                    raise BadImage(f"{rootfs}: not a directory")
                shutil.copytree(rootfs, root, symlinks=True)
            root.mkdir(exist_ok=True)
            for source, target in files:
                _copy(source, root / (_through_links(target) if base == "host" else target).lstrip("/"))
            image = Image(
                id="",
                names=(reference,),
                kind="loaded",
                entrypoint=tuple(entrypoint),
                cmd=tuple(cmd),
                env=tuple(variables.items()),
                working_dir=working_dir,
                user=user,
                view=base,
            )
            return self.commit(place, image)

    def load(self, archive: Path, *, name: str | None = None) -> Sequence[Image]:
        from netlab.runtime.images import archive as archives

        with archives.opened(archive) as layout:
            return [self._load(layout, found, name) for found in archives.manifests(layout)]

    def _load(self, layout: Path, found: Any, name: str | None) -> Image:
        from netlab.runtime.images import archive as archives

        with self.building() as place:
            root = place / ROOTFS
            root.mkdir()
            for layer in found.layers:
                archives.apply_layer(layer, root)
            names = [*([name] if name else []), *found.names]
            if not names:
                raise BadImage("the archive gives the image no name: give one with --name")
            return self.commit(place, replace(found.image, names=tuple(dict.fromkeys(str(parse(n)) for n in names))))

    @contextmanager
    def building(self) -> Iterator[Path]:
        self._directory.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=".new-", dir=self._directory))
        try:
            yield place
        finally:
            _remove_tree(place)

    def commit(self, place: Path, image: Image) -> Image:
        """Give the finished directory its final name, and take its names from other images."""
        size, digest = _measure(place / ROOTFS)
        data = asdict(replace(image, id="", size=size, lower=()))
        identity = hashlib.sha256((json.dumps(data, sort_keys=True) + digest).encode()).hexdigest()
        image = replace(image, id=f"sha256:{identity}", size=size, lower=())
        for name in image.names:
            self._untag(name)
        (place / METADATA).write_text(json.dumps(asdict(image), indent=1))
        place.chmod(0o755)
        final = self._directory / identity
        if final.exists():
            _remove_tree(final)
        place.rename(final)
        return replace(image, lower=(str(final / ROOTFS),))

    def remove(self, ref: str) -> None:
        name = str(parse(ref))
        if not self._untag(name):
            image = self.resolve(ref)
            if image.kind != "loaded":
                raise BadImage(f"{ref} comes with netlab or with this machine: it cannot be removed")
            raise ImageNotFound(ref, [parse(i.names[0]).familiar for i in self._added()])

    def _untag(self, name: str) -> bool:
        for image in self._added():
            if name not in image.names:
                continue
            path = Path(image.lower[0]).parent
            left = tuple(other for other in image.names if other != name)
            if left:
                changed = json.dumps(asdict(replace(image, names=left, lower=())), indent=1)
                temporary = self._directory / f".{path.name}.json"
                temporary.write_text(changed)
                temporary.replace(path / METADATA)
            else:
                _remove_tree(path)
            self._loaded = (-1, [])
            return True
        return False


def image_store() -> DirectoryStore:
    """The calling user's images."""
    return DirectoryStore(images_dir())


def _means(image: Image, name: Reference, wanted: Reference) -> bool:
    if image.any_tag:
        return name.repository == home(wanted.repository)
    if name.repository != wanted.repository:
        return False
    return wanted.digest == image.id if wanted.digest else name.tag == wanted.tag


def _through_links(target: str) -> str:
    """A path below /bin or /lib means one below /usr where these are links: a directory there would hide them."""
    first, slash, rest = target.lstrip("/").partition("/")
    top = Path("/") / first
    return f"{top.resolve()}{slash}{rest}" if top.is_symlink() else target


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise BadImage(f"{source}: no such file or directory")
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def _measure(root: Path) -> tuple[int, str]:
    """Size of the files, and a digest of names, modes, links and sizes with times (not of contents: too slow)."""
    total = 0
    digest = hashlib.sha256()
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            path = Path(directory) / name
            status = path.lstat()
            total += status.st_size
            digest.update(
                f"{path.relative_to(root)}\0{status.st_mode}\0{status.st_size}\0{status.st_mtime_ns}\n".encode()
            )
    return total, digest.hexdigest()


def _remove_tree(path: Path) -> None:
    """rm -rf of what may hold directories without write permission (images have such)."""
    if not path.exists():
        return
    for directory, _names, _files in os.walk(path):
        Path(directory).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
