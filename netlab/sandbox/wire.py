# ruff: noqa: SIM105
# (Part of PID 1, which is kept small: no pathlib, no contextlib.)
"""One packet between PID 1 and its clients: a JSON object, and descriptors beside it.

A packet larger than a socket buffer takes kindly (a container with the environment of 1,000 Services, the list of
4,000 processes) travels in a memfd: the packet is then empty and the memfd is its first descriptor.
"""

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

Packet = dict[str, Any]

INLINE = 60_000  # a unix socket's default buffer holds 208 KiB; several packets should fit
MAX_FDS = 250  # the kernel's SCM_MAX_FD is 253

_SPACE = socket.CMSG_SPACE((MAX_FDS + 1) * array.array("i").itemsize)
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decode = json.JSONDecoder().decode


def encode(packet: Packet) -> bytes:
    return _encode(packet).encode()


def send(sock: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send an encoded packet; BlockingIOError when a non-blocking socket is full (nothing was sent then)."""
    if len(data) <= INLINE:
        _sendmsg(sock, data, fds)
        return
    memfd = os.memfd_create("netlab-packet", os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(memfd, view) :]
        _sendmsg(sock, b"{}", [memfd, *fds])
    finally:
        os.close(memfd)


def _sendmsg(sock: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[Packet, list[int]] | None:
    """The next packet and its descriptors (owned by the caller, close-on-exec); None at the end.

    Raises BlockingIOError when there is none yet, ValueError when it is not a JSON object.
    """
    data, ancillary, _flags, _address = sock.recvmsg(INLINE + 1, _SPACE, socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
            fds.extend(numbers)
    if not data:
        close_all(fds)
        return None
    if data == b"{}" and fds:
        memfd = fds.pop(0)
        try:
            data = os.pread(memfd, os.fstat(memfd).st_size, 0)
        finally:
            os.close(memfd)
    try:
        packet = _decode(data.decode())
        if not isinstance(packet, dict):
            raise ValueError("not an object")
    except ValueError:
        close_all(fds)
        raise
    return packet, fds


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass
