"""Which back end the plain names `iptables`, `iptables-save` … mean inside a lab.

A person who types `iptables-save` on a node must see the rules that are there. Debian's `update-alternatives` decides
it for the machine by links in /etc/alternatives; a lab has its own view of that directory, with other links, mounted
over it in the lab's private mount namespace.
"""

from __future__ import annotations

from pathlib import Path

from netlab.kernel import libc
from netlab.kernel.errors import KernelError
from netlab.kernel.iptables import Backend

LINKS = Path("/etc/alternatives")
PRIVATE = Path("/run/netlab/alternatives")
NAMES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")


def prefer_iptables(backend: Backend) -> bool:
    """Make the plain names mean `backend` in this mount namespace, which must be private. True when they do.

    False where the machine has no such links (it has one back end, or another way to choose). Idempotent.
    """
    if not (LINKS / "iptables").is_symlink():
        return False
    wanted = {name: _program(name, backend) for name in NAMES}
    if all((LINKS / name).is_symlink() and (LINKS / name).readlink() == target for name, target in wanted.items()):
        return True
    PRIVATE.mkdir(parents=True, exist_ok=True)
    for link in LINKS.iterdir():
        if link.is_symlink():
            _relink(PRIVATE / link.name, wanted.get(link.name, link.readlink()))
    try:
        libc.mount(str(PRIVATE), str(LINKS), flags=libc.MS_BIND)
    except OSError as problem:
        raise KernelError(problem.errno or 0, str(LINKS), "the lab's own view of it could not be mounted") from problem
    return True


def _program(name: str, backend: Backend) -> Path:
    """`iptables-save` of the legacy back end is `iptables-legacy-save`."""
    base, _, verb = name.partition("-")
    return Path("/usr/sbin") / "-".join(part for part in (base, backend, verb) if part)


def _relink(where: Path, target: Path) -> None:
    where.unlink(missing_ok=True)
    where.symlink_to(target)
