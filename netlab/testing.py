"""Assertions about a lab's network. A failure says what was seen: the attempt is made again, and watched everywhere.

>>> from netlab.testing import assert_reachable, assert_resolves, eventually
>>> assert_reachable(lab, "pod/client", "http://web")
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from netlab.lab.facade.model import Unreachable
from netlab.lab.record import LabError

if TYPE_CHECKING:
    from netlab.lab.facade import Lab
    from netlab.lab.facade.places import Place
    from netlab.trace.packet import Packet
    from netlab.trace.story import Frame

T = TypeVar("T")

SHOWN = 60
"""Lines of packets in a failure's message."""

__all__ = ["assert_reachable", "assert_resolves", "assert_unreachable", "eventually"]


def eventually(check: Callable[[], T], *, timeout: float = 10.0, interval: float = 0.05, what: str = "") -> T:
    """Call `check` until it gives something true and raises neither AssertionError nor LabError; what it gave.

    AssertionError after `timeout` seconds says what was waited for, and how the last attempt ended.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + timeout
    name = what or getattr(check, "__name__", "the condition")
    while True:
        last: object
        try:
            found = check()
            if found or found is None:
                return found
            last = f"it gave {found!r}"
        except (AssertionError, LabError) as problem:
            last = problem
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s for {name}: {last}")
        time.sleep(interval)


def assert_reachable(lab: Lab, source: str | Place, target: str, *, timeout: float = 5.0, within: float = 0.0) -> None:
    """That `source` gets an answer: `target` is a URL (any status counts), "tcp://ADDRESS:PORT" or "icmp://NAME".

    `within`: seconds in which it may become so. The failure's message holds the packets of a further attempt, the
    test's artifacts the pcapng of all interfaces.
    """
    __tracebackhide__ = True
    problem = _attempts(lab, source, target, timeout, within, wanted=True)
    if problem is not None:
        raise AssertionError(f"{problem}\n{_seen(lab, source, target, timeout)}")


def assert_unreachable(
    lab: Lab, source: str | Place, target: str, *, timeout: float = 1.0, within: float = 0.0
) -> None:
    """That `source` gets no answer (refused, prohibited, unreachable or silence) within `timeout` seconds."""
    __tracebackhide__ = True
    if _attempts(lab, source, target, timeout, within, wanted=False) is None:
        raise AssertionError(
            f"{lab.place(source).name} → {target}: there is an answer\n{_seen(lab, source, target, timeout)}"
        )


def assert_resolves(
    lab: Lab, source: str | Place, name: str, *addresses: str, kind: str = "A", timeout: float = 5.0
) -> None:
    """That a name has records where `source` asks; these and no others where `addresses` are given."""
    __tracebackhide__ = True
    place = lab.place(source)
    try:
        answer = place.dns(name, kind, timeout=timeout)
    except Unreachable as problem:
        raise AssertionError(
            f"{problem}\n{_watched(lab, lambda: place.dns(name, kind, timeout=timeout), {53})}"
        ) from None
    records = sorted(answer.records)
    if not records or (addresses and records != sorted(addresses)):
        wanted = ", ".join(addresses) or "records"
        raise AssertionError(
            f"{place.name}: {kind} {answer.name} from {answer.server}: {answer.rcode} "
            f"{', '.join(records) or 'without records'}; wanted {wanted}"
        )


def _attempts(
    lab: Lab, source: str | Place, target: str, timeout: float, within: float, *, wanted: bool
) -> Unreachable | LabError | None:
    """The last attempt's problem; repeated until it is as wanted or the time is over."""
    deadline = time.monotonic() + within
    while True:
        problem = _attempt(lab, source, target, timeout)
        if (problem is None) == wanted or time.monotonic() >= deadline:
            return problem
        time.sleep(0.1)


def _attempt(lab: Lab, source: str | Place, target: str, timeout: float) -> LabError | None:
    place = lab.place(source)
    scheme, _, rest = target.rpartition("://")
    try:
        if scheme == "icmp":
            _ping(place, rest, timeout)
        elif scheme == "tcp":
            host, _, port = rest.rpartition(":")
            place.connect(host.strip("[]"), int(port), timeout=timeout).close()
        else:
            place.http(target, timeout=timeout)
    except LabError as problem:
        return problem
    return None


def _ping(place: Place, name: str, timeout: float) -> None:
    """One echo request by a socket of the place."""
    address = place.address_of(name)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind, answer = (128, 129) if family == socket.AF_INET6 else (8, 0)
    proto = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    token = (id(place) & 0xFFFF).to_bytes(2, "big") + time.monotonic_ns().to_bytes(8, "big")[-2:]
    body = bytes([kind, 0, 0, 0]) + token + b"netlab"
    if family == socket.AF_INET:
        body = body[:2] + _checksum(body) + body[4:]
    deadline = time.monotonic() + timeout
    with place.open_socket(family, socket.SOCK_RAW, proto) as sock:
        try:
            sock.sendto(body, (address, 0))
            while (left := deadline - time.monotonic()) > 0:
                sock.settimeout(left)
                data = sock.recv(2048)
                message = data[(data[0] & 15) * 4 :] if family == socket.AF_INET else data
                if message[:1] == bytes([answer]) and message[4:8] == token:
                    return
        except OSError as problem:
            from netlab.lab.facade.speaking import unreachable

            raise unreachable(problem, f"{place.name} → icmp://{name}", timeout) from None
    raise Unreachable(f"{place.name} → icmp://{name}: no answer within {timeout:g} s", "timeout")


def _checksum(data: bytes) -> bytes:
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return (~total & 0xFFFF).to_bytes(2, "big")


def _seen(lab: Lab, source: str | Place, target: str, timeout: float) -> str:
    """The attempt once more, watched: its packets at every interface, in order."""
    ports = {53, 443 if target.startswith("https") else 80}
    found = re.search(r":(\d+)", target.rpartition("://")[2])
    if found:
        ports.add(int(found[1]))
    seen = _watched(lab, lambda: _attempt(lab, source, target, timeout), ports, icmp=target.startswith("icmp"))
    return f"{seen}\n{_traced(lab, lab.place(source).name, target)}"


def _traced(lab: Lab, source: str, target: str) -> str:
    """The way that `klab trace` finds, with the rules that decide; why there is none, where it cannot be told."""
    from netlab.trace import tell

    scheme, _, rest = target.rpartition("://")
    name = rest.partition("/")[0] + (":80" if scheme in ("", "http") and ":" not in rest else "")
    proto = "icmp" if scheme == "icmp" else "tcp"
    try:
        found = lab.trace(source.removeprefix("pod/"), name, proto=proto)
        lines = ["".join(text for text, _ in line).rstrip() for line in tell.report(found)]
    except (LabError, OSError, ValueError, StopIteration) as problem:
        lines = [f"(none: {problem})"]
    text = "\n".join(lines)
    lab.notes["trace.txt"] = text + "\n"
    return f"trace:\n{text}"


def _watched(lab: Lab, attempt: Callable[[], object], ports: set[int], *, icmp: bool = False) -> str:
    from netlab.trace.render import outer, summary

    recording = lab.capture("all")
    with recording, contextlib.suppress(LabError):
        attempt()
    lines = []
    for frame in _of_attempt(recording.frames(), ports, icmp=icmp):
        encapsulation = f"{outer(frame.packet)} ▸ " if frame.packet.inner else ""
        lines.append(f"  {frame.place} {frame.interface} {frame.direction}: {encapsulation}{summary(frame.packet)}")
    more = [f"  … and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(["packets of a further attempt:", *(lines[:SHOWN] or ["  none at any interface"]), *more])


def _of_attempt(frames: list[Frame], ports: set[int], *, icmp: bool) -> list[Frame]:
    """By the ports asked for (or the echo's number), and by the addresses that spoke: their errors, ARP for them."""
    inner = [frame.packet.innermost for frame in frames]
    echoes = [_echo(one) for one in inner if icmp and _echo(one)]
    clients = {(one.src, one.sport) for one in inner if one.dport in ports and not icmp}
    wanted = {
        at
        for at, one in enumerate(inner)
        if (one.src, one.sport) in clients
        or (one.dst, one.dport) in clients
        or (_echo(one) and _echo(one) in echoes[:1])
    }
    ends = {address for at in wanted for address in (inner[at].src, inner[at].dst)}
    callers = {inner[at].src for at in wanted}

    def belongs(at: int) -> bool:
        one = inner[at]
        if one.protocol in (1, 58) and not _echo(one):
            return one.dst in callers
        return at in wanted or (one.ethertype == 0x0806 and not ends.isdisjoint((one.src, one.dst)))

    return [frame for at, frame in enumerate(frames) if belongs(at)]


def _echo(packet: Packet) -> str:
    """The number of an ICMP echo request or its reply (the identifier may be translated); "" for other packets."""
    found = re.search(r"echo.* (seq \d+)", packet.info) if packet.protocol in (1, 58) else None
    return found[1] if found else ""
