"""agnhost guestbook: a primary that pushes to the replicas that registered, and a front end (agnhost/guestbook).

/register, /get and /set are a store's; /guestbook passes on to the names agnhost-primary and agnhost-replica.
"""

import _thread
import json
import socket
import time
from typing import Any

from netlab.runtime.builtin.common import fail, go_errno, integer, listen, log, parse_flags, resolve
from netlab.runtime.builtin.https import KLOG
from netlab.runtime.builtin.web import Request, Response, Server, as_json, error, fetch, quote

PATIENCE = 15.0
TIMEOUT = 5.0


class Guestbook:
    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.store: dict[str, str] = {}
        self.replicas: list[str] = []

    def handle(self, request: Request) -> Response:
        rules = {"/register": self.register, "/get": self.get, "/set": self.set, "/guestbook": self.front}
        log(f"{request.method} {request.target}")
        rule = rules.get(request.path)
        return rule(request) if rule else error("404 page not found", 404)

    def register(self, request: Request) -> Response:
        host = request.query.get("host", "")
        self.replicas.append(host)
        log(f"Node '{host}' registered.")
        return Response(as_json({"data": self.store}))

    def get(self, request: Request) -> Response:
        key = request.query.get("key", "")
        return Response(as_json({"data": self.store.get(key, "") if key else self.store}))

    def set(self, request: Request) -> Response:
        key, value = request.query.get("key", ""), request.query.get("value", "")
        if not key:
            return error("cannot set with empty key.", 400)
        self.store[key] = value
        for replica in self.replicas:
            try:
                self.ask(replica, f"set?key={quote(key)}&value={quote(value)}")
            except OSError as problem:
                text = f"encountered error while propagating to replica '{replica}': {go_errno(problem)}"
                return error(text, 417)
        return Response(as_json({"message": "Updated"}))

    def front(self, request: Request) -> Response:
        command = request.query.get("cmd", "").lower()
        key, value = request.query.get("key", ""), request.query.get("value", "")
        if command not in ("get", "set"):
            return error(f"unsupported cmd: '{command}'", 400)
        if command == "set" and not key:
            return error("cannot set with empty key.", 400)
        host = "agnhost-primary" if command == "set" else "agnhost-replica"
        try:
            return Response(self.ask(host, f"{command}?key={quote(key)}&value={quote(value)}"))
        except socket.gaierror as problem:
            return error(f"host and/or port param are invalid. {problem}", 400)
        except OSError as problem:
            return error(f"encountered error: {go_errno(problem)}", 417)

    def ask(self, host: str, what: str) -> bytes:
        family, _kind, _proto, address = resolve(host, self.backend, socket.SOCK_STREAM)
        return fetch(address, family, f"{host}:{self.backend}", f"/{what}", TIMEOUT)[1]

    def join(self, primary: str) -> None:
        """Registers this node with the primary and takes over its store; ends the program where that fails."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                said: dict[str, Any] = json.loads(self.ask(primary, f"register?host={self.own_address(primary)}"))
            except (OSError, ValueError) as problem:
                log(f"encountered error while registering to primary: {problem}. Retrying in 1s.")
                time.sleep(1)
                continue
            self.store.update(said["data"] or {})
            log(f"Registered to node: {primary}")
            return
        import os

        log("Timed out while registering to primary.")
        os._exit(1)

    def own_address(self, towards: str) -> str:
        family, kind, _proto, address = resolve(towards, self.backend, socket.SOCK_DGRAM)
        with socket.socket(family, kind) as sock:
            sock.connect(address)
            return str(sock.getsockname()[0])


def main(*arguments: str) -> int:
    flags = {"http-port": "80", "backend-port": "6379", "replicaof": "", **KLOG}
    parse_flags(arguments, flags)
    book = Guestbook(flags["backend-port"])
    server = Server(book.handle, lambda request: request.path in ("/set", "/guestbook"))
    try:
        server.add(listen(socket.SOCK_STREAM, integer(flags, "http-port")))
    except OSError as problem:
        return fail(f"listen :{flags['http-port']}: {go_errno(problem)}")
    if flags["replicaof"]:
        _thread.start_new_thread(book.join, (flags["replicaof"],))
    server.run()
    return 0
