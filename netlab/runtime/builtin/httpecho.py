"""http-echo: answers every request with one text, as hashicorp/http-echo does."""

import os
import signal
import socket
import sys

from netlab.runtime.builtin.common import UsageError, fail, go_errno, listen, log, parse_flags, split_host_port
from netlab.runtime.builtin.web import Request, Response, Server


def main(*arguments: str) -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    flags = {"listen": ":5678", "text": os.environ.get("ECHO_TEXT", ""), "status-code": "200", "version": "false"}
    try:
        rest = parse_flags(arguments, flags)
        host, port = split_host_port(flags["listen"])
        status = int(flags["status-code"])
    except (UsageError, ValueError) as problem:
        return fail(str(problem))
    if not flags["text"]:
        log("Missing -text option!")
        return 127
    if rest:
        log("Too many arguments!")
        return 127

    def answer(request: Request) -> Response:
        if request.path == "/health":
            return Response('{"status":"ok"}', headers={"Content-Type": "application/json"})
        return Response(flags["text"] + "\n", status, {"X-App-Name": "http-echo", "X-App-Version": "1.0.0"})

    server = Server(answer)
    try:
        server.add(listen(socket.SOCK_STREAM, int(port), host))
    except OSError as problem:
        return fail(f"[ERR] Error starting server: listen tcp {flags['listen']}: bind: {go_errno(problem)}")
    log(f"[INFO] server is listening on {flags['listen']}")
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
