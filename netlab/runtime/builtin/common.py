# ruff: noqa: SIM105
# (Imported by PID 1: no contextlib.)
"""What the builtin programs share: flags and durations as Go's, log lines, addresses, sockets for both families."""

import os
import socket
import sys
import time

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class UsageError(Exception):
    """Wrong flags; the message is for stderr, the exit status 1 (as cobra's)."""


def log(text: str) -> None:
    """Go's log.Printf: local time to the second, stderr."""
    write(2, f"{time.strftime('%Y/%m/%d %H:%M:%S')} {text}\n")


def write(fd: int, text: str) -> None:
    try:
        os.write(fd, text.encode(errors="replace"))
    except OSError:
        pass  # nobody reads: as a Go program that ignores the result of a print


def parse_duration(text: str) -> float:
    """Go's time.ParseDuration, in seconds. Raises ValueError in its words."""
    rest = text.lstrip("+-")
    if rest == "0":
        return 0.0
    total = 0.0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        letters = len(rest) - len(rest.lstrip("".join(_UNITS)))
        unit, rest = rest[:letters], rest[letters:]
        if not number or number == ".":
            raise ValueError(f'time: invalid duration "{text}"')
        if unit not in _UNITS:
            word = "missing" if not unit else "unknown"
            tail = "" if not unit else f' "{unit}"'
            raise ValueError(f'time: {word} unit{tail} in duration "{text}"')
        total += float(number) * _UNITS[unit]
    return -total if text.startswith("-") else total


Flags = dict[str, str]


def parse_flags(arguments: tuple[str, ...], flags: Flags, short: dict[str, str] | None = None) -> list[str]:
    """pflag's and flag's syntax: --name value, --name=value, -n value; booleans ("true"/"false") stand alone.

    `flags` has the defaults and gets the values; the rest is returned. Raises UsageError.
    """
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--":
            return rest + queue
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = (short or {}).get(name, name)
        if name not in flags:
            raise UsageError(f"Error: unknown flag: --{name}")
        if not equals:
            if flags[name] in ("true", "false"):
                value = "true"
            elif queue:
                value = queue.pop(0)
            else:
                raise UsageError(f"Error: flag needs an argument: --{name}")
        flags[name] = value
    return rest


def integer(flags: Flags, name: str) -> int:
    try:
        return int(flags[name])
    except ValueError:
        raise UsageError(f'Error: invalid argument "{flags[name]}" for "--{name}" flag') from None


def duration(flags: Flags, name: str) -> float:
    try:
        return parse_duration(flags[name])
    except ValueError as error:
        raise UsageError(f'Error: invalid argument "{flags[name]}" for "--{name}" flag: {error}') from None


def format_address(address: tuple[str, int] | tuple[str, int, int, int] | str) -> str:
    """host:port as Go prints it: IPv4 plain even on a dual-stack socket, IPv6 in brackets."""
    if isinstance(address, str):
        return address
    host, port = address[0], address[1]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str) -> tuple[str, str]:
    """Go's net.SplitHostPort. Raises ValueError in its words."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError(f"address {text}: missing ']' in address")
        if not rest.startswith(":"):
            raise ValueError(f"address {text}: missing port in address")
        return host, rest[1:]
    if ":" not in text:
        raise ValueError(f"address {text}: missing port in address")
    host, _, port = text.rpartition(":")
    if ":" in host:
        raise ValueError(f"address {text}: too many colons in address")
    return host, port


def listen(kind: int, port: int, host: str = "", proto: int = 0) -> socket.socket:
    """A socket on all addresses of both families, or on one address. Raises OSError."""
    if host and ":" not in host:
        family, address = socket.AF_INET, host
    elif host:
        family, address = socket.AF_INET6, host
    elif os.path.exists("/proc/net/if_inet6"):  # noqa: PTH110
        family, address = socket.AF_INET6, "::"
    else:
        family, address = socket.AF_INET, "0.0.0.0"
    sock = socket.socket(family, kind, proto)
    if family == socket.AF_INET6 and not host:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    if kind == socket.SOCK_STREAM:
        sock.listen(1024)
    return sock


def resolve(host: str, port: str, kind: int) -> tuple[int, int, int, tuple[str, int]]:
    """family, type, protocol, address of the first answer. Raises OSError (socket.gaierror for names)."""
    family, type_, proto, _name, address = socket.getaddrinfo(host or "localhost", port, type=kind)[0]
    return family, type_, proto, (str(address[0]), int(address[1]))


def hostname() -> str:
    return socket.gethostname()


def go_errno(error: OSError) -> str:
    """strerror as Go has it: lower case."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


def fail(text: str) -> int:
    """A word on stderr and the exit status 1."""
    write(2, text + "\n")
    sys.stderr.flush()
    return 1
