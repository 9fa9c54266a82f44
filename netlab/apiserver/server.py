"""The only file with listening sockets: TLS, HTTP by aiohttp on its low-level server, and an orderly end.

aiohttp's `web.Server` parses requests; routing, errors and content are ours. How answers reach the transport is in
`transport.py`; a connection that is handed on (exec, port-forward) leaves aiohttp: see `tunnel.py`.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Mapping

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from netlab.api import errors
from netlab.apiserver.aggregation.keeper import keep as keep_services
from netlab.apiserver.allocation.records import keep_records
from netlab.apiserver.api import Api
from netlab.apiserver.asking import ask_only
from netlab.apiserver.assembly import assemble, server_pki
from netlab.apiserver.bootstrap import keep
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.dispatch import answer
from netlab.apiserver.extensions.controller import keep as keep_definitions
from netlab.apiserver.late import AFTER, run_late
from netlab.apiserver.memory import give_back
from netlab.apiserver.patience import end_slow, too_slow
from netlab.apiserver.pki import Pki
from netlab.apiserver.quick import QuickConnection
from netlab.apiserver.transport import Connection, HttpServer, Ready, stream
from netlab.apiserver.tunnel import hand_on
from netlab.apiserver.wire.head import Head
from netlab.apiserver.wire.message import Answer, Request, Response, Streaming, error_response
from netlab.apiserver.wire.path import parse

log = logging.getLogger("netlab.apiserver")

MAX_BODY = 3 << 20
"""Upstream's limit of a request's body."""
_MAX_LINE = 256 << 10
_STREAMING = frozenset({"exec", "attach", "portforward", "proxy", "log"})
_NO_QUERY: Mapping[str, str] = {}
_MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


async def serve(config: ApiServerConfig, *, ready: Callable[[], None]) -> None:
    """Serve the API until cancelled or told to end by SIGTERM; `ready` is called once requests are answered.

    Makes the PKI, the store and the system objects where they are missing. Raises OSError when an address is taken.
    """
    sockets = [_bind(host, port) for host, port in config.listen]
    sockets += [socket.socket(fileno=fd) for fd in config.listen_fds]
    pki = server_pki(config)
    api = await assemble(config, pki)
    server = Server(api)
    # most of what lives here is the stored state, which has no cycles: the collector need not walk it all the time
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ValueError, RuntimeError):
        loop.add_signal_handler(signal.SIGTERM, ending.set)
    listeners = [await loop.create_server(server.http, sock=sock, ssl=server.tls, backlog=1024) for sock in sockets]
    housekeeping = [loop.create_task(_forget_history(api)), loop.create_task(keep(api))]
    housekeeping.append(loop.create_task(keep_definitions(api)))
    housekeeping.append(loop.create_task(end_slow(server.http, config)))
    housekeeping.append(loop.create_task(give_back(server.http)))
    housekeeping.append(loop.create_task(keep_services(api)))
    housekeeping.append(loop.create_task(run_late(api)))
    housekeeping.append(loop.create_task(keep_records(api, after=AFTER)))
    try:
        ready()
        await ending.wait()
    finally:
        for task in housekeeping:
            task.cancel()
        for listener in listeners:
            listener.close()
        server.http.end_streams()
        await server.http.shutdown(1.0)
        await api.dynamic.close()
        if api.auditor is not None:
            api.auditor.file.flush()
        await api.store.close()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return sock


async def _forget_history(api: Api) -> None:
    """Forget what is older than the configured time, as etcd's periodic compaction."""
    while True:
        revision = api.store.revision
        await asyncio.sleep(api.config.history_seconds)
        api.store.compact(revision)


def tls_context(pki: Pki) -> ssl.SSLContext:
    """Serving certificate of the API; client certificates are asked for, and judged by who authenticates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.directory / "apiserver.crt", pki.directory / "apiserver.key")
    context.load_verify_locations(pki.directory / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    ask_only(context)
    return context


class Server:
    """HTTP in front of an Api. `http` is the protocol factory, `tls` the context to listen with."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.tls = tls_context(api.pki)
        self.kubelet_tls = _kubelet_context(api.pki)
        self.http = HttpServer(
            self.handle,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=300,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
        )
        self.http.quickly = self.quickly

    async def quickly(self, connection: QuickConnection, head: Head, body: bytes) -> Answer:
        """An ordinary request, whole. It runs to its end also when the client goes away."""
        if isinstance(connection, Connection):
            connection.waiting_since = None
        watching = head.method == "GET" and head.query.get("watch", "") not in ("", "0", "false")
        info = parse(head.method, head.path, watching)
        request = Request(info, head.method, head.query, head.raw_query, head.headers, body)
        if self.api.auditor is not None:
            request.source = _peer(connection)
        der = connection.peer_certificate() if isinstance(connection, Connection) else None
        return await answer(self.api, request, der)

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """One request. It runs to its end also when the client goes away: the server's books must stay right."""
        raw_query = http.rel_url.raw_query_string
        query = http.query if raw_query else _NO_QUERY
        watching = bool(raw_query) and http.method == "GET" and query.get("watch", "") not in ("", "0", "false")
        info = parse(http.method, http.path, watching)
        request = Request(info, http.method, query, raw_query, _headers(http))
        connection = http.protocol
        if self.api.auditor is not None:
            request.source = _peer(connection)
        known = None
        if isinstance(connection, Connection):
            connection.waiting_since, known = None, connection.found()
        if known is not None:
            return await self._deliver(http, known)
        der = connection.peer_certificate() if isinstance(connection, Connection) else None
        if http.method in _MUTATING and info.subresource not in _STREAMING:
            try:
                async with asyncio.timeout(self.api.config.request_seconds):
                    request.body = await _read_body(http)
            except TimeoutError:
                return Ready(error_response(too_slow()), http)
            except (ClientPayloadError, HttpProcessingError, ConnectionError) as error:
                return Ready(error_response(errors.bad_request(f"error reading the body: {error}")), http)
            except errors.StatusError as error:
                return Ready(error_response(error), http)
        return await self._deliver(http, await answer(self.api, request, der))

    async def _deliver(self, http: web.BaseRequest, found: Answer) -> web.StreamResponse:
        if isinstance(found, Response):
            return Ready(found, http)
        if isinstance(found, Streaming):
            return await stream(http, found)
        return await hand_on(http, found, self.kubelet_tls)


def _peer(connection: web.RequestHandler) -> str:
    """The client's address."""
    transport = connection.transport
    name = transport.get_extra_info("peername") if transport is not None else None
    return str(name[0]) if name else ""


def _headers(http: web.BaseRequest) -> Mapping[str, str]:
    """aiohttp's own map, which does not mind case; the headers that are repeated get a line for each value."""
    if "Impersonate-User" not in http.headers and "Impersonate-Group" not in http.headers:
        return http.headers
    found: dict[str, str] = {}
    for name, value in http.headers.items():
        key = name.lower()
        repeated = key in found and key.startswith("impersonate-")
        found[key] = f"{found[key]}\n{value}" if repeated else value
    return found


def _kubelet_context(pki: Pki) -> ssl.SSLContext:
    """Towards kubelets: our client certificate; their serving certificates are not checked, as upstream's default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    name = "apiserver-kubelet-client"
    context.load_cert_chain(pki.directory / f"{name}.crt", pki.directory / f"{name}.key")
    return context


async def _read_body(http: web.BaseRequest) -> bytes:
    if not http.body_exists:
        return b""
    length = http.content_length
    if length is not None and length > MAX_BODY:
        raise errors.request_too_large(MAX_BODY)
    if http.headers.get("Expect", "").lower() == "100-continue" and http.transport is not None:
        http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    parts: list[bytes] = []
    size = 0
    async for part in http.content.iter_any():
        size += len(part)
        if size > MAX_BODY:
            raise errors.request_too_large(MAX_BODY)
        parts.append(part)
    body = b"".join(parts)
    if http.headers.get("Content-Encoding") == "gzip":
        return _gunzip(body)
    return body


def _gunzip(body: bytes) -> bytes:
    import zlib

    try:
        return zlib.decompressobj(31).decompress(body, MAX_BODY)
    except zlib.error as error:
        raise errors.bad_request(f"gzip: {error}") from None


__all__ = ["Server", "serve"]
