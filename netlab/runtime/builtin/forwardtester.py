"""agnhost port-forward-tester: one TCP connection, checked and answered in chunks (agnhost/port-forward-tester).

By the environment: BIND_ADDRESS (localhost), BIND_PORT, EXPECTED_CLIENT_DATA, CHUNKS, CHUNK_SIZE, CHUNK_INTERVAL (ms).
It ends with 2 where less came than expected, 3 where other bytes came, 4 where a chunk could not be sent.
"""

import os
import socket
import time

from netlab.runtime.builtin.common import go_errno, write

_GRACE = 0.5
"""Seconds from the end of what is sent to the end of the connection, so that the client reads all of it."""


def _say(text: str) -> None:
    write(1, text + "\n")


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    try:
        return int(text)
    except ValueError:
        _say(f'Error parsing {name} "{text}": strconv.Atoi: parsing "{text}": invalid syntax')
        return None


def _expected(connection: socket.socket, wanted: bytes) -> int:
    """The exit code, 0 when it is what was expected."""
    found = connection.recv(len(wanted))
    if len(found) != len(wanted):
        _say(f"Expected to read {len(wanted)} bytes from client, but got {len(found)} instead. err=EOF")
        return 2
    if found != wanted:
        _say(f'Expect to read "{wanted.decode()}", but got "{found.decode(errors="replace")}". err=<nil>')
        return 3
    _say("Received expected client data")
    return 0


def _answer(connection: socket.socket) -> int:
    wanted = os.environ.get("EXPECTED_CLIENT_DATA", "").encode()
    if wanted and (code := _expected(connection, wanted)):
        return code
    numbers = [_number(name) for name in ("CHUNKS", "CHUNK_SIZE", "CHUNK_INTERVAL")]
    chunks, size, interval = numbers
    if chunks is None or size is None or interval is None:
        return 1
    for number in range(chunks):
        try:
            connection.sendall(b"x" * size)
        except OSError as problem:
            _say(f"Expected to write {size} bytes from client, but wrote 0 instead. err={go_errno(problem)}")
            return 4
        if number + 1 < chunks:
            time.sleep(interval / 1000)
    _say("Shutting down connection")
    connection.shutdown(socket.SHUT_WR)
    time.sleep(_GRACE)
    return 0


def main(*_arguments: str) -> int:
    address, port = os.environ.get("BIND_ADDRESS") or "localhost", os.environ.get("BIND_PORT", "")
    try:
        found = socket.getaddrinfo(address, int(port), type=socket.SOCK_STREAM)[0]
    except (OSError, ValueError) as problem:
        _say(f"Error resolving: {problem}")
        return 1
    try:
        listener = socket.create_server(found[4][:2], family=found[0])
    except OSError as problem:
        _say(f"Error listening: listen tcp {address}:{port}: bind: {go_errno(problem)}")
        return 1
    connection, _peer = listener.accept()
    _say("Accepted client connection")
    with connection:
        code = _answer(connection)
    if not code:
        _say("Done")
    return code
