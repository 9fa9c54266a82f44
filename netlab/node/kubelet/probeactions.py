"""One attempt of a probe or of a lifecycle hook: exec, HTTP, TCP or gRPC, from the node's own namespace.

Sockets are opened in the node's namespace, so a probe crosses docker0 as a real kubelet's does. Failure texts follow
upstream pkg/probe, which prints Go's errors; HTTP is written by hand (one GET, one connection) because a probe is the
most frequent thing a node does.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Sequence
from functools import lru_cache

from netlab.api.types import Obj
from netlab.node.kubelet.fairtime import fair_timeout
from netlab.node.kubelet.ports import Sockets
from netlab.node.kubelet.probes import Result, port_number
from netlab.node.version import KUBELET_VERSION
from netlab.runtime.contract import ContainerError, Runtime

MAX_BODY = 10 * 1024
_MINOR = ".".join(KUBELET_VERSION.lstrip("v").split(".")[:2])
AGENT = f"kube-probe/{_MINOR}"
HOOK_AGENT = f"kube-lifecycle/{_MINOR}"


def go_error(problem: OSError) -> str:
    """The text that Go prints for the usual network errors."""
    texts = {
        errno.ECONNREFUSED: "connection refused",
        errno.EHOSTUNREACH: "no route to host",
        errno.ENETUNREACH: "network is unreachable",
        errno.ECONNRESET: "connection reset by peer",
        errno.ETIMEDOUT: "connection timed out",
    }
    number = problem.errno or 0
    return texts.get(number) or (os.strerror(number).lower() if number else str(problem))


async def connect(sockets: Sockets, host: str, port: int) -> socket.socket:
    """A connected, non-blocking TCP socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = sockets.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def run_exec(runtime: Runtime, container_id: str, argv: Sequence[str], timeout: float) -> Result:
    """Exit status 0 is success; the output (10 KiB of it) is the message."""
    try:
        done = await runtime.exec_sync(container_id, argv, timeout)
    except TimeoutError:
        return Result(False, f'command timed out: "{" ".join(argv)}" timed out after {timeout:g}s')
    except ContainerError as problem:
        return Result(False, str(problem), error=True)
    output = (done.stdout + done.stderr)[:MAX_BODY].decode("utf-8", "replace")
    return Result(done.exit_code == 0, output)


async def run_tcp(sockets: Sockets, host: str, port: int, timeout: float) -> Result:
    """A connection that opens is success."""
    try:
        async with fair_timeout(timeout):
            (await connect(sockets, host, port)).close()
    except TimeoutError:
        return Result(False, f"dial tcp {_join(host, port)}: i/o timeout")
    except OSError as problem:
        return Result(False, f"dial tcp {_join(host, port)}: connect: {go_error(problem)}")
    return Result(True)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=1)
def _unverified() -> ssl.SSLContext:
    """Probes do not check the certificate (upstream: InsecureSkipVerify)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _http_request(action: Obj, host: str, port: int, agent: str) -> tuple[bytes, str]:
    """(request bytes, URL for messages)."""
    path = action.get("path") or "/"
    path = path if path.startswith("/") else "/" + path
    scheme = str(action.get("scheme") or "HTTP").lower()
    headers = [(h["name"], h["value"]) for h in action.get("httpHeaders") or ()]
    names = {name.lower() for name, _ in headers}
    if "host" not in names:
        headers.insert(0, ("Host", _join(host, port)))
    if "user-agent" not in names:
        headers.append(("User-Agent", agent))
    if "accept" not in names:
        headers.append(("Accept", "*/*"))
    headers.append(("Connection", "close"))
    text = f"GET {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers if v) + "\r\n"
    return text.encode("latin-1", "replace"), f"{scheme}://{_join(host, port)}{path}"


async def _exchange(sockets: Sockets, action: Obj, host: str, port: int, request: bytes) -> tuple[int, bytes]:
    sock = await connect(sockets, host, port)
    tls = _unverified() if str(action.get("scheme") or "").upper() == "HTTPS" else None
    reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=host if tls else None)
    try:
        writer.write(request)
        line = await reader.readline()
        words = line.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            if not line:
                raise ConnectionResetError(0, "EOF")
            raise ConnectionResetError(0, f'malformed HTTP response "{line.decode("latin-1").strip()}"')
        while (await reader.readline()) not in (b"\r\n", b"\n", b""):
            pass
        return int(words[1]), await reader.read(MAX_BODY)
    finally:
        writer.close()


async def run_http(sockets: Sockets, action: Obj, host: str, port: int, timeout: float, agent: str = AGENT) -> Result:
    """200 to 399 is success."""
    request, url = _http_request(action, host, port, agent)
    try:
        async with fair_timeout(timeout):
            code, body = await _exchange(sockets, action, host, port, request)
    except TimeoutError:
        return Result(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')
    except ssl.SSLError as problem:
        return Result(False, f'Get "{url}": tls: {problem.reason or problem}')
    except OSError as problem:
        if not problem.errno:
            return Result(False, f'Get "{url}": {problem.strerror or problem}')
        verb = "read" if problem.errno == errno.ECONNRESET else "connect"
        what = "dial tcp" if verb == "connect" else "read tcp"
        return Result(False, f'Get "{url}": {what} {_join(host, port)}: {verb}: {go_error(problem)}')
    if 200 <= code < 400:
        return Result(True, body.decode("utf-8", "replace"))
    return Result(False, f"HTTP probe failed with statuscode: {code}")


async def run_probe(runtime: Runtime, sockets: Sockets, probe: Obj, container: Obj, cid: str, pod_ip: str) -> Result:
    """One attempt of a probe of any kind, bounded by its timeoutSeconds."""
    timeout = float(probe.get("timeoutSeconds") or 1)
    try:
        if action := probe.get("exec"):
            return await run_exec(runtime, cid, action.get("command") or (), timeout)
        if action := probe.get("httpGet"):
            host = action.get("host") or pod_ip
            return await run_http(sockets, action, host, port_number(action["port"], container), timeout)
        if action := probe.get("tcpSocket"):
            host = action.get("host") or pod_ip
            return await run_tcp(sockets, host, port_number(action["port"], container), timeout)
        if action := probe.get("grpc"):
            from netlab.node.kubelet.grpchealth import run_grpc

            return await run_grpc(sockets, pod_ip, int(action["port"]), action.get("service") or "", timeout)
    except ValueError as problem:
        return Result(False, str(problem), error=True)
    return Result(False, f"missing probe handler for {container['name']}", error=True)
