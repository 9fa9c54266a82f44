"""Packets, seen in a namespace: packet sockets with a kernel filter and kernel timestamps.

The filter is attached before the socket is bound, so nothing that it refuses is ever delivered. A socket whose filter
matches little costs the traffic next to nothing, so an observer opens many and filters each to its flow.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from netlab.kernel import libc
from netlab.kernel.bpf import compile_filter
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs

Direction = Literal["in", "out", "broadcast", "multicast", "other"]

ETH_P_ALL = 0x0003
SO_ATTACH_FILTER = 26
SO_TIMESTAMPNS = 35
SOL_PACKET = 263
PACKET_STATISTICS = 6
_DIRECTIONS: dict[int, Direction] = {0: "in", 1: "broadcast", 2: "multicast", 3: "other", 4: "out"}
_SOCKADDR_LL = struct.Struct("=HH16x")
"""struct sockaddr_ll with interface index 0: all interfaces, which Python's bind cannot say."""
_TIMESPEC = struct.Struct("=qq")


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame. `time` is the kernel's wall clock in ns; `length` on the wire, `data` maybe shorter.

    A frame that the sender left to the card to cut up or to checksum is seen whole, as every capture on Linux sees it.
    """

    time: int
    netns: str
    interface: str
    direction: Direction
    length: int
    data: bytes


class Capture:
    """An open packet socket. `fileno` for an event loop, `read` for what has arrived, `dropped` for what was lost."""

    def __init__(self, sock: socket.socket, netns: str, snaplen: int) -> None:
        self._sock = sock
        self._netns = netns
        self._snaplen = snaplen

    def fileno(self) -> int:
        return self._sock.fileno()

    def read(self) -> Iterator[Frame]:
        """The frames that wait, without blocking. OSError ENETDOWN when the interface went down meanwhile."""
        while True:
            try:
                data, control, _, address = self._sock.recvmsg(
                    self._snaplen, 64, socket.MSG_DONTWAIT | socket.MSG_TRUNC
                )
            except BlockingIOError:
                return
            yield Frame(
                time=_timestamp(control),
                netns=self._netns,
                interface=address[0],
                direction=_DIRECTIONS.get(address[2], "other"),
                length=len(data),
                data=data,
            )

    def dropped(self) -> int:
        """Frames lost since the last call because the buffer was full."""
        lost: int = struct.unpack("=II", self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        return lost

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def capture(
    ns: NetNs, interface: str = "", *, expression: str | bytes = b"", snaplen: int = 262144, buffer: int = 4 << 20
) -> Capture:
    """Open a packet socket on one interface, or on all when it is empty.

    `expression` is classic BPF: assembled instructions (8 bytes each), or words of `netlab.kernel.bpf` ("udp and port
    8472"; FilterError where they are not understood). `buffer` in bytes, as far as the user's limit allows. KernelError
    ENODEV: no such interface.
    """
    program = compile_filter(expression) if isinstance(expression, str) and expression.strip() else expression
    sock = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: nothing arrives before bind
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        if isinstance(program, bytes) and program:
            attach_filter(sock, program)
        if interface:
            sock.bind((interface, ETH_P_ALL))
        else:
            bind_everywhere(sock)
    except OSError as problem:
        sock.close()
        raise KernelError(problem.errno or 0, f"capture on {interface or 'all interfaces'} of {ns.name}") from problem
    return Capture(sock, ns.name, snaplen)


def bind_everywhere(sock: socket.socket) -> None:
    """Bind a packet socket to every interface, those to come included."""
    libc.bind(sock.fileno(), _SOCKADDR_LL.pack(socket.AF_PACKET, socket.htons(ETH_P_ALL)))


def attach_filter(sock: socket.socket, program: bytes) -> None:
    """Assembled classic BPF on a socket, before it is bound."""
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HL", len(program) // 8, ctypes.addressof(instructions))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)


def _timestamp(control: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0
