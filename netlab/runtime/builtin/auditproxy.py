"""agnhost audit-proxy: prints the audit events that it is sent, one JSON object a line (agnhost/audit-proxy)."""

import json
import socket

from netlab.runtime.builtin.common import listen, log, parse_flags, write
from netlab.runtime.builtin.web import Request, Response, Server, as_json

VERSION = "audit.k8s.io/v1"


def events(body: bytes) -> list[dict[str, object]]:
    """The events of an EventList. Raises ValueError."""
    found = json.loads(body)
    if not isinstance(found, dict) or (found.get("apiVersion"), found.get("kind")) != (VERSION, "EventList"):
        raise ValueError(f"no EventList of {VERSION}")
    return [{"kind": "Event", "apiVersion": VERSION, **one} for one in found.get("items") or ()]


def answer(request: Request) -> Response:
    try:
        found = events(request.body)
    except (ValueError, TypeError):
        log(f"failed decoding buf: {request.body!r}, apiVersion: {VERSION}")
        return Response(status=500)
    for one in found:
        write(1, as_json(one) + "\n")
    return Response()


def main(*arguments: str) -> int:
    parse_flags(arguments, {})
    server = Server(answer)
    server.add(listen(socket.SOCK_STREAM, 8080))
    server.run()
    return 0
