"""pause as a program of 260 bytes: a pod's holder then costs 8 kB instead of a Python interpreter's private pages.

It does what upstream's build/pause/linux/pause.c does: SIGINT and SIGTERM end it with 0, children that are left to it
(it may be number 1 of a shared PID namespace) are reaped, otherwise it sleeps. Written out as an ELF file because no
compiler may be assumed; for machines other than x86-64 the Python target of the same name does the same.
"""

import os
import platform
import struct
import tempfile
from pathlib import Path

from netlab.sandbox.paths import INSIDE

PATH = INSIDE / "bin" / "pause"
BASE = 0x400000
HEADERS = 64 + 56

RT_SIGACTION, PAUSE, EXIT_GROUP = 13, 34, 231
SIGINT, SIGTERM, SIGCHLD = 2, 15, 17
SIG_IGN = 1
SA_RESTORER = 0x04000000


def _mov(opcode: int, value: int) -> bytes:
    """mov r32, imm32"""
    return struct.pack("<BI", opcode, value)


EAX, EDI, ESI = 0xB8, 0xBF, 0xBE
SYSCALL = b"\x0f\x05"
ZERO_EDX, ZERO_EDI = b"\x31\xd2", b"\x31\xff"
R10_IS_8 = b"\x41\xba\x08\x00\x00\x00"  # the size of the signal mask


def _code(end_action: int, ignore_action: int) -> tuple[bytes, int]:
    """The text, and where in it the signal handler starts."""

    def sigaction(number: int, action: int) -> bytes:
        return _mov(EAX, RT_SIGACTION) + _mov(EDI, number) + _mov(ESI, action) + ZERO_EDX + R10_IS_8 + SYSCALL

    start = sigaction(SIGTERM, end_action) + sigaction(SIGINT, end_action) + sigaction(SIGCHLD, ignore_action)
    loop = _mov(EAX, PAUSE) + SYSCALL
    loop += b"\xeb" + struct.pack("<b", -(len(loop) + 2))  # jmp to the loop's start
    handler = _mov(EAX, EXIT_GROUP) + ZERO_EDI + SYSCALL
    return start + loop + handler, len(start + loop)


def elf() -> bytes:
    """The whole file (x86-64)."""
    length = len(_code(0, 0)[0])
    actions = BASE + HEADERS + length
    code, handler_offset = _code(actions, actions + 32)
    handler = BASE + HEADERS + handler_offset
    data = struct.pack("<QQQQ", handler, SA_RESTORER, handler, 0) + struct.pack("<QQQQ", SIG_IGN, 0, 0, 0)
    size = HEADERS + len(code) + len(data)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000)
    return header + segment + code + data


def ensure() -> str | None:
    """The program's path inside the lab, written if it is not there; None where the machine is another one."""
    if platform.machine() != "x86_64":
        return None
    if not PATH.exists():
        PATH.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=PATH.parent)
        with os.fdopen(fd, "wb") as file:
            file.write(elf())
        Path(name).chmod(0o755)
        Path(name).replace(PATH)
    return str(PATH)
