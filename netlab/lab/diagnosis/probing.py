"""Sends probes, all at once, each from sockets of its own namespace. Runs inside the lab."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Coroutine, Sequence

from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.lab.diagnosis import question
from netlab.lab.diagnosis.model import Outcome, Probe

IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3
IPV6_MTU_DISCOVER = 23
GAP = 0.01
"""Seconds between the packets of a row: loss that comes in bursts is still seen."""
AT_ONCE = 512
"""Sockets in use at a time."""

Spaces = Callable[[str], NetNs]


async def run(probes: Sequence[Probe], spaces: Spaces) -> tuple[Outcome, ...]:
    """The outcome of each probe. A namespace that is gone gives "unreachable"."""
    limit = asyncio.Semaphore(AT_ONCE)
    return tuple(await asyncio.gather(*(_probe(probe, spaces, limit) for probe in probes)))


async def _probe(probe: Probe, spaces: Spaces, limit: asyncio.Semaphore) -> Outcome:
    try:
        space = spaces(probe.netns)
    except KernelError:
        return Outcome(probe, ("unreachable",) * probe.count)
    if not probe.ip:
        return Outcome(probe, ("unreachable",) * probe.count)
    if probe.kind == "icmp":
        async with limit:
            return await _pings(probe, space)
    one: Try = {"tcp": _connect, "udp": _datagram, "dns": _ask}[probe.kind]
    tries = [_try(one, probe, space, limit, number * GAP) for number in range(probe.count)]
    found = await asyncio.gather(*tries)
    addresses = tuple(dict.fromkeys(ip for _, ips, _ in found for ip in ips))
    slowest = max((took for word, _, took in found if word not in ("timeout", "unreachable")), default=0.0)
    return Outcome(probe, tuple(word for word, _, _ in found), addresses, slowest)


Try = Callable[[Probe, NetNs], Coroutine[None, None, tuple[str, tuple[str, ...]]]]
"""One try of a probe: (word, addresses), or what the socket raises."""


async def _try(
    one: Try, probe: Probe, space: NetNs, limit: asyncio.Semaphore, after: float
) -> tuple[str, tuple[str, ...], float]:
    await asyncio.sleep(after)
    async with limit:
        began = time.monotonic()
        try:
            async with asyncio.timeout(probe.timeout):
                word, addresses = await one(probe, space)
        except TimeoutError:
            word, addresses = "timeout", ()
        except ConnectionRefusedError:
            word, addresses = "refused", ()
        except OSError as problem:
            word, addresses = _word(problem), ()
        return word, addresses, time.monotonic() - began


def _word(problem: OSError) -> str:
    if problem.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EACCES, errno.EPERM):
        return "unreachable"
    return (
        "too-big" if problem.errno == errno.EMSGSIZE else "refused" if problem.errno == errno.ECONNRESET else "timeout"
    )


def _family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


async def _connect(probe: Probe, space: NetNs) -> tuple[str, tuple[str, ...]]:
    with space.socket(_family(probe.ip), socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        await asyncio.get_running_loop().sock_connect(sock, (probe.ip, probe.port))
        return "open", ()


async def _datagram(probe: Probe, space: NetNs) -> tuple[str, tuple[str, ...]]:
    """UDP says nothing of arrival: only a refusal is heard, if there is one, within a short while."""
    loop = asyncio.get_running_loop()
    with space.socket(_family(probe.ip), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        await loop.sock_connect(sock, (probe.ip, probe.port))
        await loop.sock_sendall(sock, b"")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(probe.timeout, 0.3)):
                await loop.sock_recv(sock, 2048)
        return "sent", ()


async def _ask(probe: Probe, space: NetNs) -> tuple[str, tuple[str, ...]]:
    """One question, one datagram, no repetition: a lost one is to be seen."""
    loop = asyncio.get_running_loop()
    with space.socket(_family(probe.ip), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        await loop.sock_connect(sock, (probe.ip, probe.port))
        number = int.from_bytes(os.urandom(2), "big")
        await loop.sock_sendall(sock, question.encode(number, probe.name))
        while True:
            answer = question.decode(await loop.sock_recv(sock, 4096))
            if answer is not None and answer.id == number:
                return answer.rcode, answer.addresses


async def _pings(probe: Probe, space: NetNs) -> Outcome:
    """A row of echo requests from one raw socket, with "don't fragment" and whatever the route's MTU is said to be."""
    v6 = ":" in probe.ip
    loop = asyncio.get_running_loop()
    mark = int.from_bytes(os.urandom(2), "big")
    results = ["timeout"] * probe.count
    try:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        sock = space.socket(_family(probe.ip), kind, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    except OSError as problem:
        return Outcome(probe, (_word(problem),) * probe.count)
    with sock:
        level, option = (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if v6 else (socket.IPPROTO_IP, IP_MTU_DISCOVER)
        sock.setsockopt(level, option, IP_PMTUDISC_PROBE)
        began, sent = time.monotonic(), dict[int, float]()
        reader = loop.create_task(_echoes(sock, mark, v6, results, probe))
        for number in range(probe.count):
            try:
                sock.sendto(_echo(mark, number, probe.size, v6), (probe.ip, 0))
            except OSError as problem:
                results[number] = _word(problem)
            sent[number] = time.monotonic()
            await asyncio.sleep(GAP)
        waited = asyncio.wait({reader}, timeout=max(0.05, probe.timeout - (time.monotonic() - began)))
        await waited
        reader.cancel()
    return Outcome(probe, tuple(results), (), time.monotonic() - began)


def _echo(mark: int, number: int, size: int, v6: bool) -> bytes:
    header = 40 if v6 else 20
    payload = bytes(max(0, size - header - 8))
    head = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, mark, number)
    if v6:  # the kernel computes it
        return head + payload
    total = sum(struct.unpack("!4H", head))
    total = (total & 0xFFFF) + (total >> 16)
    check = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", 8, 0, check, mark, number) + payload


async def _echoes(sock: socket.socket, mark: int, v6: bool, results: list[str], probe: Probe) -> None:
    """Until every request has its answer."""
    loop = asyncio.get_running_loop()
    while "timeout" in results:
        data = await loop.sock_recv(sock, 65536)
        body = data if v6 else data[(data[0] & 15) * 4 :]
        if len(body) < 8:
            continue
        kind, code, _, got, number = struct.unpack_from("!BBHHH", body)
        if kind == (129 if v6 else 0) and got == mark and number < len(results):
            results[number] = "echo"
        elif kind in ((1, 2) if v6 else (3,)) and len(body) >= 36:
            inner = body[8:]
            offset = 40 if v6 else (inner[0] & 15) * 4
            if len(inner) < offset + 8:
                continue
            _, _, _, got, number = struct.unpack_from("!BBHHH", inner, offset)
            if got == mark and number < len(results):
                big = kind == 2 if v6 else code == 4
                results[number] = "too-big" if big else "unreachable"
