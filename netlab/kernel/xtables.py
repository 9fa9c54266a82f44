"""A table of iptables' legacy back end as the kernel keeps it: bytes, read by a system call instead of a program.

Good for one question, asked often: does an address still occur? (linux/netfilter_ipv4/ip_tables.h.)
"""

from __future__ import annotations

import socket
import struct

from netlab.kernel import libc

IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES = 64, 65
"""The same numbers in ip6_tables.h."""
SOL_IPV6 = 41
_INFO = struct.Struct("=32sI5I5III")
"""ipt_getinfo: name; valid_hooks, hook_entry, underflow, num_entries, size."""
_ENTRIES = struct.Struct("=32sI4x")
"""ipt_get_entries up to the table itself: name, size."""


def entries(sock: socket.socket, table: str) -> bytes:
    """The rules of a table, of the namespace and family of a raw IP socket. The kernel makes a table that is not there.

    OSError ENOENT: the kernel does not have such tables; EPERM: not the namespace's administrator; EAGAIN: the table
    was changed meanwhile.
    """
    level = SOL_IPV6 if sock.family == socket.AF_INET6 else socket.SOL_IP
    name = table.encode()
    info = libc.getsockopt(sock.fileno(), level, IPT_SO_GET_INFO, name.ljust(32, b"\0"), _INFO.size)
    size = _INFO.unpack(info)[-1]
    request = _ENTRIES.pack(name, size)
    return libc.getsockopt(sock.fileno(), level, IPT_SO_GET_ENTRIES, request, _ENTRIES.size + size)[_ENTRIES.size :]


def mentions(blob: bytes, address: str) -> bool:
    """Whether an address occurs in the rules; its bytes are where the kernel's structures put them, at whole words."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    at = blob.find(packed)
    while at >= 0 and at % 4:
        at = blob.find(packed, at + 1)
    return at >= 0
