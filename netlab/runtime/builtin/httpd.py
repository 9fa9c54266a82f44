"""httpd: what the official image of Apache's server does unconfigured, the files of its document root on port 80."""

import os
import signal
import socket
import sys
from collections.abc import Callable

from netlab.runtime.builtin.common import fail, go_errno, listen
from netlab.runtime.builtin.web import Request, Response, Server

ROOT = "/usr/local/apache2/htdocs"
WELCOME = "<html><body><h1>It works!</h1></body></html>\n"
HTML = {"Content-Type": "text/html"}


def answer(request: Request) -> Response:
    path = os.path.normpath("/" + request.path.lstrip("/"))
    try:
        with open(ROOT + (path if path != "/" else "/index.html"), "rb") as file:  # noqa: PTH123
            return Response(file.read(), headers=HTML if path == "/" or path.endswith(".html") else {})
    except OSError:
        if path in ("/", "/index.html"):
            return Response(WELCOME, headers=HTML)
    return Response("<html><body><h1>404 Not Found</h1></body></html>\n", 404, HTML)


def update_demo(*_arguments: str) -> int:
    """What upstream's nautilus image serves on port 80: which picture it is."""
    return _serve(demo)


def demo(request: Request) -> Response:
    if request.path.strip("/") == "data.json":
        return Response('{\n"image": "nautilus.jpg"\n}\n', headers={"Content-Type": "application/json"})
    return answer(request)


def main(*_arguments: str) -> int:
    return _serve(answer)


def _serve(told: Callable[[Request], Response]) -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGWINCH):
        signal.signal(number, lambda *_: os._exit(0))
    server = Server(told)
    try:
        server.add(listen(socket.SOCK_STREAM, 80))
    except OSError as problem:
        return fail(f"(98){go_errno(problem)}: AH00072: make_sock: could not bind to address [::]:80")
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
