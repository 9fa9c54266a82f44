"""agnhost: upstream's test image, the sub-commands that network tests and lessons use (test/images/agnhost)."""

import os
import socket
import sys
import time
from collections.abc import Callable

from netlab.runtime.builtin import connect, netexec
from netlab.runtime.builtin.common import (
    UsageError,
    duration,
    fail,
    format_address,
    go_errno,
    hostname,
    integer,
    listen,
    log,
    parse_flags,
    write,
)
from netlab.runtime.builtin.web import Request, Response, Server, error

VERSION = "2.53"
LIBRARY = "/opt/netlab/lib/netlab/runtime/builtin"
"""Where a container has this package; where PID 1 read it from is outside of the container."""


def _resolv_conf(keyword: str) -> list[str]:
    values: list[str] = []
    with open("/etc/resolv.conf") as file:  # noqa: PTH123
        for line in file:
            words = line.split()
            if words and words[0] == keyword:
                values = words[1:] if keyword == "search" else [*values, *words[1:]]
    return values


def dns_suffix(*_arguments: str) -> int:
    write(1, ",".join(_resolv_conf("search")) + "\n")
    return 0


def dns_server_list(*_arguments: str) -> int:
    write(1, ",".join(_resolv_conf("nameserver")) + "\n")
    return 0


def etc_hosts(*_arguments: str) -> int:
    with open("/etc/hosts") as file:  # noqa: PTH123
        write(1, file.read() + "\n")
    return 0


def entrypoint_tester(*arguments: str) -> int:
    write(1, "[" + " ".join(("/agnhost", "entrypoint-tester", *arguments)) + "]\n")
    return 0


def serve_hostname(*arguments: str) -> int:
    flags = {"tcp": "false", "udp": "false", "http": "true", "close": "false", "port": "9376"}
    parse_flags(arguments, flags)
    port = integer(flags, "port")
    name = hostname()

    def answer(request: Request) -> Response:
        log(f"HTTP request from {request.remote}")
        return Response(name, headers={"Connection": "close"} if flags["close"] == "true" else {})

    server = Server(answer)
    if flags["udp"] == "true":
        _serve_udp(server, port, name)
    if flags["tcp"] == "true":
        _serve_tcp(server, port, name)
    elif flags["http"] == "true":
        server.add(listen(socket.SOCK_STREAM, port))
    log(f"Serving {name} on port {port}")
    server.run()
    return 0


def _serve_udp(server: Server, port: int, name: str) -> None:
    sock = listen(socket.SOCK_DGRAM, port)

    def receive() -> None:
        _data, address = sock.recvfrom(65536)
        sock.sendto(f"{name}\n".encode(), address)

    server.watch(sock, receive)


def _serve_tcp(server: Server, port: int, name: str) -> None:
    listener = listen(socket.SOCK_STREAM, port)

    def accept() -> None:
        sock, _address = listener.accept()
        with sock:
            sock.sendall(f"{name}\n".encode())

    server.watch(listener, accept)


def liveness(*_arguments: str) -> int:
    started = time.monotonic()

    def answer(request: Request) -> Response:
        alive = time.monotonic() - started
        if request.path == "/started":
            return Response(time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(time.time() - alive)))
        if request.path == "/redirect":
            return Response("", 302, {"Location": request.value("loc")})
        if alive > 10:
            return Response(f"error: {alive:.9f}", 500)
        return Response("ok")

    server = Server(answer)
    server.add(listen(socket.SOCK_STREAM, 8080))
    server.run()
    return 0


def test_webserver(*arguments: str) -> int:
    """Serves the files of its root directory, port 80."""
    flags = {"port": "80"}
    parse_flags(arguments, flags)

    def answer(request: Request) -> Response:
        path = os.path.normpath("/" + request.path)
        try:
            if os.path.isdir(path):  # noqa: PTH112
                names = "".join(f'<a href="{name}">{name}</a>\n' for name in sorted(os.listdir(path)))  # noqa: PTH208
                return Response(f"<pre>\n{names}</pre>\n", headers={"Content-Type": "text/html; charset=utf-8"})
            with open(path, "rb") as file:  # noqa: PTH123
                return Response(file.read())
        except OSError:
            return error("404 page not found", 404)

    server = Server(answer)
    server.add(listen(socket.SOCK_STREAM, integer(flags, "port")))
    server.run()
    return 0


def logs_generator(*arguments: str) -> int:
    import random

    flags = {"log-lines-total": "0", "run-duration": "0s"}
    parse_flags(arguments, flags, {"t": "log-lines-total", "d": "run-duration"})
    total, seconds = integer(flags, "log-lines-total"), duration(flags, "run-duration")
    if total <= 0:
        return fail(f"Invalid total number of lines: {total}")
    if seconds <= 0:
        return fail(f"Invalid duration: {flags['run-duration']}")
    started = time.monotonic()
    for number in range(total):
        time.sleep(max(0.0, started + seconds / total * number - time.monotonic()))
        method = random.choice(("GET", "POST", "PUT"))
        namespace = random.choice(("kube-system", "default", "ns"))
        word = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=random.randint(3, 6)))
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        path = f"/api/v1/namespaces/{namespace}/endpoints/{word}"
        write(1, f"{stamp} {number} {method} {path} {random.randint(200, 599)}\n")
    return 0


def inclusterclient(*arguments: str) -> int:
    """Asks the API server's /healthz with the pod's service account, again and again."""
    import ssl

    flags = {"poll-interval": "30"}
    parse_flags(arguments, flags)
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    log("started")
    if not host or not port:
        return fail("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and _PORT must be defined")
    context = ssl.create_default_context(cafile=f"{place}/ca.crt")
    while True:
        try:
            with open(f"{place}/token") as file:  # noqa: PTH123
                token = file.read().strip()
            log(f"calling /healthz\nauthz_header={token[:16]}…")
            log(f"success: {_healthz(host, int(port), context, token)}")
        except OSError as problem:
            log(f"status={problem}")
        time.sleep(integer(flags, "poll-interval"))


def _healthz(host: str, port: int, context: "ssl.SSLContext", token: str) -> str:  # type: ignore[name-defined]  # noqa: F821
    from netlab.runtime.builtin.web import parse_response

    raw = socket.create_connection((host, port), 10)
    with context.wrap_socket(raw, server_hostname=host) as sock:
        text = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        sock.sendall(text.encode())
        data = bytearray()
        while part := sock.recv(65536):
            data += part
    status, body = parse_response(data)
    return f"{status} {body.decode(errors='replace')}"


def paused(*arguments: str) -> int:
    """Ends by SIGINT with 1, by SIGTERM with 2, both --delay-shutdown seconds later."""
    import signal

    flags = {"delay-shutdown": "0"}
    parse_flags(arguments, flags)
    delay = integer(flags, "delay-shutdown")

    def end(status: int) -> None:
        time.sleep(max(delay, 0))
        os._exit(status)

    signal.signal(signal.SIGINT, lambda *_: end(1))
    signal.signal(signal.SIGTERM, lambda *_: end(2))
    write(1, "Paused\n")
    while True:
        signal.pause()


def version(*_arguments: str) -> int:
    write(1, f"agnhost version {VERSION}\n")
    return 0


def tcp_reset(*arguments: str) -> int:
    """Takes connections and resets them: closed with something unread."""
    flags = {"port": "8080"}
    parse_flags(arguments, flags)
    listener = listen(socket.SOCK_STREAM, integer(flags, "port"))
    log(f"Serving on port {flags['port']}.")
    while True:
        sock, address = listener.accept()
        with sock:
            sock.recv(1)
        log(f"TCP request from {format_address(address)}")


def fake_gitserver(*_arguments: str) -> int:
    server = Server(lambda _request: Response("I am a fake git server"))
    server.add(listen(socket.SOCK_STREAM, 8000))
    server.run()
    return 0


def _later(module: str) -> Callable[..., int]:
    """A sub-command whose module only the pod loads that runs it: PID 1 stays light."""

    def run(*arguments: str) -> int:
        from importlib import import_module

        from netlab.runtime import builtin

        if LIBRARY not in builtin.__path__:
            builtin.__path__.append(LIBRARY)
        return int(import_module(f"netlab.runtime.builtin.{module}").main(*arguments))

    return run


COMMANDS: dict[str, Callable[..., int]] = {
    "audit-proxy": _later("auditproxy"),
    "connect": connect.main,
    "crd-conversion-webhook": _later("crdconvert"),
    "dns-server-list": dns_server_list,
    "dns-suffix": dns_suffix,
    "entrypoint-tester": entrypoint_tester,
    "etc-hosts": etc_hosts,
    "fake-gitserver": fake_gitserver,
    "grpc-health-checking": _later("grpchealth"),
    "guestbook": _later("guestbook"),
    "inclusterclient": inclusterclient,
    "liveness": liveness,
    "logs-generator": logs_generator,
    "mounttest": _later("mounttest"),
    "net": _later("nettester"),
    "netexec": netexec.main,
    "nettest": _later("nettest"),
    "no-snat-test": _later("nosnat"),
    "pause": paused,
    "port-forward-tester": _later("forwardtester"),
    "porter": _later("porter"),
    "resource-consumer": _later("consumer"),
    "serve-hostname": serve_hostname,
    "tcp-reset": tcp_reset,
    "test-service-account-issuer-discovery": _later("openid"),
    "test-webserver": test_webserver,
    "webhook": _later("webhook"),
}


resource_consumer = COMMANDS["resource-consumer"]
"""As the image of its own starts it."""


def _help() -> str:
    return "Usage:\n  agnhost [command]\n\nAvailable Commands:\n" + "".join(f"  {name}\n" for name in sorted(COMMANDS))


def main(*arguments: str) -> int:
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(2))  # as a Go program that is PID 1
    signal.signal(signal.SIGINT, lambda *_: os._exit(2))
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        write(1, _help())
        return 0
    if arguments[0] in ("--version", "version"):
        return version()
    command = COMMANDS.get(arguments[0])
    if command is None:
        return fail(f'Error: unknown command "{arguments[0]}" for "agnhost"\nRun \'agnhost --help\' for usage.')
    try:
        return command(*arguments[1:])
    except UsageError as problem:
        return fail(str(problem))
    except OSError as problem:
        return fail(go_errno(problem))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
