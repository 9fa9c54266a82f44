"""loadgen: asks a URL at a rate, each time on a new connection, and reports answers and latencies.

    loadgen --qps 50 --duration 10s --connections 4 http://web.default:8080/hostname

A line per second, and a JSON summary at the end: requests, failures by kind, answers by text, latencies in ms.
"""

import os
import signal
import socket
import sys
import time

from netlab.runtime.builtin.common import (
    UsageError,
    duration,
    fail,
    go_errno,
    integer,
    parse_flags,
    resolve,
    split_host_port,
    write,
)
from netlab.runtime.builtin.web import as_json, fetch

MAX_ANSWERS = 64


class Tally:
    """Counts of one run."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.failures: dict[str, int] = {}
        self.answers: dict[str, int] = {}

    def add(self, seconds: float, answer: str) -> None:
        self.latencies.append(seconds)
        if answer in self.answers or len(self.answers) < MAX_ANSWERS:
            self.answers[answer] = self.answers.get(answer, 0) + 1

    def fail(self, kind: str) -> None:
        self.failures[kind] = self.failures.get(kind, 0) + 1

    def summary(self) -> dict[str, object]:
        ordered = sorted(self.latencies)

        def percentile(share: float) -> float:
            return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 3) if ordered else 0.0

        return {
            "requests": len(ordered) + sum(self.failures.values()),
            "ok": len(ordered),
            "failures": self.failures,
            "answers": self.answers,
            "latency_ms": {"p50": percentile(0.5), "p90": percentile(0.9), "p99": percentile(0.99)},
        }


def parse_url(url: str) -> tuple[str, str, str]:
    """host, port, path of an http URL. Raises UsageError."""
    scheme, separator, rest = url.partition("://")
    if scheme != "http" or not separator:
        raise UsageError(f"Error: {url!r} is not an http:// URL")
    authority, slash, path = rest.partition("/")
    try:
        host, port = split_host_port(authority)
    except ValueError:
        host, port = authority, "80"
    return host, port, slash + path or "/"


def once(host: str, port: str, path: str, timeout: float, tally: Tally) -> None:
    started = time.monotonic()
    try:
        family, _type, _proto, address = resolve(host, port, socket.SOCK_STREAM)
        status, body = fetch(address, family, f"{host}:{port}", path, timeout)
    except TimeoutError:
        tally.fail("timeout")
    except socket.gaierror:
        tally.fail("dns")
    except OSError as problem:
        tally.fail(go_errno(problem))
    else:
        if status >= 400:
            tally.fail(f"status {status}")
        else:
            tally.add(time.monotonic() - started, body[:200].decode(errors="replace").strip())


def main(*arguments: str) -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    flags = {"qps": "10", "duration": "0s", "timeout": "2s", "requests": "0"}
    try:
        rest = parse_flags(arguments, flags)
        if len(rest) != 1:
            raise UsageError(
                "Usage: loadgen [--qps N] [--duration D] [--requests N] [--timeout D] http://host:port/path"
            )
        host, port, path = parse_url(rest[0])
        rate, limit = integer(flags, "qps"), integer(flags, "requests")
        seconds, timeout = duration(flags, "duration"), duration(flags, "timeout")
    except UsageError as problem:
        return fail(str(problem))
    tally = Tally()

    def stop(*_: object) -> None:
        write(1, as_json(tally.summary()) + "\n")
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    started = reported = time.monotonic()
    number = 0
    while (not seconds or time.monotonic() - started < seconds) and (not limit or number < limit):
        once(host, port, path, timeout, tally)
        number += 1
        if time.monotonic() - reported >= 1:
            reported = time.monotonic()
            summary = tally.summary()
            write(1, f"ok {summary['ok']} failures {as_json(tally.failures)} {as_json(summary['latency_ms'])}\n")
        if rate > 0:
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
    write(1, as_json(tally.summary()) + "\n")
    return 1 if tally.failures and not tally.latencies else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
