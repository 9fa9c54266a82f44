"""agnhost no-snat-test: asks others whom they see, and says whether that is this pod (agnhost/no-snat-test).

/whoami answers with the caller's address; /checknosnat?ips=a:port,b:port asks each of these and compares with POD_IP.
"""

import ipaddress
import os
import socket

from netlab.runtime.builtin.common import fail, listen, parse_flags, resolve, split_host_port
from netlab.runtime.builtin.web import Request, Response, Server, fetch

TIMEOUT = 30.0


def verdict(seen: str, pod: str, node: str) -> str:
    """What is wrong with the address that was seen; "" when it is the pod's own."""
    if seen == pod:
        return ""
    if seen == node:
        return f'Returned ip "{seen}" != my Pod ip "{pod}", == my Node ip "{node}" - SNAT'
    return (
        f'Returned ip "{seen}" != my Pod ip "{pod}" or my Node ip "{node}" - SNAT to unexpected ip (possible SNAT '
        "through unexpected interface on the way into another node)"
    )


def _check(target: str, pod: str, node: str) -> str:
    try:
        host, port = split_host_port(target) if ":" in target else (target, "80")
        family, _kind, _proto, address = resolve(host, port, socket.SOCK_STREAM)
        _status, body = fetch(address, family, target, "/whoami", TIMEOUT)
    except (OSError, ValueError) as problem:
        return f'Get "http://{target}/whoami": {problem}'
    return verdict(body.decode(errors="replace").rpartition(":")[0].strip("[]"), pod, node)


def main(*arguments: str) -> int:
    flags = {"port": "8080"}
    parse_flags(arguments, flags)
    own: list[str] = []
    for name in ("POD_IP", "NODE_IP"):
        value = os.environ.get(name)
        if value is None:
            return fail(f"{name} env var was not present in the environment")
        try:
            ipaddress.ip_address(value)
        except ValueError:
            return fail(f'{name} env var contained "{value}", which is not an IP address')
        own.append(value)

    def answer(request: Request) -> Response:
        if request.path == "/whoami":
            return Response(request.remote)
        if request.path != "/checknosnat":
            return Response("404 page not found\n", 404)
        wrong = [why for target in request.query.get("ips", "").split(",") if (why := _check(target, own[0], own[1]))]
        return Response(", ".join(wrong), 500) if wrong else Response()

    server = Server(answer, lambda request: request.path == "/checknosnat")
    server.add(listen(socket.SOCK_STREAM, int(flags["port"])))
    server.run()
    return 0
