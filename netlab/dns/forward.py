"""Questions that are not the cluster's, passed on to the resolvers of the topology.

A lab has no way out. Where the Corefile names no resolver that exists in the lab, nothing exists outside it either, and
the answer is NXDOMAIN with the root's SOA: true in there, and quick.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from pathlib import Path
from typing import cast

from netlab.dns.answers import NXDOMAIN, SERVFAIL, Answer, Record
from netlab.dns.wire import Question, encode, failure

TIMEOUT = 2.0
NOTHING_OUTSIDE = Answer(NXDOMAIN, authority=(Record(".", "SOA", 30, "a.root. hostmaster.root. 1 7200 1800 86400 30"),))

Address = tuple[str, int]


def upstreams(targets: tuple[str, ...], own: frozenset[str] = frozenset()) -> list[Address]:
    """Addresses of the `forward` directive's targets; a path is read as a resolv.conf. `own` addresses would loop."""
    found: list[Address] = []
    for target in targets:
        if target.startswith("/"):
            found.extend((address, 53) for address in _nameservers(Path(target)))
        else:
            host, _, port = target.removeprefix("dns://").partition(":")
            found.append((host, int(port or 53)))
    return [address for address in dict.fromkeys(found) if address[0] not in own and not address[0].startswith("127.")]


def _nameservers(file: Path) -> list[str]:
    with contextlib.suppress(OSError):
        lines = [line.split() for line in file.read_text().splitlines()]
        return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver" and ":" not in words[1]]
    return []


async def forward(question: Question, data: bytes, servers: list[Address]) -> bytes:
    """The answer of the first resolver that gives one, in random order as CoreDNS; SERVFAIL when none does."""
    if not servers:
        return encode(question, NOTHING_OUTSIDE, None)
    for server in random.sample(servers, len(servers)):
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await _ask_udp(data, server)
                if len(answer) > 2 and answer[2] & 0x02:
                    answer = await _ask_tcp(data, server)
                return answer
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            continue
    return failure(question, SERVFAIL)


class _Once(asyncio.DatagramProtocol):
    """Waits for the datagram with our message id."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self.data)  # not every loop's class says so

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data[:2] == self.data[:2] and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _ask_udp(data: bytes, server: Address) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Once(data), remote_addr=server)
    try:
        return await protocol.answer
    finally:
        transport.close()


async def _ask_tcp(data: bytes, server: Address) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack("!H", len(data)) + data)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)
    finally:
        writer.close()
