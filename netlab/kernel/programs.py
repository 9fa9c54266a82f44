"""Where the machine's programs are. An ordinary user's PATH often lacks the sbin directories: Debian's does.

In a lab that user is root of every machine, and what runs there finds what root finds (`iptables-save`, `bridge`).
"""

import os
import shutil

SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def with_sbin(path: str | None) -> str:
    """A PATH that has root's directories, too, after those that it has. None: the default of a program without one."""
    directories = (path or os.defpath).split(":")
    return ":".join([*directories, *(directory for directory in SBIN if directory not in directories)])


_found: dict[str, str] = {}


def find(program: str) -> str | None:
    """The program's path, in PATH or beyond. Looked for until it is found."""
    path = _found.get(program) or shutil.which(program, path=with_sbin(os.environ.get("PATH")))
    if path is not None:
        _found[program] = path
    return path
