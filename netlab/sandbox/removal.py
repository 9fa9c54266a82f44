"""Deletes what a lab has left in the user's directories: also files of the subordinate ids that its pods ran as.

The user may not delete those; root of a user namespace with the same map may. So a process of its own makes one, is
mapped from here as the lab was, and deletes them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from netlab.sandbox import idmap

UNSHARED = b"unshared\n"
PATIENCE = 60.0
"""Seconds for the process that deletes."""


def remove(directory: Path) -> None:
    """Delete a directory and all in it; none is no error. Raises OSError naming what stays."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        if directory.exists():  # somebody else deletes at the same time
            remove(directory)
    except PermissionError:
        if os.getuid() == 0 or not _as_root_of_a_namespace(directory):
            raise


def _as_root_of_a_namespace(directory: Path) -> bool:
    """Whether it is gone."""
    command = [sys.executable, "-m", "netlab.sandbox.removal", str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as process:
        try:
            if process.stdout is not None and process.stdout.readline() == UNSHARED:
                idmap.write_maps(process.pid)
                process.communicate(b"mapped\n", timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
    return not directory.exists()


def main(directory: str) -> None:
    """In the process of its own: `unshared`, then wait for the map, then delete."""
    from netlab.sandbox import syscalls

    syscalls.unshare(syscalls.CLONE_NEWUSER)
    os.write(1, UNSHARED)
    if sys.stdin.readline():
        os.setgid(0)
        os.setuid(0)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
