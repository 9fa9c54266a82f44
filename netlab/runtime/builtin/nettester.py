"""agnhost net: a client and a server that leave a connection half closed (test/images/agnhost/net).

agnhost net --runner nat-closewait-client --options '{"RemoteAddr":"10.0.0.1:11302","PostFinTimeoutSeconds":30}'
agnhost net --serve :8889     runs one for each POST to /run/<runner>, its options the body
"""

import json
import socket
import time
from collections.abc import Callable

from netlab.runtime.builtin.common import UsageError, fail, go_errno, listen, log, parse_flags, split_host_port, write
from netlab.runtime.builtin.web import Request, Response, Server, error

Options = dict[str, object]
Told = list[str]
_leaked: list[socket.socket] = []


def _address(options: Options, key: str) -> tuple[str, int]:
    host, port = split_host_port(str(options.get(key, "")))
    return host, int(port)


def _wait(options: Options) -> None:
    time.sleep(float(str(options.get("PostFinTimeoutSeconds", 0))))


def server(options: Options, told: Told) -> None:
    """Sends its FIN as soon as a client is there: the client's side of the connection is in CLOSE_WAIT."""
    host, port = _address(options, "LocalAddr")
    with listen(socket.SOCK_STREAM, port, host) as listener:
        told.append(f"Server listening on {options['LocalAddr']}")
        sock, _client = listener.accept()
        with sock:
            told.append("Client connected")
            sock.shutdown(socket.SHUT_WR)
            told.append(f"Server sent FIN, waiting {options.get('PostFinTimeoutSeconds', 0)} seconds")
            _wait(options)
    told.append("Done")


def client(options: Options, told: Told) -> None:
    sock = socket.create_connection(_address(options, "RemoteAddr"))
    try:
        told.append("Connected to server")
        sock.settimeout(float(str(options.get("TimeoutSeconds") or 0)) or None)
        if sock.recv(1):
            raise ValueError("Got data but expected EOF")
        told.append(f"Server has half-closed the connection, waiting {options.get('PostFinTimeoutSeconds', 0)} seconds")
        if options.get("LeakConnection"):
            told.append("Leaking client connection (assigning to global variable)")
            _leaked.append(sock)
        _wait(options)
        told.append("Done")
    finally:
        if sock not in _leaked:
            sock.close()


RUNNERS: dict[str, Callable[[Options, Told], None]] = {"nat-closewait-client": client, "nat-closewait-server": server}


def execute(name: str, raw: str) -> tuple[str, str]:
    """What the runner told, and why it failed ("" where it did not)."""
    told: Told = []
    if name not in RUNNERS:
        return "", f"Invalid runner: '{name}', see --help"
    try:
        options = json.loads(raw)
        if not isinstance(options, dict):
            return "", "Invalid options JSON: not an object"
        log(f"Options: {options}")
        RUNNERS[name](options, told)
        problem = ""
    except json.JSONDecodeError as wrong:
        problem = f"Invalid options JSON: {wrong}"
    except OSError as lack:
        problem = go_errno(lack)
    except ValueError as wrong:
        problem = str(wrong)
    return "".join(f"# {line}\n" for line in told), problem


def _handle(request: Request) -> Response:
    words = request.path.split("/")
    if len(words) != 3 or words[1] != "run":
        return error(f"invalid request to run: {words}", 400)
    output, problem = execute(words[2], request.body.decode(errors="replace"))
    if problem:
        return error(f"Error from runner: {problem}\noutput:\n\n{output}", 500)
    return Response(f"ok\noutput:\n\n{output}")


def main(*arguments: str) -> int:
    flags = {"serve": "", "runner": "", "options": "", "delay-shutdown": "0"}
    try:
        parse_flags(arguments, flags)
    except UsageError as wrong:
        return fail(str(wrong))
    if not flags["runner"] and not flags["serve"]:
        return fail("Must set either --runner or --serve, see --help")
    if not flags["serve"]:
        output, problem = execute(flags["runner"], flags["options"])
        if problem:
            log(f"Error: {problem}")
        write(1, f"output:\n\n{output}")
        return 1 if problem else 0
    web = Server(_handle, lambda _request: True)
    host, port = split_host_port(flags["serve"])
    log(f"Running server on {flags['serve']}")
    web.add(listen(socket.SOCK_STREAM, int(port), host), None)
    web.run()
    return 0
