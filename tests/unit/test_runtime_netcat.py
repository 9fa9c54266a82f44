"""nc as upstream's tests use it: on loopback, in this process's own network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

NC = (sys.executable, "-m", "netlab.runtime.builtin.netcat")


def nc(*arguments: str, stdin: str | None = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NC, *arguments], input=stdin, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def udp() -> Iterator[tuple[int, list[tuple[bytes, int]]]]:
    """A port that answers every datagram with "pong", and what came with which source port."""
    seen: list[tuple[bytes, int]] = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            data, peer = sock.recvfrom(100)
            if data == b"end":
                return
            seen.append((data, peer[1]))
            sock.sendto(b"pong", peer)

    thread = threading.Thread(target=serve)
    thread.start()
    port = sock.getsockname()[1]
    yield port, seen
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
        last.sendto(b"end", ("127.0.0.1", port))
    thread.join(10)
    sock.close()


def closed_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_datagram_from_a_given_port_and_its_answer(udp: tuple[int, list[tuple[bytes, int]]]) -> None:
    port, seen = udp
    own = closed_port(socket.SOCK_DGRAM)
    done = nc("-u", "-w", "1", "-p", str(own), "127.0.0.1", str(port), stdin="hostname\n")
    assert (done.returncode, done.stdout) == (0, "pong")
    assert seen == [(b"hostname\n", own)]


def test_scans_of_udp(udp: tuple[int, list[tuple[bytes, int]]]) -> None:
    port, _seen = udp
    found = nc("-vuz", "-w", "1", "127.0.0.1", str(port))
    assert (found.returncode, found.stderr) == (0, f"Connection to 127.0.0.1 {port} port [udp/*] succeeded!\n")
    assert nc("-vuz", "-w", "1", "127.0.0.1", str(closed_port(socket.SOCK_DGRAM))).returncode == 1


def test_tcp_scans_and_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = nc("-v", "-z", "-w", "2", "127.0.0.1", str(port))
        assert (found.returncode, found.stderr) == (0, f"Connection to 127.0.0.1 {port} port [tcp/*] succeeded!\n")

        def serve() -> None:
            server.accept()[0].close()  # the scan's
            sock = server.accept()[0]
            sock.sendall(sock.recv(100).upper())
            sock.close()

        thread = threading.Thread(target=serve)
        thread.start()
        done = nc("-v", "-t", "-w", "2", "127.0.0.1", str(port), stdin="hostName\n")
        thread.join(10)
        assert (done.returncode, done.stdout) == (0, "HOSTNAME\n")
    refused = nc("-vz", "127.0.0.1", str(port))
    said = f"nc: connect to 127.0.0.1 port {port} (tcp) failed: Connection refused\n"
    assert (refused.returncode, refused.stderr) == (1, said)


def test_listening() -> None:
    port = closed_port(socket.SOCK_STREAM)
    with subprocess.Popen([*NC, "-lv", str(port)], stdout=-1, stderr=-1, stdin=-1, text=True) as server:
        assert server.stderr is not None
        assert server.stderr.readline() == f"Listening on 0.0.0.0 {port}\n"
        assert nc("-N", "127.0.0.1", str(port), stdin="hello\n").returncode == 0
        out, _ = server.communicate(timeout=20)
        assert (out, server.returncode) == ("hello\n", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "usage: nc"),
        (("-Z", "a", "1"), "nc: invalid option -- 'Z'"),
        (("-w",), "nc: option requires an argument -- 'w'"),
        (("-w", "x", "127.0.0.1", "1"), "nc: timeout invalid: x"),
        (("127.0.0.1", "70000"), "nc: port number too large: 70000"),
        (("127.0.0.1", "nosuch"), "nc: port number invalid: nosuch"),
        (("-n", "nobody", "80"), 'nc: getaddrinfo for host "nobody" port 80: '),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    done = nc(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert os.linesep in done.stderr
