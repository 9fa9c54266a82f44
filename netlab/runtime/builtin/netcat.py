"""nc, as OpenBSD's: upstream's agnhost has it, and its tests ask by it where a machine's or BusyBox's nc would not do.

    nc [-46klNntuvz] [-i sec] [-p port] [-q sec] [-s addr] [-w sec] [host] port

Options, messages and exit statuses follow netcat-openbsd 1.2xx. What needs a proxy, TLS or a UNIX socket is refused.
"""

import os
import select
import socket
import sys

from netlab.runtime.builtin.common import write

USAGE = "usage: nc [-46klNntuvz] [-i interval] [-p source_port] [-q seconds] [-s source] [-w timeout] [host] port\n"
SWITCHES, VALUED = "46klNntuvz", "ipqsw"
PROBES = 4
"""Datagrams that a scan of UDP sends before it believes that nothing was refused."""


class _Refused(Exception):  # noqa: N818
    """Said already; the exit status is 1."""


def main(*arguments: str) -> int:
    """0 where all went well, 1 where not or on wrong usage."""
    try:
        options, rest = _parse(arguments)
        if "l" in options:
            return _listen(options, rest)
        if len(rest) != 2:
            raise _refusal(USAGE)
        return _connect(options, *rest)
    except _Refused:
        return 1
    except (BrokenPipeError, KeyboardInterrupt):
        return 1


def _refusal(text: str) -> _Refused:
    write(2, text)
    return _Refused()


def _parse(arguments: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """getopt(3): letters in one word, values in the same word or the next; operands may come before options."""
    options: dict[str, str] = {}
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--":
            return options, rest + queue
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in VALUED:
                if not letters and not queue:
                    raise _refusal(f"nc: option requires an argument -- '{letter}'\n{USAGE}")
                options[letter], letters = letters or queue.pop(0), ""
            elif letter in SWITCHES:
                options[letter] = ""
            else:
                raise _refusal(f"nc: invalid option -- '{letter}'\n{USAGE}")
    return options, rest


def _seconds(options: dict[str, str], letter: str) -> "float | None":
    """None where it was not given, or is negative: for ever."""
    text = options.get(letter, "")
    if not text:
        return None
    if not text.lstrip("-").isdigit():
        raise _refusal(f"nc: {'timeout' if letter == 'w' else 'seconds'} invalid: {text}\n")
    return float(text) if int(text) >= 0 else None


def _ports(text: str) -> "list[int]":
    """`80` or `80-90`."""
    first, dash, last = text.partition("-")
    if not first.isdigit():
        try:
            return [socket.getservbyname(text)]
        except OSError:
            raise _refusal(f"nc: port number invalid: {text}\n") from None
    bounds = (int(first), int(last) if dash and last.isdigit() else int(first))
    if not 0 < min(bounds) <= max(bounds) < 1 << 16:
        raise _refusal(f"nc: port number too {'small' if min(bounds) < 1 else 'large'}: {text}\n")
    return list(range(min(bounds), max(bounds) + 1))


def _family(options: dict[str, str]) -> int:
    return socket.AF_INET if "4" in options else socket.AF_INET6 if "6" in options else socket.AF_UNSPEC


def _addresses(options: dict[str, str], host: str, port: int) -> "list[tuple[int, tuple[str, int]]]":
    kind = socket.SOCK_DGRAM if "u" in options else socket.SOCK_STREAM
    flags = socket.AI_NUMERICHOST if "n" in options else 0
    try:
        found = socket.getaddrinfo(host, port, _family(options), kind, 0, flags)
    except OSError as problem:
        raise _refusal(f'nc: getaddrinfo for host "{host}" port {port}: {problem.strerror}\n') from None
    return [(one[0], one[4]) for one in found]  # type: ignore[misc]


# -- the side that calls ----------------------------------------------------------------------------------------------


def _connect(options: dict[str, str], host: str, ports: str) -> int:
    """The last port's outcome, as OpenBSD's: a scan goes on, a connection that was used ends it."""
    status = 1
    for port in _ports(ports):
        sock = _reach(options, host, port)
        if sock is None:
            continue
        with sock:
            if "u" in options and ("v" in options or "z" in options) and not _udp_answers(options, sock):
                status = 1
                continue
            status = 0
            if "v" in options:
                name = "udp" if "u" in options else "tcp"
                service = "*" if "n" in options else _service(port, name)
                write(2, f"Connection to {host} {port} port [{name}/{service}] succeeded!\n")
            if "z" not in options:
                return _relay(options, sock)
    return status


def _service(port: int, protocol: str) -> str:
    try:
        return socket.getservbyport(port, protocol)
    except OSError:
        return "*"


def _reach(options: dict[str, str], host: str, port: int) -> "socket.socket | None":
    """The first address that takes the connection, None where none does."""
    name = "udp" if "u" in options else "tcp"
    for family, address in _addresses(options, host, port):
        sock = socket.socket(family, socket.SOCK_DGRAM if "u" in options else socket.SOCK_STREAM)
        try:
            if "p" in options or "s" in options:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                anywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"
                sock.bind((options.get("s", anywhere), _ports(options["p"])[0] if "p" in options else 0))
            sock.settimeout(_seconds(options, "w") or None)
            sock.connect(address)
        except OSError as problem:
            sock.close()
            if isinstance(problem, TimeoutError):
                text = "timed out: Operation in progress"
            else:
                text = f"failed: {os.strerror(problem.errno or 0)}"
            if "v" in options or not isinstance(problem, TimeoutError):
                write(2, f"nc: connect to {host} port {port} ({name}) {text}\n")
            continue
        sock.settimeout(None)
        return sock
    return None


def _udp_answers(options: dict[str, str], sock: socket.socket) -> bool:
    """Whether no ICMP error comes back. A scan waits as long as -w says for one, else three seconds."""
    waits = 3.0 if "w" not in options else (_seconds(options, "w") or 0.0)
    try:
        for number in range(PROBES):
            sock.send(b"X")
            if number == 0:
                select.select([], [], [sock], 0.1)
        if "z" in options:
            poller = select.poll()
            poller.register(sock, 0)  # an error alone
            poller.poll(waits * 1000)
        sock.send(b"X")
    except OSError:
        return False
    return True


def _relay(options: dict[str, str], sock: socket.socket) -> int:
    """stdin to the peer, the peer to stdout, until the peer ends or nothing has come for -w seconds."""
    patience, rest = _seconds(options, "w"), _seconds(options, "q")
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    poller.register(0, select.POLLIN)
    while True:
        ready = poller.poll(None if patience is None else patience * 1000)
        if not ready:
            return 0
        for descriptor, _event in ready:
            if descriptor == sock.fileno():
                try:
                    data = sock.recv(16384)
                except OSError:
                    return 0
                if not data and "u" not in options:
                    return 0
                _write_all(data)
                continue
            data = os.read(0, 16384)
            if data:
                try:
                    sock.sendall(data)
                except OSError:
                    return 1
                continue
            poller.unregister(0)
            if "N" in options and "u" not in options:
                sock.shutdown(socket.SHUT_WR)
            if rest is not None:
                patience = rest if patience is None else min(patience, rest)


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


# -- the side that is called ------------------------------------------------------------------------------------------


def _listen(options: dict[str, str], rest: list[str]) -> int:
    """One connection, or (-k) one after the other."""
    if not rest and "p" not in options:
        raise _refusal(USAGE)
    host = options.get("s", "") or (rest[0] if len(rest) > 1 else "")
    port = _ports(rest[-1] if rest else options["p"])[0]
    family, address = _addresses(options, host or ("::" if "6" in options else "0.0.0.0"), port)[0]
    udp = "u" in options
    with socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as problem:
            raise _refusal(f"nc: {os.strerror(problem.errno or 0)}\n") from None
        if "v" in options:
            write(2, f"{'Bound' if udp else 'Listening'} on {address[0]} {port}\n")
        if udp:
            data, peer = listener.recvfrom(65536)
            listener.connect(peer)
            _write_all(data)
            return _relay(options, listener)
        listener.listen(1)
        while True:
            sock, peer = listener.accept()
            if "v" in options:
                write(2, f"Connection received on {peer[0]} {peer[1]}\n")
            with sock:
                status = _relay(options, sock)
            if "k" not in options:
                return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
