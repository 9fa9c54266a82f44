"""agnhost mounttest: says the file system, mode, owner and content of paths, and writes files (agnhost/mounttest)."""

import os
import stat
import time

from netlab.runtime.builtin.common import go_errno, integer, parse_flags, write
from netlab.runtime.builtin.https import KLOG

CONTENT = "mount-tester new file\n"
TMPFS = 0x01021994
NEW_FILES = (("new_file_0644", 0o644), ("new_file_0666", 0o666), ("new_file_0660", 0o660), ("new_file_0777", 0o777))


def _say(text: str) -> None:
    write(1, text + "\n")


def _failed(what: str, problem: OSError) -> bool:
    _say(f"{what}: {go_errno(problem)}")
    return False


def _statfs_type(path: str) -> int:
    """f_type, the first word of struct statfs, which the os module leaves out. Raises OSError."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_long * 32)()
    if library.statfs(os.fsencode(path), buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer[0]


def fs_type(path: str) -> bool:
    try:
        kind = _statfs_type(path)
    except OSError as problem:
        return _failed(f'error from statfs("{path}")', problem)
    _say(f'mount type of "{path}": {"tmpfs" if kind == TMPFS else kind}')
    return True


def mode_text(mode: int) -> str:
    """Go's FileMode.String: type letters, then the nine permissions."""
    letters = [(stat.S_ISDIR(mode), "d"), (stat.S_ISLNK(mode), "L"), (stat.S_ISFIFO(mode), "p"),
               (stat.S_ISSOCK(mode), "S"), (mode & stat.S_ISUID, "u"), (mode & stat.S_ISGID, "g"),
               (mode & stat.S_ISVTX, "t")]  # fmt: skip
    kind = "".join(letter for holds, letter in letters if holds) or "-"
    return kind + _permissions(mode)


def _permissions(mode: int) -> str:
    return "".join("rwx"[2 - bit % 3] if mode >> bit & 1 else "-" for bit in range(8, -1, -1))


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116
    except OSError as problem:
        _failed(f'error from Stat("{path}")', problem)
        return None


def file_mode(path: str) -> bool:
    found = _stat(path)
    if found:
        _say(f'mode of file "{path}": {mode_text(found.st_mode)}')
    return found is not None


def file_perm(path: str) -> bool:
    found = _stat(path)
    if found:
        _say(f'perms of file "{path}": -{_permissions(found.st_mode)}')
    return found is not None


def file_owner(path: str) -> bool:
    found = _stat(path)
    if found:
        _say(f'owner UID of "{path}": {found.st_uid}')
        _say(f'owner GID of "{path}": {found.st_gid}')
    return found is not None


def file_content(path: str) -> bool:
    try:
        with open(path) as file:  # noqa: PTH123
            _say(f'content of file "{path}": {file.read()}')
    except OSError as problem:
        return _failed(f'error reading file content for "{path}"', problem)
    return True


def new_file(path: str, mode: int) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        os.write(handle, CONTENT.encode())
        os.close(handle)
    except OSError as problem:
        return _failed(f'error writing new file "{path}"', problem)
    return file_content(path)


def content_in_loop(path: str, seconds: int, until_expected: bool) -> bool:
    end, read = time.monotonic() + seconds, False
    while time.monotonic() < end:
        try:
            with open(path) as file:  # noqa: PTH123
                text = file.read()
        except OSError as problem:
            _say(f"Error reading file {path}: {go_errno(problem)}, retrying")
            read = False
        else:
            read = True
            _say(f'content of file "{path}": {text}')
            if until_expected and text == CONTENT:
                break
            if until_expected:
                write(1, f"Unexpected content. Expected: {CONTENT}. Retrying")
        time.sleep(2)
    return read


def main(*arguments: str) -> int:
    flags = {"fs_type": "", "file_mode": "", "file_perm": "", "file_owner": "", "file_content": "",
             "file_content_in_loop": "", "retry_time": "180", "break_on_expected_content": "true", **KLOG,
             **{name: "" for name, _mode in NEW_FILES}}  # fmt: skip
    parse_flags(arguments, flags)
    os.umask(0)
    held = [fs_type(flags["fs_type"])] if flags["fs_type"] else []
    held += [new_file(flags[name], mode) for name, mode in NEW_FILES if flags[name]]
    rules = {"file_mode": file_mode, "file_perm": file_perm, "file_owner": file_owner, "file_content": file_content}
    held += [rule(flags[name]) for name, rule in rules.items() if flags[name]]
    if flags["file_content_in_loop"]:
        seconds, breaks = integer(flags, "retry_time"), flags["break_on_expected_content"] == "true"
        held.append(content_in_loop(flags["file_content_in_loop"], seconds, breaks))
    return 0 if all(held) else 1
