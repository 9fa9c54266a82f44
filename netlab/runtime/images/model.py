"""Image, the store's protocol, and references as Docker normalises them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Image:
    """An image. `names` are the references that mean it, normalised; `id` is "sha256:…" of what it consists of.

    kind host: programs of this machine over a view of its root; builtin: a program of netlab's own; loaded: `lower`
    are its layers' directories, the top one first. view: what lies below ("host", "busybox", "nginx", "empty").
    programs: paths and names in the image which are Python targets, started as forks instead of being executed.
    any_tag: every tag and digest of its names means this image (host and builtin ones).
    """

    id: str
    names: tuple[str, ...]
    kind: Literal["host", "builtin", "loaded"]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = "SIGTERM"
    size: int = 0
    view: str = "host"
    lower: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = field(default=())
    any_tag: bool = False
    description: str = ""


class ImageNotFound(Exception):  # noqa: N818
    """No image of that name here; `known` are the names there are, `hint` what would bring it."""

    def __init__(self, ref: str, known: Sequence[str], hint: str = "") -> None:
        self.ref, self.known, self.hint = ref, tuple(known), hint
        super().__init__(
            f'image "{ref}" is not here and nothing is pulled from registries; '
            + (f"{hint}; " if hint else "")
            + f"there are: {', '.join(known)} (more with: klab image load, klab image add)"
        )


class BadImage(ValueError):  # noqa: N818
    """An archive or a directory that does not make an image; the message says what is wrong with it."""


class InvalidImageName(ValueError):  # noqa: N818
    """Not a reference at all; the kubelet's InvalidImageName."""

    def __init__(self, ref: str) -> None:
        self.ref = ref
        super().__init__(f'couldn\'t parse image name "{ref}": invalid reference format')


class ImageStore(Protocol):
    def resolve(self, ref: str) -> Image:
        """The image that a pod's `image:` means. Raises ImageNotFound and InvalidImageName."""

    def list(self) -> Sequence[Image]: ...

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
        """Make an image of a directory, or of single files over a base ("host" or nothing)."""

    def load(self, archive: Path, *, name: str | None = None) -> Sequence[Image]:
        """From an OCI layout (directory or tar) or a `docker save` archive ("-": standard input)."""

    def remove(self, ref: str) -> None:
        """Raises ImageNotFound; host and builtin images cannot be removed (ValueError)."""
