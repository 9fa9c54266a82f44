"""Transactions to the kernel, and which tables there are.

A transaction is one datagram, and happens whole or not at all. What does not fit into the socket's buffer becomes
several, cut where nothing that is served is missing in between. As root of the first user namespace the buffer may be
as large as one likes; elsewhere as large as net.core.wmem_max says, doubled: with Linux's own 208 KiB that is about 80
Services of five endpoints, or 200 of one. More than MOST makes the kernel slow: for each anonymous set it goes through
all that its transaction has done so far. Messages are made while the kernel works on those before.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from netlab.dataplane.nftables.operations import Operation
from netlab.dataplane.nftables.rules import Ip
from netlab.kernel import netlink as nl
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.kernel.nftables.objects import GET_TABLE, Writer
from netlab.kernel.nftables.wire import BE32, FAMILIES, SUBSYSTEM
from netlab.kernel.nlsocket import NETLINK_NETFILTER, NetlinkSocket, Refusal

MOST = 1 << 20
"""Bytes of a transaction."""
SO_SNDBUFFORCE = 32
OVERHEAD = 32
"""What netlink keeps of the buffer for itself."""
_HEAD = bytes((0, 0, 0, SUBSYSTEM))
_BEGIN, _END = nl.message(0x10, 0, _HEAD), nl.message(0x11, 0, _HEAD)


def run(ns: NetNs, operations: Sequence[Operation]) -> int:
    """Does all of it, in order; in how many transactions.

    KernelError names the object that was refused: its transaction and those after it did not happen. ValueError for
    what nft would refuse as no sense.
    """
    with _opened(ns) as sock:
        count, sent = 0, None
        with ThreadPoolExecutor(1) as sender:
            for transaction in transactions(operations, _room(sock.sock)):
                if sent is not None:
                    sent.result()
                sent = sender.submit(transaction.send, sock)
                count += 1
            if sent is not None:
                sent.result()
        return count


async def run_async(ns: NetNs, operations: Sequence[Operation]) -> int:
    """`run` without blocking the event loop."""
    return await asyncio.to_thread(run, ns, operations)


def tables(sock: NetlinkSocket) -> dict[tuple[int, str], int]:
    """By family number and name of every table, how much is in it (chains and sets). KernelError where the kernel has
    no nftables."""
    found = sock.dump(nl.message(GET_TABLE, 0, b"\0\0\0\0"), "nftables tables")
    return {(one.body[0], nl.cstring(fields[1])): BE32.unpack(fields[3])[0] for one, fields in _decoded(found)}


def holds(ns: NetNs, ip: Ip, table: str) -> bool:
    """Whether the table is there with anything in it."""
    with _opened(ns) as sock:
        return tables(sock).get((FAMILIES[ip], table), 0) > 0


@contextlib.contextmanager
def _opened(ns: NetNs) -> Iterator[NetlinkSocket]:
    """A socket of its own each time: transactions of one namespace are written by several threads."""
    sock = NetlinkSocket(ns.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER))
    try:
        yield sock
    finally:
        sock.close()


def _decoded(found: Iterable[nl.Message]) -> list[tuple[nl.Message, dict[int, bytes]]]:
    return [(one, nl.attributes(one.body, 4)) for one in found]


def _room(sock: socket.socket) -> int:
    """Bytes that fit into one transaction."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, MOST)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - OVERHEAD


@dataclass(slots=True)
class Transaction:
    """Some operations in a row; `ends` has for each of them the number of requests up to it."""

    operations: list[Operation] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, operation: Operation, requests: Sequence[bytes]) -> None:
        self.operations.append(operation)
        self.requests += requests
        self.ends.append(len(self.requests))

    def send(self, sock: NetlinkSocket) -> None:
        try:
            refusals = transact(sock, self.requests)
        except OSError as problem:
            last = self.operations[-1]
            raise KernelError(problem.errno or errno.EIO, f"{last.verb} {last.subject()}") from None
        for refusal in refusals:
            blamed = self.operations[bisect.bisect_right(self.ends, refusal.index)]
            what = "nftables" if refusal.index < 0 else f"{blamed.verb} {blamed.subject()}"
            raise KernelError(refusal.errno or 0, what, refusal.detail)


def transactions(operations: Sequence[Operation], room: int) -> Iterator[Transaction]:
    """The fewest of at most `room` bytes each. What cannot be cut is left to the kernel to refuse."""
    made, writer, size = Transaction(), Writer(), len(_BEGIN) + len(_END)
    for group in _inseparable(operations):
        written = [(one, writer.messages(one)) for one in group]
        more = sum(len(request) for _, requests in written for request in requests)
        if size + more > room and made.operations:
            yield made
            made, size = Transaction(), len(_BEGIN) + len(_END)
        size += more
        for one, requests in written:
            made.add(one, requests)
    if made.operations:
        yield made


def _inseparable(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    group: list[Operation] = []
    for one in operations:
        if group and not one.belongs_to(group[-1]):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def transact(sock: NetlinkSocket, requests: Sequence[bytes]) -> list[Refusal]:
    """Sends one transaction; those of its requests that were refused, with index -1 for the transaction itself. If
    there is any, none has happened."""
    data = bytearray(_BEGIN)
    seq = nl.U32
    for number, request in enumerate(requests):
        place = len(data)
        data += request
        seq.pack_into(data, place + 8, number + 1)
    data += _END
    sock.sock.send(data)
    return list(_refusals(sock.sock))


def _refusals(sock: socket.socket) -> Iterable[Refusal]:
    """All answers are there when the transaction has been sent; only what is refused is answered."""
    while True:
        try:
            answer = sock.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as problem:
            if problem.errno != errno.ENOBUFS:  # of many refusals, some were lost
                raise
            continue
        for reply in nl.messages(answer):
            code, detail = nl.error(reply) if reply.type == nl.NLMSG_ERROR else (0, "")
            if code:
                yield Refusal(reply.seq - 1, code, "nftables", detail)
