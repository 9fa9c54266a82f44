"""Packets by a ring that the kernel fills, read in blocks: TPACKET_V3 (Documentation/networking/packet_mmap).

One system call a packet limits Python to about 200,000 a second. A ring needs none: the kernel writes frames into
blocks of shared memory and hands each over when it is full or `RETIRE` ms old; we copy the block (at memory's speed,
unlooked at), give it back, and look into the copy when there is time. So what a burst may cost is memory, not frames.

Rejected: threads (the copy would wait for the interpreter's lock), one socket for all frames of several namespaces
(there is none), recvmmsg (Python has none, and ctypes costs more than the copy).
"""

from __future__ import annotations

import errno
import mmap
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from netlab.kernel.bpf import compile_filter
from netlab.kernel.capture import (
    ETH_P_ALL,
    PACKET_STATISTICS,
    SOL_PACKET,
    attach_filter,
    bind_everywhere,
)
from netlab.kernel.errors import KernelError

PACKET_RX_RING, PACKET_VERSION = 5, 10
TPACKET_V3 = 2
TP_STATUS_USER, TP_STATUS_VLAN_VALID = 1, 0x10
RETIRE = 20
"""Milliseconds after which the kernel hands over a block that is not full. A block that is handed over early is used up
all the same, so of many rings, each with few blocks, one asks for a longer time."""
BLOCK = 1 << 17
"""Bytes; the largest frame that a sender leaves to the card to cut up (64 KiB) fits."""
FRAME = 1 << 11
"""Bytes; V3 packs frames closely and only wants them to be at most a block."""

_LAYOUT = struct.Struct("=6I2HIIHH8xHHiHB")
"""tpacket3_hdr and the sockaddr_ll behind it: next, sec, nsec, snaplen, len, status; mac, net; rxhash, vlan_tci,
vlan_tpid, padding; 8 bytes; family, protocol, ifindex, hatype, pkttype."""
_BLOCK = struct.Struct("=IIIIII")
"""tpacket_block_desc up to the first packet: version, offset_to_priv, block_status, num_pkts, first, length."""
_REQUEST = struct.Struct("=7I")


@dataclass(frozen=True, slots=True)
class Sight:
    """One frame of a block. `time` in ns since the epoch, `hardware` ARPHRD_…, `kind` PACKET_HOST … PACKET_OUTGOING."""

    time: int
    index: int
    hardware: int
    kind: int
    length: int
    data: bytes


class Ring:
    """An open ring on `sock`. `blocks` gives what is full and gives the memory back; `frames` looks into one."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        self.sock = sock
        self.count = size // BLOCK
        self.memory = mmap.mmap(sock.fileno(), self.count * BLOCK)
        self.next = 0

    def fileno(self) -> int:
        return self.sock.fileno()

    def blocks(self) -> Iterator[bytes]:
        """Copies of the blocks that the kernel has handed over, oldest first, without waiting."""
        memory = self.memory
        while True:
            at = self.next * BLOCK
            _, _, status, packets, _, length = _BLOCK.unpack_from(memory, at)
            if not status & TP_STATUS_USER:
                return
            copy = memory[at : at + length] if packets else b""
            memory[at + 8 : at + 12] = b"\0\0\0\0"  # TP_STATUS_KERNEL
            self.next = (self.next + 1) % self.count
            if copy:
                yield copy

    def dropped(self) -> int:
        """Frames lost since the last call because every block was full."""
        lost: int = struct.unpack("=III", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))[1]
        return lost

    def close(self) -> None:
        self.memory.close()
        self.sock.close()


Entry = tuple[int, int, int, int, int, int, int, int]
"""(time in ns, place of the frame in the block, captured, on the wire, ifindex, hatype, pkttype, VLAN tag or -1)."""


def entries(block: bytes) -> list[Entry]:
    """Where the frames of a block are, not what they are: the quick way, about 0.7 µs each."""
    _, _, _, packets, at, _ = _BLOCK.unpack_from(block)
    found: list[Entry] = []
    add, unpack = found.append, _LAYOUT.unpack_from
    for _ in range(packets):
        step, sec, nsec, size, length, status, mac, _, _, tci, tpid, _, _, _, index, hardware, kind = unpack(block, at)
        tag = -1 if not status & TP_STATUS_VLAN_VALID else (tpid or 0x8100) << 16 | tci
        add((sec * 1_000_000_000 + nsec, at + mac, size, length, index, hardware, kind, tag))
        at += step
    return found


def data_of(block: bytes, entry: Entry) -> bytes:
    """The frame's bytes, with the VLAN tag that the kernel had taken out."""
    _, at, size, _, _, _, _, tag = entry
    frame = block[at : at + size]
    return frame if tag < 0 else frame[:12] + tag.to_bytes(4, "big") + frame[12:]


def frames(block: bytes) -> Iterator[Sight]:
    """The frames of a block."""
    for entry in entries(block):
        time, _, _, length, index, hardware, kind, tag = entry
        yield Sight(time, index, hardware, kind, length + 4 * (tag >= 0), data_of(block, entry))


def open_ring(
    sock: socket.socket, interface: str = "", *, expression: str = "", size: int = 4 << 20, retire: int = RETIRE
) -> Ring:
    """A ring on an AF_PACKET socket of protocol 0, whatever namespace it is of; `interface` "": every one.

    `expression`: words of `netlab.kernel.bpf`, run by the kernel; FilterError where they are not understood. `size` in
    bytes; less where the kernel has no memory. KernelError ENODEV: no such interface; else what the kernel refused.
    """
    program = compile_filter(expression) if expression.strip() else b""
    try:
        sock.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        if program:
            attach_filter(sock, program)
        size = _allocate(sock, max(size, 2 * BLOCK), retire)
        ring = Ring(sock, size)
        if interface:
            sock.bind((interface, ETH_P_ALL))
        else:
            bind_everywhere(sock)
    except OSError as problem:
        sock.close()
        raise KernelError(problem.errno or 0, f"capture on {interface or 'all interfaces'}") from problem
    return ring


def _allocate(sock: socket.socket, size: int, retire: int) -> int:
    while True:
        blocks = size // BLOCK
        request = _REQUEST.pack(BLOCK, blocks, FRAME, BLOCK // FRAME * blocks, retire, 0, 0)
        try:
            sock.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
        except OSError as problem:
            if problem.errno != errno.ENOMEM or blocks <= 2:
                raise
            size //= 2
        else:
            return blocks * BLOCK
