"""exec, attach and port-forward of the kubelet API: the runtime's sessions joined to the client's streams."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket

from netlab.api.errors import internal
from netlab.node.kubelet.podspec import find_container, host_network
from netlab.node.kubelet.ports import NodeContext
from netlab.node.kubelet.probeactions import go_error
from netlab.node.kubelet.worker import PodWorker
from netlab.node.streams import portforward, remotecommand
from netlab.node.streams.http import Request
from netlab.node.streams.pipe import SocketWire, Wire
from netlab.node.streams.remotecommand import Options, RefusedError, SpdyStreams, WebSocketStreams
from netlab.runtime.contract import ContainerError, Session, StartError

log = logging.getLogger(__name__)

Client = SpdyStreams | WebSocketStreams


class NotFoundError(Exception):
    """There is no such pod or container here."""


async def serve_exec(
    context: NodeContext, worker: PodWorker, name: str, request: Request, wire: Wire, writer: asyncio.StreamWriter
) -> None:
    """`/exec/…`: run a command in a container."""
    options = Options.of(request)
    container_id = await _running(worker, name, request, wire, options, writer)
    if container_id is None:
        return
    command = [value for key, value in request.query if key == "command"]
    client = await remotecommand.accept(request, wire, options, writer.write)
    try:
        session = await context.runtime.exec(container_id, command, tty=options.tty, stdin=options.stdin)
    except StartError as problem:
        status = remotecommand.exited(problem.exit_code)
        status["message"] = f"command terminated with non-zero exit code: {problem}"
        await client.write("stderr" if options.stderr else "stdout", f"{problem}\n".encode())
        await client.finish(status)
        return
    except (ContainerError, OSError) as problem:
        await client.finish(remotecommand.failed(f"error executing command in container: {problem}"))
        return
    await _join(client, session, options, exits=True)


async def serve_attach(
    context: NodeContext, worker: PodWorker, name: str, request: Request, wire: Wire, writer: asyncio.StreamWriter
) -> None:
    """`/attach/…`: join a running container's stdio."""
    options = Options.of(request)
    container_id = await _running(worker, name, request, wire, options, writer)
    if container_id is None:
        return
    spec = find_container(worker.pod["spec"], name) or {}
    client = await remotecommand.accept(request, wire, options, writer.write)
    try:
        session = await context.runtime.attach(container_id, stdin=options.stdin and bool(spec.get("stdin")))
    except (ContainerError, OSError) as problem:
        await client.finish(remotecommand.failed(f"error attaching to container: {problem}"))
        return
    await _join(client, session, options, exits=False)


async def _running(
    worker: PodWorker, name: str, request: Request, wire: Wire, options: Options, writer: asyncio.StreamWriter
) -> str | None:
    """The id of a container that runs. Else RefusedError, as CRI's streaming.WriteError tells it; or None, and a client
    of v5 was told: its WebSocket upstream's API server accepts before it asks the kubelet (streamtranslator.go)."""
    container = worker.state.containers.get(name)
    if container is not None and container.running:
        return container.id
    why = f'container not found ("{name}")'
    if "v5.channel.k8s.io" not in request.values("sec-websocket-protocol"):
        raise RefusedError(500, why)
    client = await remotecommand.accept(request, wire, options, writer.write)
    await client.finish(internal(f"unable to upgrade connection: {why}").status)
    return None


async def _join(client: Client, session: Session, options: Options, *, exits: bool) -> None:
    """Move bytes until the process has ended (exec) or its output has (attach); then tell how."""
    loop = asyncio.get_running_loop()
    outputs = [loop.create_task(_output(client, session, "stdout"))]
    if not options.tty:
        outputs.append(loop.create_task(_output(client, session, "stderr")))
    inputs = [loop.create_task(_input(client, session))] if options.stdin else []
    if options.tty:
        inputs.append(loop.create_task(_resizes(client, session)))
    try:
        await asyncio.gather(*outputs)
        code = await session.wait() if exits else 0
        await client.finish(remotecommand.success() if code == 0 else remotecommand.exited(code))
    except ConnectionError:
        log.debug("the client of a stream went away")
    finally:
        for task in (*outputs, *inputs):
            task.cancel()
        await asyncio.gather(*outputs, *inputs, return_exceptions=True)
        client.abort()
        await session.close()


async def _output(client: Client, session: Session, name: str) -> None:
    stream = "stderr" if name == "stderr" else "stdout"
    while data := await session.read(stream):  # type: ignore[arg-type]
        await client.write(name, data)


async def _input(client: Client, session: Session) -> None:
    while data := await client.read_stdin():
        await session.write(data)
    await session.close_stdin()


async def _resizes(client: Client, session: Session) -> None:
    while (size := await client.resize()) is not None:
        session.resize(*size)


class _PodWire(SocketWire):
    """A connection into a pod that can end its sending half."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._half = writer

    def finish(self) -> None:
        if self._half.can_write_eof() and not self._half.is_closing():
            self._half.write_eof()


async def serve_port_forward(
    context: NodeContext, worker: PodWorker, request: Request, wire: Wire, writer: asyncio.StreamWriter
) -> None:
    """`/portForward/…`: connections to the pod's localhost, made inside its network namespace."""
    if not worker.state.sandbox_ready:
        raise NotFoundError(f"pod {worker.pod['metadata']['name']} is not running")
    hosted = host_network(worker.pod["spec"])
    sockets = context.sockets if hosted else context.pod_sockets(context.wiring.netns_path(worker.uid))

    async def dial(port: int) -> Wire:
        texts = []
        for family, host, word in ((socket.AF_INET, "127.0.0.1", "IPv4"), (socket.AF_INET6, "::1", "IPv6")):
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            try:
                sock = sockets.socket(family, socket.SOCK_STREAM)
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
            except OSError as problem:
                sock.close()
                texts.append(f"{word}: dial tcp{word[-1]} {shown}: connect: {go_error(problem)}")
                continue
            return _PodWire(*await asyncio.open_connection(sock=sock))
        where = context.wiring.netns_path(worker.uid).rpartition("/")[2]
        why = f"failed to connect to localhost:{port} inside namespace {where}, {' '.join(texts)}"
        text = f"error forwarding port {port} to pod {worker.uid}, uid : {why}"
        raise _DialError(errno.ECONNREFUSED, text)

    await portforward.serve(request, wire, dial, writer.write)


class _DialError(OSError):
    def __str__(self) -> str:
        return str(self.args[1])
