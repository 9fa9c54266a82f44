"""User and group id maps of a lab's user namespace: subordinate ranges where the user has them, else one id.

subuid(5), newuidmap(1): root inside is the user; 1 … n are the user's first subordinate range. Without, only root
exists inside, `setgroups` is forbidden (user_namespaces(7)), and runAsUser cannot be honoured.
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path


def subordinate_range(path: str, user: str, uid: int) -> tuple[int, int] | None:
    """The largest (start, count) that the file gives the user, by name or by number."""
    best: tuple[int, int] | None = None
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split(":")
        if len(fields) == 3 and fields[0] in (user, str(uid)) and fields[1].isdigit() and fields[2].isdigit():
            found = (int(fields[1]), int(fields[2]))
            if best is None or found[1] > best[1]:
                best = found
    return best


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def subordinate_ranges() -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The ranges of users and of groups; None when either or a program that maps them is missing."""
    uid = os.getuid()
    user = user_name(uid)
    users = subordinate_range("/etc/subuid", user, uid)
    groups = subordinate_range("/etc/subgid", user, uid)
    if users is None or groups is None or not shutil.which("newuidmap") or not shutil.which("newgidmap"):
        return None
    return users, groups


def write_maps(pid: int) -> bool:
    """Map the ids of a process that has just made its user namespace. True with subordinate ids."""
    ranges = subordinate_ranges()
    if ranges is not None:
        commands = [
            [tool, str(pid), "0", str(own), "1", "1", str(start), str(count)]
            for tool, own, (start, count) in (
                ("newuidmap", os.getuid(), ranges[0]),
                ("newgidmap", os.getgid(), ranges[1]),
            )
        ]
        running = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for c in commands]
        failures = [process.wait() for process in running]
        if not any(failures):
            return True
    proc = Path(f"/proc/{pid}")
    if not (proc / "uid_map").read_text().strip():
        (proc / "uid_map").write_text(f"0 {os.getuid()} 1\n")
    if not (proc / "gid_map").read_text().strip():
        (proc / "setgroups").write_text("deny")
        (proc / "gid_map").write_text(f"0 {os.getgid()} 1\n")
    return False
