"""agnhost nettest: every pod of a Service writes to every other, and says whether all were heard (agnhost/nettest).

/status is pass, running or fail; /read is the whole state; /write is what the others post to; /quit ends it.
"""

import _thread
import json
import os
import socket
import time
from typing import Any

from netlab.runtime.builtin.common import (
    UsageError,
    fail,
    hostname,
    integer,
    listen,
    log,
    parse_flags,
    resolve,
    split_host_port,
)
from netlab.runtime.builtin.web import Request, Response, Server, as_json, parse_response

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
ROUNDS = 15
_LOG_MOST = 500


class State:
    """What this pod sent and heard, by host name. `peers` are wanted of both."""

    def __init__(self, name: str, peers: int) -> None:
        self.name, self.peers = name, peers
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}
        self.errors: list[str] = []
        self.log: list[str] = []
        self.contacting = True
        self.lock = _thread.allocate_lock()

    def say(self, text: str) -> None:
        with self.lock:
            self.log = [*self.log, text][-_LOG_MOST:]

    def status(self) -> str:
        if len(self.sent) >= self.peers and len(self.received) >= self.peers:
            return "pass"
        return "running" if self.contacting else "fail"

    def write(self, body: bytes) -> str:
        """Somebody wrote; the answer."""
        try:
            source = json.loads(body).get("Source") or ""
        except (ValueError, AttributeError) as problem:
            source = ""
            self.errors.append(str(problem))
        with self.lock:
            if source:
                self.received[source] = self.received.get(source, 0) + 1
            else:
                self.errors.append(f"{self.name}: Got request with no source")
        return as_json({"Hostname": self.name}) + "\n"

    def read(self) -> str:
        with self.lock:
            shown = {"Hostname": self.name, "Sent": self.sent or None, "Received": self.received or None}
            more = {"Errors": self.errors or None, "Log": self.log, "StillContactingPeers": self.contacting}
            return json.dumps({**shown, **more}, indent="\t")


def answer(state: State, request: Request) -> Response:
    if request.path == "/quit":
        os._exit(0)
    if request.path == "/status":
        return Response(state.status())
    if request.path == "/read":
        return Response(state.read())
    if request.path == "/write":
        return Response(state.write(request.body))
    return Response("404 page not found\n", 404)


def targets(endpoints: dict[str, Any]) -> list[str]:
    """host:port of all addresses of an Endpoints object."""
    found = set()
    for subset in endpoints.get("subsets") or ():
        for address in subset.get("addresses") or ():
            host = f"[{address['ip']}]" if ":" in address["ip"] else address["ip"]
            found |= {f"{host}:{port['port']}" for port in subset.get("ports") or ()}
    return sorted(found)


def _exchange(sock: Any, head: str, body: bytes = b"") -> tuple[int, bytes]:
    sock.sendall(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    data = bytearray()
    while part := sock.recv(65536):
        data += part
    return parse_response(data)


def _api(path: str) -> dict[str, Any]:
    """GET from the API server with the pod's service account. Raises OSError, ValueError."""
    import ssl

    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise OSError("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and _PORT must be defined")
    context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    with open(f"{ACCOUNT}/token") as file:  # noqa: PTH123
        token = file.read().strip()
    raw = socket.create_connection((host, int(port)), 10)
    with context.wrap_socket(raw, server_hostname=host) as sock:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n"
        status, body = _exchange(sock, head)
    if status != 200:
        raise OSError(f"the server answered {status}")
    found: dict[str, Any] = json.loads(body)
    return found


def _contact(state: State, target: str) -> None:
    body = as_json({"Source": state.name, "Dest": f"http://{target}"}).encode()
    try:
        family, _kind, _proto, address = resolve(*split_host_port(target), socket.SOCK_STREAM)
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(address)
            head = f"POST /write HTTP/1.1\r\nHost: {target}\r\nContent-Type: application/json\r\n"
            name = json.loads(_exchange(sock, head, body)[1])["Hostname"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        state.say(f'Warning: unable to contact the endpoint "http://{target}": {problem}')
        return
    with state.lock:
        state.sent[name] = state.sent.get(name, 0) + 1


def _contact_all(state: State, namespace: str, service: str) -> None:
    pause, end = max(5.0, state.peers / 10), time.monotonic() + max(300.0, float(state.peers))

    def known() -> list[str]:
        try:
            return targets(_api(f"/api/v1/namespaces/{namespace}/endpoints/{service}"))
        except (OSError, ValueError) as problem:
            state.say(f"Unable to read the endpoints for {namespace}/{service}: {problem}.")
            return []

    while time.monotonic() < end and len(found := known()) < state.peers:
        state.say(
            f"{namespace}/{service} has {len(found)} endpoints ({found}), which is less than {state.peers} as "
            "expected. Waiting for all endpoints to come up."
        )
        time.sleep(pause)
    for _ in range(ROUNDS):
        for target in known():
            state.say(f"Attempting to contact http://{target}")
            _contact(state, target)
        time.sleep(pause)
    state.contacting = False


def main(*arguments: str) -> int:
    import signal

    flags = {"port": "8080", "peers": "8", "service": "nettest", "namespace": "default", "delay-shutdown": "0"}
    try:
        parse_flags(arguments, flags)
        delay, state = integer(flags, "delay-shutdown"), State(hostname(), integer(flags, "peers"))
    except UsageError as problem:
        return fail(str(problem))
    if not flags["service"]:
        return fail("Must provide -service flag.")

    def end(*_: object) -> None:
        log(f"Sleeping {delay} seconds before exit ...")
        time.sleep(delay)
        os._exit(0)

    if delay > 0:
        signal.signal(signal.SIGTERM, end)
    _thread.start_new_thread(_contact_all, (state, flags["namespace"], flags["service"]))
    server = Server(lambda request: answer(state, request))
    server.add(listen(socket.SOCK_STREAM, integer(flags, "port")))
    server.run()
    return 0
