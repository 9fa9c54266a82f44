"""Many calls at once from many namespaces, in one process: who answered each, and whom the server saw.

One loop over one epoll object plays both the servers and the clients, thousands of sockets at a time: a round of some
thousand calls takes a second or two.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from netlab.kernel.netns import NetNs

REFUSED, NOTHING = "refused", "nothing"
DESCRIPTORS = 8192
Answer = tuple[str, str]
"""(server, the client's address as the server saw it); or (REFUSED, "") or (NOTHING, "")."""

_REFUSALS = (errno.ECONNREFUSED, errno.ECONNRESET)
_SILENCES = (errno.EPERM, errno.ETIMEDOUT)
"""A datagram of the node's own that a rule drops is refused by `send`: nobody was told anything."""


@dataclass(frozen=True)
class Call:
    """One call to make: from a namespace, to an address. `own`: from this address of the namespace's."""

    source: str
    protocol: str
    address: str
    port: int
    own: str = ""


class Prober:
    """The servers (each with a name, a namespace and an address), and calls to whatever leads to them."""

    def __init__(self, spaces: Mapping[str, NetNs], servers: Mapping[str, tuple[str, str]], port: int = 8080) -> None:
        """`servers`: name → (namespace, address)."""
        self._spaces = spaces
        self._epoll = select.epoll()
        self._act: dict[int, Callable[[int], None]] = {}
        self._held: list[socket.socket] = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = max(soft, min(hard, DESCRIPTORS) if hard != resource.RLIM_INFINITY else DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        self._at_once = min(2000, most // 2)
        for name, (space, address) in servers.items():
            self._serve(name, spaces[space], address, port)

    def close(self) -> None:
        for sock in self._held:
            sock.close()
        self._epoll.close()

    def _serve(self, name: str, space: NetNs, address: str, port: int) -> None:
        tcp = space.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((address, port))
        tcp.listen(4096)
        udp = space.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((address, port))

        def accept(_: int) -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock, peer = tcp.accept()
                    with sock, contextlib.suppress(ConnectionError):
                        sock.sendall(f"{name} {peer[0]}".encode())

        def receive(_: int) -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    peer = udp.recvfrom(100)[1]
                    udp.sendto(f"{name} {peer[0]}".encode(), peer)

        for sock, act in ((tcp, accept), (udp, receive)):
            sock.setblocking(False)
            self._held.append(sock)
            self._act[sock.fileno()] = act
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def calls(self, calls: Sequence[Call], *, silence: float, patience: float, silent: Sequence[bool]) -> list[Answer]:
        """The answer to each call. Where `silent` expects none, `silence` seconds are waited for one at least; for the
        others `patience` seconds at most, but no longer than until the last has come."""
        found: list[Answer] = []
        for at in range(0, len(calls), self._at_once):
            piece = calls[at : at + self._at_once]
            expected = silent[at : at + self._at_once]
            found += self._some(piece, silence if any(expected) else 0.0, patience, expected)
        return found

    def _some(self, calls: Sequence[Call], silence: float, patience: float, silent: Sequence[bool]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        clients: list[socket.socket] = []
        began = time.monotonic()
        for index, call in enumerate(calls):
            self._start(index, call, answers, clients)
            if index % 20 == 0:
                self._turn(0)
        wanted = {index for index, none in enumerate(silent) if not none}
        while time.monotonic() - began < patience:
            if time.monotonic() - began >= silence and wanted <= answers.keys():
                break
            self._turn(0.02)
        for sock in clients:
            self._act.pop(sock.fileno(), None)
            sock.close()
        return [answers.get(index, (NOTHING, "")) for index in range(len(calls))]

    def _start(self, index: int, call: Call, answers: dict[int, Answer], clients: list[socket.socket]) -> None:
        kind = socket.SOCK_STREAM if call.protocol == "TCP" else socket.SOCK_DGRAM
        sock = self._spaces[call.source].socket(socket.AF_INET, kind)
        sock.setblocking(False)
        clients.append(sock)

        def ready(events: int) -> None:
            with _errors(index, answers):
                if events & select.EPOLLERR and (code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                    raise OSError(code, "")
                if data := sock.recv(100):
                    server, seen = data.decode().split()
                    answers.setdefault(index, (server, seen))
            if index in answers:
                with contextlib.suppress(OSError):
                    self._epoll.unregister(sock.fileno())

        with _errors(index, answers):
            if call.own:
                sock.bind((call.own, 0))
            error = sock.connect_ex((call.address, call.port))
            if error not in (0, errno.EINPROGRESS):
                raise OSError(error, "")
            self._act[sock.fileno()] = ready
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            if kind == socket.SOCK_DGRAM:
                sock.send(b"?")

    def _turn(self, timeout: float) -> None:
        for number, events in self._epoll.poll(timeout):
            if act := self._act.get(number):
                act(events)


@contextlib.contextmanager
def _errors(index: int, answers: dict[int, Answer]) -> Iterator[None]:
    """What an error of a socket means. One that means nothing here is raised."""
    try:
        yield
    except BlockingIOError:
        pass
    except OSError as problem:
        if problem.errno in _REFUSALS:
            answers.setdefault(index, (REFUSED, ""))
        elif problem.errno not in _SILENCES:
            raise
