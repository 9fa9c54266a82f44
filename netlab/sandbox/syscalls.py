# ruff: noqa: SIM905
# (Part of PID 1, which is kept small: no pathlib, no contextlib.)
"""The few system calls that Python 3.11 has no name for, by ctypes. Errors are OSError with the call's name."""

import ctypes
import errno
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

NAMESPACES = {
    "net": CLONE_NEWNET,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "pid": CLONE_NEWPID,
    "mnt": CLONE_NEWNS,
}

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

PR_CAPBSET_DROP = 24
PR_SET_NAME = 15
PR_SET_NO_NEW_PRIVS = 38
PR_SET_PDEATHSIG = 1
TIOCGPTPEER = 0x5441

_libc = ctypes.CDLL(None, use_errno=True)


def _fail(name: str, what: object = None) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{name}: {os.strerror(code)}", what)


def unshare(flags: int) -> None:
    if _libc.unshare(ctypes.c_int(flags)):
        raise _fail("unshare", hex(flags))


def setns(fd: int, flags: int) -> None:
    """Enter the namespace of an nsfs descriptor, or those in `flags` of a pidfd's process (Linux 5.8)."""
    if _libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)):
        raise _fail("setns", hex(flags))


def mount(source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str | None = None) -> None:
    def text(value: str | None) -> bytes | None:
        return None if value is None else os.fsencode(value)

    if _libc.mount(text(source), text(target), text(fstype), ctypes.c_ulong(flags), text(data)):
        raise _fail(f"mount {fstype or ''} {source or ''}".rstrip().replace("  ", " "), target)


def umount(target: str, flags: int = 0) -> None:
    if _libc.umount2(os.fsencode(target), ctypes.c_int(flags)):
        raise _fail("umount", target)


def pivot_root(new: str, old: str) -> None:
    if _libc.pivot_root(os.fsencode(new), os.fsencode(old)):
        raise _fail("pivot_root", new)


def prctl(option: int, value: int = 0) -> None:
    if _libc.prctl(
        ctypes.c_int(option), ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)
    ):
        raise _fail("prctl", option)


def memory_of_arguments() -> tuple[tuple[int, int], tuple[int, int]]:
    """proc(5), stat: arg_start, arg_end, env_start, env_end. The same in every fork."""
    with open("/proc/self/stat", "rb") as file:  # noqa: PTH123
        text = file.read()
    fields = text[text.rindex(b")") + 2 :].split()
    start, end, env_start, env_end = (int(field) for field in fields[45:49])
    return (start, end), (env_start, env_end)


def overwrite(area: tuple[int, int], text: bytes) -> None:
    """Put as much of `text` as fits into that memory of this process, zeros after it."""
    start, end = area
    if end > start:
        ctypes.memmove(start, text[: end - start - 1].ljust(end - start, b"\0"), end - start)


def set_name(name: str) -> None:
    """The process's name as `ps -o comm` shows it (15 bytes)."""
    _libc.prctl(ctypes.c_int(PR_SET_NAME), os.fsencode(name)[:15], 0, 0, 0)


# capabilities(7), by number.
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()


def cap_mask(names: object) -> int:
    """A bit set of capability names without their CAP_ prefix; unknown names raise ValueError."""
    mask = 0
    for name in names:  # type: ignore[attr-defined]
        mask |= 1 << CAPABILITIES.index(name)
    return mask


def drop_bounding(keep: int) -> None:
    """Take everything but `keep` out of the bounding set."""
    for number in range(64):
        if keep >> number & 1:
            continue
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:  # past the kernel's last capability
                return
            raise


def set_capabilities(keep: int) -> None:
    """Limit the permitted and effective sets to `keep` of what the process has; nothing inheritable."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    if _libc.capget(header, data):
        raise _fail("capget")
    for word in (0, 1):
        part = keep >> (32 * word) & 0xFFFFFFFF
        permitted = data[word * 3 + 1] & part
        data[word * 3], data[word * 3 + 1], data[word * 3 + 2] = permitted, permitted, 0
    if _libc.capset(header, data):
        raise _fail("capset")


def effective_capabilities() -> int:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    if _libc.capget(header, data):
        raise _fail("capget")
    return int(data[0]) | int(data[3]) << 32
