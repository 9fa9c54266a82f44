"""hostPath: every node has its own files, though all nodes of a lab are one machine.

Paths of the system itself (/etc, /usr, …) are the machine's, read-only. Everything else is a directory of that node's
own, made on demand: what a pod writes to hostPath /data stays on its node and never reaches the machine's /data.
Only SHARED is the same directory on every node.
"""

from __future__ import annotations

import stat
from pathlib import Path

from netlab.node.kubelet.volumes.payload import VolumeError

MACHINE = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr")

SHARED = "/var/shared-path-provisioner"
"""A file system that all nodes have in common, as a mount of a file server's would be."""

_CHECKS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def resolve(volume: str, path: str, kind: str, node_root: Path) -> tuple[str, bool]:
    """(the real path, read-only). `node_root` is where this node's own files are. Raises VolumeError."""
    clean = "/" + path.strip("/")
    if clean.startswith(tuple(root + "/" for root in MACHINE)) or clean in MACHINE:
        real = Path(clean)
        read_only = True
    else:
        root = node_root.parent if f"{clean}/".startswith(SHARED + "/") else node_root
        real = root / clean.lstrip("/")
        read_only = False
        if kind in ("", "DirectoryOrCreate") and not real.exists():
            real.mkdir(parents=True, exist_ok=True)
        elif kind == "FileOrCreate" and not real.exists():
            real.parent.mkdir(parents=True, exist_ok=True)
            real.touch(0o644)
    if kind in _CHECKS:
        check, word = _CHECKS[kind]
        try:
            good = check(real.stat().st_mode)
        except OSError:
            good = False
        if not good:
            raise VolumeError(volume, f"hostPath type check failed: {clean} is not {word}")
    elif not real.exists():
        raise VolumeError(volume, f"hostPath type check failed: {clean} does not exist on this node")
    return str(real), read_only
