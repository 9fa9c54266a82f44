"""`klab image`: what a pod's `image:` may name. Images belong to the user and are shared by all labs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from netlab.cli.common import output_option, print_json, print_table
from netlab.lab.record import LabError

if TYPE_CHECKING:
    from netlab.runtime.images.store import DirectoryStore


@click.group("image", epilog="Example: klab image ls     klab image load agnhost.tar")
def image_command() -> None:
    """Images: the machine's own programs, builtin servers, and what you add or load. Nothing is pulled."""


@image_command.command("ls", epilog="Example: klab image ls -o json")
@output_option
def ls(output: str) -> None:
    """All images there are."""
    images = _store().list()
    if output == "json":
        print_json(
            [
                {"id": i.id, "names": i.names, "kind": i.kind, "size": i.size, "description": i.description}
                for i in images
            ]
        )
        return
    print_table(
        ("IMAGE", "KIND", "ID", "DESCRIPTION"), [(i.names[0], i.kind, i.id[7:19], i.description) for i in images]
    )


@image_command.command("add", epilog="Example: klab image add tool:1 --file ./tool:/bin/tool --entrypoint /bin/tool")
@click.argument("name")
@click.option(
    "--rootfs", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A directory that is its root."
)
@click.option("--file", "files", multiple=True, metavar="SRC:DST", help="Copy a file of this machine into the image.")
@click.option(
    "--base", type=click.Choice(["host", "empty"]), help="Over a view of this machine's programs, or nothing."
)
@click.option("--entrypoint", "entrypoint", multiple=True, help="Program and leading arguments (repeat for each word).")
@click.option("--cmd", "cmd", multiple=True, help="Default arguments (repeat for each word).")
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="Environment (repeat).")
def add(
    name: str,
    rootfs: Path | None,
    files: tuple[str, ...],
    base: str | None,
    entrypoint: tuple[str, ...],
    cmd: tuple[str, ...],
    env: tuple[str, ...],
) -> None:
    """Make an image NAME of a directory, or of single programs."""
    pairs: list[tuple[Path, str]] = []
    for entry in files:
        source, separator, target = entry.rpartition(":")
        if not separator or not target.startswith("/"):
            raise click.UsageError(f"--file {entry}: expected SRC:DST with an absolute DST")
        pairs.append((Path(source), target))
    if rootfs is None and not pairs:
        raise click.UsageError("nothing to put into the image: give --rootfs or --file")
    image = _store().add(
        name,
        rootfs=rootfs,
        files=pairs,
        base=base or ("empty" if rootfs else "host"),
        entrypoint=entrypoint,
        cmd=cmd,
        env=tuple((item.partition("=")[0], item.partition("=")[2]) for item in env),
    )
    click.echo(f"{image.names[0]} {image.id}")


@image_command.command("load", epilog="Example: docker save busybox | klab image load -")
@click.argument("archive", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--name", metavar="NAME", help="Also give it this name.")
def load(archive: Path, name: str | None) -> None:
    """Load an OCI layout (directory or archive) or a `docker save` archive; `-` reads standard input."""
    if str(archive) != "-" and not archive.exists():
        raise LabError(f"{archive}: no such file or directory")
    for image in _store().load(archive, name=name):
        click.echo(f"Loaded image: {image.names[0]}")


@image_command.command("rm", epilog="Example: klab image rm tool:1")
@click.argument("names", nargs=-1, required=True)
def rm(names: tuple[str, ...]) -> None:
    """Remove images that you added or loaded."""
    for name in names:
        _store().remove(name)
        click.echo(f"Untagged: {name}")


def _store() -> DirectoryStore:
    from netlab.runtime.images.store import image_store

    return image_store()
