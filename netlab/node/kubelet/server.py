"""The kubelet API on the node's port 10250: TLS in the node's own namespace, client certificates, upstream's paths.

Who may ask: the API server by its client certificate, and administrators (`system:masters`, kubeadm's group). Everybody
else with a certificate of the cluster's CA or a bearer token is asked about at the API server, and gets 401 or 403.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from netlab.api.errors import StatusError, bad_request, status
from netlab.api.measuring import TEXT, exposition
from netlab.client.gate import User, certified
from netlab.client.requested import counted
from netlab.node.kubelet import measured, nodelogs, stats
from netlab.node.kubelet.clock import parse
from netlab.node.kubelet.delegated import Delegated
from netlab.node.kubelet.kubelet import Kubelet
from netlab.node.kubelet.logs import LogOptions, read_log
from netlab.node.kubelet.podspec import find_container
from netlab.node.kubelet.ports import NodeContext
from netlab.node.kubelet.streaming import NotFoundError, serve_attach, serve_exec, serve_port_forward
from netlab.node.kubelet.worker import PodWorker
from netlab.node.streams import websocket
from netlab.node.streams.http import BadRequestError, Chunked, Request, read_request, respond, respond_json
from netlab.node.streams.pipe import SocketWire
from netlab.node.streams.remotecommand import RefusedError

log = logging.getLogger(__name__)

GROUPS = frozenset({"system:masters", "kubeadm:cluster-admins"})
USERS = frozenset({"kube-apiserver-kubelet-client", "kube-apiserver"})
OPEN = frozenset({"/healthz"})
LOG_PROTOCOLS = ("binary.k8s.io", "base64.binary.k8s.io")


@dataclass(slots=True)
class _Call:
    """One request on its connection; `parts` are the path's elements after the verb."""

    request: Request
    parts: list[str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    wire: SocketWire


Handler = Callable[["KubeletServer", _Call], Awaitable[bool]]
"""Returns whether the connection can be used for another request."""


def subject(writer: asyncio.StreamWriter) -> User | None:
    """Whom the client's verified certificate names; None without one."""
    return certified(writer.get_extra_info("peercert"))


class KubeletServer:
    """Of one node."""

    def __init__(self, context: NodeContext, kubelet: Kubelet) -> None:
        self.context, self.kubelet = context, kubelet
        self.usage, self.node_cpu = stats.Usage(), stats.NodeCpu()
        self.delegated = Delegated(context.client, context.name)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OSError that names the address."""
        config = self.context.config
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(config.serving_cert, config.serving_key)
        tls.load_verify_locations(config.client_ca)
        tls.verify_mode = ssl.CERT_OPTIONAL
        tls.num_tickets = 0
        ipv6 = any(":" in ip for ip in config.ips)
        sock = self.context.sockets.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::" if ipv6 else "0.0.0.0", config.kubelet_port))
        sock.listen(128)
        sock.setblocking(False)
        self._server = await asyncio.start_server(self._connected, sock=sock, ssl=tls)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._connections.add(task)
        try:
            while (request := await read_request(reader)) is not None:
                if not await self._answer(request, reader, writer):
                    break
                await writer.drain()
        except BadRequestError as problem:
            respond(writer, 400, str(problem).encode())
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as problem:
            log.debug("kubelet connection: %s", problem)
        except asyncio.CancelledError:
            log.debug("kubelet connection closed")
        except Exception:
            log.exception("kubelet connection")
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            if request.path not in OPEN:
                await self._permit(subject(writer), request)
            verb, *parts = [part for part in request.path.split("/") if part] or [""]
            handler = HANDLERS.get(verb)
            if handler is None:
                respond(writer, 404, b"404 page not found\n")
                return True
            return await handler(self, _Call(request, parts, reader, writer, SocketWire(reader, writer)))
        except StatusError as problem:
            respond_json(writer, problem.code, problem.status)
        except NotFoundError as problem:
            respond_json(writer, 404, status(404, "NotFound", str(problem)).status)
        except RefusedError as problem:
            respond(writer, problem.status, str(problem).encode())
        return True

    async def _permit(self, user: User | None, request: Request) -> None:
        """Raises StatusError 401 or 403. The API server is asked about everybody but itself and administrators."""
        if user is None or (user.name not in USERS and not GROUPS & set(user.groups)):
            await self.delegated.admit(user, request)

    def pod(self, namespace: str, name: str, uid: str = "") -> PodWorker:
        """The worker of a pod. Raises NotFoundError."""
        worker = self.kubelet.find(namespace, name, uid)
        if worker is None:
            raise NotFoundError(f'pod does not exist: pods "{name}" not found')
        return worker

    def container(self, parts: list[str]) -> tuple[PodWorker, str]:
        """namespace/pod[/uid]/container of a path. Raises NotFoundError."""
        if len(parts) not in (3, 4):
            raise NotFoundError("the path must name namespace, pod and container")
        worker = self.pod(parts[0], parts[1], parts[2] if len(parts) == 4 else "")
        if find_container(worker.pod["spec"], parts[-1]) is None:
            raise NotFoundError(f'container "{parts[-1]}" not found in pod "{parts[1]}"')
        return worker, parts[-1]


async def _healthz(server: KubeletServer, call: _Call) -> bool:
    respond(call.writer, 200, b"ok")
    return True


async def _pods(server: KubeletServer, call: _Call) -> bool:
    items = server.kubelet.running_pods()
    respond_json(call.writer, 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
    return True


async def _stats(server: KubeletServer, call: _Call) -> bool:
    respond_json(
        call.writer, 200, await stats.summary(server.context, server.kubelet.workers, server.usage, server.node_cpu)
    )
    return True


async def _metrics(server: KubeletServer, call: _Call) -> bool:
    workers = server.kubelet.workers
    if call.parts[:1] in (["resource"], ["cadvisor"]):
        body = (await stats.resource_metrics(server.context, workers, server.node_cpu)).encode()
    elif call.parts[:1] == ["probes"]:
        body = exposition(measured.probes(workers))
    else:
        asked = counted(server.context.client.transport)
        body = exposition([*measured.own(server.context.name, workers), *asked])
    respond(call.writer, 200, body, TEXT)
    return True


def _integer(request: Request, name: str) -> int | None:
    text = request.get(name)
    if not text:
        return None
    if not text.lstrip("-").isdigit():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _log_options(request: Request, now: float) -> LogOptions:
    tail, limit, since = (_integer(request, name) for name in ("tailLines", "limitBytes", "sinceSeconds"))
    stream = request.get("stream").lower()
    return LogOptions(
        follow=request.flag("follow"),
        timestamps=request.flag("timestamps"),
        tail=tail,
        since=now - since if since is not None else parse(request.get("sinceTime")),
        limit=limit,
        stream="" if stream == "all" else stream,
    )


def _log_path(server: KubeletServer, worker: PodWorker, name: str, previous: bool) -> Path:
    """The log file of the newest or the previous attempt. Raises StatusError 400 in upstream's words."""
    meta, container = worker.pod["metadata"], worker.state.containers.get(name)
    where = server.context.log_dir(meta["namespace"], meta["name"], worker.uid)
    if previous:
        path = where / name / f"{(container.attempt if container else 0) - 1}.log"
        if container is None or container.attempt < 1 or not path.exists():
            raise bad_request(f'previous terminated container "{name}" in pod "{meta["name"]}" not found')
        return path
    if container is None or not container.created:
        initializing = "PodInitializing" if worker.pod["spec"].get("initContainers") else "ContainerCreating"
        reason, message = (container.waiting if container and container.waiting else None) or (initializing, "")
        if reason in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"):
            text = f'container "{name}" in pod "{meta["name"]}" is waiting to start: trying and failing to pull image'
        else:
            text = f'container "{name}" in pod "{meta["name"]}" is waiting to start: {reason}'
        log.debug("%s: %s", text, message)
        raise bad_request(text)
    return where / name / f"{container.attempt}.log"


async def _logs(server: KubeletServer, call: _Call) -> bool:
    worker, name = server.container(call.parts)
    options = _log_options(call.request, server.context.clock())
    path = _log_path(server, worker, name, call.request.flag("previous"))
    attempt = worker.state.containers[name].attempt

    def running() -> bool:
        container = worker.state.containers[name]
        return container.running and container.attempt == attempt and not worker.done

    pieces = read_log(path, options, running)
    if call.request.wants("websocket"):
        protocol = websocket.choose(call.request, LOG_PROTOCOLS)
        if protocol is None:
            raise RefusedError(403, "unable to negotiate a WebSocket protocol")
        call.writer.write(websocket.handshake(call.request, protocol))
        socket_ = websocket.WebSocket(call.wire)
        async for piece in pieces:
            await socket_.send(piece)
        await socket_.close()
        return False
    body = Chunked(call.writer)
    gone = asyncio.ensure_future(call.reader.read(1)) if options.follow else None
    try:
        async for piece in pieces:
            await body.write(piece)
            if gone is not None and gone.done():
                return False
    finally:
        if gone is not None:
            gone.cancel()
    body.end()
    return gone is None


async def _node_logs(server: KubeletServer, call: _Call) -> bool:
    """/logs/: the node's log files."""
    metas = [(worker.pod["metadata"], worker.uid) for worker in server.kubelet.workers.values()]
    places = [server.context.log_dir(meta["namespace"], meta["name"], uid) for meta, uid in metas]
    found = nodelogs.find(call.parts, places)
    if found is None:
        respond(call.writer, 404, b"404 page not found\n")
    elif found.file is not None:
        respond(call.writer, 200, await asyncio.to_thread(found.file.read_bytes), "text/plain; charset=utf-8")
    elif not call.request.path.endswith("/"):
        there = f"{call.request.path.rpartition('/')[2]}/"
        respond(call.writer, 301, b"", more=[("Location", there)])
    else:
        respond(call.writer, 200, nodelogs.listing(found.entries), "text/html; charset=utf-8")
    return True


async def _exec(server: KubeletServer, call: _Call) -> bool:
    worker, name = server.container(call.parts)
    await serve_exec(server.context, worker, name, call.request, call.wire, call.writer)
    return False


async def _attach(server: KubeletServer, call: _Call) -> bool:
    worker, name = server.container(call.parts)
    await serve_attach(server.context, worker, name, call.request, call.wire, call.writer)
    return False


async def _port_forward(server: KubeletServer, call: _Call) -> bool:
    if len(call.parts) not in (2, 3):
        raise NotFoundError("the path must name namespace and pod")
    worker = server.pod(*call.parts)
    await serve_port_forward(server.context, worker, call.request, call.wire, call.writer)
    return False


HANDLERS: Mapping[str, Handler] = {
    "healthz": _healthz,
    "pods": _pods,
    "runningpods": _pods,
    "stats": _stats,
    "metrics": _metrics,
    "containerLogs": _logs,
    "logs": _node_logs,
    "exec": _exec,
    "attach": _attach,
    "portForward": _port_forward,
}
