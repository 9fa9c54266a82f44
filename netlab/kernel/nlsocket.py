"""One netlink socket: sends batches, collects acknowledgements, dumps.

The kernel handles a batch inside `sendmsg`, message by message, whether or not one of them fails, and answers an error
for each that failed; an acknowledgement is asked for on the last only. So the cost of n requests is one system call
and one reply. NETLINK_CAP_ACK keeps the replies small, NETLINK_EXT_ACK brings the kernel's own words.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence

from netlab.kernel import netlink as nl
from netlab.kernel.errors import KernelError

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

BUFFER = 1 << 20
BATCH_BYTES = 96 * 1024
"""Below the send buffer an ordinary user gets (net.core.wmem_max, 208 KiB), which bounds one sendmsg."""


class Refusal(KernelError):  # noqa: N818 — an answer as much as an error
    """One message of a batch was refused. `index` is its place in the batch."""

    def __init__(self, index: int, code: int, what: str, detail: str) -> None:
        self.index = index
        super().__init__(code, what, detail)


class NetlinkSocket:
    """Owns `sock`. Not for use by two threads at once. Closing it lets the namespace go."""

    __slots__ = ("_seq", "sock")

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.sock = sock
        self._seq = 0

    def close(self) -> None:
        self.sock.close()

    def send(self, requests: Sequence[bytes]) -> list[Refusal]:
        """Do all `requests` in order; the refused ones come back, the others are done."""
        refused: list[Refusal] = []
        start = 0
        while start < len(requests):
            size, end = 0, start
            while end < len(requests) and (end == start or size + len(requests[end]) <= BATCH_BYTES):
                size += len(requests[end])
                end += 1
            refused += self._send_chunk(requests[start:end], start)
            start = end
        return refused

    def _send_chunk(self, requests: Sequence[bytes], offset: int) -> list[Refusal]:
        buffer = bytearray().join(requests)
        first = self._seq + 1
        place = 0
        for request in requests:
            self._seq += 1
            nl.U32.pack_into(buffer, place + 8, self._seq)
            last, place = place, place + len(request)
        flags = nl.U16.unpack_from(buffer, last + 6)[0]
        nl.U16.pack_into(buffer, last + 6, flags | nl.NLM_F_ACK)
        self.sock.send(buffer)
        refused = []
        while True:
            for reply in nl.messages(self._receive()):
                if reply.seq < first or reply.type != nl.NLMSG_ERROR:
                    continue
                code, detail = nl.error(reply)
                if code:
                    refused.append(Refusal(offset + reply.seq - first, code, "netlink request", detail))
                if reply.seq == self._seq:
                    return refused

    def request(self, request: bytes, what: str) -> None:
        """One request; KernelError names `what` when it is refused."""
        for refusal in self.send((request,)):
            raise KernelError(refusal.errno or 0, what, refusal.detail)

    def dump(self, request: bytes, what: str = "dump") -> list[nl.Message]:
        """All messages that answer a dump request. A dump that the kernel says was interrupted is made again."""
        for _ in range(10):
            found, interrupted = self._dump(request, what)
            if not interrupted:
                break
        return found

    def _dump(self, request: bytes, what: str) -> tuple[list[nl.Message], bool]:
        self._seq += 1
        buffer = bytearray(request)
        nl.U32.pack_into(buffer, 8, self._seq)
        nl.U16.pack_into(buffer, 6, nl.U16.unpack_from(buffer, 6)[0] | nl.NLM_F_DUMP)
        self.sock.send(buffer)
        found: list[nl.Message] = []
        interrupted = False
        while True:
            for reply in nl.messages(self._receive()):
                if reply.seq != self._seq:
                    continue
                interrupted = interrupted or bool(reply.flags & nl.NLM_F_DUMP_INTR)
                if reply.type == nl.NLMSG_DONE:
                    return found, interrupted
                if reply.type == nl.NLMSG_ERROR:
                    code, detail = nl.error(reply)
                    raise KernelError(code, what, detail)
                found.append(reply)

    def get(self, request: bytes, what: str) -> nl.Message:
        """The one message that answers a get request."""
        self._seq += 1
        buffer = bytearray(request)
        nl.U32.pack_into(buffer, 8, self._seq)
        self.sock.send(buffer)
        while True:
            for reply in nl.messages(self._receive()):
                if reply.seq != self._seq:
                    continue
                if reply.type == nl.NLMSG_ERROR:
                    code, detail = nl.error(reply)
                    raise KernelError(code, what, detail)
                return reply

    def events(self) -> Iterator[nl.Message]:
        """What has arrived on a socket that joined multicast groups; ends when nothing more is there."""
        while True:
            try:
                data = self.sock.recv(BUFFER, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from nl.messages(data)

    def _receive(self) -> bytes:
        while True:
            try:
                return self.sock.recv(BUFFER)
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:  # some notifications were lost; the answers still come
                    raise
