"""agnhost netexec: HTTP(S), UDP and SCTP servers with endpoints to look at connections from the other side.

Endpoints, parameters, answers and log lines follow upstream test/images/agnhost/netexec.
"""

import os
import socket
import time

from netlab.runtime.builtin.common import (
    UsageError,
    fail,
    format_address,
    go_errno,
    hostname,
    integer,
    listen,
    log,
    parse_duration,
    parse_flags,
    resolve,
)
from netlab.runtime.builtin.web import Request, Response, Server, as_json, error, fetch

IPPROTO_SCTP = 132
DIAL_TIMEOUT = 5.0
UPLOADS = "/uploads"
SLOW = ("/dial", "/shell", "/exit", "/upload")


class Netexec:
    def __init__(self, flags: dict[str, str]) -> None:
        self.flags = flags
        self.ready = False
        self.ending = False
        self.override: Request | None = None
        if flags["http-override"]:
            self.override = Request("GET", flags["http-override"], "HTTP/1.1", {}, b"")
        self.routes = {
            "/clientip": self.client_ip,
            "/serverport": self.server_port,
            "/dial": self.dial,
            "/echo": self.echo,
            "/exit": self.exit,
            "/healthz": self.healthz,
            "/readyz": self.readyz,
            "/hostname": self.hostname,
            "/hostName": self.hostname,
            "/header": self.header,
            "/redirect": self.redirect,
            "/shell": self.shell,
            "/upload": self.upload,
            "/shutdown": self.shutdown,
        }

    # -- servers ----------------------------------------------------------------------------------------------------

    def run(self) -> int:
        server = Server(self.handle, lambda request: self.effective(request).path in SLOW)
        udp_port, sctp_port, http_port = (integer(self.flags, f"{name}-port") for name in ("udp", "sctp", "http"))
        self.end_by_sigterm(max(integer(self.flags, "delay-shutdown"), 0))
        try:
            if udp_port != -1:
                for host in dict.fromkeys(self.flags["udp-listen-addresses"].split(",")):  # each once
                    self.serve_udp(server, listen(socket.SOCK_DGRAM, udp_port, host))
            if sctp_port != -1:
                self.serve_sctp(server, listen(socket.SOCK_STREAM, sctp_port, proto=IPPROTO_SCTP), sctp_port)
            log(f"Started HTTP server on port {http_port}")
            server.add(listen(socket.SOCK_STREAM, http_port), self.tls())
        except OSError as problem:
            log(f"listen :{http_port}: {go_errno(problem)}")
            return 1
        server.run()
        return 0

    def end_by_sigterm(self, delay: int) -> None:
        """So many seconds later, serving on until then, no longer ready."""
        import signal

        def end(*_: object) -> None:
            if not delay:
                os._exit(0)
            if not self.ending:
                log(f"Sleeping {delay} seconds before terminating...")
                self.ending = True
                signal.alarm(delay)

        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, end)

    def tls(self) -> object | None:
        if not self.flags["tls-cert-file"]:
            return None
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.flags["tls-cert-file"], self.flags["tls-private-key-file"] or None)
        return context

    def serve_udp(self, server: Server, sock: socket.socket) -> None:
        def receive() -> None:
            data, address = sock.recvfrom(65536)
            answer = self.command("UDP", data, format_address(address))
            if answer is not None:
                try:
                    sock.sendto(answer, address)
                except OSError as problem:
                    log(f"Unable to write to UDP client {format_address(address)}: {go_errno(problem)}")

        log(f"Started UDP server on port {sock.getsockname()[1]}")
        self.ready = True
        server.watch(sock, receive)

    def serve_sctp(self, server: Server, listener: socket.socket, port: int) -> None:
        def accept() -> None:
            sock, address = listener.accept()
            with sock:
                sock.settimeout(DIAL_TIMEOUT)
                try:
                    answer = self.command("SCTP", sock.recv(1024), format_address(address))
                    if answer is not None:
                        sock.sendall(answer)
                except OSError as problem:
                    log(f"SCTP connection: {go_errno(problem)}")

        log(f"Started SCTP server on port {port}")
        self.ready = True
        server.watch(listener, accept)

    def command(self, protocol: str, data: bytes, client: str) -> bytes | None:
        text = data.decode(errors="replace").strip().lower()
        if text == "hostname":
            log(f"Sending {protocol.lower()} hostName response")
            return hostname().encode()
        if text.startswith("echo "):
            answer = text.split(" ", 1)[1]
            log(f"Echoing {answer} to {protocol} client {client}")
            return answer.encode()
        if text == "clientip":
            log(f"Sending clientip back to {protocol} client {client}")
            return client.encode()
        if text:
            log(f"Unknown {protocol} command received from {client}: {text}")
        return None

    # -- HTTP -------------------------------------------------------------------------------------------------------

    def effective(self, request: Request) -> Request:
        if self.override is None:
            return request
        self.override.remote, self.override.local = request.remote, request.local
        return self.override

    def handle(self, request: Request) -> Response:
        request = self.effective(request)
        return self.routes.get(request.path, self.root)(request)

    def root(self, _request: Request) -> Response:
        log("GET /")
        nanoseconds = time.time_ns()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(nanoseconds // 10**9))
        return Response(f"NOW: {stamp}.{nanoseconds % 10**9:09d} +0000 UTC m=+{time.monotonic():.9f}")

    def client_ip(self, request: Request) -> Response:
        log("GET /clientip")
        return Response(request.remote)

    def server_port(self, request: Request) -> Response:
        log("GET /serverport")
        return Response(request.local.rpartition(":")[2])

    def hostname(self, _request: Request) -> Response:
        log("GET /hostname")
        return Response(hostname())

    def healthz(self, _request: Request) -> Response:
        log("GET /healthz")
        return Response(status=200 if self.ready or integer(self.flags, "udp-port") == -1 else 412)

    def readyz(self, _request: Request) -> Response:
        log("GET /readyz")
        if self.ending:
            return Response("shutting down", 503)
        return Response("ok") if self.ready or integer(self.flags, "udp-port") == -1 else Response(status=412)

    def header(self, request: Request) -> Response:
        key = request.value("key")
        if not key:
            log("GET /header")
            return Response(as_json({name.title(): [value] for name, value in sorted(request.headers.items())}))
        log(f"GET /header?key={key}")
        return Response(request.headers.get(key.lower(), ""))

    def echo(self, request: Request) -> Response:
        message, code = request.value("msg"), request.value("code")
        log(f"GET /echo?msg={message}&code={code}")
        if not code:
            return Response(message)
        if not code.isdigit():
            return Response(f"argument 'code' must be an integer or empty, got \"{code}\"\n")
        return Response(message, int(code))

    def redirect(self, request: Request) -> Response:
        location, code = request.value("location"), request.value("code") or "302"
        log(f"GET /redirect?location={location}&code={code}")
        if not code.isdigit():
            return Response(f"argument 'code' must be an integer or empty, got \"{code}\"\n")
        return Response("", int(code), {"Location": location})

    def shutdown(self, _request: Request) -> Response:
        log("GET /shutdown")
        os._exit(0)

    def exit(self, request: Request) -> Response:
        code, timeout, wait = (request.value(name) for name in ("code", "timeout", "wait"))
        log(f"GET /exit?code={code}&timeout={timeout}&wait={wait}")
        seconds = {}
        for name, text in (("timeout", timeout), ("wait", wait)):
            try:
                seconds[name] = parse_duration(text) if text else 0.0
            except ValueError:
                return Response(f"argument '{name}' must be a valid golang duration or empty, got \"{text}\"\n")
        if code and not code.lstrip("-").isdigit():
            return Response(f"argument 'code' must be an integer [0-127] or empty, got \"{code}\"\n")
        log(f"Will begin shutdown in {seconds['wait']:g}s, then will exit with {code or 0}")
        time.sleep(seconds["wait"])
        os._exit(int(code or 0) & 0xFF)

    def dial(self, request: Request) -> Response:
        host, port, what, protocol, tries = (
            request.query.get(name, "") for name in ("host", "port", "request", "protocol", "tries")
        )
        log(f"GET /dial?host={host}&protocol={protocol}&port={port}&request={what}&tries={tries}")
        if tries and not tries.lstrip("-").isdigit():
            return error(f'tries parameter is invalid. strconv.Atoi: parsing "{tries}": invalid syntax', 400)
        if not what:
            return error("request parameter not specified. <nil>", 400)
        kinds = {
            "": socket.SOCK_STREAM,
            "http": socket.SOCK_STREAM,
            "udp": socket.SOCK_DGRAM,
            "sctp": socket.SOCK_STREAM,
        }
        if protocol.lower() not in kinds:
            return error(f"unsupported protocol. {protocol}", 400)
        try:
            found = resolve(host, port, kinds[protocol.lower()])
        except OSError as problem:
            return error(f"host and/or port param are invalid. {problem.strerror or problem}", 400)
        responses, errors = [], []
        for _attempt in range(int(tries or 1)):
            try:
                responses.append(dial_once(protocol.lower() or "http", found, what))
            except OSError as problem:
                errors.append(dial_error(protocol.lower() or "http", found[3], what, problem))
        output = {}
        if responses:
            output["responses"] = responses
        if errors:
            output["errors"] = errors
        return Response(as_json(output))

    def shell(self, request: Request) -> Response:
        command = request.value("shellCommand") or request.value("cmd")
        log(f"GET /shell?cmd={command}")
        import subprocess

        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
        except OSError as problem:
            return Response(as_json({"error": f"fork/exec /bin/sh: {go_errno(problem)}"}))
        output = {}
        if done.stdout:
            output["output"] = done.stdout.decode(errors="replace")
        if done.returncode > 0:
            output["error"] = f"exit status {done.returncode}"
        elif done.returncode < 0:
            output["error"] = f"signal: {-done.returncode}"
        log(f"Output: {output}")
        return Response(as_json(output))

    def upload(self, request: Request) -> Response:
        log("GET /upload")
        content = form_file(request, "file")
        if content is None:
            log("Unable to upload file")
            return Response(as_json({"error": "Unable to upload file."}))
        try:
            os.makedirs(UPLOADS, exist_ok=True)  # noqa: PTH103
            name = f"{UPLOADS}/upload{time.time_ns()}"
            with open(name, "wb") as file:  # noqa: PTH123
                file.write(content)
        except OSError as problem:
            return Response(as_json({"error": f"Unable to create file for upload: {go_errno(problem)}"}))
        log(f"Wrote upload to {name}")
        return Response(as_json({"output": name}), 201)


def dial_once(protocol: str, found: tuple[int, int, int, tuple[str, int]], what: str) -> str:
    family, _type, _proto, address = found
    if protocol == "http":
        return fetch(address, family, format_address(address), f"/{what}", DIAL_TIMEOUT)[1].decode(errors="replace")
    kind, proto = (socket.SOCK_DGRAM, 0) if protocol == "udp" else (socket.SOCK_STREAM, IPPROTO_SCTP)
    with socket.socket(family, kind, proto) as sock:
        sock.settimeout(DIAL_TIMEOUT)
        sock.connect(address)
        sock.send(what.encode())
        data = sock.recv(2048)
    if not data:
        raise ConnectionError("no data")
    return data.decode(errors="replace")


def dial_error(protocol: str, address: tuple[str, int], what: str, problem: OSError) -> str:
    where = format_address(address)
    if protocol != "http":
        text = "i/o timeout" if isinstance(problem, TimeoutError) else go_errno(problem)
        return f"reading from {protocol} connection failed. err:'read {protocol} {where}: {text}'"
    if isinstance(problem, TimeoutError):
        text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return f'Get "http://{where}/{what}": {text}'
    return f'Get "http://{where}/{what}": dial tcp {where}: connect: {go_errno(problem)}'


def form_file(request: Request, field: str) -> bytes | None:
    """A file of a multipart/form-data body."""
    kind, _, parameters = request.headers.get("content-type", "").partition("boundary=")
    if not kind.startswith("multipart/form-data") or not parameters:
        return None
    for part in request.body.split(b"--" + parameters.strip('"').encode()):
        head, blank, content = part.partition(b"\r\n\r\n")
        if blank and f'name="{field}"'.encode() in head:
            return content.removesuffix(b"\r\n")
    return None


def main(*arguments: str) -> int:
    flags = {
        "http-port": "8080",
        "udp-port": "8081",
        "sctp-port": "-1",
        "tls-cert-file": "",
        "tls-private-key-file": "",
        "http-override": "",
        "udp-listen-addresses": "",
        "delay-shutdown": "0",
    }
    try:
        parse_flags(arguments, flags)
        return Netexec(flags).run()
    except UsageError as problem:
        return fail(str(problem))
