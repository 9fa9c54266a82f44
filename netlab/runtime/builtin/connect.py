"""agnhost connect: one connection attempt, its failure as one word. Follows upstream test/images/agnhost/connect."""

import errno
import socket

from netlab.runtime.builtin.common import (
    UsageError,
    duration,
    fail,
    format_address,
    go_errno,
    parse_flags,
    resolve,
    split_host_port,
)

IPPROTO_SCTP = 132


def main(*arguments: str) -> int:
    """0 when connected; else 1 and UNKNOWN, TIMEOUT, DNS, REFUSED or OTHER on stderr."""
    flags = {"timeout": "0s", "protocol": "tcp", "udp-data": "hostname", "sctp-data": "hostname"}
    try:
        rest = parse_flags(arguments, flags)
        timeout = duration(flags, "timeout") or None
    except UsageError as problem:
        return fail(str(problem))
    if len(rest) != 1:
        return fail(f"Error: accepts 1 arg(s), received {len(rest)}")
    protocol = flags["protocol"] or "tcp"
    if protocol == "tcp":
        return connect_tcp(rest[0], timeout)
    if protocol == "udp":
        return connect_udp(rest[0], timeout, flags["udp-data"])
    if protocol == "sctp":
        return connect_sctp(rest[0], timeout, flags["sctp-data"])
    return fail(f"Unsupported protocol\n{protocol}")


def _resolve(destination: str, kind: int) -> tuple[int, tuple[str, int]]:
    host, port = split_host_port(destination)
    family, _type, _proto, address = resolve(host, port, kind)
    return family, address


def _dns(destination: str, problem: OSError) -> int:
    host = destination.rpartition(":")[0]
    text = "no such host" if isinstance(problem, socket.gaierror) else go_errno(problem)
    return fail(f"DNS: lookup {host}: {text}")


def connect_tcp(destination: str, timeout: float | None) -> int:
    try:
        family, address = _resolve(destination, socket.SOCK_STREAM)
    except ValueError as problem:
        return fail(f"UNKNOWN: {problem}")
    except OSError as problem:
        return _dns(destination, problem)
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except OSError as problem:
            if isinstance(problem, TimeoutError) or problem.errno == errno.ETIMEDOUT:
                return fail("TIMEOUT")
            if problem.errno == errno.ECONNREFUSED:
                return fail("REFUSED")
            return fail(f"OTHER: dial tcp {format_address(address)}: connect: {go_errno(problem)}")
    return 0


def connect_udp(destination: str, timeout: float | None, data: str) -> int:
    try:
        family, address = _resolve(destination, socket.SOCK_DGRAM)
    except ValueError as problem:
        return fail(f"DNS: {problem}")
    except OSError as problem:
        return _dns(destination, problem)
    where = format_address(address)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except OSError as problem:
            return fail(f"OTHER: dial udp {where}: connect: {go_errno(problem)}")
        try:
            sock.send(f"{data}\n".encode())
            answer = sock.recv(1024)
        except TimeoutError:
            return fail(f"TIMEOUT: read udp {format_address(sock.getsockname())}->{where}: i/o timeout")
        except OSError as problem:
            word = "REFUSED" if problem.errno == errno.ECONNREFUSED else "UNKNOWN"
            return fail(f"{word}: read udp {format_address(sock.getsockname())}->{where}: {go_errno(problem)}")
    if not answer:
        return fail("OTHER: No data received from the server. Cannot guarantee the server received the request.")
    return 0


def connect_sctp(destination: str, timeout: float | None, data: str) -> int:
    try:
        family, address = _resolve(destination, socket.SOCK_STREAM)
    except (OSError, ValueError) as problem:
        return fail(f"DNS: {problem}")
    try:
        with socket.socket(family, socket.SOCK_STREAM, IPPROTO_SCTP) as sock:
            sock.settimeout(timeout)
            sock.connect(address)
            sock.sendall(f"{data}\n".encode())
            sock.recv(1024)
    except TimeoutError:
        return fail("TIMEOUT")
    except OSError as problem:
        return fail(f"OTHER: {go_errno(problem)}")
    return 0
