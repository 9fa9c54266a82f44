"""HTTP and DNS spoken from a namespace of the lab: the sockets are of there, the words are of here."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from netlab.lab.facade.model import DnsAnswer, Response, Unreachable

if TYPE_CHECKING:
    from dns.message import Message

OpenSocket = Callable[[int, int], socket.socket]
"""(family, type) → a socket of the namespace."""
Resolve = Callable[[str], str]

_REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.ECONNRESET: "reset",
    errno.EACCES: "prohibited",
    errno.EPERM: "prohibited",
}


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(open_socket: OpenSocket, address: str, port: int, timeout: float, what: str) -> socket.socket:
    """A TCP connection from the namespace. Unreachable says what was tried, and why it failed."""
    sock = open_socket(family_of(address), socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect((address, port))
    except OSError as problem:
        sock.close()
        raise unreachable(problem, what, timeout) from None
    return sock


def unreachable(problem: OSError, what: str, timeout: float) -> Unreachable:
    """In a sentence."""
    if isinstance(problem, TimeoutError) or problem.errno == errno.ETIMEDOUT:
        return Unreachable(f"{what}: no answer within {timeout:g} s", "timeout")
    reason = _REASONS.get(problem.errno or 0, problem.strerror or str(problem))
    return Unreachable(f"{what}: {reason}", reason)


def fetch(
    open_socket: OpenSocket,
    resolve: Resolve,
    url: str,
    *,
    source: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | str | None = None,
    timeout: float = 5.0,
) -> Response:
    """One HTTP or HTTPS request (certificates are not verified, redirects not followed). Unreachable: no answer."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    what = f"{source} → {url}"
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = resolve(host)
    sock = connect(open_socket, address, port, timeout, what)
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock, server_hostname=host)
        connection.sock = sock
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body, {"Connection": "close", **(headers or {})})
        answer = connection.getresponse()
        return Response(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
    except OSError as problem:
        raise unreachable(problem, what, timeout) from None
    except http.client.HTTPException as problem:
        raise Unreachable(f"{what}: no HTTP answer ({problem})", "no HTTP answer") from None
    finally:
        connection.close()
        sock.close()


def candidates(name: str, searches: Sequence[str], ndots: int) -> list[str]:
    """The full names to try, in order (resolv.conf(5))."""
    if name.endswith("."):
        return [name]
    listed = [f"{name}.{domain.rstrip('.')}." for domain in searches]
    return [f"{name}.", *listed] if name.count(".") >= ndots else [*listed, f"{name}."]


def lookup(
    open_socket: OpenSocket,
    names: Sequence[str],
    kind: str,
    server: str,
    *,
    source: str,
    timeout: float = 5.0,
) -> DnsAnswer:
    """Ask for each name until one has records; the last answer otherwise. Unreachable: no answer in time."""
    import dns.rcode

    last: DnsAnswer | None = None
    for name in names:
        last = _ask(open_socket, name, kind, server, source, timeout)
        if last.records or last.rcode not in (dns.rcode.to_text(dns.rcode.NXDOMAIN), "NOERROR"):
            break
    if last is None:
        raise Unreachable(f"{source}: no name to ask for", "no name")
    return last


def _ask(open_socket: OpenSocket, name: str, kind: str, server: str, source: str, timeout: float) -> DnsAnswer:
    import dns.exception
    import dns.message
    import dns.query
    import dns.rcode
    import dns.rdatatype

    query = dns.message.make_query(name, kind)
    what = f"{source}: DNS {kind} {name} asked of {server}"
    deadline = time.monotonic() + timeout
    try:
        with open_socket(family_of(server), socket.SOCK_DGRAM) as sock:
            answer = _by_udp(sock, query, server, deadline)
        if answer is None:
            with connect(open_socket, server, 53, timeout, what) as sock:
                dns.query.send_tcp(sock, query)
                answer = dns.query.receive_tcp(sock, time.time() + timeout)[0]
    except (OSError, dns.exception.Timeout) as problem:
        if isinstance(problem, dns.exception.Timeout):
            problem = TimeoutError()
        raise unreachable(problem, what, timeout) from None
    found = [rdata for rrset in answer.answer for rdata in rrset if rrset.rdtype == dns.rdatatype.from_text(kind)]
    ttl = min((rrset.ttl for rrset in answer.answer), default=0)
    return DnsAnswer(name, dns.rcode.to_text(answer.rcode()), tuple(rdata.to_text() for rdata in found), ttl, server)


def _by_udp(sock: socket.socket, query: Message, server: str, deadline: float) -> Message | None:
    """The answer, asked for again every second; None where it is too long for UDP."""
    import dns.flags
    import dns.message

    wire = query.to_wire()
    sock.connect((server, 53))
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.send(wire)
        sock.settimeout(min(1.0, left))
        try:
            data = sock.recv(65535)
        except TimeoutError:
            continue
        answer = dns.message.from_wire(data, ignore_trailing=True)
        if answer.id == query.id:
            return None if answer.flags & dns.flags.TC else answer
