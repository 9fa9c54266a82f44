"""Kernel timestamps, on for as long as they are needed, and known to be on.

The kernel begins to stamp packets some time after the first socket asked for it (it patches its code from a work
queue); until then a packet gets the time at which it is read, and sights would be told in a wrong order.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from netlab.kernel.capture import SO_TIMESTAMPNS
from netlab.kernel.netns import NetNs

PAUSE = 0.002
PATIENCE = 2.0
_TIMESPEC = struct.Struct("=qq")


class Stamps:
    """A socket that asks for timestamps, over loopback of a namespace."""

    def __init__(self, ns: NetNs) -> None:
        self._sock = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def await_on(self) -> bool:
        """Waits until packets are stamped when they pass; False where that cannot be found out."""
        with contextlib.suppress(OSError):
            self._sock.bind(("127.0.0.1", 0))
        self._sock.settimeout(0.2)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                self._sock.sendto(b"?", self._sock.getsockname())
                time.sleep(PAUSE)
                read = time.time_ns()
                _, control, _, _ = self._sock.recvmsg(16, 64)
            except OSError:
                time.sleep(0.05)  # loopback is down there
                return False
            for level, kind, data in control:
                if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                    if seconds * 10**9 + nanoseconds < read:
                        return True
        return False

    def close(self) -> None:
        self._sock.close()
