"""Packets, seen in a namespace: packet sockets with a kernel filter and kernel timestamps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from netlab.kernel.netns import NetNs

Direction = Literal["in", "out", "broadcast", "multicast", "other"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame. `time` is the kernel's wall clock in ns; `length` on the wire, `data` maybe shorter."""

    time: int
    netns: str
    interface: str
    direction: Direction
    length: int
    data: bytes


class Capture:
    """An open packet socket. `fileno` for an event loop, `read` for what has arrived, `dropped` for what was lost."""

    def fileno(self) -> int:
        raise NotImplementedError

    def read(self) -> Iterator[Frame]:
        """The frames that wait, without blocking."""
        raise NotImplementedError

    def dropped(self) -> int:
        """Frames lost since the last call because the buffer was full."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def capture(
    ns: NetNs, interface: str = "", *, expression: str | bytes = b"", snaplen: int = 262144, buffer: int = 4 << 20
) -> Capture:
    """Open a packet socket on one interface, or on all when it is empty.

    `expression` is classic BPF: assembled instructions (8 bytes each), or an expression of the small language of
    `netlab.kernel.bpf` ("udp and port 8472").
    """
    raise NotImplementedError
